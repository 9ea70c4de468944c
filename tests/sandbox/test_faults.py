"""Faults on command, as a client meets them."""

from __future__ import annotations

import asyncio
import errno

import aiohttp
import pytest

from tickgate_sandbox import Fault, Sandbox, faults

from .asking import asked

CLOCK = "/v2/clock"
QUOTES = "/v2/stocks/quotes/latest"


async def test_status() -> None:
    """A status fault answers with the status, and a message unless a body is given."""
    async with asked() as (running, client):
        running.faults.add(faults.Status(status=503))
        answer = await client.get(CLOCK)

    assert (answer.status, answer.json) == (503, {"message": "service unavailable"})
    assert "X-Request-ID" in answer.headers


async def test_status_with_everything() -> None:
    """A status fault may choose body, content type and headers."""
    fault = faults.Status(
        status=429, body={"code": 1}, content_type="text/plain", headers={"Retry-After": "7"}
    )
    async with asked() as (running, client):
        running.faults.add(fault)
        answer = await client.get(CLOCK)

    assert (answer.status, answer.body) == (429, b'{"code":1}')
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Retry-After"] == "7"


async def test_times() -> None:
    """A fault that strikes twice leaves the third request alone."""
    async with asked() as (running, client):
        running.faults.add(faults.Status(status=500, times=2))
        statuses = [(await client.get(CLOCK)).status for _ in range(3)]

    assert statuses == [500, 500, 200]


async def test_path() -> None:
    """A fault strikes only paths that begin with its own."""
    async with asked() as (running, client):
        running.faults.add(faults.Status(status=500, path="/v2/stocks"))
        struck = await client.get(QUOTES, symbols="AAPL")
        spared = await client.get(CLOCK)

    assert (struck.status, spared.status) == (500, 200)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (faults.Status(status=429, path="/v2/stocks"), 429),
        # 405 is the true answer to POST.
        (faults.Latency(seconds=3600, path="/v2/stocks"), 405),
        (faults.Reset(path="/v2/stocks"), None),
        (faults.Hang(path="/v2/stocks"), None),
    ],
    ids=["429", "latency", "reset", "hang"],
)
async def test_one_group_fails_for_a_while(fault: Fault, status: int | None) -> None:
    """A storm strikes all of one group of endpoints, none of another, and is over when it is lifted."""
    async with asked() as (running, client):
        running.faults.add(fault)
        # aiohttp would silently repeat what was reset, had this been GET.
        struck = [asyncio.create_task(client.send("POST", QUOTES)) for _ in range(20)]
        await _arrival(running, 20)
        spared = await client.get(CLOCK)
        running.faults.clear()
        outcomes = await asyncio.gather(*struck, return_exceptions=True)
        after = await client.get(QUOTES, symbols="AAPL")

    seen = [None if isinstance(one, BaseException) else one.status for one in outcomes]
    assert seen == [status] * 20
    assert (spared.status, after.status) == (200, 200)


async def test_oldest_first() -> None:
    """Of several faults that fit, the oldest strikes until it is used up."""
    async with asked() as (running, client):
        running.faults.add(faults.Status(status=500, times=1))
        running.faults.add(faults.Status(status=502))
        statuses = [(await client.get(CLOCK)).status for _ in range(2)]

    assert statuses == [500, 502]


async def test_control_is_never_struck() -> None:
    """Faults leave the way open by which they are cleared."""
    async with asked() as (running, client):
        running.faults.add(faults.Status(status=500))
        cleared = await client.send("DELETE", "/sandbox/faults")
        answer = await client.get(CLOCK)

    assert (cleared.status, answer.status) == (204, 200)


async def test_latency() -> None:
    """A late answer is the true answer."""
    loop = asyncio.get_running_loop()
    async with asked() as (running, client):
        prompt = await client.get(CLOCK)
        running.faults.add(faults.Latency(seconds=0.05))
        started = loop.time()
        late = await client.get(CLOCK)
        elapsed = loop.time() - started

    assert late.body == prompt.body
    assert elapsed >= 0.05


async def test_clearing_ends_latency() -> None:
    """Clearing the faults lets go of an answer that is held back."""
    async with asked() as (running, client):
        running.faults.add(faults.Latency(seconds=3600))
        asking = asyncio.create_task(client.get(CLOCK))
        await _arrival(running)
        running.faults.clear()

        assert (await asking).status == 200


async def test_hang() -> None:
    """A request that hangs is never answered: clearing the fault resets the connection."""
    async with asked() as (running, client):
        running.faults.add(faults.Hang(times=1))
        # aiohttp would silently ask again, had this been GET.
        asking = asyncio.create_task(client.send("POST", CLOCK))
        await _arrival(running)
        others = await client.get(CLOCK)
        assert not asking.done()
        running.faults.clear()

        with pytest.raises(aiohttp.ClientConnectionError):
            await asking
    assert others.status == 200


async def test_stop_while_hanging() -> None:
    """A sandbox stops at once although a request hangs."""
    async with asked() as (running, client):
        running.faults.add(faults.Hang())
        asking = asyncio.create_task(client.get(CLOCK))
        await _arrival(running)

    with pytest.raises(aiohttp.ClientError):
        await asking


async def test_client_gives_up_on_a_hanging_request() -> None:
    """The request of a client that has gone is forgotten, and counted with no status."""
    async with asked() as (running, client):
        running.faults.add(faults.Hang())
        asking = asyncio.create_task(client.get(CLOCK))
        await _arrival(running)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        assert running.counters.requests == 1
        assert not running.counters.statuses


async def test_reset() -> None:
    """A reset is seen as one: not as an answer, not as a close."""
    async with asked() as (running, client):
        running.faults.add(faults.Reset())
        with pytest.raises(aiohttp.ClientOSError) as raised:
            await client.get(CLOCK)

        assert raised.value.errno == errno.ECONNRESET
        assert not running.counters.statuses


async def test_truncate() -> None:
    """A truncated answer promises more bytes than it brings."""
    async with asked() as (running, client):
        running.faults.add(faults.Truncate())
        with pytest.raises(aiohttp.ClientPayloadError, match="Not enough data"):
            await client.get(CLOCK)


@pytest.mark.parametrize(
    ("fault", "body"),
    [(faults.NullBody(), b"null"), (faults.EmptyBody(), b"")],
    ids=["null", "empty"],
)
async def test_nothing_in_it(fault: Fault, body: bytes) -> None:
    """A success may say nothing."""
    async with asked() as (running, client):
        running.faults.add(fault)
        answer = await client.get(CLOCK)

    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["Content-Type"] == "application/json"


async def test_garbage() -> None:
    """Garbage claims to be JSON and is not."""
    async with asked() as (running, client):
        running.faults.add(faults.Garbage())
        answer = await client.get(CLOCK)

    assert answer.headers["Content-Type"] == "application/json"
    with pytest.raises(ValueError, match=r"utf-8|JSON|invalid"):
        _ = answer.json


async def test_html_401() -> None:
    """The page for bad keys can be had with good ones."""
    async with asked() as (running, client):
        bad_keys = await client.get_as({}, CLOCK)
        running.faults.add(faults.Html401())
        answer = await client.get(CLOCK)

    assert (answer.status, answer.body) == (401, bad_keys.body)


async def test_reply() -> None:
    """A reply is served verbatim."""
    async with asked() as (running, client):
        running.faults.add(faults.Reply(body='{"quotes":{}} ', status=206, content_type="text/x"))
        answer = await client.get(CLOCK)

    assert (answer.status, answer.body) == (206, b'{"quotes":{}} ')
    assert answer.headers["Content-Type"] == "text/x"


@pytest.mark.parametrize(
    ("path", "query", "symbols"),
    [
        ("/v2/stocks/quotes/latest", {"symbols": "AAPL,MSFT"}, ["WRONG", "MSFT"]),
        ("/v2/stocks/snapshots", {"symbols": "AAPL,MSFT"}, ["WRONG", "MSFT"]),
    ],
)
async def test_wrong_symbol(path: str, query: dict[str, str], symbols: list[str]) -> None:
    """The record of the first symbol comes under a name that nobody asked for."""
    async with asked() as (running, client):
        true = await client.get(path, **query)
        running.faults.add(faults.WrongSymbol(symbol="WRONG"))
        false = await client.get(path, **query)

    true_map, false_map = true.json.get("quotes", true.json), false.json.get("quotes", false.json)
    assert list(false_map) == symbols
    assert list(false_map.values()) == list(true_map.values())


@pytest.mark.parametrize("path", ["/v2/stocks/AAPL/quotes/latest", "/v2/assets/AAPL"])
async def test_wrong_symbol_alone(path: str) -> None:
    """A single record names the wrong symbol too, with all else as it was."""
    async with asked() as (running, client):
        true = await client.get(path)
        running.faults.add(faults.WrongSymbol(symbol="WRONG"))
        false = await client.get(path)

    assert false.json == true.json | {"symbol": "WRONG"}


async def test_wrong_symbol_in_a_list() -> None:
    """The first asset of a list is renamed."""
    async with asked() as (running, client):
        running.faults.add(faults.WrongSymbol(symbol="WRONG"))
        answer = await client.get("/v2/assets")

    assert [asset["symbol"] for asset in answer.json][:2] == ["WRONG", "AMZN"]


@pytest.mark.parametrize("path", ["/v2/stocks/trades/latest", "/v2/stocks/snapshots"])
async def test_drop_symbols(path: str) -> None:
    """Named symbols are left out of an answer about many."""
    async with asked() as (running, client):
        running.faults.add(faults.DropSymbols(symbols=["AAPL", "TSLA"]))
        answer = await client.get(path, symbols="AAPL,MSFT,TSLA")

    assert list(answer.json.get("trades", answer.json)) == ["MSFT"]


async def test_drop_assets() -> None:
    """Named symbols are left out of the asset list, but not out of an answer about one."""
    async with asked() as (running, client):
        running.faults.add(faults.DropSymbols(symbols=["AAPL"]))
        listed = await client.get("/v2/assets")
        alone = await client.get("/v2/assets/AAPL")

    assert "AAPL" not in [asset["symbol"] for asset in listed.json]
    assert alone.json["symbol"] == "AAPL"


@pytest.mark.parametrize(
    "fault",
    [faults.WrongSymbol(symbol="WRONG"), faults.DropSymbols(symbols=["A", "AAPL"])],
    ids=["wrong symbol", "drop symbols"],
)
@pytest.mark.parametrize(
    "path",
    [
        "/v2/clock",
        "/v2/calendar",
        "/v2/stocks/meta/exchanges",
        "/v2/stocks/meta/conditions/trade?tape=A",
        "/v2/stocks/snapshots?symbols=ZZZZ",
        "/v2/stocks/quotes/latest?symbols=ZZZZ",
        "/v2/stocks/MSFT/snapshot",
        "/v2/assets/MSFT",
    ],
)
async def test_only_answers_by_symbol_are_rewritten(path: str, fault: Fault) -> None:
    """A fault that changes symbols leaves an answer that names none of them untouched."""
    pinned = '{"latestQuote":{}}'
    async with asked() as (running, client):
        running.pins.put("snapshots", "MSFT", pinned)
        running.pins.put("snapshots", "ZZZZ", "null")
        running.pins.put("assets", "MSFT", "[1]")
        true = await client.get(path)
        running.faults.add(fault)
        struck = await client.get(path)

    assert (struck.status, struck.body) == (200, true.body)


async def test_rewriting_beside_odd_pins() -> None:
    """What is pinned, whatever its shape, does not keep the rest from being rewritten."""
    async with asked() as (running, client):
        for symbol, record in (("ZZA", "1"), ("ZZB", "null"), ("ZZC", '{"symbol":5}')):
            running.pins.put("snapshots", symbol, record)
            running.pins.put("assets", symbol, record)
        running.faults.add(faults.DropSymbols(symbols=["AAPL"]))
        snapshots = await client.get("/v2/stocks/snapshots", symbols="AAPL,ZZA,ZZB,ZZC")
        assets = await client.get("/v2/assets")

    assert snapshots.json == {"ZZA": 1, "ZZB": None, "ZZC": {"symbol": 5}}
    assert "AAPL" not in [asset["symbol"] for asset in assets.json[:-3]]
    assert assets.json[-3:] == [1, None, {"symbol": 5}]


async def test_refusals_are_not_rewritten() -> None:
    """A fault that changes answers leaves refusals as they are."""
    async with asked() as (running, client):
        running.faults.add(faults.DropSymbols(symbols=["AAPL"]))
        answer = await client.get(QUOTES)

    assert answer.status == 400


async def _arrival(running: Sandbox, requests: int = 1) -> None:
    """Wait until so many requests have come in."""
    while running.counters.requests < requests:  # noqa: ASYNC110  (nothing tells of arrivals)
        await asyncio.sleep(0)
