"""Streams whose feeds a test feeds by hand: everything of the gateway's own, and no upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from tickgate_server.book import Book
from tickgate_server.fanout.beat import Beat
from tickgate_server.fanout.gaps import Gaps
from tickgate_server.fanout.hub import Hub
from tickgate_server.fanout.interest import Interest, InterestPolicy
from tickgate_server.fanout.recall import Recall, RecallSources
from tickgate_server.fanout.ring import Ring
from tickgate_server.fanout.streams import LiveHub, StreamPolicy, Streams
from tickgate_server.market.live import Channel, GapCause
from tickgate_server.market.provenance import Feed
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.observe.counters import Counters
from tickgate_server.rpc.updates import UpdateEncoder

from .fakes import FakeLatest, HandClock

EPOCH = "ep0c4"


class HandFeed:
    """A `LiveFeed` that remembers what is wanted of it."""

    def __init__(self) -> None:
        self.wanted: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        self.requests: list[tuple[str, Channel, tuple[str, ...]]] = []
        """What it was told, one after the other."""

        self.reconnected: list[tuple[GapCause, str]] = []

    def follow(self, channel: Channel, symbols: Collection[str]) -> None:
        """Want *symbols*."""
        self.wanted[channel] |= set(symbols)
        self.requests.append(("follow", channel, tuple(symbols)))

    def unfollow(self, channel: Channel, symbols: Collection[str]) -> None:
        """No longer want *symbols*."""
        self.wanted[channel] -= set(symbols)
        self.requests.append(("unfollow", channel, tuple(symbols)))

    def reconnect(self, cause: GapCause, message: str) -> None:
        """Remember why."""
        self.reconnected.append((cause, message))


class HandFeeds:
    """The streams of a process. A test speaks as the upstream through the `hubs`."""

    def __init__(
        self,
        clock: HandClock,
        counters: Counters,
        quotes: FakeLatest[Quote],
        trades: FakeLatest[Trade],
        policy: StreamPolicy,
        symbol_limit: int | None,
    ) -> None:
        self.gaps = Gaps()
        self.hubs: dict[Feed, Hub] = {}
        self.feeds: dict[Feed, HandFeed] = {}
        self.unknown: set[str] = set()
        """Symbols that do not exist."""

        self.session: MarketSession | None = MarketSession.OPEN
        self._clock = clock
        self._counters = counters
        self._quotes = quotes
        self._trades = trades
        self._symbol_limit = symbol_limit
        self._beat = Beat()
        self._jobs: list[asyncio.Task[None]] = []
        self.streams = Streams(
            policy, self._open, self._beat, clock, UpdateEncoder(), self._unknown, counters.streams
        )

    async def stop(self) -> None:
        """End what runs by itself."""
        for job in self._jobs:
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job

    def _open(self, feed: Feed) -> LiveHub:
        counts, clock = self._counters.feed(feed.value), self._clock
        book = Book(feed, EPOCH, clock)
        interest = Interest(
            book, InterestPolicy(symbol_limit=self._symbol_limit, linger=15.0), counts, clock
        )
        ring = Ring(1000, 60 * NANOS)
        hub = Hub(book, interest, self.gaps, ring, self._beat, counts, clock, lambda: self.session)
        interest.feed_by(self.feeds.setdefault(feed, HandFeed()))
        sources: Any = {Channel.QUOTES: self._quotes, Channel.TRADES: self._trades}
        recall = Recall(hub, RecallSources(sources, self._quotes), clock, 5.0)
        hub.resync = recall.resync
        self._jobs.append(asyncio.create_task(recall.run()))
        self.hubs[feed] = hub
        return LiveHub(hub, recall)

    async def _unknown(self, feed: Feed, symbols: Collection[str]) -> Mapping[str, Unavailable]:
        return {
            symbol: Unavailable(reason=Reason.SYMBOL_UNKNOWN, message=f"{symbol}: unknown")
            for symbol in symbols
            if symbol in self.unknown
        }
