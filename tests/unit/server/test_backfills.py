"""Backfills: what is fetched into the store, how far that is, and that it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tickgate_server.errors import NotFound, StoreDown, UpstreamBroken
from tickgate_server.jobs.backfills import Backfilling, BackfillJobs, new_backfill
from tickgate_server.market.backfill import Backfill, BackfillState
from tickgate_server.market.columns import Block
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Feed
from tickgate_server.market.series import Adjustment, SeriesKey, SeriesKind
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.market.unavailable import Reason
from tickgate_server.ports import Priority

from ...support.fakes import NOW, HandClock
from ...support.history_store import MemoryBackfillLog, MemoryStore
from ...support.past import DAY, MINUTE, Past, daily_bars, minute_bars
from ...support.waiting import until, until_told

HOUR = Interval(NOW - 60 * MINUTE, NOW - 5 * MINUTE)


class Office:
    """Backfills over a past in memory."""

    def __init__(self, *symbols: str) -> None:
        self.past = Past(*symbols)
        self.log = MemoryBackfillLog()
        self.jobs = self.again()

    def again(self) -> BackfillJobs:
        """Return what another process would have."""
        clock = self.past.clock
        return BackfillJobs(self.log, Backfilling(self.past.fetcher, clock), clock)

    async def ended(self, backfill_id: str) -> Backfill:
        """Wait for the end of a backfill."""

        def is_over(backfill: Backfill) -> bool:
            return backfill.state is not BackfillState.RUNNING

        return await until_told(lambda: self.jobs.get(backfill_id), is_over)


@asynccontextmanager
async def at_work(jobs: BackfillJobs) -> AsyncIterator[None]:
    """Let *jobs* carry out what there is for the length of the block."""
    task = asyncio.create_task(jobs.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def carried_out(past: Past, *symbols: str, interval: Interval = HOUR) -> Backfill:
    """Carry out a backfill without keeping it, as the command line does."""
    backfill = new_backfill(minute_bars(symbols[0]), symbols, interval, past.clock)
    return await Backfilling(past.fetcher, past.clock).carry_out(backfill, _silent)


async def _silent(backfill: Backfill) -> None:
    pass


async def test_it_brings_history_into_the_store() -> None:
    """A backfill fetches what is asked for in the name of the least urgent class, and says when it is done."""
    office = Office("AAPL", "IBM")
    started = await office.jobs.start(minute_bars("AAPL"), ["AAPL", "IBM"], HOUR)
    assert (started.state, started.progress, started.end_time) == (BackfillState.RUNNING, 0.0, None)
    async with at_work(office.jobs):
        done = await office.ended(started.id)
    assert (done.state, done.symbols_done, done.progress) == (BackfillState.DONE, 2, 1.0)
    assert (done.fetched, done.failures, done.end_time) == (60, (), office.past.clock.wall())
    assert await office.past.count(minute_bars("AAPL")) == 30
    assert {walk.priority for walk in office.past.pages.walks} == {Priority.BACKFILL}


async def test_what_is_held_costs_nothing() -> None:
    """The same backfill again asks the upstream nothing, fetches nothing, and is done."""
    past = Past("AAPL")
    await carried_out(past, "AAPL")
    asked = past.pages.pages
    again = await carried_out(past, "AAPL")
    assert (past.pages.pages, again.fetched, again.failures) == (asked, 0, ())
    assert await past.count(minute_bars("AAPL")) == 30


async def test_one_failure_is_not_one_of_the_others() -> None:
    """A symbol that the upstream does not take is named with its reason, and all others are fetched."""
    past = Past("AAPL", "IBM")
    past.pages.invalid = ["BAD"]
    done = await carried_out(past, "AAPL", "BAD", "IBM")
    assert [(one.symbol, one.why.reason) for one in done.failures] == [
        ("BAD", Reason.SYMBOL_UNKNOWN)
    ]
    assert (done.fetched, done.symbols_done, done.progress) == (60, 3, 1.0)


async def test_a_range_without_anything_is_no_failure() -> None:
    """Nothing happened, and the store knows that it did not."""
    past = Past("AAPL")
    done = await carried_out(
        past, "AAPL", interval=Interval(NOW - 600 * MINUTE, NOW - 500 * MINUTE)
    )
    assert (done.fetched, done.failures) == (0, ())


async def test_a_failure_that_passes_is_waited_for() -> None:
    """What fails for a moment is asked for again, and only the rest of it."""
    past = Past("AAPL")
    past.pages.failing_with = UpstreamBroken("answered 503")
    past.pages.failing_at = 1
    task = asyncio.create_task(carried_out(past, "AAPL"))
    await until(lambda: past.pages.pages >= 2)
    past.pages.failing_with = None
    done = await task
    assert (done.fetched, done.failures) == (30, ())


async def test_a_failure_that_stays_is_told() -> None:
    """After some tries the symbol is given up, with the reason; what came before is kept."""
    past = Past("AAPL")
    past.pages.failing_with = UpstreamBroken("answered 503")
    past.pages.failing_at = 1
    done = await carried_out(past, "AAPL")
    assert [one.why.reason for one in done.failures] == [Reason.UPSTREAM_ERROR]
    assert past.pages.pages == 4


class Forgetful(MemoryStore):
    """A store that fails every write, and answers."""

    async def write(
        self, key: SeriesKey, interval: Interval, blocks: Sequence[Block], refused: int = 0
    ) -> None:
        """Fail as a full disk does."""
        msg = "the disk is full"
        raise StoreDown(msg)


async def test_what_could_not_be_kept_is_not_called_done() -> None:
    """A store that fails its writes makes a failure of what was fetched: nobody is told that it is held."""
    past = Past("AAPL", store=Forgetful())
    done = await carried_out(past, "AAPL")
    assert [one.why.reason for one in done.failures] == [Reason.STORE_UNAVAILABLE]


class Going(HandClock):
    """A clock that goes on by itself: every look at the market's time is *step* seconds after the one before."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self._step = step

    def market(self) -> int:
        """Return the market's time, a step later each time."""
        self.advance(self._step)
        return super().market()


@pytest.mark.parametrize("step", [1e-6, 1.0, 60.0])
@pytest.mark.parametrize(
    "key",
    [
        minute_bars("AAPL"),
        daily_bars("AAPL"),
        replace(minute_bars("AAPL"), timeframe=Timeframe(1, Unit.HOUR)),
        replace(minute_bars("AAPL"), adjustments=frozenset({Adjustment.SPLIT})),
        SeriesKey(SeriesKind.TRADES, "AAPL", Feed.IEX),
    ],
    ids=["minutes", "days", "hours", "adjusted", "trades"],
)
async def test_what_becomes_final_on_the_way_need_not_be_held(key: SeriesKey, step: float) -> None:
    """A backfill up to now is done without a failure, however fast the market goes on while it is fetched."""
    past = Past("AAPL", clock=Going(step))
    backfill = new_backfill(key, ["AAPL"], Interval(NOW - 5 * DAY, past.clock.market()), past.clock)
    done = await Backfilling(past.fetcher, past.clock).carry_out(backfill, _silent)
    assert done.failures == ()


async def test_what_another_fetch_gave_up_as_not_final_is_asked_for_again() -> None:
    """Who joins a fetch that began before does not get its newest values kept: they are fetched, and all is held."""
    past = Past("AAPL")
    past.pages.open.clear()
    first = asyncio.create_task(
        carried_out(past, "AAPL", interval=Interval(NOW - 60 * MINUTE, NOW))
    )
    await past.pages.waiting.wait()
    past.clock.advance(120)
    second = asyncio.create_task(
        carried_out(past, "AAPL", interval=Interval(NOW - 60 * MINUTE, NOW))
    )
    await asyncio.sleep(0)
    past.pages.open.set()
    assert ((await first).failures, (await second).failures) == ((), ())
    held = await past.store.coverage([minute_bars("AAPL")], HOUR)
    assert [one.interval.end for one in held[minute_bars("AAPL")]] == [HOUR.end]
    whole = await past.store.coverage([minute_bars("AAPL")], Interval(0, NOW))
    assert whole[minute_bars("AAPL")][-1].interval.end == NOW


async def test_progress_never_falls() -> None:
    """Progress tells the share of the time that is fetched, and grows with every step up to 1."""
    past = Past(*(f"S{letter}" for letter in "ABCDE"))
    told: list[float] = []

    async def report(backfill: Backfill) -> None:
        told.append(backfill.progress)

    backfill = new_backfill(
        minute_bars("SA"), [f"S{letter}" for letter in "ABCDE"], HOUR, past.clock
    )
    done = await Backfilling(past.fetcher, past.clock).carry_out(backfill, report)
    assert told == sorted(told)
    assert len(told) == 15
    assert done.progress == 1.0


async def test_it_goes_on_after_a_restart() -> None:
    """What was under way when a process ended is carried on by the next, at the group of symbols where it was."""
    symbols = [f"A{one}{two}" for one in "ABCDEFGH" for two in "ABCDEFGH"]
    office = Office(*symbols)
    started = await office.jobs.start(minute_bars(symbols[0]), symbols, HOUR)
    office.past.pages.open.clear()
    async with at_work(office.jobs):
        await office.past.pages.waiting.wait()
    assert (await office.jobs.get(started.id)).state is BackfillState.RUNNING

    # As if fifty-three had been done.
    await office.log.put(replace(started, symbols_done=53, fetched=7))
    office.past.pages.open.set()
    office.past.pages.walks.clear()
    office.jobs = office.again()
    async with at_work(office.jobs):
        done = await office.ended(started.id)
    assert (done.symbols_done, done.fetched) == (64, 7 + 14 * 30)
    assert {one for walk in office.past.pages.walks for one in walk.symbols} == set(symbols[50:])


async def test_it_can_be_stopped() -> None:
    """A backfill that is stopped ends at once, and the next one begins."""
    office = Office("AAPL", "IBM")
    office.past.pages.open.clear()
    first = await office.jobs.start(minute_bars("AAPL"), ["AAPL"], HOUR)
    async with at_work(office.jobs):
        await office.past.pages.waiting.wait()
        stopped = await office.jobs.cancel(first.id)
        assert (stopped.state, stopped.end_time) == (
            BackfillState.CANCELLED,
            office.past.clock.wall(),
        )
        assert await office.jobs.cancel(first.id) == stopped
        office.past.pages.open.set()
        second = await office.jobs.start(minute_bars("IBM"), ["IBM"], HOUR)
        assert (await office.ended(second.id)).fetched == 30
    assert (await office.jobs.get(first.id)).state is BackfillState.CANCELLED


async def test_another_process_can_stop_it() -> None:
    """What one process carries out another can stop: it ends at its next step."""
    office = Office("AAPL")
    started = await office.jobs.start(minute_bars("AAPL"), ["AAPL"], HOUR)
    office.past.pages.open.clear()
    async with at_work(office.jobs):
        await office.past.pages.waiting.wait()
        await office.again().cancel(started.id)
        office.past.pages.open.set()
        other = await office.jobs.start(minute_bars("AAPL"), ["AAPL"], HOUR)
        await office.ended(other.id)
    assert (await office.jobs.get(started.id)).state is BackfillState.CANCELLED


async def test_stopped_at_its_last_step_it_is_no_fault() -> None:
    """What another process stops when all is fetched stays stopped, and nothing is reported as broken."""
    office = Office("AAPL", "IBM")
    with capture_logs() as logs:
        async with at_work(office.jobs):
            # How far it is was noted a moment ago, so the next is noted at its end alone.
            first = await office.jobs.start(minute_bars("IBM"), ["IBM"], HOUR)
            await office.ended(first.id)
            office.past.pages.waiting.clear()
            office.past.pages.open.clear()
            started = await office.jobs.start(minute_bars("AAPL"), ["AAPL"], HOUR)
            await office.past.pages.waiting.wait()
            await office.again().cancel(started.id)
            office.past.pages.open.set()
            other = await office.jobs.start(minute_bars("AAPL"), ["AAPL"], HOUR)
            await office.ended(other.id)
    assert (await office.jobs.get(started.id)).state is BackfillState.CANCELLED
    assert not [entry for entry in logs if entry["log_level"] == "error"]


async def test_what_there_is_not_is_not_found() -> None:
    """Asking for an unknown backfill, or stopping it, says that there is none."""
    jobs = Office("AAPL").jobs
    ask: Sequence[Callable[[str], Awaitable[Backfill]]] = (jobs.get, jobs.cancel)
    for each in ask:
        with pytest.raises(NotFound, match="no backfill 'nobody'"):
            await each("nobody")


async def test_without_the_log_nothing_begins() -> None:
    """A backfill that cannot be kept does not begin, and the caller is told."""
    office = Office("AAPL")
    office.log.down = True
    with pytest.raises(StoreDown):
        await office.jobs.start(minute_bars("AAPL"), ["AAPL"], HOUR)
    assert office.past.pages.pages == 0


async def test_all_are_listed_newest_first() -> None:
    """The list is the log's."""
    office = Office("AAPL")
    first = await office.jobs.start(minute_bars("AAPL"), ["AAPL"], HOUR)
    office.past.clock.advance(1)
    second = await office.jobs.start(minute_bars("AAPL"), ["AAPL"], HOUR)
    assert await office.jobs.newest(None, 10) == [second, first]
    assert await office.jobs.newest((second.start_time, second.id), 10) == [first]
