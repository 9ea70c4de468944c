"""The control endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from tickgate_sandbox.calendar import FIRST_INSTANT, LAST_INSTANT

from .asking import MARKET_OPEN, asked

QUOTE = '{"t":"2026-11-20T15:00:00.100Z","bp":101.50,"ap":-1e2,"bs":"many"}'


async def test_clock_state() -> None:
    """The clock tells market time and speed."""
    async with asked() as (_, client):
        answer = await client.get("/sandbox/clock")

    assert answer.json == {"market_time": "2026-11-20T15:00:00Z", "speed": 0.0}


async def test_seek_and_speed() -> None:
    """Market time and speed are set together or alone; what is not named stays."""
    async with asked(monotonic_ns=lambda: 0) as (_, client):
        moved = await client.send(
            "PUT", "/sandbox/clock", body={"market_time": "2026-11-20T15:30:00.5Z"}
        )
        faster = await client.send("PUT", "/sandbox/clock", body={"speed": 10})
        market = await client.get("/v2/clock")

    assert moved.json == {"market_time": "2026-11-20T15:30:00.5Z", "speed": 0.0}
    assert faster.json == {"market_time": "2026-11-20T15:30:00.5Z", "speed": 10.0}
    assert market.json["timestamp"] == "2026-11-20T10:30:00.5-05:00"
    assert market.json["speed"] == 10.0


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        {"market_time": "noon"},
        {"market_time": "1492-10-12T00:00:00Z"},
        {"market_time": "0001-01-01T00:00:00Z"},
        {"market_time": "2029-01-01T00:00:00Z", "speed": 1e308},
        {"speed": -1},
        {"speed": 1_000_001},
        b'{"speed": 1e400}',
        {"speed": "fast"},
        {"sped": 1},
    ],
)
async def test_wrong_clock(body: Any) -> None:
    """A clock that makes no sense is refused with a sentence, and nothing changes."""
    async with asked() as (_, client):
        answer = await client.send("PUT", "/sandbox/clock", body=body)
        state = await client.get("/sandbox/clock")

    assert answer.status == 400
    assert answer.message
    assert state.json == {"market_time": "2026-11-20T15:00:00Z", "speed": 0.0}


@pytest.mark.parametrize("instant", [FIRST_INSTANT, LAST_INSTANT])
async def test_every_endpoint_at_the_ends_of_time(instant: int) -> None:
    """At the first and last instant of the calendar every endpoint answers, and time moves on."""
    async with asked() as (running, client):
        running.clock.seek(instant)
        answers = [
            await client.get(path, symbols="AAPL", feed="delayed_sip")
            for path in (
                "/v2/stocks/quotes/latest",
                "/v2/stocks/trades/latest",
                "/v2/stocks/bars/latest",
                "/v2/stocks/snapshots",
                "/v2/stocks/AAPL/snapshot",
                "/v2/clock",
                "/v2/calendar",
                "/v2/assets",
                "/sandbox/clock",
            )
        ]
        repaired = await client.send("PUT", "/sandbox/clock", body={"market_time": MARKET_OPEN})

    assert {answer.status for answer in answers} == {200}
    assert repaired.json == {"market_time": "2026-11-20T15:00:00Z", "speed": 0.0}


async def test_counters() -> None:
    """Requests are counted by endpoint, symbol and status; control requests are not."""
    async with asked() as (_, client):
        await client.get("/v2/stocks/quotes/latest", symbols="AAPL,MSFT")
        await client.get("/v2/stocks/AAPL/quotes/latest")
        await client.get("/v2/nowhere")
        answer = await client.get("/sandbox/counters")

    counted = answer.json
    assert counted.pop("stream")["connections"] == 0
    assert counted == {
        "requests": 3,
        "endpoints": {
            "/v2/stocks/quotes/latest": 1,
            "/v2/stocks/{symbol}/quotes/latest": 1,
            "unknown": 1,
        },
        "symbols": {"AAPL": 2, "MSFT": 1},
        "statuses": {"200": 2, "404": 1},
    }


async def test_counters_start_again() -> None:
    """Deleting the counters sets them to zero."""
    async with asked() as (running, client):
        await client.get("/v2/clock")
        await client.send("DELETE", "/sandbox/counters")

        assert running.counters.requests == 0
        assert not running.counters.statuses


async def test_faults() -> None:
    """Faults are armed, listed with the strikes they have left, and cleared."""
    fault = {"kind": "status", "status": 503, "path": "/v2", "times": 2}
    async with asked() as (_, client):
        armed = await client.send("POST", "/sandbox/faults", body=fault)
        await client.get("/v2/clock")
        listed = await client.get("/sandbox/faults")
        await client.send("DELETE", "/sandbox/faults")
        left = await client.get("/sandbox/faults")

    assert armed.status == 201
    assert armed.json.items() >= fault.items()
    assert [one["times"] for one in listed.json] == [1]
    assert left.json == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "latency", "seconds": 0},
        {"kind": "hang"},
        {"kind": "reset"},
        {"kind": "truncate"},
        {"kind": "garbage"},
        {"kind": "html_401"},
        {"kind": "null_body"},
        {"kind": "empty_body"},
        {"kind": "reply", "body": ""},
        {"kind": "wrong_symbol", "symbol": "X"},
        {"kind": "drop_symbols", "symbols": []},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_every_kind_of_fault(fault: dict[str, Any]) -> None:
    """Every kind of fault can be armed over HTTP."""
    async with asked() as (_, client):
        answer = await client.send("POST", "/sandbox/faults", body=fault)

    assert answer.status == 201


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"status": 500}, "kind"),
        ({"kind": "earthquake"}, "earthquake"),
        ({"kind": "status"}, "status"),
        ({"kind": "hang", "seconds": 1}, "seconds"),
        ({"kind": "hang", "times": 0}, ">= 1"),
        ({"kind": "status", "status": 500, "headers": {"A": "x\ny"}}, "header A"),
        ({"kind": "status", "status": 500, "headers": {"A\r": "x"}}, "'A\\r'"),
        ({"kind": "status", "status": 500, "headers": {"": "x"}}, "''"),
        ({"kind": "status", "status": 500, "headers": {"Content-Type": "x"}}, "content_type"),
        ({"kind": "status", "status": 500, "content_type": "text/x\n"}, "content_type"),
        ({"kind": "reply", "body": "", "content_type": "text/x\0"}, "content_type"),
        ({"kind": "reply", "body": "", "content_type": "a/b; charset=c"}, "content_type"),
        ([], "object"),
    ],
)
async def test_wrong_fault(fault: Any, sentence: str) -> None:
    """A fault that makes no sense is refused saying why."""
    async with asked() as (running, client):
        answer = await client.send("POST", "/sandbox/faults", body=fault)

        assert answer.status == 400
        assert sentence in answer.message
        assert not running.faults.armed()


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("quotes", "/v2/stocks/quotes/latest?symbols=AAPL"),
        ("trades", "/v2/stocks/AAPL/trades/latest"),
        ("bars", "/v2/stocks/bars/latest?symbols=AAPL,MSFT"),
        ("snapshots", "/v2/stocks/snapshots?symbols=AAPL"),
        ("assets", "/v2/assets/AAPL"),
        ("quotes", "/v2/stocks/AAPL/snapshot"),
        ("snapshots", "/v2/stocks/AAPL/snapshot"),
        ("assets", "/v2/assets"),
    ],
)
async def test_pin(kind: str, path: str) -> None:
    """A pinned record is served verbatim wherever the symbol's own would be."""
    async with asked() as (_, client):
        pinned = await client.send("PUT", f"/sandbox/pins/{kind}/AAPL", body=QUOTE.encode())
        with_pin = await client.get(path)
        await client.send("DELETE", f"/sandbox/pins/{kind}/AAPL")
        without = await client.get(path)

    assert pinned.status == 204
    assert QUOTE.encode() in with_pin.body
    assert QUOTE.encode() not in without.body


async def test_pin_of_an_unknown_symbol() -> None:
    """A symbol that the market does not know has what is pinned for it."""
    async with asked() as (running, client):
        running.pins.put("quotes", "ZZZZ", QUOTE)
        running.pins.put("assets", "ZZZZ", '{"symbol":"ZZZZ"}')
        quote = await client.get("/v2/stocks/quotes/latest", symbols="ZZZZ")
        asset = await client.get("/v2/assets/ZZZZ")
        assets = await client.get("/v2/assets")

    assert QUOTE.encode() in quote.body
    assert asset.body == b'{"symbol":"ZZZZ"}'
    assert assets.json[-1] == {"symbol": "ZZZZ"}


async def test_all_pins_are_removed() -> None:
    """Deleting the pins leaves none."""
    async with asked() as (running, client):
        running.pins.put("quotes", "AAPL", QUOTE)
        await client.send("DELETE", "/sandbox/pins")

        assert running.pins.get("quotes", "AAPL") is None


@pytest.mark.parametrize(("kind", "body"), [("orders", b"{}"), ("quotes", b"{")])
async def test_wrong_pin(kind: str, body: bytes) -> None:
    """A pin has a kind that exists and holds JSON."""
    async with asked() as (_, client):
        put = await client.send("PUT", f"/sandbox/pins/{kind}/AAPL", body=body)

    assert put.status == 400
    assert put.message


async def test_unpinning_an_unknown_kind() -> None:
    """A kind that does not exist cannot be unpinned either."""
    async with asked() as (_, client):
        answer = await client.send("DELETE", "/sandbox/pins/orders/AAPL")

    assert answer.status == 400


async def test_control_needs_no_key() -> None:
    """Whoever reaches the sandbox may steer it."""
    async with asked() as (_, client):
        answer = await client.get_as({}, "/sandbox/clock")

    assert answer.status == 200
