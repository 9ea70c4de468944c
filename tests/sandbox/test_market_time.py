"""Market time: instant, speed, and recordings moved to another day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import market_open, write_recordings
from tickgate_sandbox.calendar import FIRST_INSTANT, LAST_INSTANT, ExchangeCalendar
from tickgate_sandbox.clock import FASTEST, MarketClock
from tickgate_sandbox.recordings import RecordingFolder
from tickgate_sandbox.replay import Shift
from tickgate_sandbox.timestamps import parse, parse_many, render, render_new_york

from .asking import asked, synthetic

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = parse("2026-11-20T15:00:00Z")


class Monotonic:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


def test_time_passes() -> None:
    """Market time runs with the monotonic clock, to the nanosecond."""
    real = Monotonic()
    clock = MarketClock(START, monotonic_ns=real)
    real.now += 7

    assert clock.now() == START + 7


def test_speed() -> None:
    """At speed 10 a real second is ten market seconds."""
    real = Monotonic()
    clock = MarketClock(START, speed=10, monotonic_ns=real)
    real.now += SECOND

    assert clock.now() == START + 10 * SECOND


def test_changing_speed_keeps_the_time() -> None:
    """A new speed counts from the present market time on."""
    real = Monotonic()
    clock = MarketClock(START, speed=10, monotonic_ns=real)
    real.now += SECOND
    clock.set_speed(0)
    real.now += SECOND

    assert clock.now() == START + 10 * SECOND
    assert clock.speed == 0


def test_seek() -> None:
    """A jump goes on at the same speed from where it lands."""
    real = Monotonic()
    clock = MarketClock(START, speed=2, monotonic_ns=real)
    real.now += SECOND
    clock.seek(START + 100)
    real.now += 1

    assert clock.now() == START + 102


@pytest.mark.parametrize("instant", [LAST_INSTANT, LAST_INSTANT + 1, FIRST_INSTANT - 1])
def test_the_end_of_the_calendar(instant: int) -> None:
    """Market time stands still where Alpaca's calendar ends, and can be moved from there."""
    real = Monotonic()
    clock = MarketClock(instant, FASTEST, real)
    stopped_at = min(max(instant, FIRST_INSTANT), LAST_INSTANT)
    assert clock.now() == stopped_at
    real.now += 3600 * SECOND
    assert clock.now() == LAST_INSTANT

    clock.set_speed(0)
    clock.seek(START)
    assert clock.now() == START


@pytest.mark.parametrize("speed", [-1.0, FASTEST + 1, 1e308, float("inf"), float("nan")])
def test_impossible_speed(speed: float) -> None:
    """A speed that no clock can run at is refused, and the clock goes on as before."""
    clock = MarketClock(START, speed=0)
    with pytest.raises(ValueError, match="speed lies between 0 and 1,000,000"):
        clock.set_speed(speed)

    assert (clock.now(), clock.speed) == (START, 0)


async def test_synthetic_market_starts_now() -> None:
    """Without an instant a made-up market lives at the wall clock's time."""
    now = parse("2026-11-20T18:00:00.000000001Z")
    async with asked(synthetic(at=None), wall_ns=lambda: now) as (_, client):
        answer = await client.get("/v2/clock")

    assert answer.json["timestamp"] == "2026-11-20T13:00:00.000000001-05:00"


class SlowStart:
    """A start that takes two seconds wherever it reads something, and the clock beside it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        for kind, name in (
            (ExchangeCalendar, "after"),
            (ExchangeCalendar, "on_or_before"),
            (RecordingFolder, "assets"),
            (RecordingFolder, "read"),
        ):
            monkeypatch.setattr(kind, name, self._slowly(getattr(kind, name)))

    def __call__(self) -> int:
        return self.now

    def _slowly(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*arguments: Any) -> Any:
            self.now += 2 * SECOND
            return method(*arguments)

        return slow


@pytest.mark.parametrize("speed", [0.0, 1.0])
@pytest.mark.parametrize("replayed", [False, True])
async def test_now_is_when_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speed: float, replayed: bool
) -> None:
    """However long the start takes, market time is the wall clock's when it is over."""
    write_recordings(tmp_path)
    replay: dict[str, Any] = {"replay": tmp_path, "shift_to_now": True, "symbols": ("AAPL",)}
    settings = synthetic(at=None, speed=speed, **(replay if replayed else {}))
    real = SlowStart(monkeypatch)
    async with asked(settings, wall_ns=real, monotonic_ns=real) as (running, _):
        assert START < real.now == running.clock.now()


async def test_served_records_follow_market_time() -> None:
    """A second real second, a second step: the same question has a newer answer."""
    real = Monotonic()
    async with asked(synthetic(speed=1, step=1), monotonic_ns=real) as (_, client):
        before = await client.get("/v2/stocks/AAPL/quotes/latest")
        real.now += SECOND
        after = await client.get("/v2/stocks/AAPL/quotes/latest")

    assert before.json["quote"]["t"] == "2026-11-20T15:00:00Z"
    assert after.json["quote"]["t"] == "2026-11-20T15:00:01Z"


async def test_shift_to_now(tmp_path: Path) -> None:
    """Shifted recordings show at the wall clock's time what they held at the chosen instant."""
    day = date(2024, 3, 13)
    recorded = write_recordings(tmp_path, day=day)["AAPL"]
    at, now = market_open(day) + 30 * MINUTE, parse("2026-11-20T18:00:00Z")
    settings = synthetic(replay=tmp_path, at=render(at), shift_to_now=True)
    async with asked(settings, wall_ns=lambda: now) as (_, client):
        clock = await client.get("/v2/clock")
        quote = (await client.get("/v2/stocks/AAPL/quotes/latest")).json["quote"]
        snapshot = (await client.get("/v2/stocks/AAPL/snapshot")).json

    original = parse(recorded.latest_quote(at).split('"t":"')[1].split('"')[0])
    assert clock.json["timestamp"] == "2026-11-20T13:00:00-05:00"
    assert clock.json["is_open"]
    assert parse(quote["t"]) - original == now - at
    assert snapshot["dailyBar"]["t"] == "2026-11-20T05:00:00Z"
    assert snapshot["prevDailyBar"]["t"] == "2026-11-19T05:00:00Z"
    assert snapshot["minuteBar"]["t"].endswith(":00Z")


def test_shift_moves_whole_minutes() -> None:
    """Minute bars still start on the minute, and market time is never before the instant."""
    recorded, shown = parse("2024-03-13T14:00:00Z"), parse("2026-11-20T18:00:59.9Z")
    shift = Shift.between(recorded, shown)

    assert shift.offset % MINUTE == 0
    assert 0 <= shown - shift.offset - recorded < MINUTE


def test_shift_keeps_daily_bars_at_midnight() -> None:
    """A daily bar of summer time that is moved to winter is stamped at winter's midnight."""
    shift = Shift.between(parse("2024-06-13T14:00:00Z"), parse("2026-11-20T18:00:00Z"))

    assert shift.day("2024-06-13T04:00:00Z") == "2026-11-20T05:00:00Z"
    assert shift.day("2024-06-12T04:00:00Z") == "2026-11-19T05:00:00Z"


async def test_replay_starts_on_its_newest_day(tmp_path: Path) -> None:
    """A replay that is told no instant starts at 10:00 New York of its newest day."""
    write_recordings(tmp_path)
    async with asked(synthetic(replay=tmp_path, at=None)) as (_, client):
        answer = await client.get("/v2/clock")

    assert answer.json["timestamp"] == "2024-03-13T10:00:00-04:00"


@pytest.mark.parametrize(
    "text",
    [
        "2013-10-07T08:00:00Z",
        "2013-10-07T08:00:00.5Z",
        "2013-10-07T08:00:00.000000001Z",
        "2012-06-21T13:30:00.004241176Z",
        "1969-12-31T23:59:59.999999999Z",
    ],
)
def test_timestamps_keep_every_digit(text: str) -> None:
    """A time is read and written to the nanosecond, with no zeros at the end."""
    assert render(parse(text)) == text
    assert parse_many([text, text]) == [parse(text)] * 2


def test_timestamps_of_other_zones() -> None:
    """A time may carry an offset."""
    assert parse("2013-10-07T10:00:00.25-04:00") == parse("2013-10-07T14:00:00.25Z")
    assert parse_many(["2013-10-07T14:00:00Z", "2013-10-07T14:00:00-04:00"]) == [
        parse("2013-10-07T14:00:00Z"),
        parse("2013-10-07T18:00:00Z"),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "noon", "2013-10-07", "2013-10-07T10:00:00", "2013-10-07T10:00:61Z",
     "2013-13-07T10:00:00Z", "2013-10-07T10:00:00.0123456789Z"],
)  # fmt: skip
def test_wrong_timestamps(text: str) -> None:
    """What is not RFC 3339 is refused."""
    with pytest.raises(ValueError, match=r"is not a time|no such second|month"):
        parse(text)


def test_new_york_offset() -> None:
    """New York's offset follows daylight saving."""
    summer = datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()

    assert render_new_york(int(summer) * SECOND + 10) == "2026-07-01T08:00:00.00000001-04:00"
