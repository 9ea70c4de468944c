"""A past in memory that answers as the gateway's own does, with breaks on command, and what else the rpc layer asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import date
from typing import TypeAlias

from msgspec.structs import replace

from tickgate_server.errors import NotFound, UpstreamFailure
from tickgate_server.market.answer import Answer, Held
from tickgate_server.market.backfill import Backfill, BackfillState
from tickgate_server.market.columns import Block, part, reversed_block
from tickgate_server.market.corporate_action import CorporateAction, CorporateActionType
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Tier
from tickgate_server.market.series import HistoryQuestion, SeriesKey, SeriesPosition
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.ports import (
    Clock,
    Covered,
    Priority,
    SeriesBroken,
    SeriesChunk,
    SeriesDone,
    SeriesEvent,
)

from .fakes import unavailable
from .history_store import MemoryBackfillLog

Asked: TypeAlias = tuple[HistoryQuestion, int, SeriesPosition | None, float | None]


class FakeHistory:
    """Knows the past of some symbols, each oldest first; any other has none."""

    def __init__(self, blocks: Mapping[str, Block] | None = None) -> None:
        self.blocks = dict(blocks or {})
        self.breaks: dict[str, tuple[int, Unavailable]] = {}
        """Symbols that break behind so many of their values, and why."""

        self.refused: dict[str, int] = {}
        self.clamped: dict[str, int] = {}
        self.covered: dict[SeriesKey, Sequence[Covered]] | Unavailable = {}
        self.asked: list[Asked] = []
        self.coverage_asked: list[tuple[Sequence[SeriesKey], Interval, int | None]] = []
        self.read_rows = 0
        """Rows that were handed over."""

        self.reading = 0
        """Answers that have not been given up."""

    async def read(
        self,
        question: HistoryQuestion,
        *,
        rows: int,
        after: SeriesPosition | None = None,
        deadline: float | None = None,
        priority: Priority = Priority.HISTORY,
    ) -> AsyncIterator[SeriesEvent]:
        """Yield the answer."""
        assert priority is Priority.HISTORY
        self.asked.append((question, rows, after, deadline))
        self.reading += 1
        try:
            symbols = question.symbols
            first = 0 if after is None else symbols.index(after.symbol) + after.done
            for symbol in symbols[first:]:
                at = after if after is not None and after.symbol == symbol else None
                for event in self._events(question, symbol, rows, at):
                    if isinstance(event, SeriesChunk):
                        self.read_rows += len(event.block)
                    yield event
        finally:
            self.reading -= 1

    def _events(
        self, question: HistoryQuestion, symbol: str, rows: int, after: SeriesPosition | None
    ) -> list[SeriesEvent]:
        block = self.selected(question, symbol)
        total = 0 if block is None else len(block)
        start = 0 if block is None or after is None else _told(block, after, question)
        empty = None if total else unavailable(Reason.NO_DATA)
        stop, why = self.breaks.get(symbol, (total, empty))
        stop = min(stop, total)
        events: list[SeriesEvent] = []
        for row in range(start, max(start, stop), rows):
            assert block is not None
            piece = part(block, row, min(row + rows, stop))
            events.append(SeriesChunk(symbol, piece, _position(symbol, block, row + len(piece))))
        if why is None:
            done = SeriesDone(
                symbol, total - start, self.refused.get(symbol, 0), self.clamped.get(symbol)
            )
            return [*events, done]
        reached = max(start, stop)
        position = SeriesPosition(symbol) if block is None else _position(symbol, block, reached)
        missing = _missing(question, block, reached)
        return [*events, SeriesBroken(symbol, why, position, missing, reached - start)]

    def selected(self, question: HistoryQuestion, symbol: str) -> Block | None:
        """Return what *question* asks of *symbol*, in the order asked for; None when that is nothing."""
        block = self.blocks.get(symbol)
        if block is None:
            return None
        inside = [row for row, time in enumerate(block.times) if time in question.interval]
        if not inside:
            return None
        block = part(block, inside[0], inside[-1] + 1)
        if question.newest_first:
            block = reversed_block(block)
        return part(block, 0, question.limit) if question.limit else block

    async def coverage(
        self, keys: Sequence[SeriesKey], interval: Interval, as_of: int | None
    ) -> Mapping[SeriesKey, Sequence[Covered]] | Unavailable:
        """Return what is held."""
        self.coverage_asked.append((keys, interval, as_of))
        return self.covered


def _told(block: Block, after: SeriesPosition, question: HistoryQuestion) -> int:
    """Return how many rows *after* stands behind, by its time; its count must say the same."""
    if after.time is None:
        return 0
    sign = -1 if question.newest_first else 1
    before = sum(1 for time in block.times if sign * time < sign * after.time)
    assert after.count == before + after.taken, "a position that says two things"
    return before + after.taken


def _position(symbol: str, block: Block, told: int) -> SeriesPosition:
    if told == 0:
        return SeriesPosition(symbol)
    time = block.times[told - 1]
    return SeriesPosition(symbol, time, block.times[:told].count(time), told)


def _missing(question: HistoryQuestion, block: Block | None, told: int) -> Interval:
    whole = question.interval
    if block is None or told == 0:
        return whole
    last = block.times[told - 1]
    if question.newest_first:
        return Interval(whole.start, last)
    return Interval(last + 1, whole.end)


class FakePrices:
    """Knows a last trade of some symbols."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.trades: dict[str, Trade | Unavailable] = {}
        self.asked: list[tuple[SeriesKey, int, int, float, int | None, frozenset[Tier] | None]] = []

    async def price_at(
        self,
        key: SeriesKey,
        time: int,
        tolerance: int,
        *,
        deadline: float,
        as_of: int | None = None,
        allowed_tiers: frozenset[Tier] | None = None,
    ) -> Answer[Trade] | Unavailable:
        """Return the trade."""
        self.asked.append((key, time, tolerance, deadline, as_of, allowed_tiers))
        found = self.trades.get(key.symbol, unavailable(Reason.NO_DATA))
        if isinstance(found, Unavailable):
            return found
        return Answer(Held(found, self._clock.monotonic()), Tier.STORE)


class FakeActions:
    """Knows what happened to companies."""

    def __init__(self) -> None:
        self.actions: list[CorporateAction] = []
        self.failure: UpstreamFailure | None = None

    async def corporate_actions(
        self,
        symbols: Sequence[str],
        types: Collection[CorporateActionType] | None,
        start: date,
        end: date,
        deadline: float,
    ) -> Sequence[CorporateAction]:
        """Return what is asked for."""
        if self.failure is not None:
            raise self.failure
        return [
            action
            for action in self.actions
            if action.symbol in symbols
            and (types is None or action.type in types)
            and (action.day is None or start <= action.day < end)
        ]


class FakeBackfills:
    """Backfills that are begun, and run until somebody stops them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.log = MemoryBackfillLog()

    async def start(self, key: SeriesKey, symbols: Sequence[str], interval: Interval) -> Backfill:
        """Begin."""
        begun = await self.log.newest(None, 1_000_000)
        backfill = Backfill(
            id=f"b{len(begun) + 1}",
            key=key,
            symbols=tuple(symbols),
            interval=interval,
            state=BackfillState.RUNNING,
            start_time=self._clock.wall(),
        )
        await self.log.put(backfill)
        return backfill

    async def get(self, backfill_id: str) -> Backfill:
        """Return how it stands."""
        found = await self.log.get(backfill_id)
        if found is None:
            msg = f"there is no backfill {backfill_id}"
            raise NotFound(msg)
        return found

    async def newest(self, before: tuple[int, str] | None, limit: int) -> Sequence[Backfill]:
        """Return some, newest first."""
        return await self.log.newest(before, limit)

    async def cancel(self, backfill_id: str) -> Backfill:
        """Stop it."""
        found = await self.get(backfill_id)
        if found.state is BackfillState.RUNNING:
            found = replace(found, state=BackfillState.CANCELLED, end_time=self._clock.wall())
            await self.log.put(found)
        return found
