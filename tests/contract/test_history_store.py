"""What every store of history promises, wherever it keeps the values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from tickgate_server.market.columns import Block, Origin
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import Adjustment, SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.ports import HistoryStore

from ..support.fakes import NOW, HandClock
from ..support.history_store import (
    NAMES,
    MemoryStore,
    Values,
    block_of,
    postgres_history,
    values_of,
)
from ..support.stores import postgres_url

MINUTE = 60 * NANOS
FIRST = parse_rfc3339("2024-03-13T13:30:00Z")
DAY = Interval(FIRST, FIRST + 390 * MINUTE)

BARS = SeriesKey(SeriesKind.BARS, "AAPL", Feed.IEX, Timeframe(1, Unit.MINUTE))
TRADES = SeriesKey(SeriesKind.TRADES, "AAPL", Feed.IEX)
QUOTES = SeriesKey(SeriesKind.QUOTES, "AAPL", Feed.IEX)
OPTIONS = SeriesKey(SeriesKind.TRADES, "AAPL240315C00172500", None)
ADJUSTED = replace(BARS, adjustments=frozenset({Adjustment.SPLIT, Adjustment.DIVIDEND}))
EVERY_KIND = [BARS, TRADES, QUOTES, OPTIONS]


def origin(
    received: int = NOW, request: str = "upstream-1", feed: Feed | None = Feed.IEX
) -> Origin:
    """Where values came from."""
    return Origin(DataSource.SANDBOX, feed, received, request, Tier.UPSTREAM)


def values(key: SeriesKey, number: int) -> Values:
    """The fields of a made-up value, different for each *number*, with fields unset here and there."""
    price = Decimal(17_000 + number).scaleb(-2).normalize()
    if key.kind is SeriesKind.BARS:
        vwap = None if number % 4 == 1 else price + Decimal("0.0001")
        return price, price + 1, price - 1, price, 100 + number, number or None, vwap
    if key.kind is SeriesKind.TRADES:
        conditions = (None, ("@",), ("@", "I"), (" ", 'a"b\\', "{,}"))[number % 4]
        number_of = None if key.of_option else 7 + number
        amendment = "corrected" if number % 5 == 4 else None
        return price, 100, "VQ"[number % 2], conditions, number_of, "C", amendment
    if number % 4 == 3:
        return None, None, None, price + 1, 200, "Q", ("R",), "C"
    return price, number % 3 or None, "V", price + 1, 200, "Q", ("R",), "C"


def block(
    key: SeriesKey,
    numbers: Sequence[int] = range(10),
    *,
    received: int = NOW,
    request: str = "upstream-1",
    step: int = MINUTE,
    alone: bool = False,
    **changed: Any,
) -> Block:
    """Made-up values, one each *step*; *changed* fields are so in all of them."""
    rows = [dict(zip(NAMES[key.kind], values(key, n), strict=True)) | changed for n in numbers]
    return block_of(
        key.kind,
        origin(received, "" if alone else request, key.feed),
        [FIRST + n * step for n in numbers],
        [tuple(row.values()) for row in rows],
        [received] * len(rows) if alone else None,
    )


@dataclass
class Subject:
    """A store, and the clock that it goes by."""

    store: HistoryStore
    clock: HandClock

    async def blocks(self, key: SeriesKey, interval: Interval = DAY, **asked: Any) -> list[Block]:
        """Return what is read."""
        return [one async for one in self.store.read(key, interval, **asked)]

    async def held(
        self, key: SeriesKey, interval: Interval = DAY, **asked: Any
    ) -> list[tuple[int, Values]]:
        """Return the rows that are read, each with its time."""
        return [row for one in await self.blocks(key, interval, **asked) for row in rows(one)]

    async def covered(
        self, key: SeriesKey, interval: Interval = DAY, as_of: int | None = None
    ) -> list[tuple[Interval, int, int]]:
        """Return the intervals that are covered, each with the values in it and those that were refused."""
        found = (await self.store.coverage([key], interval, as_of))[key]
        return [(one.interval, one.count, one.refused) for one in found]


def rows(some: Block) -> list[tuple[int, Values]]:
    """Return the rows of a block, each with its time."""
    return list(zip(some.times, values_of(some), strict=True))


def minutes(start: int, end: int) -> Interval:
    """Return from one minute of the day up to another."""
    return Interval(FIRST + start * MINUTE, FIRST + end * MINUTE)


@asynccontextmanager
async def memory() -> AsyncIterator[Subject]:
    """The fake."""
    clock = HandClock()
    yield Subject(MemoryStore(clock), clock)


@asynccontextmanager
async def postgres() -> AsyncIterator[Subject]:
    """A real PostgreSQL."""
    clock = HandClock()
    with postgres_url() as url:
        async with postgres_history(url, clock) as store:
            yield Subject(store, clock)


Open = Callable[[], AbstractAsyncContextManager[Subject]]
EVERY = pytest.mark.parametrize("subject", [memory, postgres])


@EVERY
@pytest.mark.parametrize("key", EVERY_KIND, ids=str)
async def test_what_is_written_is_read(subject: Open, key: SeriesKey) -> None:
    """Values come back exactly, in order, with everything that was not sent still unset, and with their origin."""
    async with subject() as it:
        await it.store.write(key, DAY, [block(key)])
        (read,) = await it.blocks(key)
        assert rows(read) == rows(block(key))
        assert read.origin == replace(origin(feed=key.feed), served_from=Tier.STORE)
        assert read.receive_times is None
        assert await it.covered(key) == [(DAY, 10, 0)]


@EVERY
async def test_an_empty_interval_is_covered_too(subject: Open) -> None:
    """That nothing happened is known as well, since now, and so is how many records were refused."""
    async with subject() as it:
        it.clock.advance(5)
        await it.store.write(BARS, DAY, [], refused=3)
        assert await it.held(BARS) == []
        (covered,) = (await it.store.coverage([BARS], DAY))[BARS]
        assert (covered.interval, covered.count, covered.refused) == (DAY, 0, 3)
        assert covered.receive_time == NOW + 5 * NANOS
        assert await it.covered(BARS, as_of=NOW) == []


@EVERY
async def test_nothing_is_held_of_what_nobody_wrote(subject: Open) -> None:
    """Of a series that was never written nothing is covered and nothing is read."""
    async with subject() as it:
        await it.store.write(BARS, DAY, [block(BARS)])
        for key in (
            replace(BARS, symbol="IBM"),
            replace(BARS, feed=Feed.SIP),
            replace(BARS, timeframe=Timeframe(1, Unit.HOUR)),
            replace(BARS, symbol_date=date(2020, 1, 1)),
            replace(BARS, exact_symbol=True),
            ADJUSTED,
            TRADES,
        ):
            assert await it.held(key) == []
            assert await it.covered(key) == []


@EVERY
async def test_coverage_of_many_is_told_at_once(subject: Open) -> None:
    """Each asked series is told, in order of time, within the asked interval, with the values in that part of it."""
    async with subject() as it:
        await it.store.write(BARS, minutes(5, 10), [block(BARS, range(5, 10))])
        await it.store.write(BARS, minutes(0, 3), [block(BARS, range(3))])
        await it.store.write(TRADES, minutes(0, 10), [block(TRADES)])
        found = await it.store.coverage([QUOTES, BARS, TRADES], minutes(1, 7))
    told = {key: [(one.interval, one.count) for one in some] for key, some in found.items()}
    assert told == {
        QUOTES: [],
        BARS: [(minutes(1, 3), 2), (minutes(5, 7), 2)],
        TRADES: [(minutes(1, 7), 6)],
    }


@EVERY
@pytest.mark.parametrize("size", [1, 3, 4, 10, 11])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_blocks_are_as_large_as_is_asked(
    subject: Open, size: int, newest_first: bool
) -> None:
    """No block is larger than asked for, and together they hold each value once, in either order."""
    wanted = rows(block(TRADES))
    async with subject() as it:
        await it.store.write(TRADES, DAY, [block(TRADES)])
        blocks = await it.blocks(TRADES, newest_first=newest_first, rows=size)
    assert {len(one) for one in blocks[:-1]} <= {size}
    assert [row for one in blocks for row in rows(one)] == wanted[:: -1 if newest_first else 1]


@EVERY
@pytest.mark.parametrize("newest_first", [False, True])
async def test_values_of_one_instant_keep_their_order(subject: Open, newest_first: bool) -> None:
    """Several values of one nanosecond, equal ones among them, are all there, in the order in which they came."""
    twins = block(OPTIONS, [1, 1, 2, 1, 0, 3], step=0)
    async with subject() as it:
        await it.store.write(OPTIONS, DAY, [twins])
        for size in (1, 2, 4, 10):
            read = await it.held(OPTIONS, newest_first=newest_first, rows=size)
            assert read == rows(twins)[:: -1 if newest_first else 1]
        assert await it.covered(OPTIONS) == [(DAY, 6, 0)]


@EVERY
async def test_values_of_one_instant_in_two_answers(subject: Open) -> None:
    """An instant at which one answer ends and the next begins has the values of both, in their order."""
    first, second = block(TRADES, range(4)), block(TRADES, range(3, 8), request="two")
    async with subject() as it:
        await it.store.write(TRADES, DAY, [first, second])
        assert await it.held(TRADES) == rows(first) + rows(second)
        assert await it.held(TRADES, newest_first=True) == (rows(first) + rows(second))[::-1]


@EVERY
async def test_values_of_one_instant_that_change_places(subject: Open) -> None:
    """What the upstream tells in another order is held in that order, and was held in the first one before."""
    first = block(OPTIONS, [1, 2, 1, 3], step=0)
    second = block(OPTIONS, [2, 1, 3], step=0, received=NOW + 1)
    async with subject() as it:
        await it.store.write(OPTIONS, DAY, [first])
        await it.store.write(OPTIONS, DAY, [second])
        assert await it.held(OPTIONS) == rows(second)
        assert await it.held(OPTIONS, as_of=NOW) == rows(first)
        assert await it.covered(OPTIONS) == [(DAY, 3, 0)]


@EVERY
async def test_the_end_of_a_range_is_not_in_it(subject: Open) -> None:
    """A range holds the value at its start and not the one at its end, to the nanosecond."""
    async with subject() as it:
        await it.store.write(TRADES, DAY, [block(TRADES, step=1)])
        for newest_first in (False, True):
            read = await it.held(TRADES, Interval(FIRST + 2, FIRST + 5), newest_first=newest_first)
            assert sorted(time - FIRST for time, _ in read) == [2, 3, 4]
        assert await it.held(TRADES, Interval(FIRST + 2, FIRST + 2)) == []


@EVERY
async def test_a_block_has_one_origin(subject: Open) -> None:
    """Values of different answers are in blocks of their own, each with its receive time and request id."""
    first = block(BARS, range(4), received=NOW, request="one")
    second = block(BARS, range(4, 9), received=NOW + 1, request="two")
    async with subject() as it:
        await it.store.write(BARS, DAY, [first, second])
        read = await it.blocks(BARS)
        assert [(one.origin.receive_time, one.origin.upstream_request_id) for one in read] == [
            (NOW, "one"),
            (NOW + 1, "two"),
        ]
        assert [rows(one) for one in read] == [rows(first), rows(second)]
        (covered,) = (await it.store.coverage([BARS], DAY))[BARS]
        assert covered.receive_time == NOW


@EVERY
async def test_what_is_equal_is_not_written_again(subject: Open) -> None:
    """Values that are held already, equal in every field, keep the origin that they had; the interval is known anew."""
    async with subject() as it:
        await it.store.write(TRADES, DAY, [block(TRADES)])
        await it.store.write(TRADES, DAY, [block(TRADES, received=NOW + 5, request="two")])
        (read,) = await it.blocks(TRADES)
        assert rows(read) == rows(block(TRADES))
        assert read.origin.upstream_request_id == "upstream-1"
        (covered,) = (await it.store.coverage([TRADES], DAY))[TRADES]
        assert (covered.receive_time, covered.count) == (NOW + 5, 10)


@EVERY
@pytest.mark.parametrize("key", EVERY_KIND, ids=str)
async def test_what_is_no_longer_so_is_superseded(subject: Open, key: SeriesKey) -> None:
    """What an interval no longer holds is gone now, and still there for who asks what was known a moment before."""
    before, after = block(key), block(key, [0, 2, 3, 4, 11], received=NOW + 100)
    async with subject() as it:
        await it.store.write(key, DAY, [before])
        await it.store.write(key, DAY, [after])
        assert await it.held(key) == rows(after)
        for as_of, wanted in ((NOW - 1, []), (NOW, rows(before)), (NOW + 99, rows(before))):
            assert await it.held(key, as_of=as_of) == wanted
            assert await it.held(key, as_of=as_of, newest_first=True, rows=3) == wanted[::-1]
        assert await it.held(key, as_of=NOW + 100) == rows(after)
        assert await it.covered(key) == [(DAY, 5, 0)]
        assert await it.covered(key, as_of=NOW + 99) == [(DAY, 10, 0)]
        assert await it.covered(key, as_of=NOW - 1) == []


@EVERY
async def test_only_the_interval_is_changed(subject: Open) -> None:
    """What lies outside of the interval that is written stays held and covered."""
    async with subject() as it:
        await it.store.write(BARS, minutes(0, 10), [block(BARS)], refused=2)
        await it.store.write(BARS, minutes(3, 5), [block(BARS, [4], received=NOW + 1, volume=1)])
        held = await it.held(BARS)
        assert [time for time, _ in held] == [
            FIRST + n * MINUTE for n in (0, 1, 2, 4, 5, 6, 7, 8, 9)
        ]
        assert await it.covered(BARS) == [
            (minutes(0, 3), 3, 2),
            (minutes(3, 5), 1, 0),
            (minutes(5, 10), 5, 0),
        ]
        assert await it.covered(BARS, as_of=NOW) == [(minutes(0, 10), 10, 2)]


@EVERY
async def test_overlapping_intervals_never_overlap(subject: Open) -> None:
    """However intervals are written, what is covered is told without overlaps, and each value once."""
    async with subject() as it:
        for moment, (start, end) in enumerate([(0, 6), (4, 8), (2, 5), (7, 10), (0, 10)]):
            await it.store.write(
                BARS,
                minutes(start, end),
                [block(BARS, range(start, end), received=NOW + moment)],
            )
            for as_of in (None, NOW + moment):
                covered = await it.covered(BARS, as_of=as_of)
                assert all(one[0].end <= two[0].start for one, two in pairwise(covered))
                assert sum(count for _, count, _ in covered) == len(await it.held(BARS))
        assert await it.held(BARS) == rows(block(BARS))


@EVERY
async def test_older_answers_do_not_replace_newer_ones(subject: Open) -> None:
    """Of two who asked at about the same time, the one with the older answer may write last, and changes nothing."""
    newer = block(BARS, received=NOW + 5, volume=2)
    async with subject() as it:
        await it.store.write(
            BARS, minutes(0, 5), [block(BARS, range(5), received=NOW + 5, volume=2)]
        )
        await it.store.write(BARS, minutes(0, 10), [block(BARS, received=NOW, volume=1)])
        held = [row[1][4] for row in await it.held(BARS)]
        assert held == [2] * 5 + [1] * 5
        assert [one[0] for one in await it.covered(BARS)] == [minutes(0, 5), minutes(5, 10)]
        await it.store.write(BARS, minutes(0, 10), [newer])
        assert await it.held(BARS) == rows(newer)
        await it.store.write(BARS, minutes(2, 9), [block(BARS, [3], received=NOW + 4)])
        assert await it.held(BARS) == rows(newer)
        assert await it.covered(BARS) == [(minutes(0, 10), 10, 0)]


@EVERY
async def test_a_wide_number_stays_exact(subject: Open) -> None:
    """Numbers with more digits than an integer holds come back exactly, and so do those beside them."""
    precise = Decimal("12345678901234567890.123456789012345678")
    odd = block(BARS, range(3), high=precise)
    async with subject() as it:
        await it.store.write(BARS, DAY, [odd])
        assert await it.held(BARS) == rows(odd)
        assert (await it.held(BARS))[0][1][1] == precise
        assert await it.held(BARS, newest_first=True, as_of=NOW) == rows(odd)[::-1]


@EVERY
async def test_what_is_not_sent_stays_unset(subject: Open) -> None:
    """A field that no value has is unset in each of them, and never 0."""
    bare = block(BARS, volume=None, trade_count=None, vwap=None)
    async with subject() as it:
        await it.store.write(BARS, DAY, [bare])
        (read,) = await it.blocks(BARS)
        assert rows(read) == rows(bare)
        assert (read.columns["volume"], read.columns["vwap"]) == (None, None)


@EVERY
async def test_odd_codes_stay_as_they_are(subject: Open) -> None:
    """Codes of any characters come back as they were sent."""
    odd = block(
        TRADES,
        exchange="\t\\N\n",
        tape="株\r",
        amendment='"',
        conditions=("", "\\", "NULL", "a,b", "\t"),
    )
    async with subject() as it:
        await it.store.write(TRADES, DAY, [odd])
        assert await it.held(TRADES) == rows(odd)


@EVERY
async def test_history_of_every_age(subject: Open) -> None:
    """Values of any year are held, whichever were written before, and read across all years."""
    when = [f"{year}-01-01T00:00:00Z" for year in (1970, 2016, 2017, 2026)]
    times = [0, *(parse_rfc3339(one) - 1 for one in when[1:]), parse_rfc3339(when[3])]
    whole = Interval(0, times[-1] + 1)
    for key in (BARS, TRADES):
        old = block_of(key.kind, origin(), times, [values(key, n) for n in range(5)])
        async with subject() as it:
            await it.store.write(key, whole, [old])
            assert await it.held(key, whole) == rows(old)
            assert await it.held(key, whole, newest_first=True, rows=2) == rows(old)[::-1]


@EVERY
async def test_what_arrives_is_recorded(subject: Open) -> None:
    """Live values are held with the moment each arrived at, and what is said to be complete is covered."""
    first = block(TRADES, range(3), received=NOW + 1, alone=True)
    second = block(TRADES, range(3, 5), received=NOW + 2, alone=True)
    async with subject() as it:
        await it.store.record(TRADES, [first], [])
        assert await it.covered(TRADES) == []
        await it.store.record(TRADES, [second], [minutes(0, 5)])
        (read,) = await it.blocks(TRADES)
        assert rows(read) == rows(first) + rows(second)
        assert list(read.receive_times or ()) == [NOW + 1] * 3 + [NOW + 2] * 2
        assert (read.origin.receive_time, read.origin.upstream_request_id) == (NOW + 2, "")
        assert await it.covered(TRADES) == [(minutes(0, 5), 5, 0)]
        assert await it.held(TRADES, as_of=NOW + 1) == rows(first)
        assert await it.covered(TRADES, as_of=NOW + 1) == []


@EVERY
async def test_coverage_grows_while_recording(subject: Open) -> None:
    """What is recorded stretch by stretch is covered without a hole, now and at each moment before."""
    async with subject() as it:
        for minute in range(4):
            arrived = block(BARS, [minute], received=NOW + minute, alone=True)
            await it.store.record(BARS, [arrived], [minutes(minute, minute + 1)])
        covered = await it.covered(BARS)
        assert (covered[0][0].start, covered[-1][0].end) == minutes(0, 4)
        assert sum(count for _, count, _ in covered) == 4
        then = await it.covered(BARS, as_of=NOW + 2)
        assert (then[0][0].start, then[-1][0].end) == minutes(0, 3)
        assert await it.covered(BARS, minutes(1, 2)) == [(minutes(1, 2), 1, 0)]


@EVERY
async def test_a_hole_in_what_is_recorded_stays_one(subject: Open) -> None:
    """Stretches that are complete with something between them that is not are told apart, however they are recorded."""
    async with subject() as it:
        arrived = block(BARS, [0, 3], received=NOW + 1, alone=True)
        await it.store.record(BARS, [arrived], [minutes(0, 1), minutes(3, 4)])
        late = block(BARS, [0, 3, 6], received=NOW + 2, volume=1, alone=True)
        await it.store.record(BARS, [late], [minutes(6, 7)])
        holes = [(minutes(0, 1), 1, 0), (minutes(3, 4), 1, 0), (minutes(6, 7), 1, 0)]
        assert await it.covered(BARS) == holes


@EVERY
async def test_a_revised_bar_takes_the_place_of_the_first(subject: Open) -> None:
    """A bar supersedes the one of the same start from the moment it arrived, also within one batch."""
    first, revised = (
        block(BARS, [0, 1], received=NOW + at, volume=volume, alone=True)
        for at, volume in ((1, 10), (30, 11))
    )
    async with subject() as it:
        await it.store.record(BARS, [first], [minutes(0, 2)])
        await it.store.record(BARS, [revised], [])
        assert await it.held(BARS) == rows(revised)
        assert await it.held(BARS, as_of=NOW + 29) == rows(first)
        assert await it.covered(BARS) == [(minutes(0, 2), 2, 0)]
        late = [block(BARS, [5], received=NOW + at, volume=at, alone=True) for at in (40, 50, 60)]
        await it.store.record(BARS, late, [])
        held = {at: await it.held(BARS, minutes(5, 6), as_of=NOW + at) for at in (39, 49, 59, 60)}
        assert held == {39: [], 49: rows(late[0]), 59: rows(late[1]), 60: rows(late[2])}


@EVERY
async def test_a_corrected_trade_takes_the_place_of_the_first(subject: Open) -> None:
    """A trade supersedes the one of the same id, exchange and time, and stands where that one stood."""
    wrong = block(TRADES, [0, 0, 0], step=0, received=NOW + 1, alone=True)
    ids = [
        dict(zip(NAMES[TRADES.kind], row, strict=True)) | {"id": n}
        for n, row in enumerate(values_of(wrong))
    ]
    three = [tuple(row.values()) for row in ids]
    right = dict(ids[1]) | {"price": Decimal("1.5"), "amendment": "corrected"}
    other = dict(ids[1]) | {"exchange": "Q"}
    when = [FIRST] * 3

    def arrived(times: Sequence[int], some: Sequence[Any], at: int) -> Block:
        return block_of(TRADES.kind, origin(at, ""), times, some, [at] * len(some))

    async with subject() as it:
        await it.store.record(TRADES, [arrived(when, three, NOW + 1)], [minutes(0, 1)])
        await it.store.record(TRADES, [arrived(when[:1], [tuple(right.values())], NOW + 2)], [])
        await it.store.record(TRADES, [arrived(when[:1], [tuple(other.values())], NOW + 3)], [])
        held = [row for _, row in await it.held(TRADES)]
        assert held == [three[0], tuple(right.values()), three[2], tuple(other.values())]
        assert [row for _, row in await it.held(TRADES, as_of=NOW + 1)] == three
        assert await it.covered(TRADES) == [(minutes(0, 1), 4, 0)]


@EVERY
@pytest.mark.parametrize("key", EVERY_KIND, ids=str)
async def test_what_arrives_twice_is_held_once(subject: Open, key: SeriesKey) -> None:
    """A value that is held already, equal in every field, is not recorded again, however often it is the same."""
    arrived = block(key, received=NOW + 1, alone=True)
    async with subject() as it:
        await it.store.write(key, minutes(0, 5), [block(key, range(5))])
        await it.store.record(key, [arrived], [])
        await it.store.record(key, [block(key, received=NOW + 2, alone=True)], [])
        assert await it.held(key) == rows(arrived)
        assert await it.covered(key) == [(minutes(0, 5), 5, 0)]


@EVERY
async def test_equal_trades_of_one_batch_are_all_held(subject: Open) -> None:
    """Two equal trades in one nanosecond are two where they arrive together, and not four when they come again."""
    twins = block(OPTIONS, [1, 1], step=0, received=NOW + 1, alone=True)
    async with subject() as it:
        for _ in range(2):
            await it.store.record(OPTIONS, [twins], [])
            assert await it.held(OPTIONS) == rows(twins)


@EVERY
async def test_older_news_does_not_revise(subject: Open) -> None:
    """A bar that was received before the one that is held does not take its place."""
    async with subject() as it:
        await it.store.write(BARS, DAY, [block(BARS, received=NOW + 5)])
        await it.store.record(BARS, [block(BARS, [1], received=NOW, volume=1, alone=True)], [])
        assert await it.held(BARS) == rows(block(BARS))


@EVERY
async def test_an_answer_replaces_what_arrived_live(subject: Open) -> None:
    """What the upstream tells of an interval later is held of it; what was recorded equally keeps its origin."""
    live = block(BARS, range(5), received=NOW + 1, alone=True)
    told = block(BARS, received=NOW + 50)
    changed = block(BARS, [0], received=NOW + 1, volume=1, alone=True)
    async with subject() as it:
        await it.store.record(BARS, [live], [minutes(0, 5)])
        await it.store.record(BARS, [changed], [])
        await it.store.write(BARS, minutes(0, 10), [told])
        assert await it.held(BARS) == rows(told)
        assert await it.covered(BARS) == [(minutes(0, 10), 10, 0)]
        read = await it.blocks(BARS)
        assert [len(one) for one in read] == [1, 4, 5]
        assert [one.origin.upstream_request_id for one in read] == ["upstream-1", "", "upstream-1"]
        assert list(read[1].receive_times or ()) == [NOW + 1] * 4


@EVERY
async def test_what_arrived_later_than_an_answer_stays(subject: Open) -> None:
    """A revision that arrived after an answer was received is not undone when that answer is written."""
    revised = block(BARS, [3], received=NOW + 9, volume=1, alone=True)
    async with subject() as it:
        await it.store.record(BARS, [revised], [])
        await it.store.write(BARS, minutes(0, 10), [block(BARS, received=NOW + 5)])
        wanted = rows(block(BARS))
        wanted[3:4] = rows(revised)
        assert await it.held(BARS) == wanted
        assert await it.covered(BARS) == [(minutes(0, 10), 10, 0)]


@EVERY
async def test_adjusted_series_are_forgotten(subject: Open) -> None:
    """What was adjusted before something happened to the company is gone, and what was known before is still told."""
    async with subject() as it:
        await it.store.write(ADJUSTED, minutes(0, 5), [block(ADJUSTED, range(5))])
        later = block(ADJUSTED, range(5, 10), received=NOW + 50)
        await it.store.write(ADJUSTED, minutes(5, 10), [later])
        await it.store.write(BARS, minutes(0, 5), [block(BARS, range(5))])
        await it.store.write(
            replace(ADJUSTED, symbol="IBM"), minutes(0, 5), [block(ADJUSTED, range(5))]
        )
        it.clock.advance(60)
        assert await it.store.forget_adjusted("AAPL", NOW + 40) == 1
        assert await it.held(ADJUSTED) == rows(later)
        assert await it.covered(ADJUSTED) == [(minutes(5, 10), 5, 0)]
        assert len(await it.held(BARS)) == len(await it.held(replace(ADJUSTED, symbol="IBM"))) == 5
        moment = it.clock.wall() - 1
        assert await it.held(ADJUSTED, as_of=moment) == rows(block(ADJUSTED))
        assert [one[0] for one in await it.covered(ADJUSTED, as_of=moment)] == [
            minutes(0, 5),
            minutes(5, 10),
        ]
        assert await it.store.forget_adjusted("AAPL", NOW + 40) == 0


@EVERY
async def test_what_is_too_old_is_dropped(subject: Open) -> None:
    """Values older than they are kept are gone for good, and no longer covered; other kinds stay."""
    async with subject() as it:
        for key in (BARS, TRADES):
            await it.store.write(key, minutes(0, 10), [block(key)], refused=1)
            await it.store.write(key, minutes(0, 10), [block(key, [1, 2, 8], received=NOW + 1)])
        gone = await it.store.retire({"trades": FIRST + 5 * MINUTE})
        assert gone == 5
        assert [time for time, _ in await it.held(TRADES)] == [FIRST + 8 * MINUTE]
        assert await it.covered(TRADES) == [(minutes(5, 10), 1, 0)]
        assert await it.covered(TRADES, as_of=NOW) == [(minutes(5, 10), 5, 1)]
        assert await it.covered(BARS) == [(minutes(0, 10), 3, 0)]


@EVERY
async def test_what_was_dropped_can_be_written_again(subject: Open) -> None:
    """A series of which everything was dropped, whole months of it, is written like a new one."""
    async with subject() as it:
        for _ in range(2):
            await it.store.write(TRADES, DAY, [block(TRADES)])
            assert await it.held(TRADES) == rows(block(TRADES))
            assert await it.store.retire({"trades": NOW, "bars": NOW, "quotes": NOW}) == 10
            assert await it.held(TRADES) == []
            assert await it.covered(TRADES) == []


@EVERY
async def test_wrong_values_are_the_callers_fault(subject: Open) -> None:
    """Values of another kind, out of order, or outside of their interval are not held at all."""
    good = block(TRADES)
    turned = replace(good, times=good.times[::-1])
    async with subject() as it:
        for key, interval, blocks in (
            (BARS, DAY, [good]),
            (TRADES, DAY, [turned]),
            (TRADES, DAY, [good, block(TRADES, [4])]),
            (TRADES, minutes(0, 9), [good]),
        ):
            with pytest.raises((TypeError, ValueError), match=r"."):
                await it.store.write(key, interval, blocks)
        with pytest.raises(ValueError, match="oldest first"):
            await it.store.record(TRADES, [turned], [])
        assert await it.held(TRADES) == await it.held(BARS) == []


@EVERY
async def test_who_reads_sees_one_moment(subject: Open) -> None:
    """What is written while somebody reads is not seen by him, and he may stop whenever he likes."""
    async with subject() as it:
        await it.store.write(TRADES, DAY, [block(TRADES)])
        reading = it.store.read(TRADES, DAY, rows=4)
        seen = rows(await anext(reading))
        await it.store.write(TRADES, DAY, [block(TRADES, [8], received=NOW + 1)])
        seen += [row async for one in reading for row in rows(one)]
        assert seen == rows(block(TRADES))
        stopped = it.store.read(TRADES, DAY, rows=1)
        await anext(stopped)
        await stopped.aclose()  # type: ignore[attr-defined]
        assert await it.held(TRADES) == rows(block(TRADES, [8]))
