"""The way of a streamed quote: from the upstream's socket to whoever follows it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from ..book import Book
from ..fanout.beat import Beat
from ..fanout.gaps import Gaps
from ..fanout.hub import Hub
from ..fanout.interest import Interest
from ..fanout.recall import Recall, RecallSources
from ..fanout.ring import Ring
from ..fanout.streams import LiveHub, Streams
from ..guards.live import LiveTicks
from ..jobs.market_clock import MarketClock
from ..jobs.watchdog import Watchdog
from ..market.occ import parse_occ
from ..market.provenance import OPTION_FEEDS, Feed
from ..market.unavailable import Unavailable
from ..market.value_kind import ValueKind
from ..observe.counters import Counters
from ..ports import Key
from ..rpc.updates import UpdateEncoder
from ..settings import Settings
from ..upstream.alpaca.options import unknown_contract
from ..upstream.alpaca.rest import unknown_symbol
from ..upstream.alpaca.stream.feed import AlpacaFeed
from . import policies
from .questions import Questions
from .stores import Job

_PATIENCE: Final = 5.0
"""Seconds that a question for what the stream does not say may take."""


class Live:
    """Everything that follows live feeds, and is followed."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        clock: MarketClock,
        questions: Questions,
        start: Callable[[Job], None],
    ) -> None:
        """Build what all feeds share; a feed itself begins when somebody first follows it.

        Args:
            settings: the gateway's.
            counters: where everything is counted.
            clock: measures.
            questions: answer what the streams do not say.
            start: starts a job that runs until the gateway stops following.
        """
        self._settings = settings
        self._counters = counters
        self._clock = clock
        self._questions = questions
        self._start = start
        self._beat = Beat()
        self.gaps = Gaps()
        self._ticks = LiveTicks(questions.tiers[ValueKind.QUOTE], self._news)
        self.streams = Streams(
            policies.streams(settings),
            self._open,
            self._beat,
            clock,
            UpdateEncoder(),
            self.unknown,
            counters.streams,
        )

    def jobs(self) -> tuple[Job, ...]:
        """Return what must run while the gateway does."""
        return self.streams.run, self._ticks.run

    def hub(self, feed: Feed) -> Hub:
        """Return the hub of *feed*, which begins to be connected when it is first asked for."""
        return self.streams.live(feed).hub

    def last_record(self, feeds: Collection[Feed]) -> int | None:
        """Return when a record last arrived on any of *feeds*, nanoseconds of the wall clock."""
        times = [self._counters.feed(feed.value).last_record_time for feed in feeds]
        return max((time for time in times if time is not None), default=None)

    def _news(self) -> Mapping[Key, Any]:
        news: dict[Key, Any] = {}
        for book in self._questions.books.values():
            news |= book.take_news()
        return news

    def _open(self, feed: Feed) -> LiveHub:
        settings, clock = self._settings, self._clock
        counts = self._counters.feed(feed.value)
        book = Book(feed, secrets.token_hex(6), clock)
        interest = Interest(book, policies.interest(settings, feed), counts, clock)
        stream = settings.stream
        ring = Ring(stream.keep_records, policies.nanoseconds(stream.keep_for))
        session = self._questions.keeper.session
        hub = Hub(book, interest, self.gaps, ring, self._beat, counts, clock, session)
        live = AlpacaFeed(
            feed,
            settings.stream_url,
            settings.keys,
            self._questions.live_gate(feed),
            hub,
            clock,
            policies.live_feed(settings),
            counts,
        )
        interest.feed_by(live)
        repairs = self._questions.repairs(feed)
        sources = RecallSources(self._questions.snapshots_of(feed), repairs)
        recall = Recall(hub, sources, clock, _PATIENCE)
        hub.resync = recall.resync
        if feed not in OPTION_FEEDS:
            self._feed_tiers(feed, hub)
        watchdog = Watchdog(
            feed,
            live,
            repairs,
            interest.busiest,
            counts,
            clock,
            session,
            silence=stream.silence,
            patience=_PATIENCE,
        )
        for job in (live.run, recall.run, watchdog.run):
            self._start(job)
        return LiveHub(hub, recall, live.hurry)

    def _feed_tiers(self, feed: Feed, hub: Hub) -> None:
        """Let what *feed* brings be the first answer to who asks. An option's quote is only a part of its answer."""
        hub.before_loss = self._ticks.spread
        hub.on_refusal = lambda symbol: self._ticks.supersede(feed, symbol)
        self._questions.books[feed] = hub.book

    async def unknown(self, feed: Feed, symbols: Collection[str]) -> Mapping[str, Unavailable]:
        """Return which of *symbols* do not exist on *feed*, or no longer, and why they cannot be followed."""
        deadline = self._clock.monotonic() + _PATIENCE
        if feed in OPTION_FEEDS:
            return await self._untradable(symbols, deadline)
        listed = await self._questions.assets(deadline)
        if listed is None:
            # Without the list nobody can say that a symbol does not exist.
            return {}
        return {
            symbol: unknown_symbol(symbol)
            for symbol in symbols
            if symbol not in listed and symbol != "*"
        }

    async def _untradable(
        self, symbols: Collection[str], deadline: float
    ) -> Mapping[str, Unavailable]:
        known = self._questions.expiries
        expiries = await known.get(deadline)
        rejected = {
            symbol: why
            for symbol in symbols
            if (why := known.expired(symbol, parse_occ(symbol), expiries)) is not None
        }
        rest = [symbol for symbol in symbols if symbol not in rejected]
        listed = await self._questions.contracts.listed(rest, deadline) if rest else ()
        if listed is not None:
            rejected |= {one: unknown_contract(one) for one in rest if one not in listed}
        return rejected
