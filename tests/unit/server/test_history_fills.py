"""Fetching once for all who ask: who joins, who waits for whom, and what is left when they go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from tickgate_server.errors import ShuttingDown, StoreDown, UpstreamBroken
from tickgate_server.history.waiting import closing
from tickgate_server.market.interval import Interval
from tickgate_server.market.series import HistoryQuestion
from tickgate_server.market.unavailable import Reason
from tickgate_server.ports import Priority, SeriesChunk, SeriesEvent

from ...support.fanning import LoopClock, in_steered_time
from ...support.history_desk import SECOND, TRADES, Desk, since_yesterday, trades_at

WHOLE = since_yesterday(0, 100)
HUNDRED = list(range(100))


def desk(*, stored: bool = True, page: int = 10, spool: int = 2) -> Desk:
    """A hundred trades upstream, in ten pages, and nothing here."""
    series = {TRADES: trades_at(range(100))}
    clock = LoopClock()
    return Desk(series, clock=clock, stored=stored, page=page, least_page=1, spool=spool)


def read(
    made: Desk,
    interval: Interval = WHOLE,
    *,
    newest_first: bool = False,
    limit: int = 0,
    priority: Priority = Priority.HISTORY,
) -> AsyncIterator[SeriesEvent]:
    """Begin to read."""
    question = HistoryQuestion(TRADES, ("AAPL",), interval, newest_first, limit)
    return made.reader.read(question, rows=10, priority=priority)


async def numbers_of(events: AsyncIterator[SeriesEvent], pause: float = 0) -> list[int]:
    """Read to the end, pausing behind each chunk. The last value of a page comes with the next one: it may go on."""
    numbers: list[int] = []
    async with closing(events):
        async for event in events:
            if isinstance(event, SeriesChunk):
                numbers += [int(time - WHOLE.start) for time in event.block.times]
                await asyncio.sleep(pause)
    return numbers


async def nothing_is_left(made: Desk) -> None:
    """Nobody goes on once all is done."""
    await made.settle()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []
    assert made.pages.closed == len(made.pages.walks)


@pytest.mark.parametrize("stored", [False, True])
@in_steered_time
async def test_many_who_ask_alike_make_one_walk(stored: bool) -> None:
    """Twenty at once cost what one costs."""
    made = desk(stored=stored)

    answers = await asyncio.gather(*(numbers_of(read(made)) for _ in range(20)))

    assert answers == [HUNDRED] * 20
    assert len(made.pages.walks) == 1
    assert made.pages.pages == 10
    await nothing_is_left(made)


@in_steered_time
async def test_who_comes_later_joins() -> None:
    """What has been let go meanwhile comes from the store, the rest from the fetch that is under way."""
    made = desk()
    first = read(made)
    async with closing(first):
        for _ in range(6):
            await anext(first)
        second = await numbers_of(read(made))
        third = await numbers_of(read(made, since_yesterday(35, 100)))

    assert second == HUNDRED
    assert third == HUNDRED[35:]
    assert len(made.pages.walks) == 1
    await nothing_is_left(made)


@in_steered_time
async def test_an_overlapping_question_asks_for_the_rest_alone() -> None:
    """Up to the end of a fetch that is under way it joins, behind it it asks."""
    made = desk()

    first, second = await asyncio.gather(
        numbers_of(read(made, since_yesterday(0, 60))),
        numbers_of(read(made, since_yesterday(20, 100))),
    )

    assert first == HUNDRED[:60]
    assert second == HUNDRED[20:]
    assert [walk.interval for walk in made.pages.walks] == [
        since_yesterday(0, 60),
        since_yesterday(60, 100),
    ]
    await nothing_is_left(made)


@in_steered_time
async def test_a_long_question_leaves_out_what_another_fetches() -> None:
    """Up to the start of a fetch that is under way it asks, and there it joins."""
    made = desk()
    made.pages.open.clear()
    late = asyncio.create_task(numbers_of(read(made, since_yesterday(50, 100))))
    await made.pages.waiting.wait()
    whole = asyncio.create_task(numbers_of(read(made)))
    await asyncio.sleep(1)
    made.pages.open.set()

    assert [await late, await whole] == [HUNDRED[50:], HUNDRED]
    assert [walk.interval for walk in made.pages.walks] == [
        since_yesterday(50, 100),
        since_yesterday(0, 50),
    ]
    await nothing_is_left(made)


@in_steered_time
async def test_who_looked_before_a_fetch_ended_looks_again() -> None:
    """What came into the store after one had looked is not asked for again."""
    made = desk()
    late, look = asyncio.Event(), made.memory.coverage

    async def coverage(*args: Any, **kwargs: Any) -> Any:
        found = await look(*args, **kwargs)
        await late.wait()
        return found

    made.memory.coverage = coverage  # type: ignore[method-assign]  # the store, as slow as it may be
    slow = asyncio.create_task(numbers_of(read(made)))
    await asyncio.sleep(1)
    made.memory.coverage = look  # type: ignore[method-assign]  # quick again
    assert await numbers_of(read(made)) == HUNDRED
    await made.settle()
    late.set()

    assert await slow == HUNDRED
    assert len(made.pages.walks) == 1
    await nothing_is_left(made)


@in_steered_time
async def test_nobody_waits_for_what_lies_far_ahead() -> None:
    """Who wants little at the far end of a long fetch asks for it."""
    made = desk()
    first = read(made)
    async with closing(first):
        await anext(first)
        assert await numbers_of(read(made, since_yesterday(95, 100))) == HUNDRED[95:]
        assert made.pages.walks[-1].interval == since_yesterday(95, 100)
        assert await numbers_of(first) == HUNDRED[9:]
    await nothing_is_left(made)


@in_steered_time
async def test_who_wants_little_of_much_does_not_wait_for_page_after_page() -> None:
    """A few values in the middle of a long stretch are asked for; those at its start are shared."""
    made = desk(page=100)
    made.pages.open.clear()
    few = [asyncio.create_task(numbers_of(read(made, limit=5)))]
    await made.pages.waiting.wait()
    few.append(asyncio.create_task(numbers_of(read(made, limit=5))))
    middle = asyncio.create_task(numbers_of(read(made, since_yesterday(40, 100), limit=5)))
    await asyncio.sleep(1)
    made.pages.open.set()

    assert [await one for one in few] == [HUNDRED[:5]] * 2
    assert await middle == HUNDRED[40:45]
    # The walk that began first would have come to the middle on its sixth page.
    assert [walk.interval.start for walk in made.pages.walks] == [
        since_yesterday(0, 100).start,
        since_yesterday(40, 100).start,
    ]
    assert made.pages.pages == 2
    await nothing_is_left(made)


@in_steered_time
async def test_nobody_waits_for_who_is_in_less_of_a_hurry() -> None:
    """A caller does not join a backfill, which waits for budget; a backfill joins a caller."""
    made = desk()
    made.pages.open.clear()
    slow = asyncio.create_task(numbers_of(read(made, priority=Priority.BACKFILL)))
    await made.pages.waiting.wait()
    quick = asyncio.create_task(numbers_of(read(made)))
    await asyncio.sleep(1)
    slower = asyncio.create_task(numbers_of(read(made, priority=Priority.BACKFILL)))
    await asyncio.sleep(1)
    made.pages.open.set()

    assert [await quick, await slow, await slower] == [HUNDRED] * 3
    assert [walk.priority for walk in made.pages.walks] == [Priority.BACKFILL, Priority.HISTORY]
    await nothing_is_left(made)


@in_steered_time
async def test_who_wants_much_does_not_read_in_small_pages() -> None:
    """A fetch of few values is over soon; whoever wants all asks for large pages."""
    made = desk(page=40)
    made.pages.open.clear()
    few = asyncio.create_task(numbers_of(read(made, limit=10)))
    await made.pages.waiting.wait()
    all_of_it = asyncio.create_task(numbers_of(read(made)))
    await asyncio.sleep(1)
    made.pages.open.set()

    assert await few == HUNDRED[:10]
    assert await all_of_it == HUNDRED
    assert [walk.page for walk in made.pages.walks] == [11, 40]
    await nothing_is_left(made)


@in_steered_time
async def test_a_page_is_wanted_for_as_long_as_the_most_patient_reader_stays() -> None:
    """So nothing on its way waits longer than anybody would; who has no deadline stays while anything comes."""
    made = desk()
    made.pages.open.clear()
    now = made.clock.monotonic()
    deadlines = (now + 5, now + 9, None)
    wanted: list[float] = []
    readers = []
    for deadline in deadlines:
        readers.append(asyncio.create_task(made.ask_one(WHOLE, deadline=deadline)))
        await made.pages.waiting.wait()
        await asyncio.sleep(0.01)
        (walk,) = made.pages.walks
        assert walk.wanted_until is not None
        wanted.append(walk.wanted_until() - now)
    made.pages.open.set()
    await asyncio.gather(*readers)

    # A little before the deadline, so that the answer itself comes in time.
    assert 4.5 < wanted[0] <= 5
    assert 8 < wanted[1] <= 9
    assert wanted[2] >= 60
    await nothing_is_left(made)


# ------------------------------------------------------------------------------- pace and memory


@in_steered_time
async def test_a_fetch_goes_at_the_upstreams_pace_into_the_store() -> None:
    """One who reads a chunk a minute holds nobody up: it finds in the store what went by."""
    made = desk()
    slow = asyncio.create_task(numbers_of(read(made), pause=60))
    begun = made.clock.monotonic()
    await asyncio.sleep(1)

    assert made.pages.pages == 10
    assert await numbers_of(read(made)) == HUNDRED
    assert made.clock.monotonic() - begun < 2
    assert await slow == HUNDRED
    assert len(made.pages.walks) == 1
    await nothing_is_left(made)


@in_steered_time
async def test_without_a_store_a_fetch_waits_for_who_reads() -> None:
    """No more pages are held than the spool has room for."""
    made = desk(stored=False, spool=3)
    events = read(made)
    async with closing(events):
        await anext(events)
        await asyncio.sleep(1)
        assert made.pages.pages <= 4
        assert await numbers_of(events) == HUNDRED[9:]
    assert len(made.pages.walks) == 1
    await nothing_is_left(made)


@in_steered_time
async def test_who_stops_reading_does_not_stop_the_others() -> None:
    """Without a store the quicker one waits some seconds for the slower one, which then asks for itself."""
    made = desk(stored=False)
    stuck = read(made)
    async with closing(stuck):
        await anext(stuck)
        begun = made.clock.monotonic()
        assert await numbers_of(read(made)) == HUNDRED
        assert 5 <= made.clock.monotonic() - begun <= 60
        assert await numbers_of(stuck) == HUNDRED[9:]
    await nothing_is_left(made)


@in_steered_time
async def test_what_could_not_be_written_is_asked_for_again() -> None:
    """A page that neither the store nor the memory holds any more is fetched by who still needs it."""
    made = desk()
    write, writes = made.memory.write, 0

    async def failing(*args: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == 3:
            msg = "the disk is full"
            raise StoreDown(msg)
        await write(*args)

    made.memory.write = failing  # type: ignore[assignment, method-assign]  # a store that fails once
    stuck = read(made)
    async with closing(stuck):
        await anext(stuck)
        assert await numbers_of(read(made)) == HUNDRED
        assert await numbers_of(stuck) == HUNDRED[9:]
    assert len(made.pages.walks) == 2
    await nothing_is_left(made)


@in_steered_time
async def test_who_waits_for_what_comes_later_does_not_wait_for_ever() -> None:
    """The upstream's order of symbols is another one: what can be neither kept nor read yet is asked for again."""
    symbols = ("MSFT", "IBM", "AAPL")
    series = {TRADES.about(one): trades_at(range(30), one) for one in symbols}
    made = Desk(series, clock=LoopClock(), page=5, spool=2)

    async def failing(*_: Any) -> None:
        msg = "the disk is full"
        raise StoreDown(msg)

    made.memory.write = failing  # type: ignore[assignment, method-assign]  # a store that only reads
    begun = made.clock.monotonic()

    told = await made.ask(WHOLE, *symbols)

    assert [one.numbers for one in told.values()] == [list(range(30))] * 3
    assert made.clock.monotonic() - begun < 1
    await nothing_is_left(made)


@in_steered_time
async def test_who_wants_little_makes_no_page_too_many() -> None:
    """With a limit each page is asked for when it is wanted, and not before."""
    made = desk()

    assert await numbers_of(read(made, limit=15)) == HUNDRED[:15]
    await nothing_is_left(made)
    assert made.pages.pages == 2


@in_steered_time
async def test_what_is_not_held_is_kept_for_who_reads_slowly() -> None:
    """The newest values, which the store does not take yet, wait in memory for their reader."""
    clock = LoopClock()
    now = clock.market()
    recent = Interval(now - 100 * SECOND, now)
    instants = [second * SECOND for second in range(100)]
    series = {TRADES: trades_at(instants, base=recent.start)}
    # The values of one of its pages are settled in part.
    made = Desk(series, clock=clock, page=12, spool=2)
    question = HistoryQuestion(TRADES, ("AAPL",), recent)

    told = []
    async with closing(made.reader.read(question, rows=10)) as events:
        async for event in events:
            told.append(event)
            await asyncio.sleep(1)

    assert sum(len(event.block) for event in told if isinstance(event, SeriesChunk)) == 100
    assert len(made.pages.walks) == 1
    await nothing_is_left(made)


# ----------------------------------------------------------------------------------- going away


@in_steered_time
async def test_when_the_last_reader_leaves_a_fetch_ends_behind_its_page() -> None:
    """The page that is under way is still written, no other is asked for, and nothing goes on."""
    made = desk()
    events = read(made)
    async with closing(events):
        await anext(events)
        made.pages.open.clear()
        await asyncio.sleep(1)
        under_way = made.pages.pages
    await asyncio.sleep(1)
    made.pages.open.set()

    await nothing_is_left(made)
    assert made.pages.pages == under_way
    held = (await made.memory.coverage([TRADES], WHOLE))[TRADES]
    assert max(one.interval.end for one in held) >= WHOLE.start + 10 * under_way - 1


@in_steered_time
async def test_a_new_reader_keeps_a_fetch_alive() -> None:
    """Who comes while the last page is under way goes on with the same walk."""
    made = desk()
    events = read(made)
    async with closing(events):
        await anext(events)
        made.pages.open.clear()
        await asyncio.sleep(1)
    again = asyncio.create_task(numbers_of(read(made)))
    await asyncio.sleep(1)
    made.pages.open.set()

    assert await again == HUNDRED
    assert len(made.pages.walks) == 1
    await nothing_is_left(made)


@pytest.mark.parametrize("stored", [False, True])
@in_steered_time
async def test_a_cancelled_reader_leaves_nothing_behind(stored: bool) -> None:
    """Cancelled while a page is awaited, the reader is gone at once; without a store its fetch is, too."""
    made = desk(stored=stored)
    made.pages.open.clear()
    task = asyncio.create_task(numbers_of(read(made)))
    await made.pages.waiting.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    if stored:
        made.pages.open.set()

    await nothing_is_left(made)
    assert made.pages.pages == 1


@in_steered_time
async def test_one_who_leaves_does_not_disturb_the_others() -> None:
    """The rest of twenty go on when nineteen are cancelled."""
    made = desk()
    made.pages.open.clear()
    tasks = [asyncio.create_task(numbers_of(read(made))) for _ in range(20)]
    await made.pages.waiting.wait()
    for task in tasks[1:]:
        task.cancel()
    made.pages.open.set()

    assert await tasks[0] == HUNDRED
    assert len(made.pages.walks) == 1
    await asyncio.wait(tasks)
    await nothing_is_left(made)


@in_steered_time
async def test_closing_stops_everything() -> None:
    """At the end of the process fetches are cut off, and whoever still reads is told that it is shutting down."""
    made = desk()
    made.pages.open.clear()
    task = asyncio.create_task(numbers_of(read(made)))
    await made.pages.waiting.wait()
    await made.reader.aclose()

    with pytest.raises(ShuttingDown):
        await task
    await nothing_is_left(made)


@in_steered_time
async def test_a_failure_reaches_all_who_wait_for_it() -> None:
    """Each is told what came before, and the reason, once it is there."""
    made = desk()
    made.pages.failing_with, made.pages.failing_at = UpstreamBroken("answered 500"), 4

    answers = await asyncio.gather(*(made.ask_one(WHOLE) for _ in range(5)))

    for told in answers:
        assert told.broken.why.reason is Reason.UPSTREAM_ERROR
        assert len(told.numbers) == told.broken.missing.start - WHOLE.start == 29
    assert made.pages.pages == 4
    await nothing_is_left(made)


@in_steered_time
async def test_a_fault_of_ours_is_no_reason_of_the_upstreams() -> None:
    """It reaches whoever waits, instead of leaving him to wait for ever."""
    made = desk()

    async def broken(*_: object) -> None:
        msg = "a mistake"
        raise ValueError(msg)

    made.memory.write = broken  # type: ignore[assignment]  # what it returns is never seen

    with capture_logs() as logs:
        with pytest.raises(ValueError, match="a mistake"):
            await numbers_of(read(made))
        await nothing_is_left(made)

    # Nor is it lost where everybody has what he wanted by the time it shows.
    assert [entry["event"] for entry in logs] == ["history_fetch_failed"]
