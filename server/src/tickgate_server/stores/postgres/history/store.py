"""The store of history in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, Final, TypeAlias

import structlog
from msgspec import Struct
from msgspec.structs import replace

from ....market.columns import Block
from ....market.interval import Interval, union, within, without
from ....market.provenance import DataSource
from ....market.series import SeriesKey, SeriesKind
from ....observe.counters import StoreCounts
from ....ports import Clock, Covered
from ..link import Connection, Lane, Lent, PostgresDown, PostgresLink, PostgresRefused
from . import coverage, partitions, recording, rows_out, series
from .coverage import Cover
from .recording import Recording
from .retiring import Retirement
from .rows_in import Destination, cut, lines
from .tables import TABLES, Table

_Named: TypeAlias = tuple[int, SeriesKey]
"""Id and key of a series."""

_TRIES: Final = 3
"""Of a change for which a partition is missing: each may find that somebody has dropped it again."""

_TURN: Final = 200
"""Values of a batch that are compared before others get the event loop: about a millisecond."""

# A table that has just been filled looks small to the planner, which would sort all of a series for each block.
_BEGIN_TO_READ: Final = """
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL jit = off
"""

_ANSWER: Final = """
INSERT INTO history_writes (series, receive_time, request_id, last_time) VALUES (%s, %s, %s, %s) RETURNING id
"""
_ANSWERS: Final = "SELECT id, receive_time, request_id FROM history_writes WHERE id = ANY (%s)"

_ADJUSTED: Final = """
SELECT id, kind FROM history_series WHERE symbol = %s AND source = %s AND adjustments <> '' ORDER BY id FOR UPDATE
"""
_FORGET: Final = """
DELETE FROM history_covered WHERE series = %s AND receive_time < %s RETURNING start_time, end_time
"""
_FORGET_LOG: Final = """
UPDATE history_coverage_log SET known_until = greatest(known_from, %s)
WHERE series = %s AND receive_time < %s AND known_until IS NULL
"""

_SIZE: Final = """
SELECT sum(pg_total_relation_size(relid))::bigint
FROM unnest(%s::regclass[]) AS root, LATERAL pg_partition_tree(root)
"""

_log = structlog.get_logger(__name__)


class HistoryLimits(Struct, frozen=True):
    """Bounds of the store; times in seconds."""

    connections: int = 10
    """At most, beside those of others. Half of them are for reading; one at least for each use."""

    timeout: float = 60.0
    """For one statement, and for getting a connection."""

    measure_every: float = 60.0
    """Between looks at how large it is."""


class _Change(Struct):
    """What a change has come to."""

    written: int = 0
    superseded: int = 0
    intervals: int = 0


class PostgresHistory:
    """A `HistoryStore` that all replicas share.

    What is written at once, or recorded at once, is one transaction that holds the lock of its series. So what is
    covered is never more than what is stored, whoever dies when, and of two who write the same the second finds it.

    What was received later than what is written now stays as it is: of two gateways that ask the upstream at about the
    same time, the one with the older answer may well be the one that writes last.
    """

    def __init__(
        self,
        link: PostgresLink,
        source: DataSource,
        clock: Clock,
        counts: StoreCounts,
        limits: HistoryLimits = HistoryLimits(),  # noqa: B008 - frozen
    ) -> None:
        """Hold what comes from one provider. To be made before *link* is started.

        Args:
            link: PostgreSQL.
            source: provider of all values; those of others may be in the same tables, and are never touched.
            clock: tells when something became known that brings no receive time: that nothing happened, for one.
            counts: where it counts what it does.
            limits: bounds.
        """
        self._link = link
        self._source = source
        self._clock = clock
        self._counts = counts
        self._limits = limits
        # Whoever reads slowly keeps neither writers waiting nor those with a short question.
        self._reading = self._lane("history-read", 0.5)
        self._writing = self._lane("history-write", 0.3)
        self._asking = self._lane("history-ask", 0.2)
        link.tell(counts)

    @property
    def up(self) -> bool:
        """Whether PostgreSQL can be asked."""
        return self._link.up

    async def coverage(
        self,
        keys: Sequence[SeriesKey],
        interval: Interval,
        as_of: int | None = None,
        *,
        counted: bool = True,
    ) -> Mapping[SeriesKey, Sequence[Covered]]:
        """Return what is held of each of *keys* within *interval*, in order; with *as_of* what was held then."""
        found: dict[SeriesKey, Sequence[Covered]] = dict.fromkeys(keys, ())
        if not keys or interval.empty:
            return found
        async with self._link.lend(self._asking) as lent:
            covers = await lent.ask(lambda to: self._covers(to, keys, interval, as_of))
            if counted:
                covers = await lent.ask(lambda to: _counted(to, covers, as_of))
        for (_, key), some in covers.items():
            found[key] = [
                Covered(
                    cover.interval,
                    cover.receive_time,
                    cover.count if counted else 0,
                    cover.refused,
                )
                for cover in some
            ]
        return found

    async def read(
        self,
        key: SeriesKey,
        interval: Interval,
        *,
        newest_first: bool = False,
        as_of: int | None = None,
        rows: int = 10_000,
    ) -> AsyncIterator[Block]:
        """Yield the values held of *interval*, in blocks of at most *rows*, all as they were at the first one.

        It has a connection to itself until it ends. Whoever stops reading closes the iterator.
        """
        table = TABLES[key.kind]
        answers: dict[int, tuple[int, str]] = {}
        async with self._link.lend(self._reading) as lent:
            number = await lent.ask(lambda to: self._begin_to_read(to, key))
            if number is None or interval.empty:
                return
            # No value has an ordinal below 0: the first one of the range is behind this, whichever the order.
            place = (interval.end, 0) if newest_first else (interval.start, -1)
            reading = _Reading(table, number, interval, newest_first, as_of, rows)
            while True:
                begin = place
                with self._counts.reads.timing():
                    found = await lent.ask(lambda to: reading.block(to, begin))  # noqa: B023 - is awaited here
                if found is None:
                    return
                missing = found.answers - answers.keys()
                if missing:
                    answers |= await lent.ask(lambda to: _answers(to, missing))  # noqa: B023 - as above
                self._counts.rows_read += found.count
                for block in rows_out.blocks_of(table, found, self._source, key.feed, answers):
                    yield block
                if found.count < rows:
                    return
                place = found.last

    async def write(
        self, key: SeriesKey, interval: Interval, blocks: Sequence[Block], refused: int = 0
    ) -> None:
        """Hold that *blocks*, oldest first, are all there is in *interval*, in one transaction."""
        if interval.empty:
            return
        blocks = self._checked(key, blocks, interval)
        known = max(map(_newest, blocks), default=self._clock.wall())
        covers = Cover(
            interval, min(map(_oldest, blocks), default=known), known, 0, refused, live=False
        )
        await self._change(key, blocks, lambda lent: self._write(lent, key, covers, blocks))

    async def record(
        self, key: SeriesKey, blocks: Sequence[Block], covered: Sequence[Interval]
    ) -> None:
        """Add values that arrived live, oldest first, in one transaction, and hold that *covered* is complete."""
        blocks = self._checked(key, blocks, None)
        intervals = union(covered)
        if blocks or intervals:
            await self._change(key, blocks, lambda lent: self._record(lent, key, blocks, intervals))

    async def forget_adjusted(self, symbol: str, before: int) -> int:
        """Forget all adjusted series of *symbol* that were received before *before*; return how many intervals."""
        async with self._link.lend(self._writing) as lent:
            forgotten = await lent.ask(lambda to: self._forget(to, symbol, before))
        _log.info("history_forgotten", symbol=symbol, intervals=forgotten)
        return forgotten

    async def retire(self, before: Mapping[str, int]) -> int:
        """Drop values older than the instants given by kind of series, coverage first; return how many rows.

        Whole partitions where nobody reads them now and no other provider's values are in them.
        """
        gone = 0
        for kind, instant in before.items():
            retirement = Retirement(TABLES[SeriesKind(kind)], self._source, instant)
            async with self._link.lend(self._writing) as lent:
                gone += await retirement.apply(lent)
        return gone

    async def measure(self) -> None:
        """Count how large the tables are."""
        names = ["history_covered", "history_coverage_log", "history_series", "history_writes"]
        names += [table.name for table in TABLES.values()]
        async with self._link.lend(self._asking) as lent:
            self._counts.size = await lent.ask(lambda to: _one(to, _SIZE, (names,)))

    async def run(self) -> None:
        """Look now and then how large it is, until cancelled."""
        while True:
            try:
                await self.measure()
            except PostgresDown:
                self._counts.size = None
            except Exception:  # noqa: BLE001 - a number that nobody can tell must not take down what can still answer
                _log.exception("history_measure_failed")
            await asyncio.sleep(self._limits.measure_every)

    def _lane(self, name: str, share: float) -> Lane:
        connections = max(1, round(self._limits.connections * share))
        lane = Lane(name, connections, self._limits.timeout)
        self._link.open(lane)
        return lane

    def _checked(
        self, key: SeriesKey, blocks: Sequence[Block], interval: Interval | None
    ) -> list[Block]:
        """Return *blocks* without empty ones; they must be what they are said to be."""
        given = [block for block in blocks if len(block)]
        last = None
        for block in given:
            times = block.times
            if not isinstance(block, TABLES[key.kind].block) or block.origin.source != self._source:
                msg = f"not {key.kind} of {self._source}"
                raise TypeError(msg)
            if interval is not None and not (times[0] in interval and times[-1] in interval):
                msg = "a value lies outside of the interval"
                raise ValueError(msg)
            if (last is not None and times[0] < last) or list(times) != sorted(times):
                msg = "values must be oldest first"
                raise ValueError(msg)
            last = times[-1]
        return given

    async def _change(
        self,
        key: SeriesKey,
        blocks: Sequence[Block],
        work: Callable[[Lent], Awaitable[_Change]],
    ) -> None:
        """Do *work* in one transaction, and count what has come of it."""
        try:
            with self._counts.writings.timing():
                change = await self._changed(TABLES[key.kind], blocks, work)
        except PostgresDown as down:
            self._counts.write_failures += 1
            self._counts.last_write_failure = _said(down)
            raise
        self._counts.rows_written += change.written
        self._counts.rows_superseded += change.superseded
        self._counts.intervals_written += change.intervals
        self._counts.last_write_time = self._clock.wall()

    async def _changed(
        self, table: Table, blocks: Sequence[Block], work: Callable[[Lent], Awaitable[_Change]]
    ) -> _Change:
        for tried in range(1, _TRIES + 1):
            try:
                async with self._link.lend(self._writing) as lent:
                    await lent.ask(_begin)
                    change = await work(lent)
                    await lent.ask(_commit)
                    return change
            except PostgresRefused as refused:
                if refused.sqlstate != partitions.MISSING or tried == _TRIES:
                    raise
            times = {time for block in blocks for time in block.times}
            wanted = partitions.partitions(table, times)
            async with self._link.lend(self._writing) as lent:
                await lent.ask(lambda to: partitions.make(to, table, wanted))  # noqa: B023 - is awaited here
        raise AssertionError

    async def _write(
        self, lent: Lent, key: SeriesKey, whole: Cover, blocks: Sequence[Block]
    ) -> _Change:
        table, change = TABLES[key.kind], _Change()
        number, is_new = await lent.ask(lambda to: series.lock(to, key, self._source))
        around = await lent.ask(lambda to: coverage.around(to, number, whole.interval))
        later = (cover.interval for cover in around if cover.known_from > whole.known_from)
        pieces = without(whole.interval, later)
        answers = await lent.ask(lambda to: _noted(to, number, blocks))
        come: list[Cover] = []
        for piece in pieces:
            some = [
                (found, Destination(number, whole.known_from, answer))
                for block, answer in zip(blocks, answers, strict=True)
                if (found := cut(block, piece)) is not None
            ]
            replacing = _Replacing(table, number, piece, whole.known_from)
            count = await lent.ask(
                lambda to: replacing.apply(to, some, change, is_new=is_new)  # noqa: B023 - is awaited here
            )
            come.append(
                replace(whole, interval=piece, count=count, refused=0 if come else whole.refused)
            )
        rests = await lent.ask(lambda to: _rests(to, table, number, around, pieces))
        gone = [cover for cover in around if within(pieces, cover.interval)]
        await lent.ask(lambda to: coverage.change(to, number, gone, rests + come))
        await lent.ask(lambda to: coverage.note(to, number, come))
        change.intervals += len(come)
        return change

    async def _record(
        self,
        lent: Lent,
        key: SeriesKey,
        blocks: Sequence[Block],
        covered: Sequence[Interval],
    ) -> _Change:
        table = TABLES[key.kind]
        number, _ = await lent.ask(lambda to: series.lock(to, key, self._source))
        batch = await lent.ask(lambda to: _compared(to, table, number, blocks))
        await lent.ask(lambda to: _add(to, table, number, batch))
        known = max(map(_newest, blocks), default=self._clock.wall())
        reach = [Interval(time, time + 1) for time in batch.net] + list(covered)
        come: list[Cover] = []
        if reach:
            whole = Interval(min(one.start for one in reach), max(one.end for one in reach))
            around = await lent.ask(lambda to: coverage.around(to, number, whole))
            taken = [cover.interval for cover in around]
            come = [
                Cover(piece, known, known, 0, 0, live=True)
                for interval in covered
                for piece in without(interval, taken)
            ]
            come = await lent.ask(lambda to: coverage.counted(to, table, number, come))
            after = _joined([_recounted(cover, batch) for cover in around], come)
            before = [cover for cover in around if cover not in after]
            new = [cover for cover in after if cover not in around]
            await lent.ask(lambda to: coverage.change(to, number, before, new))
            await lent.ask(lambda to: coverage.note(to, number, come))
        return _Change(len(batch.new), len(batch.superseded), len(come))

    async def _begin_to_read(self, to: Connection, key: SeriesKey) -> int | None:
        rows_out.prepare(to)
        await to.execute(_BEGIN_TO_READ)
        return await series.find_one(to, key, self._source)

    async def _covers(
        self,
        to: Connection,
        keys: Sequence[SeriesKey],
        interval: Interval,
        as_of: int | None,
    ) -> dict[_Named, list[Cover]]:
        numbers = await series.find(to, keys, self._source)
        known = {
            "series": list(numbers),
            "start": interval.start,
            "end": interval.end,
            "as_of": as_of,
        }
        found = await to.execute(coverage.NOW if as_of is None else coverage.THEN, known)
        covers: dict[_Named, list[Cover]] = {}
        for number, *row in await found.fetchall():
            covers.setdefault((number, numbers[number]), []).append(coverage.cover_of(row))
        if as_of is not None:
            covers = {named: coverage.then(some) for named, some in covers.items()}
        return {named: list(_clipped(some, interval, as_of)) for named, some in covers.items()}

    async def _forget(self, to: Connection, symbol: str, before: int) -> int:
        now, forgotten = self._clock.wall(), 0
        async with to.transaction():
            found = await to.execute(_ADJUSTED, (symbol, self._source.value))
            for number, kind in await found.fetchall():
                table = TABLES[SeriesKind(kind)]
                gone = await to.execute(_FORGET, (number, before))
                for stretch in await gone.fetchall():
                    forgotten += 1
                    done = await to.execute(table.forget, (now, number, *stretch))
                    self._counts.rows_superseded += done.rowcount
                await to.execute(_FORGET_LOG, (now, number, before))
        return forgotten


class _Reading(Struct, frozen=True):
    """A range that is read block by block."""

    table: Table
    series: int
    interval: Interval
    newest_first: bool
    as_of: int | None
    rows: int

    async def block(self, to: Connection, place: tuple[int, int]) -> rows_out.Rows | None:
        """Return the block behind *place*, a time and an ordinal, or None when there is none."""
        statement = self.table.block_of(
            newest_first=self.newest_first, as_of=self.as_of is not None
        )
        # What is behind *place* is not looked at again when partitions are chosen.
        start, end = self.interval
        start, end = (start, place[0] + 1) if self.newest_first else (place[0], end)
        parameters: dict[str, Any] = {
            "series": self.series,
            "start": start,
            "end": min(end, self.interval.end),
            "time": place[0],
            "ordinal": place[1],
            "rows": self.rows,
            "as_of": self.as_of,
        }
        rows = await to.cursor(binary=True).execute(statement, parameters)
        row = await rows.fetchone()
        assert row is not None, "an aggregate has a row"
        return await rows_out.rows_of(self.table, row)


class _Replacing(Struct, frozen=True):
    """A stretch of a series of which everything becomes known."""

    table: Table
    series: int
    piece: Interval
    known_from: int

    async def apply(
        self,
        to: Connection,
        rows: Sequence[tuple[Block, Destination]],
        change: _Change,
        *,
        is_new: bool,
    ) -> int:
        """Hold *rows* and nothing else; add to *change* what that took, and return how many values are held."""
        count = sum(len(block) for block, _ in rows)
        if is_new or not await _one(to, self.table.is_held, (self.series, *self.piece)):
            await _copy(to, self.table.copy_in, lines(self.table, rows))
            change.written += count
            return count
        await to.execute(self.table.make_stage)
        await _copy(to, self.table.copy_to_stage, lines(self.table, rows))
        found = await to.execute(
            self.table.known_later, (self.series, *self.piece, self.known_from)
        )
        later = [time for (time,) in await found.fetchall()]
        done = await to.execute(
            self.table.supersede_by_stage, (self.known_from, self.series, *self.piece, later)
        )
        change.superseded += done.rowcount
        done = await to.execute(self.table.insert_from_stage, (later,))
        change.written += done.rowcount
        held: int = await _one(to, self.table.count, (self.series, *self.piece))
        return held


def _newest(block: Block) -> int:
    return max(block.receive_times) if block.receive_times else block.origin.receive_time


def _oldest(block: Block) -> int:
    return min(block.receive_times) if block.receive_times else block.origin.receive_time


def _clipped(covers: Sequence[Cover], interval: Interval, as_of: int | None) -> Iterator[Cover]:
    """Yield what *covers* have in common with *interval*. Where counts are not known, they are negative."""
    for cover in covers:
        shared = cover.interval.intersection(interval)
        if not shared.empty:
            is_whole = shared == cover.interval and as_of is None
            yield replace(cover, interval=shared, count=cover.count if is_whole else -1)


def _said(down: PostgresDown) -> str:
    """Return why nothing could be written, as everybody may know it: the log names addresses."""
    return str(down) if isinstance(down, PostgresRefused) else "PostgreSQL cannot be had"


async def _counted(
    to: Connection, covers: Mapping[_Named, Sequence[Cover]], as_of: int | None
) -> dict[_Named, list[Cover]]:
    """Return *covers* with the counts that are missing."""
    counted = {named: list(some) for named, some in covers.items()}
    for kind, table in TABLES.items():
        places = [
            (named, place)
            for named, some in counted.items()
            for place, cover in enumerate(some)
            if cover.count < 0 and named[1].kind is kind
        ]
        if not places:
            continue
        asked = [(named[0], *counted[named][place].interval) for named, place in places]
        numbers, starts, ends = map(list, zip(*asked, strict=True))
        parameters: dict[str, Any] = {
            "n": list(range(len(places))),
            "series": numbers,
            "starts": starts,
            "ends": ends,
            "as_of": as_of,
        }
        statement = table.count_each if as_of is None else table.count_each_then
        found = await to.execute(statement, parameters)
        for n, count in await found.fetchall():
            named, place = places[n]
            counted[named][place] = replace(counted[named][place], count=count)
    return counted


async def _rests(
    to: Connection,
    table: Table,
    number: int,
    around: Sequence[Cover],
    pieces: Sequence[Interval],
) -> list[Cover]:
    """Return what is left of covers that *pieces* take something away from."""
    rests = [
        rest
        for cover in around
        if within(pieces, cover.interval)
        for rest in coverage.less(cover, pieces)
    ]
    return await coverage.counted(to, table, number, rests)


async def _noted(to: Connection, number: int, blocks: Sequence[Block]) -> list[int | None]:
    """Write down the answers that *blocks* came with, and return their ids; None where rows came by themselves."""
    names = [
        None
        if block.receive_times is not None
        else (block.origin.receive_time, block.origin.upstream_request_id)
        for block in blocks
    ]
    last: dict[tuple[int, str], int] = {}
    for name, block in zip(names, blocks, strict=True):
        if name is not None:
            last[name] = max(block.times[-1], last.get(name, block.times[-1]))
    ids: dict[tuple[int, str] | None, int] = {
        name: await _one(to, _ANSWER, (number, *name, time)) for name, time in last.items()
    }
    return [ids.get(name) for name in names]


async def _compared(
    to: Connection, table: Table, number: int, blocks: Sequence[Block]
) -> Recording:
    """Compare *blocks*, which arrived live, with what is held at their times."""
    times = sorted({time for block in blocks for time in block.times})
    if not times:
        return Recording(table, ())
    found = await to.execute(table.rows_at, (number, times[0], times[-1], times))
    batch = Recording(table, [recording.held_row(table, row) for row in await found.fetchall()])
    # What came with an answer of the upstream keeps its id; what arrived by itself has none.
    named = [block for block in blocks if block.origin.upstream_request_id]
    answers = dict(zip(map(id, named), await _noted(to, number, named), strict=True))
    turn = 0
    for block in blocks:
        for row in recording.rows_of(table, block, answers.get(id(block))):
            batch.add(row)
            turn += 1
            if turn % _TURN == 0:
                await asyncio.sleep(0)
    return batch


async def _add(to: Connection, table: Table, number: int, batch: Recording) -> None:
    """Close what *batch* supersedes, and add what is new in it."""
    if batch.superseded:
        times = [row.time for row in batch.superseded]
        ordinals = [row.ordinal for row in batch.superseded]
        until = [row.known_until for row in batch.superseded]
        reach = (number, min(times), max(times))
        await to.execute(table.supersede, (*reach, times, ordinals, until))
    if batch.new:
        await _copy(to, table.copy_in, batch.lines(number))


def _recounted(cover: Cover, batch: Recording) -> Cover:
    more = sum(count for time, count in batch.net.items() if time in cover.interval)
    return replace(cover, count=cover.count + more)


def _joined(around: Sequence[Cover], come: Sequence[Cover]) -> list[Cover]:
    """Return both; what was recorded live and goes on without a hole is one."""
    joined: list[Cover] = []
    for cover in sorted([*around, *come], key=lambda cover: cover.interval):
        last = joined[-1] if joined else None
        if last and last.live and cover.live and last.interval.end == cover.interval.start:
            joined[-1] = Cover(
                Interval(last.interval.start, cover.interval.end),
                min(last.receive_time, cover.receive_time),
                max(last.known_from, cover.known_from),
                last.count + cover.count,
                last.refused + cover.refused,
                live=True,
            )
        else:
            joined.append(cover)
    return joined


async def _answers(to: Connection, wanted: set[int]) -> dict[int, tuple[int, str]]:
    found = await to.execute(_ANSWERS, (list(wanted),))
    return {number: (received, request) for number, received, request in await found.fetchall()}


async def _begin(to: Connection) -> None:
    await to.execute("BEGIN")


async def _commit(to: Connection) -> None:
    await to.execute("COMMIT")


async def _copy(to: Connection, statement: str, some: Iterable[bytes]) -> None:
    async with to.cursor() as cursor, cursor.copy(statement) as copy:
        for text in some:
            await copy.write(text)
            # Writing waits for nobody as long as PostgreSQL keeps up.
            await asyncio.sleep(0)


async def _one(to: Connection, statement: str, parameters: Sequence[Any]) -> Any:
    found = await to.execute(statement, parameters)
    row = await found.fetchone()
    assert row is not None, "each of these has a row"
    return row[0]
