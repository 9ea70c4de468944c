"""A reader of the past with everything behind it, and what its answers say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from msgspec.structs import replace

from tickgate_server.errors import UpstreamFailure
from tickgate_server.history.policy import HistoryPolicy
from tickgate_server.history.reader import HistoryReader
from tickgate_server.history.waiting import closing
from tickgate_server.market.corporate_action import CorporateAction, CorporateActionType
from tickgate_server.market.history_rows import rows as rows_of
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Feed
from tickgate_server.market.series import (
    HistoryQuestion,
    SeriesKey,
    SeriesKind,
    SeriesPosition,
)
from tickgate_server.market.trade import Trade
from tickgate_server.ports import (
    Clock,
    HistoryStore,
    SeriesBroken,
    SeriesChunk,
    SeriesDone,
    SeriesEvent,
    SeriesPart,
    Walk,
)

from .fakes import NOW, HandClock, trade
from .history_pages import FakePages, Value
from .history_store import MemoryHistoryCache, MemoryStore

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND
YESTERDAY = NOW - DAY
TRADES = SeriesKey(SeriesKind.TRADES, "AAPL", Feed.IEX)


def trade_at(instant: int, number: int, symbol: str = "AAPL") -> Trade:
    """A trade that is told from all others by its number."""
    return replace(trade(symbol, at=instant), id=number)


def trades_at(instants: Iterable[int], symbol: str = "AAPL", base: int = YESTERDAY) -> list[Trade]:
    """Trades at *base* plus each of *instants*, in order, numbered from 0."""
    return [
        trade_at(base + instant, number, symbol) for number, instant in enumerate(sorted(instants))
    ]


def since_yesterday(start: int, end: int) -> Interval:
    """An interval that begins and ends so many nanoseconds after this moment yesterday."""
    return Interval(YESTERDAY + start, YESTERDAY + end)


class FakeActions:
    """A `CorporateActionSource` that knows what it is told."""

    def __init__(self) -> None:
        self.known: list[CorporateAction] = []
        self.failing_with: UpstreamFailure | None = None
        self.asked: list[tuple[tuple[str, ...], date, date]] = []

    async def corporate_actions(
        self,
        symbols: Sequence[str],
        types: Collection[CorporateActionType] | None,
        start: date,
        end: date,
        deadline: float,
    ) -> Sequence[CorporateAction]:
        self.asked.append((tuple(symbols), start, end))
        await asyncio.sleep(0)
        if self.failing_with is not None:
            raise self.failing_with
        return [
            one
            for one in self.known
            if one.symbol in symbols and one.day is not None and start <= one.day < end
        ]


class WatchedPages(FakePages):
    """Pages that remember of what they told, and how many walks have ended."""

    def __init__(self, series: Mapping[SeriesKey, Sequence[Value]]) -> None:
        super().__init__(series)
        self.told: list[tuple[str, Interval]] = []
        self.closed = 0
        """Walks that have come to an end, one way or another."""

    async def walk(self, walk: Walk) -> AsyncIterator[Sequence[SeriesPart]]:
        try:
            async with closing(super().walk(walk)) as pages:
                async for page in pages:
                    self.told += [(part.symbol, part.interval) for part in page]
                    yield page
        finally:
            self.closed += 1

    def told_of(self, symbol: str) -> list[Interval]:
        """The intervals that were told of *symbol*, in order of time."""
        return sorted(interval for about, interval in self.told if about == symbol)


@dataclass
class Told:
    """What a question was answered with, of one symbol."""

    values: list[Any] = field(default_factory=list)
    chunks: list[SeriesChunk] = field(default_factory=list)
    end: SeriesDone | SeriesBroken | None = None

    @property
    def numbers(self) -> list[int | None]:
        """The numbers of the trades."""
        return [value.id for value in self.values]

    @property
    def tiers(self) -> list[str]:
        """The tiers that served, one after the other."""
        tiers = [chunk.block.origin.served_from.value for chunk in self.chunks]
        return [tier for place, tier in enumerate(tiers) if place == 0 or tiers[place - 1] != tier]

    @property
    def done(self) -> SeriesDone:
        """The end, which is a good one."""
        assert isinstance(self.end, SeriesDone), self.end
        return self.end

    @property
    def broken(self) -> SeriesBroken:
        """The end, which is a bad one."""
        assert isinstance(self.end, SeriesBroken), self.end
        return self.end

    def take(self, event: SeriesEvent) -> None:
        """Take in what comes next."""
        assert self.end is None, "nothing comes behind the end"
        if isinstance(event, SeriesChunk):
            assert len(event.block) > 0, "no chunk is empty"
            self.chunks.append(event)
            self.values += rows_of(event.block, event.symbol)
        else:
            self.end = event


class Desk:
    """A reader and everything behind it."""

    def __init__(
        self,
        series: Mapping[SeriesKey, Sequence[Value]] | None = None,
        *,
        clock: Clock | None = None,
        stored: bool = True,
        cached: bool = False,
        listed: Collection[str] | None = ("AAPL", "IBM", "MSFT"),
        **policy: Any,
    ) -> None:
        """Hold *series* upstream and nothing here."""
        self.clock = clock or HandClock()
        self.pages = WatchedPages(series or {})
        self.memory = MemoryStore(self.clock)
        self.store: HistoryStore | None = self.memory if stored else None
        self.cache = MemoryHistoryCache() if cached else None
        self.actions = FakeActions()
        self.listed = listed
        self.policy = HistoryPolicy(**policy)
        self.reader = self.another()

    def another(self) -> HistoryReader:
        """Another reader over the same, as another replica has it."""
        return HistoryReader(
            pages=self.pages,
            store=self.store,
            cache=self.cache,
            actions=self.actions,
            policy=self.policy,
            clock=self.clock,
            listed=self._listed,
        )

    async def _listed(self, symbols: Sequence[str], deadline: float) -> Collection[str] | None:
        return self.listed

    async def ask(
        self,
        interval: Interval,
        *symbols: str,
        key: SeriesKey = TRADES,
        rows: int = 1000,
        after: SeriesPosition | None = None,
        deadline: float | None = None,
        **more: Any,
    ) -> dict[str, Told]:
        """Return the whole answer, by symbol."""
        asked = symbols or (key.symbol,)
        question = HistoryQuestion(key.about(asked[0]), asked, interval, **more)
        told: dict[str, Told] = {}
        events = self.reader.read(question, rows=rows, after=after, deadline=deadline)
        async with closing(events):
            async for event in events:
                if event.symbol not in told:
                    assert all(one.end is not None for one in told.values()), "one after the other"
                    told[event.symbol] = Told()
                told[event.symbol].take(event)
        expected = list(asked if after is None else asked[asked.index(after.symbol) :])
        if after is not None and after.done:
            expected.pop(0)
        assert list(told) == expected, "each symbol has its end, in the asked order"
        assert all(one.end is not None for one in told.values())
        return told

    async def ask_one(self, interval: Interval, **more: Any) -> Told:
        """Return the whole answer about one symbol."""
        (told,) = (await self.ask(interval, **more)).values()
        return told

    async def settle(self) -> None:
        """Wait until nothing is being fetched any more."""
        while fetching := [task for task in asyncio.all_tasks() if _is_fetching(task)]:
            await asyncio.wait(fetching)


def _is_fetching(task: asyncio.Task[Any]) -> bool:
    return "Fill.run" in repr(task.get_coro())
