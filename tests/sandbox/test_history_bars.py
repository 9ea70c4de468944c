"""Bars of every length: recorded, added up, running, adjusted, renamed and moved in time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.recordings import write_recordings
from tickgate_sandbox import Plan
from tickgate_sandbox.calendar import ExchangeCalendar
from tickgate_sandbox.history.synthetic import SyntheticPast
from tickgate_sandbox.history.timeframe import read_timeframe
from tickgate_sandbox.recordings import RecordingFolder
from tickgate_sandbox.synthetic import SyntheticMarket
from tickgate_sandbox.timestamps import NEW_YORK, parse

from .asking import Client, asked, synthetic
from .walking import bar, rest, walk, write_actions, write_bars, write_text

DAY = date(2024, 3, 13)
LATER = "2024-06-03T09:00:00-04:00"


def replayed(folder: Path, **changes: Any) -> Any:
    """Return settings of a replay at an instant when all of it has happened."""
    return synthetic(**({"replay": folder, "at": LATER, "plan": Plan.PLUS} | changes))


async def bars(client: Client, symbol: str, timeframe: str, **query: str) -> list[str]:
    """Return the texts of a symbol's bars from 2024 on."""
    asked_for = {"timeframe": timeframe, "start": "2024-01-01", "limit": "10000"} | query
    walked = await walk(client, f"/v2/stocks/{symbol}/bars", **asked_for)
    return walked.texts.get(symbol, [])


def starts(texts: Sequence[str]) -> list[str]:
    """Return the times of bars."""
    return [json.loads(text)["t"] for text in texts]


# -------------------------------------------------------------------------------- minutes and days


async def test_recorded_bars_leave_as_they_were(tmp_path: Path) -> None:
    """The bars of all files of a symbol are one series, each in its very text."""
    first = [bar("2024-01-03T14:30:00Z", "1.50", "2", "1.0", "1.5", vw="1.40", n="3")]
    second = [bar("2024-03-13T13:30:00Z", "7"), bar("2024-03-13T13:31:00Z", "7.10")]
    daily = [bar("2024-03-12T04:00:00Z", "7.000", v=5), bar("2024-03-13T04:00:00Z", "8")]
    write_bars(tmp_path, "IBM-1Min-2024-03-13", second)
    write_bars(tmp_path, "IBM-1Min-2024-01-03", first)
    write_bars(tmp_path, "IBM-1Day-raw", daily)
    async with asked(replayed(tmp_path)) as (_, client):
        minutes = await bars(client, "IBM", "1Min")
        short = await bars(client, "IBM", "1T")
        days = await bars(client, "IBM", "1D", start="2024-03-01")

    assert minutes == short == first + second
    assert days == daily


async def test_a_minute_bar_is_there_when_its_minute_is_over(tmp_path: Path) -> None:
    """Not a nanosecond earlier."""
    one = bar("2024-03-13T14:00:00Z", "7")
    write_bars(tmp_path, "IBM-1Min-x", [one])
    async with asked(replayed(tmp_path)) as (running, client):
        running.clock.seek(parse("2024-03-13T14:00:59.999999999Z"))
        early = await bars(client, "IBM", "1Min")
        running.clock.seek(parse("2024-03-13T14:01:00Z"))
        over = await bars(client, "IBM", "1Min")

    assert (early, over) == ([], [one])


async def test_trades_fill_in_for_minutes_without_a_bar(tmp_path: Path) -> None:
    """Where trades are recorded they make up the bars that are not; a recorded bar comes first."""
    write_recordings(tmp_path, ["IBM"], day=DAY)
    at = parse("2024-03-13T14:00:00Z")
    async with asked(replayed(tmp_path)) as (running, client):
        added_up = await bars(client, "IBM", "1Min")
        due = running.market.due("bars", "IBM", at - 10**14, at + 10**14)
        [day] = await bars(client, "IBM", "1Day", start="2024-03-13", end="2024-03-13")
    (tmp_path / "bars" / "IBM-1Day-raw.json.gz").unlink()
    recorded = bar(starts(added_up)[10], "9.99")
    write_bars(tmp_path, "IBM-1Min-x", [recorded])
    async with asked(replayed(tmp_path)) as (running, client):
        mixed = await bars(client, "IBM", "1Min")
        [whole] = await bars(client, "IBM", "1Day")
        running.clock.seek(parse("2024-03-13T20:00:00Z"))
        snapshot = (await client.get("/v2/stocks/IBM/snapshot")).json

    assert added_up == [rest(record.decode()) for _, record in due]
    assert len(added_up) > 50
    assert mixed == [*added_up[:10], recorded, *added_up[11:]]
    assert "n" not in json.loads(day)
    assert json.loads(whole)["c"] == snapshot["dailyBar"]["c"]
    assert json.loads(whole)["v"] > snapshot["dailyBar"]["v"]


async def test_days_out_of_minutes(tmp_path: Path) -> None:
    """A day of which only minutes are recorded has the prices of its session and all its volume."""
    minutes = [
        bar("2024-03-13T13:29:00Z", "1", v=5),
        bar("2024-03-13T13:30:00Z", "10", "12", "9", "11", v=10),
        bar("2024-03-13T19:59:00Z", "11", "11.5", "8.5", "9.50", v=20),
        bar("2024-03-13T20:00:00Z", "99", v=40),
    ]
    write_bars(tmp_path, "IBM-1Min-x", [*minutes, bar("2024-03-16T15:00:00Z", "1")])
    async with asked(replayed(tmp_path)) as (running, client):
        day = await bars(client, "IBM", "1Day")
        running.clock.seek(parse("2024-03-13T19:00:00Z"))
        so_far = await bars(client, "IBM", "1Day")

    assert day == ['{"t":"2024-03-13T04:00:00Z","o":10,"h":12,"l":8.5,"c":9.50,"v":75}']
    assert so_far == ['{"t":"2024-03-13T04:00:00Z","o":10,"h":12,"l":9,"c":11,"v":15}']


async def test_the_day_under_way(tmp_path: Path) -> None:
    """Today's bar is added up from trades until the close, and from then on the recorded one."""
    write_recordings(tmp_path, ["IBM"], day=DAY)
    recorded = [bytes(one).decode() for one in RecordingFolder(tmp_path).read("IBM").daily_bars]
    async with asked(replayed(tmp_path)) as (running, client):
        running.clock.seek(parse("2024-03-13T19:59:59.999999999Z"))
        before = await bars(client, "IBM", "1Day")
        snapshot = await client.get("/v2/stocks/IBM/snapshot")
        running.clock.seek(parse("2024-03-13T20:00:00Z"))
        after = await bars(client, "IBM", "1Day")
        down = await bars(client, "IBM", "1Day", sort="desc", limit="2")

    assert before[:-1] == after[:-1] == recorded[:-1]
    assert f'"dailyBar":{before[-1]}'.encode() in snapshot.body
    assert after[-1] == recorded[-1] != before[-1]
    assert down == after[::-1]


# ------------------------------------------------------------------------------------ longer bars

TIMEFRAMES = [
    *("2Min", "7T", "15Min", "59Min", "1Hour", "4H", "7Hour", "23H"),
    *("1Week", "1W", "1Month", "2M", "3Month", "4M", "6M", "12Month"),
]


def bucket(text: str, timeframe: str) -> datetime:
    """Return where the interval of a bar begins, by the calendar and the slow sure way."""
    at = datetime.fromisoformat(json.loads(text)["t"]).astimezone(NEW_YORK)
    midnight = at.replace(hour=0, minute=0)
    amount = int("".join(filter(str.isdigit, timeframe)))
    unit = timeframe.lstrip("0123456789")
    if unit in ("Min", "T", "Hour", "H"):
        length = amount * (60 if unit in ("Hour", "H") else 1)
        minutes = (at.hour * 60 + at.minute) // length * length
        return midnight.replace(hour=minutes // 60, minute=minutes % 60)
    if unit in ("Week", "W"):
        day = date.fromordinal(at.toordinal() - at.weekday())
    else:
        day = date(at.year, (at.month - 1) // amount * amount + 1, 1)
    return datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)


def summed(texts: Sequence[str]) -> dict[str, Any]:
    """Return what bars add up to, the average price in millionths."""
    parts = [json.loads(text, parse_float=Decimal) for text in texts]
    paid = sum(Decimal(one["vw"]) * one["v"] for one in parts)
    return {
        "vw": round(paid / sum(one["v"] for one in parts), 6),
        "o": parts[0]["o"],
        "h": max(one["h"] for one in parts),
        "l": min(one["l"] for one in parts),
        "c": parts[-1]["c"],
        "v": sum(one["v"] for one in parts),
        "n": sum(one["n"] for one in parts),
    }


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize("made_up", [True, False])
async def test_longer_bars(tmp_path: Path, timeframe: str, made_up: bool) -> None:
    """Minutes and hours add up minute bars from midnight on; weeks from Monday and months, daily bars."""
    intraday = timeframe[-1] in "nTrH"
    base = "1Min" if intraday else "1Day"
    if made_up:
        settings = synthetic(plan=Plan.PLUS)
        symbol, start = "AAPL", "2026-11-19" if intraday else "2026-07-06"
    else:
        write_recordings(tmp_path, ["IBM"], day=DAY)
        settings, symbol, start = replayed(tmp_path), "IBM", "2024-02-01"
    async with asked(settings) as (_, client):
        parts = await bars(client, symbol, base, start=start)
        longer = await bars(client, symbol, timeframe, start=start)
        down = await bars(client, symbol, timeframe, start=start, sort="desc", limit="3")

    first = datetime.fromisoformat(start).replace(tzinfo=NEW_YORK)
    groups = [
        (key.timestamp(), list(group))
        for key, group in groupby(parts, lambda text: bucket(text, timeframe))
        # A bar that begins before the start is not asked for.
        if key >= first
    ]
    decoded = [json.loads(text, parse_float=Decimal) for text in longer]
    assert down == longer[::-1]
    # Of the longest ones none may begin so late.
    assert decoded or bucket(parts[-1], timeframe) < first
    for (began, group), one in zip(groups, decoded, strict=True):
        assert datetime.fromisoformat(one["t"]).timestamp() == began
        if all('"n"' in text for text in group):
            assert {key: value for key, value in one.items() if key != "t"} == summed(group)
        else:
            assert set(one) == set("tohlcv")


async def test_what_a_part_lacks_the_whole_lacks(tmp_path: Path) -> None:
    """Average price and number of trades are left out where one of the bars lacks them."""
    write_bars(
        tmp_path,
        "IBM-1Min-x",
        [
            bar("2024-03-13T14:00:00Z", "10.50", v=1, vw="10.50", n="1"),
            bar("2024-03-13T14:01:00Z", "11", v=3, vw="11", n="2"),
            bar("2024-03-13T15:00:00Z", "10", v=1, vw="10", n="1"),
            bar("2024-03-13T15:01:00Z", "11", v=3),
        ],
    )
    async with asked(replayed(tmp_path)) as (_, client):
        hours = await bars(client, "IBM", "1Hour")

    assert hours == [
        '{"t":"2024-03-13T14:00:00Z","o":10.50,"h":11,"l":10.50,"c":11,"v":4,"n":3,"vw":10.875}',
        '{"t":"2024-03-13T15:00:00Z","o":10,"h":11,"l":10,"c":11,"v":4}',
    ]


async def test_the_hour_and_the_week_under_way(tmp_path: Path) -> None:
    """A longer interval that is not over has the bar of what is over in it, and nothing more."""
    minutes = [bar(f"2024-03-13T14:{minute:02}:00Z", str(minute + 1), v=1) for minute in range(60)]
    days = [bar(f"2024-03-{day}T04:00:00Z", str(day), v=1) for day in (11, 12, 13, 14, 15)]
    write_bars(tmp_path, "IBM-1Min-x", minutes)
    write_bars(tmp_path, "IBM-1Day-raw", days)
    async with asked(replayed(tmp_path)) as (running, client):
        running.clock.seek(parse("2024-03-13T14:10:30Z"))
        hour = await bars(client, "IBM", "1Hour")
        week = await bars(client, "IBM", "1Week")
        running.clock.seek(parse("2024-03-13T20:00:00Z"))
        closed = await bars(client, "IBM", "1Week")

    assert hour == ['{"t":"2024-03-13T14:00:00Z","o":1,"h":10,"l":1,"c":10,"v":10}']
    assert week == ['{"t":"2024-03-11T04:00:00Z","o":11,"h":12,"l":1,"c":10,"v":12}']
    assert closed == ['{"t":"2024-03-11T04:00:00Z","o":11,"h":13,"l":11,"c":13,"v":3}']


@given(st.integers(parse("2016-01-01T05:00:00Z"), parse("2029-12-01T05:00:00Z")))
def test_intervals_follow_each_other(instant: int) -> None:
    """Every instant lies in the interval it is told to be in, and the next begins at its end."""
    for text in (*TIMEFRAMES, "1Min", "1Day"):
        timeframe = read_timeframe(text)
        assert timeframe is not None
        start, end = timeframe.start_of(instant), timeframe.end_of(instant)
        assert start <= instant < end
        assert timeframe.start_of(start) == timeframe.start_of(end - 1) == start
        assert timeframe.start_of(end) == end


def test_long_and_short_names() -> None:
    """A timeframe has a long and a short name."""
    for long, short in [
        ("5Min", "5T"),
        ("2Hour", "2H"),
        ("1Day", "1D"),
        ("1Week", "1W"),
        ("3Month", "3M"),
    ]:
        assert read_timeframe(long) == read_timeframe(short)
        assert str(read_timeframe(short)) == long


@pytest.mark.parametrize("step", [3.0, 7.0])
@pytest.mark.parametrize("day", [date(2026, 11, 20), date(2025, 11, 28)])
def test_quick_sums_are_the_slow_ones(step: float, day: date) -> None:
    """A made-up day that is summed by the column has the bars that its trades add up to."""
    calendar = ExchangeCalendar()
    market = SyntheticMarket(calendar, step=step, seed=3)
    past = SyntheticPast(market, calendar)
    session = calendar.on_or_before(day)
    drawn = market.draw("MSFT", session)
    slow = list(drawn.bars.minute_bars(session.extended_open, session.extended_close))

    assert past._add_up_minutes("MSFT", session) == slow
    assert past._add_up_day("MSFT", session) == drawn.bars.daily_bar(session.extended_close)
    assert len(slow) > 900


# ------------------------------------------------------------------- adjusted, renamed and moved

SPLIT = {"id": "1", "symbol": "XYZ", "cusip": "1", "old_rate": 1, "new_rate": 4,
         "process_date": "2024-03-13", "ex_date": "2024-03-13"}  # fmt: skip
REVERSE = {"id": "2", "symbol": "XYZ", "old_cusip": "1", "new_cusip": "2", "old_rate": 10,
           "new_rate": 1, "process_date": "2024-03-15", "ex_date": "2024-03-15"}  # fmt: skip
DIVIDEND = {"id": "3", "symbol": "XYZ", "cusip": "1", "rate": 5.5, "special": False,
            "foreign": False, "process_date": "2024-03-20", "ex_date": "2024-03-14"}  # fmt: skip
ACTIONS = {"forward_splits": [SPLIT], "reverse_splits": [REVERSE], "cash_dividends": [DIVIDEND]}

DAILY = [
    bar("2024-03-12T04:00:00Z", "400.40", "404", "400", "400.5", v=10, vw="402"),
    bar("2024-03-13T04:00:00Z", "100", "112", "99", "110", v=40, vw="105.5"),
    bar("2024-03-14T04:00:00Z", "105", v=40),
    bar("2024-03-15T04:00:00Z", "1050.00", v=4),
]


@pytest.mark.parametrize(
    ("adjustment", "closes", "volumes"),
    [
        ("raw", ["400.5", "110", "105", "1050.00"], [10, 40, 40, 4]),
        ("split", ["1001.25", "1100", "1050", "1050.00"], [4, 4, 4, 4]),
        ("dividend", ["380.475", "104.5", "105", "1050.00"], [10, 40, 40, 4]),
        ("split,dividend", ["951.1875", "1045", "1050", "1050.00"], [4, 4, 4, 4]),
        ("dividend,split", ["951.1875", "1045", "1050", "1050.00"], [4, 4, 4, 4]),
        ("all", ["951.1875", "1045", "1050", "1050.00"], [4, 4, 4, 4]),
        ("spin-off", ["400.5", "110", "105", "1050.00"], [10, 40, 40, 4]),
    ],
)
async def test_adjustments(
    tmp_path: Path, adjustment: str, closes: list[str], volumes: list[int]
) -> None:
    """Bars before an ex-date are adjusted for it and those after are left as they were."""
    write_bars(tmp_path, "XYZ-1Day-raw", DAILY)
    write_actions(tmp_path, ACTIONS)
    async with asked(replayed(tmp_path)) as (_, client):
        texts = await bars(client, "XYZ", "1Day", adjustment=adjustment)
        [month] = await bars(client, "XYZ", "1Month", adjustment=adjustment, start="2024-03-01")

    decoded = [json.loads(text, parse_float=str) for text in texts]
    assert [str(one["c"]) for one in decoded] == closes
    assert [one["v"] for one in decoded] == volumes
    assert json.loads(month)["v"] == sum(volumes)
    assert texts[-1] == DAILY[-1]


async def test_nothing_is_adjusted_for_what_is_still_to_come(tmp_path: Path) -> None:
    """A split shows in the bars before it from its ex-date on, in minutes as well."""
    write_bars(tmp_path, "XYZ-1Day-raw", DAILY)
    minute = bar("2024-03-12T14:00:00Z", "400.40", v=3)
    write_bars(tmp_path, "XYZ-1Min-x", [minute])
    write_actions(tmp_path, {"forward_splits": [SPLIT]})
    async with asked(replayed(tmp_path)) as (running, client):
        running.clock.seek(parse("2024-03-13T03:59:59Z"))
        before = await bars(client, "XYZ", "1Day", adjustment="split")
        running.clock.seek(parse("2024-03-13T04:00:00Z"))
        after = await bars(client, "XYZ", "1Day", adjustment="split")
        [adjusted] = await bars(client, "XYZ", "1Min", adjustment="split")

    assert before == DAILY[:1]
    assert json.loads(after[0])["c"] == 100.125
    assert adjusted == '{"t":"2024-03-12T14:00:00Z","o":100.1,"h":100.1,"l":100.1,"c":100.1,"v":12}'


async def test_recorded_adjusted_bars(tmp_path: Path) -> None:
    """Where adjusted bars were recorded, `all` serves them as they were; no other adjustment does."""
    recorded = bar("2024-03-13T04:00:00Z", "26.0100", vw="26.00", n="5")
    write_bars(tmp_path, "XYZ-1Day-raw", DAILY)
    write_bars(tmp_path, "XYZ-1Day-adjusted-all", [recorded])
    async with asked(replayed(tmp_path)) as (_, client):
        everything = await bars(client, "XYZ", "1Day", adjustment="all")
        spelled_out = await bars(client, "XYZ", "1Day", adjustment="split,dividend,spin-off")
        split = await bars(client, "XYZ", "1Day", adjustment="split")

    assert everything == spelled_out == [DAILY[0], recorded, *DAILY[2:]]
    assert split == DAILY


RENAMED = {"name_changes": [{"id": "4", "old_symbol": "FBX", "old_cusip": "1", "new_symbol": "METX",
                             "new_cusip": "1", "process_date": "2024-03-13"}]}  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "as_of", "days"),
    [
        ("METX", None, [11, 12, 13, 14]),
        ("METX", "2024-03-14", [11, 12, 13, 14]),
        ("METX", "2024-03-13", [13, 14]),
        ("METX", "-", [13, 14]),
        ("FBX", None, [11, 12]),
        ("FBX", "-", [11, 12]),
        ("FBX", "2024-03-13", [11, 12, 13, 14]),
    ],
)
async def test_names(tmp_path: Path, symbol: str, as_of: str | None, days: list[int]) -> None:
    """A renamed company has its whole past under the name of the day that is meant."""
    write_bars(tmp_path, "FBX-1Day-raw", [bar(f"2024-03-{one}T04:00:00Z", "1") for one in (11, 12)])
    write_bars(
        tmp_path, "METX-1Day-raw", [bar(f"2024-03-{one}T04:00:00Z", "2") for one in (13, 14)]
    )
    write_actions(tmp_path, RENAMED)
    query = {"asof": as_of} if as_of is not None else {}
    async with asked(replayed(tmp_path)) as (_, client):
        found = await bars(client, symbol, "1Day", limit="1", **query)
        down = await bars(client, symbol, "1Day", limit="3", sort="desc", **query)

    assert starts(found) == [f"2024-03-{one}T04:00:00Z" for one in days]
    assert down == found[::-1]


async def test_moved_recordings(tmp_path: Path) -> None:
    """Moved in time, records keep every value but their time, and intervals are those that are shown."""
    recorded = write_recordings(tmp_path, ["IBM"], day=DAY)["IBM"]
    write_actions(tmp_path, RENAMED)
    now = parse("2026-11-20T15:30:00Z")
    settings = replayed(tmp_path, at="2024-03-13T16:07:00-04:00", shift_to_now=True)
    async with asked(settings, wall_ns=lambda: now) as (_, client):
        trades = await walk(client, "/v2/stocks/IBM/trades", start="2026-11-19")
        minutes = await bars(client, "IBM", "1Min", start="2026-11-19")
        hours = await bars(client, "IBM", "1Hour", start="2026-11-19")
        days = await bars(client, "IBM", "1Day", start="2026-11-01")
        weeks = await bars(client, "IBM", "1Week", start="2026-10-01")
        clock = (await client.get("/v2/clock")).json
        actions = (await client.get("/v1/corporate-actions", start="2026-11-20")).json

    offset = now - parse("2024-03-13T20:07:00Z")
    known = [one for one in recorded.trades if one[0] + offset <= now]
    shown = [json.loads(text) for text in trades.texts["IBM"]]
    assert [parse(one["t"]) for one in shown] == [time + offset for time, _ in known]
    assert [one["p"] for one in shown] == [json.loads(line)["p"] for _, line in known]
    assert all(text.endswith(":00Z") for text in starts(minutes))
    assert {text[13:] for text in starts(hours)} == {":00:00Z"}
    assert sum(json.loads(one)["v"] for one in hours) == sum(
        json.loads(one)["v"] for one in minutes
    )
    assert starts(days)[-1] == "2026-11-20T05:00:00Z"
    assert all(
        datetime.fromisoformat(at).astimezone(NEW_YORK).weekday() == 0 for at in starts(weeks)
    )
    assert clock["first_day"] == starts(days)[0][:10]
    assert actions["corporate_actions"]["name_changes"][0]["process_date"] == "2026-11-20"


# ------------------------------------------------------------------------ what the recorder writes


async def test_a_folder_that_a_recorder_has_written(tmp_path: Path) -> None:
    """Quotes, trades and minute bars of a session come back through the past and the stream alike."""
    minute = '{"T":"b","S":"XYZ","t":"2024-03-13T14:00:00Z","o":10,"h":10.5,"l":10,"c":10.50,"v":3}'
    quote = '{"T":"q","S":"XYZ","t":"2024-03-13T14:00:01.5Z","bp":10.0,"ap":10.50,"bs":1,"as":2}'
    trade = '{"T":"t","S":"XYZ","t":"2024-03-13T14:00:02Z","p":10.50,"s":3,"x":"V","c":["@"],"i":1}'
    write_text(tmp_path / "quotes" / f"XYZ-{DAY}.jsonl.gz", f"{quote}\n")
    write_text(tmp_path / "trades" / f"XYZ-{DAY}.jsonl.gz", f"{trade}\n")
    write_bars(tmp_path, f"XYZ-1Min-{DAY}", [minute])
    async with asked(replayed(tmp_path)) as (running, client):
        past = {
            kind: (await walk(client, f"/v2/stocks/XYZ/{kind}", start=str(DAY), **query)).texts[
                "XYZ"
            ]
            for kind, query in {"quotes": {}, "trades": {}, "bars": {"timeframe": "1Min"}}.items()
        }
        span = parse("2024-03-13T14:00:00Z"), parse("2024-03-13T14:05:00Z")
        sent = {
            kind: [record.decode() for _, record in running.market.due(kind, "XYZ", *span)]
            for kind in past
        }

    assert past == {"quotes": [rest(quote)], "trades": [rest(trade)], "bars": [rest(minute)]}
    assert sent == {"quotes": [quote], "trades": [trade], "bars": [minute]}
