"""Recordings that happen again, to the digit."""

from __future__ import annotations

import gzip
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.recordings import (
    REAL_RECORDINGS,
    market_open,
    write_assets,
    write_recordings,
)
from tickgate_sandbox import RecordingError, SettingsError
from tickgate_sandbox.recordings import RecordingFolder
from tickgate_sandbox.timestamps import parse

from .asking import asked, synthetic

DAY = date(2024, 3, 13)
AT = "2024-03-13T10:00:00-04:00"
HOUR = 3600 * 1_000_000_000

real = pytest.mark.skipif(not REAL_RECORDINGS.is_dir(), reason="real recordings are not at hand")


def rest(line: str) -> bytes:
    """Return a recorded stream record as REST shows it: without type and symbol."""
    return re.sub(r'"T":"\w","S":"[\w.]+",', "", line).encode()


async def test_every_quote_leaves_as_it_was_recorded(tmp_path: Path) -> None:
    """At each recorded instant the quote is served in the text of its last line."""
    recorded = write_recordings(tmp_path, day=DAY)
    async with asked(synthetic(replay=tmp_path, at=AT)) as (running, client):
        for symbol, recording in recorded.items():
            for time, _ in recording.quotes[::7]:
                running.clock.seek(time)
                answer = await client.get("/v2/stocks/quotes/latest", symbols=symbol)

                expected = rest(recording.latest_quote(time))
                assert answer.body == b'{"quotes":{"%s":%s}}' % (symbol.encode(), expected)


async def test_nothing_before_the_first_record(tmp_path: Path) -> None:
    """An instant before its first record knows nothing of a symbol."""
    recorded = write_recordings(tmp_path, day=DAY)["AAPL"]
    async with asked(synthetic(replay=tmp_path, at=AT)) as (running, client):
        running.clock.seek(recorded.quotes[0][0] - 1)
        before = await client.get("/v2/stocks/quotes/latest", symbols="AAPL")
        running.clock.seek(recorded.quotes[0][0])
        at_first = await client.get("/v2/stocks/quotes/latest", symbols="AAPL")

    assert before.json == {"quotes": {}}
    assert list(at_first.json["quotes"]) == ["AAPL"]


async def test_last_line_of_an_instant_wins(tmp_path: Path) -> None:
    """Of several quotes with one time the last one stands."""
    recorded = write_recordings(tmp_path, day=DAY)["IBM"]
    times = [time for time, _ in recorded.quotes]
    index = next(i for i in range(1, len(times)) if times[i] == times[i - 1])
    while index + 1 < len(times) and times[index + 1] == times[index]:
        index += 1
    async with asked(synthetic(replay=tmp_path, at=AT)) as (running, client):
        running.clock.seek(times[index])
        answer = await client.get("/v2/stocks/IBM/quotes/latest")

    assert rest(recorded.quotes[index][1]) in answer.body


async def test_recordings_have_what_real_ones_have(tmp_path: Path) -> None:
    """The recordings we make hold empty sides, locked and crossed quotes and shared times."""
    recorded = write_recordings(tmp_path, day=DAY)["AAPL"]
    quotes = [json.loads(line) for _, line in recorded.quotes]
    both = [quote for quote in quotes if quote["bp"] and quote["ap"]]

    assert any(quote["bp"] == 0 and quote["bx"] == " " and quote["bs"] == 0 for quote in quotes)
    assert any(quote["ap"] == 0 for quote in quotes)
    assert any(quote["bp"] == quote["ap"] for quote in both)
    assert any(quote["bp"] > quote["ap"] for quote in both)
    assert len({quote["t"] for quote in quotes}) < len(quotes)


async def test_latest_trade_set_a_price(tmp_path: Path) -> None:
    """Odd lots and other trades that set no price are never the latest trade."""
    recorded = write_recordings(tmp_path, day=DAY)["AAPL"]
    instant = market_open(DAY) + HOUR
    eligible = [
        line
        for time, line in recorded.trades
        if time <= instant and not {"I", "4"} & set(json.loads(line).get("c", []))
    ]
    async with asked(synthetic(replay=tmp_path, at=AT)) as (running, client):
        running.clock.seek(instant)
        answer = await client.get("/v2/stocks/AAPL/trades/latest")

    assert rest(eligible[-1]) in answer.body


async def test_daily_bars(tmp_path: Path) -> None:
    """The recorded bar of a day shows once the day is over; before, its trades are added up."""
    recorded = write_recordings(tmp_path, day=DAY)["AAPL"]
    folder = RecordingFolder(tmp_path)
    bars = [bytes(bar) for bar in folder.read("AAPL").daily_bars]
    async with asked(synthetic(replay=tmp_path, at=AT)) as (running, client):
        during = (await client.get("/v2/stocks/AAPL/snapshot")).json
        running.clock.seek(market_open(DAY) + 7 * HOUR)
        after = await client.get("/v2/stocks/AAPL/snapshot")
        running.clock.seek(market_open(DAY) - 4 * HOUR)
        before = await client.get("/v2/stocks/AAPL/snapshot")

    assert recorded.trades
    assert during["dailyBar"]["t"] == "2024-03-13T04:00:00Z"
    assert during["dailyBar"]["n"] > 0
    assert during["prevDailyBar"] == msgspec.json.decode(bars[-2])
    assert b'"dailyBar":' + bars[-1] in after.body
    assert b'"prevDailyBar":' + bars[-2] in after.body
    assert b'"dailyBar":' + bars[-2] in before.body


async def test_parts_of_a_snapshot_that_are_not_known(tmp_path: Path) -> None:
    """A snapshot has no part that was not recorded."""
    write_recordings(tmp_path, day=DAY)
    (tmp_path / "trades" / f"IBM-{DAY}.jsonl.gz").unlink()
    (tmp_path / "bars" / "IBM-1Day-raw.json.gz").unlink()
    async with asked(synthetic(replay=tmp_path, at=AT)) as (_, client):
        answer = await client.get("/v2/stocks/IBM/snapshot")

    assert list(answer.json) == ["latestQuote", "symbol"]


async def test_recorded_minute_bars_come_first(tmp_path: Path) -> None:
    """A recorded minute bar is served verbatim, but not before its minute is over."""
    write_recordings(tmp_path, day=DAY)
    bar = '{"t":"2024-03-13T14:00:00Z","o":1.50,"h":2,"l":1,"c":1.5,"v":7}'
    recording = gzip.compress(f'{{"bars":[{bar}]}}'.encode())
    (tmp_path / "bars" / f"IBM-1Min-{DAY}.json.gz").write_bytes(recording)
    async with asked(synthetic(replay=tmp_path, at=AT)) as (running, client):
        early = await client.get("/v2/stocks/IBM/bars/latest")
        running.clock.seek(parse("2024-03-13T14:01:00Z"))
        over = await client.get("/v2/stocks/IBM/bars/latest")

    assert bar.encode() not in early.body
    assert bar.encode() in over.body


async def test_lines_out_of_order(tmp_path: Path) -> None:
    """A recording whose lines are out of order is put in order."""
    (tmp_path / "quotes").mkdir()
    lines = [f'{{"T":"q","S":"X","t":"2024-03-13T13:30:0{second}Z"}}\n' for second in (3, 1, 2)]
    path = tmp_path / "quotes" / f"X-{DAY}.jsonl.gz"
    path.write_bytes(gzip.compress("".join(lines).encode()))
    async with asked(synthetic(replay=tmp_path, at="2024-03-13T13:30:02Z")) as (_, client):
        answer = await client.get("/v2/stocks/X/quotes/latest")

    assert answer.body == b'{"quote":{"t":"2024-03-13T13:30:02Z"},"symbol":"X"}'


async def test_max_records(tmp_path: Path) -> None:
    """Of a long file only the beginning is read when that is asked for."""
    recorded = write_recordings(tmp_path, day=DAY)["AAPL"]
    settings = synthetic(replay=tmp_path, at="2024-03-13T23:00:00Z", max_records=10)
    async with asked(settings) as (_, client):
        answer = await client.get("/v2/stocks/AAPL/quotes/latest")

    assert rest(recorded.quotes[9][1]) in answer.body


async def test_chosen_symbols(tmp_path: Path) -> None:
    """Only the symbols that were chosen have data; the others are listed all the same."""
    write_recordings(tmp_path, day=DAY)
    async with asked(synthetic(replay=tmp_path, at=AT, symbols=("IBM",))) as (running, client):
        answer = await client.get("/v2/stocks/quotes/latest", symbols="AAPL,IBM")

        assert running.market.symbols == {"IBM"}
    assert list(answer.json["quotes"]) == ["IBM"]


async def test_recorded_assets(tmp_path: Path) -> None:
    """Recorded assets are served as they were, and every recorded symbol is listed."""
    write_recordings(tmp_path, day=DAY)
    write_assets(tmp_path, [{"id": "1", "symbol": "AAPL", "status": "inactive"}])
    async with asked(synthetic(replay=tmp_path, at=AT)) as (_, client):
        answer = await client.get("/v2/assets")
        recorded = await client.get("/v2/assets/AAPL")

    assert [asset["symbol"] for asset in answer.json] == ["AAPL", "IBM"]
    assert recorded.json == {"id": "1", "symbol": "AAPL", "status": "inactive"}
    assert answer.json[1]["exchange"] == "NYSE"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"symbols": ("TSLA",)}, "there are no recordings of TSLA, only of AAPL, IBM"),
        ({"replay": Path("nowhere")}, "there is no folder nowhere"),
    ],
)
async def test_wrong_replay(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    """A replay that cannot be is refused with the reason."""
    write_recordings(tmp_path, day=DAY)
    with pytest.raises((SettingsError, RecordingError), match=sentence):
        async with asked(synthetic(**({"replay": tmp_path, "at": AT} | changes))):
            pass


async def test_empty_folder(tmp_path: Path) -> None:
    """A folder without recordings is refused."""
    with pytest.raises(RecordingError, match="holds no recordings"):
        async with asked(synthetic(replay=tmp_path)):
            pass


async def test_only_bars(tmp_path: Path) -> None:
    """With nothing but bars there is no day to start on by itself."""
    write_recordings(tmp_path, day=DAY)
    for symbol in ("AAPL", "IBM"):
        (tmp_path / "quotes" / f"{symbol}-{DAY}.jsonl.gz").unlink()
        (tmp_path / "trades" / f"{symbol}-{DAY}.jsonl.gz").unlink()
    with pytest.raises(SettingsError, match="name the instant"):
        async with asked(synthetic(replay=tmp_path, at=None)):
            pass


@pytest.mark.parametrize(
    "content",
    [b"not gzip", gzip.compress(b"not json\n", mtime=0)],
    ids=["not gzip", "not json"],
)
async def test_unreadable_recording(tmp_path: Path, content: bytes) -> None:
    """A file that is no recording is named."""
    write_recordings(tmp_path, day=DAY)
    (tmp_path / "quotes" / f"IBM-{DAY}.jsonl.gz").write_bytes(content)
    with pytest.raises(RecordingError, match=f"IBM-{DAY}"):
        async with asked(synthetic(replay=tmp_path, at=AT, symbols=("IBM",))):
            pass


@real
@pytest.mark.recordings
@pytest.mark.parametrize(
    ("symbol", "at", "body"),
    [
        (
            "IBM",
            "2013-10-08T14:59:59.8Z",
            (
                b'{"bx":"B","bp":179.97,"bs":100,"ax":"N","ap":180.01,"as":100,"c":["R"],'
                b'"t":"2013-10-08T14:59:59.796Z","z":"A"}'
            ),
        ),
        (
            "AAPL",
            "2012-06-21T13:30:00.004241176Z",
            (
                b'{"bx":"Q","bp":585.33,"bs":18,"ax":"Q","ap":585.94,"as":200,'
                b'"t":"2012-06-21T13:30:00.004241176Z","z":"C"}'
            ),
        ),
    ],
)
async def test_real_quotes(symbol: str, at: str, body: bytes) -> None:
    """Real quotes are served to the digit and the nanosecond."""
    settings = synthetic(replay=REAL_RECORDINGS, at=at)
    async with asked(settings) as (_, client):
        answer = await client.get(f"/v2/stocks/{symbol}/quotes/latest")

    assert answer.body == b'{"quote":%s,"symbol":"%s"}' % (body, symbol.encode())


@real
@pytest.mark.recordings
async def test_real_assets() -> None:
    """The list recorded from Alpaca is served as it was, newer fields still missing."""
    settings = synthetic(replay=REAL_RECORDINGS, at="2013-10-08T15:00:00Z")
    async with asked(settings) as (_, client):
        listed = await client.get("/v2/assets")
        one = await client.get("/v2/assets/BRK.B")

    assert len(listed.json) > 10_000
    assert one.json["name"] == "BERKSHIRE HATHAWAY Class B"
    assert "fractionable" not in one.json
