"""What HTTP tells the budget: the upstream's own count, and one request for each that was paid for."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from tickgate_server.errors import UpstreamUnreachable
from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.ports import Group, Quota, Reply, Request, Upstream
from tickgate_server.upstream.alpaca.http import HttpLimits, HttpRequests, http_session

LIMITS = HttpLimits(
    total=30,
    connect=10,
    connections=10,
    per_host=5,
    dns_cache=10,
    user_agent="tickgate/test",
    idle=3,
)


async def ask(session: aiohttp.ClientSession, url: str) -> Reply:
    """Send one request, and return its answer."""
    clock = MarketClock(follows_upstream=False)
    request = Request(Upstream.DATA, Group.LATEST, "/path", {}, clock.monotonic() + 10)
    return await HttpRequests(session, {Upstream.DATA: url}, clock).send(request)


@pytest.mark.parametrize(
    ("limit", "remaining", "quota"),
    [
        ("200", "17", Quota(200, 17)),
        ("10000", "0", Quota(10000, 0)),
        (None, None, None),
        ("200", None, None),
        (None, "17", None),
        ("0", "0", None),
        ("two", "17", None),
        ("200", "-1", None),
        ("200", "1.5", None),
        ("9" * 20, "1", None),
        ("²", "1", None),
    ],
)
async def test_a_reply_carries_what_the_upstream_says_of_its_limit(
    limit: str | None, remaining: str | None, quota: Quota | None
) -> None:
    """Limit and remaining of the headers stand in the reply if both are whole numbers; anything else is no word."""
    said = {"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": remaining}
    headers = {name: value for name, value in said.items() if value is not None}

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"{}", headers=headers)

    app = web.Application()
    app.router.add_get("/path", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        async with http_session(LIMITS, "key", "secret") as session:
            reply = await ask(session, f"http://{host}:{port}")
    finally:
        await runner.cleanup()
    assert reply.quota == quota


async def test_nothing_is_sent_again_unasked() -> None:
    """A request whose pooled connection turns out to be dead is not sent a second time, for which nobody paid."""
    heard = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        while await reader.readuntil(b"\r\n\r\n"):
            heard += 1
            if heard == 2:
                break
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with http_session(LIMITS, "key", "secret") as session:
            await ask(session, url)
            with pytest.raises(UpstreamUnreachable, match="broke off"):
                await ask(session, url)
            heard_by_then = heard
            await ask(session, url)
    assert (heard_by_then, heard) == (2, 3)
