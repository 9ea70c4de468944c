"""Assets, clock and calendar, as the trading API answers them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recordings import write_assets, write_recordings

from .asking import asked, synthetic


async def test_assets() -> None:
    """The asset list is a bare array that also holds a share without any data."""
    async with asked() as (_, client):
        answer = await client.get("/v2/assets")

    symbols = [asset["symbol"] for asset in answer.json]
    assert symbols == ["AAPL", "AMZN", "BRK.B", "GOOGL", "MSFT", "QUIET", "TSLA"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"status": "active"}, 7),
        ({"status": "inactive"}, 0),
        ({"asset_class": "crypto"}, 0),
        ({"exchange": "NYSE"}, 2),
        ({"attributes": "has_options,ipo"}, 7),
        ({"attributes": "ipo"}, 0),
    ],
)
async def test_asset_filters(query: dict[str, str], count: int) -> None:
    """Filters narrow the list; of several attributes one is enough."""
    async with asked() as (_, client):
        answer = await client.get("/v2/assets", **query)

    assert len(answer.json) == count


@pytest.mark.parametrize("name", ["status", "asset_class", "exchange"])
async def test_asset_filter_without_meaning(name: str) -> None:
    """A filter value that does not exist is refused with a code."""
    async with asked() as (_, client):
        answer = await client.get("/v2/assets", **{name: "bogus"})

    assert answer.status == 422
    assert answer.json == {"code": 42210000, "message": f"invalid {name}: bogus"}


async def test_asset() -> None:
    """An asset is found by its symbol and by its id."""
    async with asked() as (_, client):
        by_symbol = await client.get("/v2/assets/AAPL")
        by_id = await client.get(f"/v2/assets/{by_symbol.json['id']}")

    assert by_symbol.json["symbol"] == "AAPL"
    assert by_id.body == by_symbol.body


async def test_asset_by_cusip(tmp_path: Path) -> None:
    """A recorded asset that has a CUSIP is found by it."""
    write_recordings(tmp_path)
    write_assets(tmp_path, [{"id": "1", "symbol": "IBM", "status": "active", "cusip": "459200101"}])
    settings = synthetic(replay=tmp_path, at="2024-03-13T10:00:00-04:00")
    async with asked(settings) as (_, client):
        answer = await client.get("/v2/assets/459200101")

    assert answer.json["symbol"] == "IBM"


async def test_unknown_asset() -> None:
    """An unknown asset is 404 with a code."""
    async with asked() as (_, client):
        answer = await client.get("/v2/assets/ZZZZQX")

    assert answer.status == 404
    assert answer.json == {"code": 40410000, "message": "asset not found for ZZZZQX"}


@pytest.mark.parametrize(
    ("at", "timestamp", "is_open", "next_open", "next_close"),
    [
        (
            "2026-08-30T18:53:54.905548592Z",
            "2026-08-30T14:53:54.905548592-04:00",
            False,
            "2026-08-31T09:30:00-04:00",
            "2026-08-31T16:00:00-04:00",
        ),
        (
            "2026-11-20T15:00:00.25Z",
            "2026-11-20T10:00:00.25-05:00",
            True,
            "2026-11-23T09:30:00-05:00",
            "2026-11-20T16:00:00-05:00",
        ),
        (
            "2026-11-25T21:00:00Z",
            "2026-11-25T16:00:00-05:00",
            False,
            "2026-11-27T09:30:00-05:00",
            "2026-11-27T13:00:00-05:00",
        ),
    ],
    ids=["weekend", "session", "close before a holiday and a half day"],
)
async def test_clock(
    at: str, timestamp: str, is_open: bool, next_open: str, next_close: str
) -> None:
    """The clock tells market time with New York's offset, its speed and the first day of history besides."""
    async with asked(synthetic(at=at)) as (_, client):
        answer = await client.get("/v2/clock")

    assert answer.json == {
        "timestamp": timestamp,
        "is_open": is_open,
        "next_open": next_open,
        "next_close": next_close,
        "speed": 0.0,
        "first_day": "2024-01-02",
    }


async def test_calendar() -> None:
    """The calendar lists trading days only, half days with their early close."""
    async with asked() as (_, client):
        answer = await client.get("/v2/calendar", start="2025-11-27", end="2025-12-01")

    assert answer.json == [
        {
            "date": "2025-11-28",
            "open": "09:30",
            "close": "13:00",
            "session_open": "0400",
            "session_close": "2000",
            "settlement_date": "2025-12-01",
        },
        {
            "date": "2025-12-01",
            "open": "09:30",
            "close": "16:00",
            "session_open": "0400",
            "session_close": "2000",
            "settlement_date": "2025-12-02",
        },
    ]


async def test_calendar_by_settlement() -> None:
    """Start and end may mean settlement days."""
    async with asked() as (_, client):
        answer = await client.get(
            "/v2/calendar", start="2025-12-01", end="2025-12-02", date_type="SETTLEMENT"
        )

    assert [day["date"] for day in answer.json] == ["2025-11-28", "2025-12-01"]


async def test_whole_calendar() -> None:
    """Without a range the calendar runs from 1970 to 2029."""
    async with asked() as (_, client):
        answer = await client.get("/v2/calendar")

    assert (answer.json[0]["date"], answer.json[-1]["date"]) == ("1970-01-02", "2029-12-31")


@pytest.mark.parametrize(
    "query",
    [
        {"start": "yesterday"},
        {"start": "2025-12-02", "end": "2025-12-01"},
        {"date_type": "BUSINESS"},
    ],
)
async def test_calendar_is_asked_wrongly(query: dict[str, str]) -> None:
    """A calendar question that makes no sense is refused with a code."""
    async with asked() as (_, client):
        answer = await client.get("/v2/calendar", **query)

    assert (answer.status, answer.json["code"]) == (422, 42210000)
