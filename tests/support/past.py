"""The past as jobs fetch it: the real reader between an upstream and a store, both in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tickgate_server.history.policy import HistoryPolicy
from tickgate_server.history.reader import HistoryReader
from tickgate_server.jobs.fetcher import Fetcher
from tickgate_server.market.bar import Bar
from tickgate_server.market.corporate_action import CorporateAction
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Feed
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS
from tickgate_server.market.timeframe import Timeframe, Unit

from .fakes import NOW, HandClock, bar, provenance
from .history_pages import FakePages
from .history_store import MemoryStore

MINUTE = 60 * NANOS
DAY = 24 * 60 * MINUTE
MINUTES = Timeframe(1, Unit.MINUTE)
DAYS = Timeframe(1, Unit.DAY)
NEWEST_DAY = NOW - 11 * 60 * MINUTE
"""Midnight in New York, at which the bar of the day of `NOW` begins."""


class NoActions:
    """A `CorporateActionSource` of companies to which nothing happens."""

    async def corporate_actions(self, *asked: Any) -> Sequence[CorporateAction]:
        """Know of nothing."""
        return ()


class Past:
    """Everything that fetching the past takes."""

    def __init__(
        self, *symbols: str, store: MemoryStore | None = None, clock: HandClock | None = None
    ) -> None:
        self.clock = clock or HandClock()
        self.store = store or MemoryStore(self.clock)
        self.pages = FakePages(
            {minute_bars(one): bars_of(one, 30, MINUTE, NOW - 40 * MINUTE) for one in symbols}
            | {daily_bars(one): bars_of(one, 10, DAY, NEWEST_DAY - 9 * DAY) for one in symbols}
        )
        self.history = HistoryReader(
            pages=self.pages,
            store=self.store,
            cache=None,
            actions=NoActions(),
            policy=HistoryPolicy(),
            clock=self.clock,
            listed=self._listed,
        )
        self.fetcher = Fetcher(self.history, self.clock, settle=35 * NANOS, keeps=True, pause=0.001)
        self._symbols = symbols

    async def _listed(self, symbols: Sequence[str], deadline: float) -> Sequence[str]:
        return self._symbols

    async def count(self, key: SeriesKey) -> int:
        """Return how many values of *key* the store holds."""
        return sum([len(block) async for block in self.store.read(key, Interval(0, NOW + DAY))])


def minute_bars(symbol: str) -> SeriesKey:
    """The series of a symbol's minute bars."""
    return SeriesKey(SeriesKind.BARS, symbol, Feed.IEX, MINUTES)


def daily_bars(symbol: str) -> SeriesKey:
    """The series of a symbol's daily bars."""
    return SeriesKey(SeriesKind.BARS, symbol, Feed.IEX, DAYS)


def bars_of(symbol: str, count: int, step: int, first: int) -> list[Bar]:
    """Return *count* bars, one every *step* nanoseconds from *first* on."""
    return [
        replace(bar(symbol), provenance=provenance(first + number * step, NOW))
        for number in range(count)
    ]
