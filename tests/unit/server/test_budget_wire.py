"""What HTTP tells the budget: the upstream's own count, and what aiohttp sent once more by itself."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.ports import Effort, Group, Quota, Reply, Request, Upstream
from tickgate_server.upstream.alpaca.http import HttpLimits, HttpRequests, http_session

LIMITS = HttpLimits(
    total=30, connect=10, connections=10, per_host=5, dns_cache=10, user_agent="tickgate/test"
)


async def ask(session: aiohttp.ClientSession, url: str) -> tuple[Reply, Effort]:
    """Send one request, and return its answer and what it cost."""
    clock = MarketClock(follows_upstream=False)
    request = Request(Upstream.DATA, Group.LATEST, "/path", {}, clock.monotonic() + 10)
    reply = await HttpRequests(session, {Upstream.DATA: url}, clock).send(request)
    return reply, request.effort


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
            reply, effort = await ask(session, f"http://{host}:{port}")
    finally:
        await runner.cleanup()
    assert (reply.quota, effort.resent) == (quota, 0)


async def test_what_the_pool_sends_again_is_told() -> None:
    """A request that aiohttp sends a second time, because a pooled connection was dead, says so in its effort."""
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
            efforts = [(await ask(session, url))[1].resent for _ in range(2)]
            async with session.get(f"{url}/path") as untold:
                await untold.read()
    assert (efforts, heard) == ([0, 1], 4)
