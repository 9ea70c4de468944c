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
from ..market.live import Channel
from ..market.provenance import Feed
from ..market.unavailable import Reason, Unavailable
from ..market.value_kind import ValueKind
from ..observe.counters import Counters
from ..ports import Key
from ..rpc.updates import UpdateEncoder
from ..settings import Settings
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
            self._unknown,
            counters.streams,
        )

    def jobs(self) -> tuple[Job, ...]:
        """Return what must run while the gateway does."""
        return self.streams.run, self._ticks.run

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
        interest = Interest(book, policies.interest(settings), counts, clock)
        stream = settings.stream
        ring = Ring(stream.keep_records, policies.nanoseconds(stream.keep_for))
        session = self._questions.keeper.session
        hub = Hub(book, interest, self.gaps, ring, self._beat, counts, clock, session)
        live = AlpacaFeed(
            feed,
            settings.stream_url,
            settings.keys,
            self._questions.live_gate,
            hub,
            clock,
            policies.live_feed(settings),
            counts,
        )
        interest.feed_by(live)
        recall = Recall(hub, self._recall_sources(), clock, _PATIENCE)
        hub.resync = recall.resync
        hub.before_loss = self._ticks.spread
        hub.on_refusal = lambda symbol: self._ticks.supersede(feed, symbol)
        watchdog = Watchdog(
            feed,
            live,
            self._questions.repairs,
            interest.busiest,
            counts,
            clock,
            session,
            silence=stream.silence,
            patience=_PATIENCE,
        )
        for job in (live.run, recall.run, watchdog.run):
            self._start(job)
        self._questions.books[feed] = book
        return LiveHub(hub, recall)

    def _recall_sources(self) -> RecallSources:
        questions = self._questions
        return RecallSources(
            {Channel.QUOTES: questions.quotes, Channel.TRADES: questions.trades}, questions.repairs
        )

    async def _unknown(self, symbols: Collection[str]) -> Mapping[str, Unavailable]:
        listed = await self._questions.listed(self._clock.monotonic() + _PATIENCE)
        if listed is None:
            # Without the list nobody can say that a symbol does not exist.
            return {}
        return {
            symbol: Unavailable(
                reason=Reason.SYMBOL_UNKNOWN,
                message=f"{symbol}: not in the upstream's list of assets",
            )
            for symbol in symbols
            if symbol not in listed and symbol != "*"
        }
