"""The market's clock: in a replay it is the recording's, elsewhere civil time, and the session follows it."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from msgspec.structs import replace

from tickgate_server.errors import UpstreamBroken, UpstreamTimeout
from tickgate_server.jobs.market_clock import MarketClock, MarketClockKeeper
from tickgate_server.market.session import Calendar, MarketSession
from tickgate_server.market.time import NANOS, parse_rfc3339

from ...support.fakes import NOW, FakeReference, HandClock, provenance, reading, settle, trading_day

THURSDAY, FRIDAY = trading_day("2026-10-01"), trading_day("2026-10-02")
CALENDAR = Calendar([THURSDAY, FRIDAY], provenance(None))
RECORDED = parse_rfc3339("2026-10-02T14:00:00Z")
"""An hour of the recording that is a day ahead of the wall clock's."""


class Setup:
    """A market clock over a hand-driven one, and its keeper over a fake."""

    def __init__(self, *, follows: bool = True, interval: float = 60.0) -> None:
        self.hand = HandClock()
        self.clock = MarketClock(
            follows_upstream=follows, monotonic=self.hand.monotonic, wall=self.hand.wall
        )
        self.source = FakeReference(days=[THURSDAY, FRIDAY])
        self.keeper = MarketClockKeeper(
            self.clock, self.source, self.source, interval=interval, patience=1.0
        )


@pytest.mark.parametrize("speed", [1.0, 0.0, 10.0, 0.5])
def test_market_time_runs_on_at_the_speed_of_the_reading(speed: float) -> None:
    """Between readings the recording's time is counted on, as fast as the reading said; at zero it stands."""
    setup = Setup()
    setup.clock.set_reading(reading(RECORDED, speed=speed))
    assert setup.clock.market() == RECORDED
    setup.hand.advance(12.5)
    assert setup.clock.market() == RECORDED + int(12.5 * speed * NANOS)


def test_before_the_first_reading_market_time_is_civil() -> None:
    """Without a reading there is nothing to follow."""
    setup = Setup()
    assert setup.clock.market() == NOW
    assert setup.clock.session() is None
    assert setup.clock.snapshot() is None
    assert setup.clock.session_ends() is None


def test_outside_of_a_sandbox_market_time_is_civil() -> None:
    """A live gateway's market time is the wall clock, whatever a reading says."""
    setup = Setup(follows=False)
    setup.clock.set_reading(reading(RECORDED, speed=10))
    setup.hand.advance(3)
    assert setup.clock.market() == NOW + 3 * NANOS


@pytest.mark.parametrize(
    ("by", "speed", "tells"),
    [(0, 1, False), (4, 1, False), (6, 1, True), (-6, 1, True), (40, 10, False), (60, 10, True)],
)
def test_who_counts_on_time_hears_that_it_was_set(by: int, speed: float, tells: bool) -> None:
    """A jump of a replay's clock, either way, is told; the noise of readings, which grows with the speed, is not."""
    setup = Setup()
    told: list[None] = []
    setup.clock.set_reading(reading(RECORDED, speed=speed))
    setup.clock.when_moved(lambda: told.append(None))
    setup.clock.set_reading(reading(RECORDED + by * NANOS, speed=speed))
    assert bool(told) is tells
    live = Setup(follows=False)
    live.clock.when_moved(told.clear)
    live.clock.set_reading(reading(RECORDED))
    assert bool(told) is tells


def test_a_new_reading_replaces_the_old() -> None:
    """Somebody may set the recording back: the last reading counts, and the session with it."""
    setup = Setup()
    setup.clock.set_calendar(CALENDAR)
    setup.clock.set_reading(reading(RECORDED))
    assert setup.clock.session() is MarketSession.OPEN
    early = parse_rfc3339("2026-10-01T09:00:00Z")
    setup.clock.set_reading(reading(early, is_open=False))
    assert (setup.clock.market(), setup.clock.session()) == (early, MarketSession.PRE_MARKET)


def test_the_session_of_any_instant() -> None:
    """What the calendar plans for an instant is told whatever the clock says now, and nothing without a calendar."""
    setup = Setup()
    assert setup.clock.span_at(NOW) is None
    setup.clock.set_calendar(CALENDAR)
    span = setup.clock.span_at(NOW)
    assert span is not None
    assert (span.session, span.start, span.end) == (
        MarketSession.OPEN,
        THURSDAY.open,
        THURSDAY.close,
    )
    assert setup.clock.span_at(NOW - 365 * 24 * 3600 * NANOS) is None


def test_the_session_changes_at_its_edges() -> None:
    """Nobody needs to ask the upstream for the market to close on time."""
    setup = Setup(follows=False)
    setup.clock.set_calendar(CALENDAR)
    setup.clock.set_reading(reading(NOW))
    assert setup.clock.session() is MarketSession.OPEN
    assert setup.clock.session_ends() == THURSDAY.close
    setup.hand.advance(5 * 3600 - 0.001)
    assert setup.clock.session() is MarketSession.OPEN
    setup.hand.advance(0.001)
    assert setup.clock.session() is MarketSession.AFTER_HOURS
    setup.hand.advance(4 * 3600)
    assert setup.clock.session() is MarketSession.CLOSED
    setup.hand.advance(2 * 24 * 3600)
    assert setup.clock.session() is None


def test_a_session_is_not_computed_anew_for_every_value() -> None:
    """Within a session the calendar is asked once."""
    lookups = []

    class Counting(Calendar):
        def session_at(self, instant: int) -> tuple[MarketSession, int] | None:
            lookups.append(instant)
            return super().session_at(instant)

    setup = Setup()
    setup.clock.set_calendar(Counting([THURSDAY, FRIDAY], provenance(None)))
    setup.clock.set_reading(reading(RECORDED))
    setup.clock.session()
    before = len(lookups)
    for _ in range(100):
        setup.hand.advance(1)
        assert setup.clock.session() is MarketSession.OPEN
    assert len(lookups) == before


def test_without_calendar_or_reading_the_session_is_unknown() -> None:
    """Either alone is not enough to tell the session."""
    only_reading, only_calendar = Setup(), Setup()
    only_reading.clock.set_reading(reading())
    only_calendar.clock.set_calendar(CALENDAR)
    assert only_reading.clock.session() is None
    assert only_calendar.clock.session() is None


def test_a_halt_is_believed() -> None:
    """A clock that says closed in planned trading hours is right until the session ends."""
    setup = Setup()
    setup.clock.set_calendar(CALENDAR)
    setup.clock.set_reading(reading(NOW, is_open=False))
    assert setup.clock.session() is MarketSession.CLOSED
    setup.hand.advance(5 * 3600)
    assert setup.clock.session() is MarketSession.AFTER_HOURS


def test_a_market_that_trades_unplanned_is_open() -> None:
    """A clock that says open outside planned hours is right until that span ends."""
    setup = Setup()
    setup.clock.set_calendar(CALENDAR)
    setup.clock.set_reading(reading(parse_rfc3339("2026-10-01T21:00:00Z"), is_open=True))
    assert setup.clock.session() is MarketSession.OPEN


def test_a_clock_says_nothing_of_other_sessions() -> None:
    """A reading from before today's edge, or from outside the calendar, does not overrule the plan."""
    setup = Setup(follows=False)
    setup.clock.set_calendar(CALENDAR)
    setup.clock.set_reading(reading(parse_rfc3339("2026-10-01T09:00:00Z"), is_open=False))
    assert setup.clock.session() is MarketSession.OPEN
    setup.clock.set_reading(reading(parse_rfc3339("2020-01-01T09:00:00Z"), is_open=False))
    assert setup.clock.session() is MarketSession.OPEN


def test_what_comes_next_is_the_calendars_or_the_clocks() -> None:
    """The calendar tells what comes next as time goes on; without it the reading does."""
    setup = Setup(follows=False)
    said = reading(NOW)
    setup.clock.set_reading(said)
    now = setup.clock.snapshot()
    assert now is not None
    assert (now.next_open, now.next_close, now.session) == (said.next_open, said.next_close, None)
    setup.clock.set_calendar(CALENDAR)
    setup.hand.advance(6 * 3600)
    now = setup.clock.snapshot()
    assert now is not None
    assert (now.next_open, now.next_close) == (FRIDAY.open, FRIDAY.close)
    assert now.session is MarketSession.AFTER_HOURS
    setup.hand.advance(24 * 3600)
    now = setup.clock.snapshot()
    assert now is not None
    assert (now.next_open, now.next_close) == (said.next_open, said.next_close)


# ---------------------------------------------------------------------------- the keeper


async def test_asking_the_time_reads_the_clock_once() -> None:
    """The first who asks has the clock read; afterwards its time is counted on."""
    setup = Setup()
    setup.source.reading = reading(RECORDED)
    first = await setup.keeper.now(1010.0)
    setup.hand.advance(1)
    second = await setup.keeper.now(1010.0)
    assert (first.market_time, second.market_time) == (RECORDED, RECORDED + NANOS)
    assert (first.session, setup.keeper.session()) == (MarketSession.OPEN, MarketSession.OPEN)
    assert setup.source.asked == ["clock", "calendar 2026-09-22 2026-10-12"]


async def test_a_clock_that_cannot_be_read_is_raised() -> None:
    """Who asks the time of an upstream that was never read gets its failure."""
    setup = Setup()
    setup.source.failure = UpstreamBroken("answered 500")
    with pytest.raises(UpstreamBroken):
        await setup.keeper.now(1010.0)


async def test_a_failing_calendar_leaves_the_session_unknown() -> None:
    """The time is told without a calendar; only the session is not."""
    setup = Setup()
    setup.source.reading = reading(RECORDED)
    setup.source.failing_calendar = UpstreamBroken("answered 500")
    now = await setup.keeper.now(1010.0)
    assert (now.market_time, now.session) == (RECORDED, None)


async def test_a_failed_reading_keeps_the_time_running() -> None:
    """While readings fail, time goes on from the last one, and the failure stays inside."""
    setup = Setup()
    setup.source.reading = reading(RECORDED)
    await setup.keeper.try_refresh(1.0)
    setup.source.failure = UpstreamBroken("answered 500")
    setup.hand.advance(2)
    await setup.keeper.try_refresh(1.0)
    assert setup.clock.market() == RECORDED + 2 * NANOS
    assert setup.keeper.session() is MarketSession.OPEN


async def test_the_keeper_keeps_reading_through_failures() -> None:
    """Reading goes on at its interval after a failure, until it is cancelled."""
    setup = Setup(interval=0.001)
    setup.source.failure = UpstreamBroken("answered 500")
    running = asyncio.create_task(setup.keeper.run())
    seen = asyncio.Event()

    class Seen(list[str]):
        def append(self, what: str) -> None:
            super().append(what)
            if len(self) == 3:
                setup.source.failure = None
                setup.source.reading = reading(RECORDED)
            if "calendar" in what:
                seen.set()

    setup.source.asked = Seen()
    await seen.wait()
    await settle(lambda: setup.keeper.session() is not None)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert setup.source.asked[:3] == ["clock"] * 3


@pytest.mark.parametrize(
    ("to_edge", "speed", "pause"),
    [(3600, 1.0, 60.0), (30, 1.0, 30.05), (0, 1.0, 60.0), (3600, 100.0, 36.05), (30, 0.0, 60.0)],
)
async def test_the_clock_is_read_just_after_an_edge(
    to_edge: float, speed: float, pause: float
) -> None:
    """The next reading comes at the interval or just after the session's end, at the market's speed."""
    setup = Setup()
    at = THURSDAY.close - round(to_edge * NANOS)
    setup.source.reading = reading(at, speed=speed)
    assert setup.keeper._pause() == 60.0
    await setup.keeper.refresh(1010.0)
    assert setup.keeper._pause() == pytest.approx(pause)


async def test_without_a_known_edge_the_interval_holds() -> None:
    """Beyond the calendar there is no edge to wait for."""
    setup = Setup()
    setup.source.reading = replace(reading(RECORDED + 10**6 * NANOS))
    await setup.keeper.refresh(1010.0)
    assert setup.keeper._pause() == 60.0


async def test_a_clock_that_stays_away_is_told_of_once() -> None:
    """However often the clock cannot be read, the log says it once for each reason, and again after a good reading."""
    setup = Setup()
    with structlog.testing.capture_logs() as lines:
        for failure in (UpstreamBroken("503"), UpstreamBroken("502"), UpstreamTimeout("late")):
            setup.source.failure = failure
            await setup.keeper.try_refresh(1.0)
        setup.source.failure, setup.source.reading = None, reading(THURSDAY.close)
        await setup.keeper.try_refresh(1.0)
        setup.source.failure = UpstreamTimeout("late")
        await setup.keeper.try_refresh(1.0)
    told = [line["reason"] for line in lines if line["event"] == "market_clock_unavailable"]
    assert told == ["UPSTREAM_ERROR", "UPSTREAM_TIMEOUT", "UPSTREAM_TIMEOUT"]
