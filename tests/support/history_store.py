"""Stores of history in memory that keep the same promises as the real ones, and series to fill any of them with."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

from msgspec.structs import replace

from tickgate_server.errors import StoreDown
from tickgate_server.market.backfill import Backfill, BackfillState
from tickgate_server.market.columns import (
    BarBlock,
    Block,
    Origin,
    QuoteBlock,
    TradeBlock,
    codes,
    counts,
    decimals,
)
from tickgate_server.market.interval import Interval, without
from tickgate_server.market.provenance import DataSource, Tier
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.watchlist import Watchlist
from tickgate_server.observe.counters import StoreCounts
from tickgate_server.ports import Clock, Covered
from tickgate_server.stores.postgres.history.store import HistoryLimits, PostgresHistory

from .error_log import link_to
from .fakes import HandClock

Values: TypeAlias = tuple[Any, ...]
"""The fields of a row, in the order of the block's columns."""

NAMES: dict[SeriesKind, tuple[str, ...]] = {
    kind: tuple(
        name for name in block.__struct_fields__ if name not in {"origin", "times", "receive_times"}
    )
    for kind, block in (
        (SeriesKind.BARS, BarBlock),
        (SeriesKind.TRADES, TradeBlock),
        (SeriesKind.QUOTES, QuoteBlock),
    )
}


def values_of(block: Block) -> list[Values]:
    """Return the fields of each row of *block*: equal ones are equal, however they are kept."""
    columns = [
        [None] * len(block) if column is None else [_plain(name, value) for value in column]
        for name, column in block.columns.items()
    ]
    return list(zip(*columns, strict=True))


def _plain(name: str, value: Any) -> Any:
    if name == "conditions" and isinstance(value, str):
        # Options have one, which is no list on the wire.
        return (value,)
    return None if value == () else value


def block_of(
    kind: SeriesKind,
    origin: Origin,
    times: Sequence[int],
    values: Sequence[Values],
    receive_times: Sequence[int] | None = None,
) -> Block:
    """Return rows as a block."""
    column: dict[str, Any] = dict(zip(NAMES[kind], zip(*values, strict=True), strict=True))
    make, prices, sizes, texts = _SHAPES[kind]
    block: Block = make(
        origin=origin,
        times=array("q", times),
        receive_times=None if receive_times is None else array("q", receive_times),
        **{name: decimals(column[name]) for name in prices.split()},
        **{name: counts(column[name]) for name in sizes.split()},
        **{name: codes(column[name]) for name in texts.split()},
    )
    return block


_SHAPES: dict[SeriesKind, tuple[Any, str, str, str]] = {
    SeriesKind.BARS: (BarBlock, "open high low close vwap", "volume trade_count", ""),
    SeriesKind.TRADES: (TradeBlock, "price", "size id", "exchange conditions tape amendment"),
    SeriesKind.QUOTES: (
        QuoteBlock,
        "bid_price ask_price",
        "bid_size ask_size",
        "bid_exchange ask_exchange conditions tape",
    ),
}


@dataclass
class _Row:
    time: int
    ordinal: int
    values: Values
    known_from: int
    origin: tuple[int, str] | None
    """Receive time and request id of the answer that brought it; None where it was received by itself."""

    receive_time: int
    known_until: int | None = None

    def known_at(self, instant: int | None) -> bool:
        if instant is None:
            return self.known_until is None
        return self.known_from <= instant and (
            self.known_until is None or instant < self.known_until
        )


@dataclass
class _Cover:
    interval: Interval
    receive_time: int
    refused: int
    known_from: int
    known_until: int | None = None


@dataclass
class _Series:
    rows: list[_Row] = field(default_factory=list)
    log: list[_Cover] = field(default_factory=list)
    """Everything that was ever covered."""

    now: list[_Cover] = field(default_factory=list)
    """What is covered now, without overlaps."""

    def held(self, interval: Interval, as_of: int | None = None) -> list[_Row]:
        found = [row for row in self.rows if row.time in interval and row.known_at(as_of)]
        return sorted(found, key=lambda row: (row.time, row.ordinal))


class MemoryStore:
    """A `HistoryStore` in memory.

    Args:
        clock: tells when something became known that brings no receive time: an empty interval, or forgetting.
        source: provider of all values.
    """

    def __init__(self, clock: Clock | None = None, source: DataSource = DataSource.SANDBOX) -> None:
        self._clock = clock or HandClock()
        self._source = source
        self._series: dict[SeriesKey, _Series] = {}
        self.down = False
        """Whether it fails everything that it is asked."""

        self.writes = 0
        self.reads = 0

    @property
    def up(self) -> bool:
        return not self.down

    async def coverage(
        self,
        keys: Sequence[SeriesKey],
        interval: Interval,
        as_of: int | None = None,
        *,
        counted: bool = True,
    ) -> Mapping[SeriesKey, Sequence[Covered]]:
        self._ask()
        return {key: self._coverage(key, interval, as_of, counted) for key in keys}

    async def read(
        self,
        key: SeriesKey,
        interval: Interval,
        *,
        newest_first: bool = False,
        as_of: int | None = None,
        rows: int = 10_000,
    ) -> AsyncIterator[Block]:
        self._ask()
        self.reads += 1
        series = self._series.get(key)
        found = series.held(interval, as_of) if series else []
        if newest_first:
            found.reverse()
        for block in self._blocks(key, found, rows):
            self._ask()
            yield block

    async def write(
        self, key: SeriesKey, interval: Interval, blocks: Sequence[Block], refused: int = 0
    ) -> None:
        self._ask()
        if interval.empty:
            return
        _check(key, blocks, interval)
        self.writes += 1
        series = self._series.setdefault(key, _Series())
        known = max((_newest(block) for block in blocks), default=self._clock.wall())
        oldest = min((_oldest(block) for block in blocks), default=known)
        for piece in without(
            interval, [cover.interval for cover in series.now if cover.known_from > known]
        ):
            self._replace(series, piece, list(_rows(blocks, piece, known)), known)
            series.now = [rest for cover in series.now for rest in _less(cover, piece)]
            series.now.append(_Cover(piece, oldest, refused, known))
            series.log.append(_Cover(piece, oldest, refused, known))
            refused = 0

    async def record(
        self, key: SeriesKey, blocks: Sequence[Block], covered: Sequence[Interval]
    ) -> None:
        self._ask()
        _check(key, blocks, None)
        series = self._series.setdefault(key, _Series())
        everything = Interval(-(2**63), 2**63 - 1)
        before = Counter((row.time, row.values) for row in series.held(everything))
        for row in _rows(blocks, everything, None):
            twin = _twin(key.kind, row, series)
            if twin is None and before[row.time, row.values] > 0:
                before[row.time, row.values] -= 1
            elif twin is None:
                row.ordinal = sum(other.time == row.time for other in series.held(everything))
                series.rows.append(row)
            elif twin.values != row.values and twin.known_from <= row.known_from:
                twin.known_until, row.ordinal = row.known_from, twin.ordinal
                series.rows.append(row)
        known = max((_newest(block) for block in blocks), default=self._clock.wall())
        for interval in covered:
            for piece in without(interval, [cover.interval for cover in series.now]):
                series.now.append(_Cover(piece, known, 0, known))
                series.log.append(_Cover(piece, known, 0, known))

    async def forget_adjusted(self, symbol: str, before: int) -> int:
        self._ask()
        now, forgotten = self._clock.wall(), 0
        for key, series in self._series.items():
            if key.symbol != symbol or not key.adjusted:
                continue
            gone = [cover for cover in series.now if cover.receive_time < before]
            series.now = [cover for cover in series.now if cover not in gone]
            forgotten += len(gone)
            for row in series.rows:
                if row.known_until is None and any(row.time in cover.interval for cover in gone):
                    row.known_until = max(now, row.known_from)
            for cover in series.log:
                if cover.known_until is None and cover.receive_time < before:
                    cover.known_until = max(now, cover.known_from)
        return forgotten

    async def retire(self, before: Mapping[str, int]) -> int:
        self._ask()
        gone = 0
        for key, series in self._series.items():
            if key.kind not in before:
                continue
            old = Interval(-(2**63), before[key.kind])
            series.now = [rest for cover in series.now for rest in _less(cover, old)]
            series.log = [rest for cover in series.log for rest in _less(cover, old)]
            count = len(series.rows)
            series.rows = [row for row in series.rows if row.time not in old]
            gone += count - len(series.rows)
        return gone

    def _ask(self) -> None:
        if self.down:
            msg = "the store is down"
            raise StoreDown(msg)

    def _coverage(
        self, key: SeriesKey, interval: Interval, as_of: int | None, counted: bool
    ) -> list[Covered]:
        series = self._series.get(key)
        if series is None:
            return []
        covers = series.now if as_of is None else _then(series.log, as_of)
        found = []
        for cover in covers:
            shared = cover.interval.intersection(interval)
            if not shared.empty:
                count = len(series.held(shared, as_of)) if counted else 0
                found.append(Covered(shared, cover.receive_time, count, cover.refused))
        return sorted(found, key=lambda one: one.interval)

    @staticmethod
    def _replace(series: _Series, piece: Interval, rows: list[_Row], known: int) -> None:
        held = series.held(piece)
        # What was received later than this is not replaced by it.
        later = {row.time for row in held if row.known_from > known}
        rows = [row for row in rows if row.time not in later]
        wanted = {(row.time, row.ordinal): row.values for row in rows}
        for row in held:
            if row.time in later:
                continue
            if wanted.get((row.time, row.ordinal)) == row.values:
                del wanted[row.time, row.ordinal]
            else:
                row.known_until = known
        series.rows += [row for row in rows if (row.time, row.ordinal) in wanted]

    def _blocks(self, key: SeriesKey, found: list[_Row], rows: int) -> Iterator[Block]:
        for start in range(0, len(found), rows):
            for origin, run in groupby(found[start : start + rows], key=lambda row: row.origin):
                some = list(run)
                received = [row.receive_time for row in some]
                when, request = origin or (max(received), "")
                yield block_of(
                    key.kind,
                    Origin(self._source, key.feed, when, request, Tier.STORE),
                    [row.time for row in some],
                    [row.values for row in some],
                    None if origin else received,
                )


def _check(key: SeriesKey, blocks: Iterable[Block], interval: Interval | None) -> None:
    """Refuse what no store takes: values of another kind, out of order, or outside of their interval."""
    times: list[int] = []
    for block in blocks:
        if len(block) and not isinstance(block, _SHAPES[key.kind][0]):
            msg = f"not {key.kind}"
            raise TypeError(msg)
        times += block.times
    if times != sorted(times):
        msg = "values must be oldest first"
        raise ValueError(msg)
    if interval is not None and times and not (times[0] in interval and times[-1] in interval):
        msg = "a value lies outside of the interval"
        raise ValueError(msg)


def _rows(blocks: Iterable[Block], interval: Interval, known: int | None) -> Iterator[_Row]:
    ordinals: Counter[int] = Counter()
    for block in blocks:
        one = block.receive_times is None
        origin = (block.origin.receive_time, block.origin.upstream_request_id) if one else None
        received = block.receive_times or [block.origin.receive_time] * len(block)
        for time, values, when in zip(block.times, values_of(block), received, strict=True):
            if time in interval:
                at = when if known is None else known
                yield _Row(time, ordinals[time], values, at, origin, when)
                ordinals[time] += 1


def _twin(kind: SeriesKind, row: _Row, series: _Series) -> _Row | None:
    """Return the held row that *row* would take the place of."""
    held = series.held(Interval(row.time, row.time + 1))
    if kind is SeriesKind.BARS:
        return held[0] if held else None
    if kind is SeriesKind.TRADES:
        identity = itemgetter(NAMES[kind].index("id"), NAMES[kind].index("exchange"))
        if identity(row.values)[0] is not None:
            same = (one for one in held if identity(one.values) == identity(row.values))
            return next(same, None)
    return None


def _less(cover: _Cover, taken: Interval) -> list[_Cover]:
    rests = without(cover.interval, [taken])
    # How the records that were refused are spread over the interval is not known: they stay with its first part.
    return [
        _Cover(
            rest,
            cover.receive_time,
            cover.refused if number == 0 else 0,
            cover.known_from,
            cover.known_until,
        )
        for number, rest in enumerate(rests)
    ]


def _then(log: Iterable[_Cover], as_of: int) -> list[_Cover]:
    """Return what was covered at the moment *as_of*, without overlaps: of two the one that was known later."""
    found: list[_Cover] = []
    for cover in sorted(log, key=lambda cover: -cover.known_from):
        if cover.known_from <= as_of and (cover.known_until is None or as_of < cover.known_until):
            rests = without(cover.interval, [other.interval for other in found])
            found += [
                _Cover(
                    rest, cover.receive_time, cover.refused if number == 0 else 0, cover.known_from
                )
                for number, rest in enumerate(rests)
            ]
    return found


def _newest(block: Block) -> int:
    return max(block.receive_times) if block.receive_times else block.origin.receive_time


def _oldest(block: Block) -> int:
    return min(block.receive_times) if block.receive_times else block.origin.receive_time


class MemoryWatchlists:
    """`Watchlists` in memory."""

    def __init__(self) -> None:
        self._held: dict[str, Watchlist] = {}
        self.down = False
        """Whether it fails everything that it is asked."""

    async def put(self, watchlist: Watchlist) -> None:
        self._ask()
        self._held[watchlist.name] = watchlist

    async def get(self, name: str) -> Watchlist | None:
        self._ask()
        return self._held.get(name)

    async def everything(self) -> Sequence[Watchlist]:
        self._ask()
        return [self._held[name] for name in sorted(self._held)]

    async def delete(self, name: str) -> bool:
        self._ask()
        return self._held.pop(name, None) is not None

    async def refreshed(self, name: str, time: int) -> None:
        self._ask()
        if name in self._held:
            self._held[name] = replace(self._held[name], refresh_time=time)

    def _ask(self) -> None:
        if self.down:
            msg = "the store is down"
            raise StoreDown(msg)


class MemoryBackfillLog:
    """A `BackfillLog` in memory."""

    def __init__(self) -> None:
        self._held: dict[str, Backfill] = {}
        self.down = False
        """Whether it fails everything that it is asked."""

    async def put(self, backfill: Backfill) -> None:
        self._ask()
        self._held[backfill.id] = backfill

    async def get(self, backfill_id: str) -> Backfill | None:
        self._ask()
        return self._held.get(backfill_id)

    async def newest(self, before: tuple[int, str] | None, limit: int) -> Sequence[Backfill]:
        self._ask()
        held = sorted(self._held.values(), key=_place, reverse=True)
        return [one for one in held if before is None or _place(one) < before][:limit]

    async def running(self) -> Sequence[Backfill]:
        self._ask()
        running = (one for one in self._held.values() if one.state is BackfillState.RUNNING)
        return sorted(running, key=_place)

    def _ask(self) -> None:
        if self.down:
            msg = "the store is down"
            raise StoreDown(msg)


def _place(backfill: Backfill) -> tuple[int, str]:
    return backfill.start_time, backfill.id


class MemoryHistoryCache:
    """A `HistoryCache` in memory, which forgets nothing by itself."""

    def __init__(self) -> None:
        self.held: dict[tuple[SeriesKey, Interval], Sequence[Block]] = {}
        self.down = False
        """Whether it has nothing and takes nothing."""

    async def get(
        self, key: SeriesKey, slots: Sequence[Interval]
    ) -> Mapping[Interval, Sequence[Block]]:
        if self.down:
            return {}
        return {slot: self.held[key, slot] for slot in slots if (key, slot) in self.held}

    def put(self, key: SeriesKey, slot: Interval, blocks: Sequence[Block]) -> None:
        if not self.down:
            self.held[key, slot] = [_from_cache(block) for block in blocks]


def _from_cache(block: Block) -> Block:
    return replace(block, origin=replace(block.origin, served_from=Tier.REDIS))


@asynccontextmanager
async def postgres_history(
    url: str,
    clock: Clock | None = None,
    source: DataSource = DataSource.SANDBOX,
    limits: HistoryLimits = HistoryLimits(timeout=20.0),  # noqa: B008 - frozen
    counts: StoreCounts | None = None,
) -> AsyncIterator[PostgresHistory]:
    """Lend the store in the PostgreSQL at *url*, as the gateway starts and closes it; its jobs do not run."""
    async with link_to(url) as link:
        store = PostgresHistory(link, source, clock or HandClock(), counts or StoreCounts(), limits)
        await link.start()
        yield store
