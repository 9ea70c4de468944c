"""The real recordings, through the past: every record, to the digit."""

from __future__ import annotations

import gzip
import json
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.recordings import REAL_RECORDINGS
from tickgate_sandbox import Plan

from .asking import asked, synthetic
from .walking import rest, walk

pytestmark = [
    pytest.mark.skipif(not REAL_RECORDINGS.is_dir(), reason="real recordings are not at hand"),
    pytest.mark.recordings,
]

FULL_PAGE = "10000"


def replayed(*symbols: str, at: str = "2026-08-20T16:00:00-04:00") -> Any:
    """Return settings of a replay in which everything recorded of *symbols* has happened."""
    return synthetic(replay=REAL_RECORDINGS, at=at, symbols=symbols, plan=Plan.PLUS)


def recorded_bars(name: str) -> list[str]:
    """Return the bars of a file as the texts they are recorded in."""
    text = gzip.decompress((REAL_RECORDINGS / "bars" / f"{name}.json.gz").read_bytes())
    bars = msgspec.json.decode(text, type=dict[str, list[msgspec.Raw]])["bars"]
    return [bytes(one).decode() for one in bars]


def recorded_lines(path: Path) -> list[str]:
    """Return the lines of a file as REST shows them."""
    return [rest(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


async def test_minute_bars_of_spy() -> None:
    """All 49,720 minute bars of SPY from February to May 2024 are what was recorded, in both orders."""
    recorded = recorded_bars("SPY-1Min-2024-02-20_2024-05-17")
    query = {"timeframe": "1Min", "start": "2024-02-20", "end": "2024-05-17", "limit": FULL_PAGE}
    async with asked(replayed("SPY")) as (_, client):
        up = await walk(client, "/v2/stocks/bars", symbols="SPY", **query)
        down = await walk(client, "/v2/stocks/SPY/bars", sort="desc", **query)

    assert len(recorded) == 49_720
    assert up.texts == {"SPY": recorded}
    assert up.sizes == [10_000] * 4 + [9_720]
    assert down.texts == {"SPY": recorded[::-1]}


async def test_daily_bars_of_apple() -> None:
    """Apple's daily bars are what was recorded, raw and adjusted, and splits close the gaps between."""
    raw = recorded_bars("AAPL-1Day-raw")
    adjusted = recorded_bars("AAPL-1Day-adjusted-all")
    query = {"timeframe": "1Day", "start": "1998-01-01", "limit": FULL_PAGE}
    async with asked(replayed("AAPL")) as (_, client):
        served = {
            adjustment: (
                await walk(client, "/v2/stocks/AAPL/bars", adjustment=adjustment, **query)
            ).texts["AAPL"]
            for adjustment in ("raw", "split", "all")
        }

    assert served["raw"] == raw
    assert served["all"][-len(adjusted) :] == adjusted
    closes = {
        adjustment: [json.loads(text)["c"] for text in texts]
        for adjustment, texts in served.items()
    }
    steps = {
        adjustment: [after / before for before, after in pairwise(prices)]
        for adjustment, prices in closes.items()
    }
    # Each of the four splits more than halves the raw price; the fall of September 2000 was real.
    assert sum(step < 0.51 for step in steps["raw"]) == 4
    assert [round(step, 2) for step in steps["split"] if step < 0.51] == [0.48]


async def test_ticks_of_2013() -> None:
    """Trades and quotes of 2013-10-07 leave as their lines, whole days of several symbols at a time."""
    day = "2013-10-07"
    async with asked(replayed("AIG", "BAC", "IBM", "SPY")) as (_, client):
        trades = await walk(
            client, "/v2/stocks/trades", symbols="AIG,BAC,IBM", start=day, end=day, limit=FULL_PAGE
        )
        quotes = await walk(
            client, "/v2/stocks/IBM/quotes", start=day, end=day, limit=FULL_PAGE, sort="desc"
        )

    for symbol, texts in trades.texts.items():
        assert texts == recorded_lines(REAL_RECORDINGS / "trades" / f"{symbol}-{day}.jsonl.gz")
    assert [len(texts) for texts in trades.texts.values()] == [25_351, 88_172, 24_293]
    assert quotes.texts["IBM"][::-1] == recorded_lines(
        REAL_RECORDINGS / "quotes" / f"IBM-{day}.jsonl.gz"
    )


async def test_days_out_of_minutes_are_near_what_was_recorded() -> None:
    """The day that the minutes of 2024-02-20 add up to has the prices that Alpaca recorded of it."""
    query = {"timeframe": "1Day", "start": "2024-02-20", "end": "2024-02-20"}
    async with asked(replayed("SPY")) as (_, client):
        [day] = (await walk(client, "/v2/stocks/SPY/bars", **query)).texts["SPY"]

    found = json.loads(day)
    assert (found["o"], found["h"], found["l"]) == (497.72, 498.41, 494.45)


async def test_facebook_under_its_new_name() -> None:
    """Meta's past is what was recorded of Facebook, unless names are taken at their word."""
    query = {"timeframe": "1Day", "start": "2018-01-02", "end": "2018-01-31"}
    async with asked(replayed("FB")) as (_, client):
        mapped = await walk(client, "/v2/stocks/META/bars", **query)
        named = await walk(client, "/v2/stocks/META/bars", **query, asof="-")
        old = await walk(client, "/v2/stocks/FB/bars", **query)

    january = re.compile(r'"t":"2018-01-(?!01)')
    assert mapped.texts == {
        "META": [one for one in recorded_bars("FB-1Day-raw") if january.search(one)]
    }
    assert named.texts == {}
    assert old.texts["FB"] == mapped.texts["META"]


async def test_first_day() -> None:
    """The clock tells the first day that anything of the chosen symbols is recorded of."""
    days = {}
    for symbol in ("SPY", "NVDA", "AMZN", "GOOG"):
        async with asked(replayed(symbol)) as (_, client):
            days[symbol] = (await client.get("/v2/clock")).json["first_day"]

    assert days == {
        "SPY": "1998-01-02",
        "NVDA": "2021-02-18",
        "AMZN": "2012-06-21",
        "GOOG": "2015-12-24",
    }


async def test_pages_are_quick() -> None:
    """Once a symbol is read, a page of ten thousand takes little more than its bytes do."""
    query = {"start": "2013-10-07", "end": "2013-10-07", "limit": FULL_PAGE}
    async with asked(replayed("SPY")) as (_, client):
        began = time.perf_counter()
        walked = await walk(client, "/v2/stocks/SPY/trades", **query)
        took = time.perf_counter() - began

    assert sum(walked.sizes) == 250_601
    # Some 20 ms a page with this test's own decoding, on an idle machine; the bound is for busy ones.
    assert took / len(walked.sizes) < 0.5
