"""The side port of a running gateway: what it tells, and what it takes from strangers."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from typing import Any

import aiohttp
import grpc
import pytest

from tickgate.v1 import quote_service_pb2 as pb
from tickgate_sandbox import faults, sandbox
from tickgate_server import __version__
from tickgate_server.app import gateway
from tickgate_server.market.time import parse_rfc3339

from ..support.running import FROZEN, running, settings_for
from ..support.scraped import Side, beside

ANYWHERE = "127.0.0.1:0"


async def raw(port: int, sent: bytes) -> bytes:
    """Return what comes back for *sent* until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_it_tells_what_lives_is_ready_and_runs() -> None:
    """A running gateway is alive and ready, and tells its version, its environment and its start."""
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        assert await side.ask("/livez") == (200, '{"message":"alive"}')
        assert await side.ask("/readyz") == (200, '{"message":"ready"}')
        status, text = await side.ask("/version")

    told = json.loads(text)
    assert status == 200
    assert (told["version"], told["environment"]) == (__version__, "sandbox")
    assert parse_rfc3339(told["started"]) > 0
    assert set(told) == {"version", "environment", "started"}


async def test_off_serves_nothing() -> None:
    """With `http_listen` off there is no side port."""
    async with running(http_listen="off") as stack:
        assert stack.gateway.http_port is None


async def test_an_outage_of_the_upstream_does_not_unready() -> None:
    """A gateway whose upstream fails is as ready as before: it answers, with the reason."""
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        stack.sandbox.faults.add(faults.Status(path="/v2", status=503))
        answer = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))

        assert answer.result.HasField("unavailable")
        assert (await side.ask("/readyz"))[0] == 200


async def test_strangers_are_told_in_a_sentence() -> None:
    """An unknown path is 404 and another method than GET and HEAD is 405, each with a sentence; HEAD has no body."""
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        status, text = await side.ask("/nothing?there")
        assert (
            status,
            json.loads(text)["message"].startswith("there is nothing here but /livez"),
        ) == (404, True)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            status, text = await side.ask("/metrics", method)
            assert (status, json.loads(text)) == (
                405,
                {"message": "this can be read (GET or HEAD) and nothing else"},
            )
        assert await side.ask("/version", "HEAD") == (200, "")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nLong: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(b"h%d: 1\r\n" % i for i in range(1000)) + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03" + bytes(200),
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["long line", "long header", "many headers", "HTTP/2", "TLS", "nonsense"],
)  # fmt: skip
async def test_garbage_is_hung_up_on(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What is too long, has too many headers or is no HTTP is refused, unlogged, and disturbs nobody."""
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        answered = await raw(side.port, sent)

        assert not answered or answered.split()[1].startswith(b"4"), answered[:100]
        assert (await side.ask("/livez"))[0] == 200
    assert not caplog.records


async def test_a_body_is_never_looked_at() -> None:
    """Whoever sends a body without end has his answer and loses the connection."""
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        sent = b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + bytes(
            10_000
        )

        assert b'{"message":"alive"}' in await raw(side.port, sent)


async def test_connections_are_bounded() -> None:
    """Beyond a hundred connections the next is hung up on, and once one has gone there is room again."""
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        idle = [await asyncio.open_connection("127.0.0.1", side.port) for _ in range(100)]
        try:
            assert (
                await raw(side.port, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                == b""
            )
        finally:
            for _, writer in idle:
                writer.close()
                await writer.wait_closed()

        assert (await side.ask("/livez"))[0] == 200


async def test_it_is_alive_and_not_ready_until_it_serves() -> None:
    """While a gateway waits for its upstream before it serves, the side port lives and says why it is not ready."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    async with (
        sandbox(replace(FROZEN, listen=ANYWHERE)) as upstream,
        aiohttp.ClientSession() as http,
    ):
        upstream.faults.add(faults.Latency(path="/v2/clock", seconds=60))
        settings = settings_for(upstream.url, http_listen=f"127.0.0.1:{port}")
        entered = gateway(settings)
        starting = asyncio.create_task(entered.__aenter__())
        # The sandbox counts what arrives and has no event for it; no time passes here but the loop's own.
        while not upstream.counters.endpoints["/v2/clock"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        side = Side(port, http)
        alive, ready, numbers = [await side.ask(path) for path in ("/livez", "/readyz", "/metrics")]
        upstream.faults.clear()
        await starting
        ready_now = await side.ask("/readyz")
        await entered.__aexit__(None, None, None)

    assert alive[0] == 200
    assert ready == (503, '{"message":"the gateway is starting"}')
    assert "gateway_ready 0.0" in numbers[1]
    assert ready_now[0] == 200


async def test_it_is_not_ready_any_more_when_it_drains() -> None:
    """A gateway that drains says so on the side port, while calls that are under way are still answered."""
    async with (
        sandbox(replace(FROZEN, listen=ANYWHERE)) as upstream,
        aiohttp.ClientSession() as http,
    ):
        entered = gateway(settings_for(upstream.url, drain=5.0, http_listen=ANYWHERE))
        served = await entered.__aenter__()
        assert served.http_port is not None
        side = Side(served.http_port, http)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            upstream.faults.add(faults.Latency(path="/v2/stocks", seconds=60))
            call: Any = channel.unary_unary("/tickgate.v1.QuoteService/GetQuote")
            under_way = asyncio.ensure_future(
                call(pb.GetQuoteRequest(symbol="AAPL").SerializeToString())
            )
            while not upstream.counters.endpoints["/v2/stocks/quotes/latest"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            leaving = asyncio.create_task(entered.__aexit__(None, None, None))
            await asyncio.sleep(0)
            ready, alive = await side.ask("/readyz"), await side.ask("/livez")
            upstream.faults.clear()
            answer = pb.GetQuoteResponse.FromString(await under_way)
            await leaving

    assert (ready[0], "stopping" in ready[1]) == (503, True)
    assert alive[0] == 200
    assert answer.result.quote.bid.price.value
