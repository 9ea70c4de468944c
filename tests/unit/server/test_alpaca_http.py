"""HTTP to Alpaca, against a real server on this machine: each way to fail has its own reason, and tells no secret."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from msgspec.structs import replace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from tickgate_server.errors import (
    KeyRefused,
    NotEntitled,
    RateLimited,
    UnexpectedStatus,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.observe.spans import enter
from tickgate_server.observe.traces import OtelTracer
from tickgate_server.ports import Group, Reply, Request, Upstream
from tickgate_server.upstream.alpaca import http
from tickgate_server.upstream.alpaca.http import HttpLimits, HttpRequests, http_session

KEY, SECRET = "PKTESTKEY", "very-secret-value"
LIMITS = HttpLimits(
    total=30,
    connect=10,
    connections=10,
    per_host=5,
    dns_cache=10,
    user_agent="tickgate/test",
    idle=3,
)
PATH = "/v2/stocks/quotes/latest"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Ask = Callable[..., Awaitable[Reply]]


@asynccontextmanager
async def asking(url: str, limits: HttpLimits = LIMITS) -> AsyncIterator[Ask]:
    """Yield a function that asks *url* with a deadline some seconds away."""
    clock = MarketClock(follows_upstream=False)
    async with http_session(limits, KEY, SECRET) as session:
        requests = HttpRequests(session, {Upstream.DATA: url}, clock)

        async def ask(seconds: float = 10.0) -> Reply:
            params = {"symbols": "AAPL,BRK.B", "feed": "iex"}
            deadline = clock.monotonic() + seconds
            return await requests.send(Request(Upstream.DATA, Group.LATEST, PATH, params, deadline))

        yield ask


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[Ask]:
    """Run a server that answers every request with *handler*, and ask it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        async with asking(f"http://{host}:{port}") as ask:
            yield ask
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_upstream(answer: bytes, *, reset: bool = False) -> AsyncIterator[Ask]:
    """Run a server that writes *answer* to whoever asks, and cuts the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if reset:
            # Not lingering at all is what sends a reset instead of an end.
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as ask:
        yield ask


def answering(status: int, text: str = "", content_type: str = "application/json") -> Handler:
    """A handler that answers with one status and body."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text, content_type=content_type)

    return handler


async def failure(ask: Ask, seconds: float = 10.0) -> UpstreamFailure:
    """What asking fails with, which names endpoint and nothing secret, nor anything of aiohttp's."""
    with pytest.raises(UpstreamFailure) as caught:
        await ask(seconds)
    message = caught.value.message
    for secret in (KEY, SECRET, "127.0.0.1", "Errno", "aiohttp", "Error", "Exception", "Traceback"):
        assert secret not in message
    assert "alpaca.data" in message
    assert PATH in message
    return caught.value


async def test_nothing_is_sent_of_traces() -> None:
    """Also for a call that is traced, what is sent has no header about the trace: that is nobody's business outside."""
    sent: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        sent.append(request)
        return web.Response(text="{}")

    tracer = OtelTracer(
        TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False).get_tracer("test"), 1.0
    )
    root = tracer.begin("QuoteService/GetQuote", "")
    assert root is not None
    enter(root)
    async with upstream(answer) as ask:
        await ask()
    root.end()
    (request,) = sent
    assert {name.lower() for name in request.headers} == {
        "host",
        "accept",
        "accept-encoding",
        "user-agent",
        "apca-api-key-id",
        "apca-api-secret-key",
    }


async def test_an_answer_comes_back_whole() -> None:
    """Body, upstream's request id and both times of receipt are those of the answer."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b'{"quotes":{}}', headers={"X-Request-ID": "abc-123"})

    before, earlier = time.time_ns(), time.monotonic()
    async with upstream(handler) as ask:
        reply = await ask()
    assert (reply.body, reply.request_id) == (b'{"quotes":{}}', "abc-123")
    assert before <= reply.receive_time <= time.time_ns()
    assert earlier <= reply.received_at <= time.monotonic()


async def test_what_is_sent() -> None:
    """A request carries its parameters, the key pair and the gateway's name, and is a GET."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response()

    async with upstream(handler) as ask:
        reply = await ask()
    (request,) = seen
    assert (request.method, request.path) == ("GET", PATH)
    assert dict(request.query) == {"symbols": "AAPL,BRK.B", "feed": "iex"}
    assert request.headers["APCA-API-KEY-ID"] == KEY
    assert request.headers["APCA-API-SECRET-KEY"] == SECRET
    assert request.headers["User-Agent"] == "tickgate/test"
    assert reply.request_id == ""


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, '{"message":"invalid symbol: YZCDE2"}', UpstreamRejected, "invalid symbol: YZCDE2"),
        (404, '{"code":40410000,"message":"asset not found"}', UpstreamRejected, "asset not found"),
        (422, '{"message":"invalid underlying"}', UpstreamRejected, "invalid underlying"),
        (400, "<html>", UpstreamRejected, ""),
        (401, "<html>401 Authorization Required</html>", KeyRefused, ""),
        (401, f'{{"message":"no such key {KEY}"}}', KeyRefused, ""),
        (403, '{"message":"forbidden."}', KeyRefused, "forbidden."),
        (403, "", KeyRefused, ""),
        (403, '{"message":"subscription does not permit"}', NotEntitled, "does not permit"),
        (403, '{"message":"OPRA agreement is not signed"}', NotEntitled, "OPRA agreement"),
        (429, '{"message":"too many requests."}', RateLimited, "too many requests."),
        (500, '{"message":"internal server error occurred"}', UpstreamBroken, ""),
        (502, "<html>Bad Gateway</html>", UpstreamBroken, ""),
        (204, "", UnexpectedStatus, ""),
        (418, "", UnexpectedStatus, ""),
    ],
)  # fmt: skip
async def test_each_status_has_its_failure(
    status: int, body: str, kind: type[UpstreamFailure], said: str
) -> None:
    """A status that is not 200 becomes the failure that it means, quoting the upstream where that helps."""
    async with upstream(answering(status, body)) as ask:
        seen = await failure(ask)
    assert type(seen) is kind
    assert f"answered {status}" in seen.message
    assert said in seen.message
    assert "html" not in seen.message


@pytest.mark.parametrize(
    ("said", "about_feed"),
    [
        ("subscription does not permit querying recent SIP data", True),
        ("IEX is not part of your plan", True),
        ("OPRA agreement is not signed", False),
        ("account is restricted", False),
    ],
)
async def test_a_refusal_may_be_about_the_feed(said: str, about_feed: bool) -> None:
    """A 403 is about the feed asked for when it speaks of the subscription or of that feed, and keeps what was said."""
    async with upstream(answering(403, f'{{"message":"{said}"}}')) as ask:
        seen = await failure(ask)
    assert isinstance(seen, NotEntitled)
    assert (seen.said, seen.about_feed) == (said, about_feed)


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"X-RateLimit-Reset": "1"}, 0, 0),
        ({"X-RateLimit-Reset": "12", "Date": "Thu, 01 Jan 1970 00:00:05 GMT"}, 7, 7),
        ({"X-RateLimit-Reset": "12", "Date": "yesterday"}, 0, 0),
        ({"X-RateLimit-Reset": "12", "Date": f"Thu, 01 Jan {'9' * 30} 00:00:05 GMT"}, 0, 0),
        ({"Retry-After": "soon"}, None, None),
        ({}, None, None),
    ],
)
async def test_429_names_a_pause_only_if_one_was_sent(
    headers: dict[str, str], least: float | None, most: float | None
) -> None:
    """A rate limit says when asking again makes sense if Alpaca does; a pause is never made up."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=429, headers=headers)

    async with upstream(handler) as ask:
        delay = (await failure(ask)).retry_delay
    assert (delay is None) is (least is None)
    if delay is not None and least is not None and most is not None:
        assert least <= delay <= most


async def test_idle_connections_are_not_kept_for_long() -> None:
    """A connection that nobody uses is closed after `idle`: it may be dead, and whoever is lent it would find out."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asking(url, replace(LIMITS, idle=0.05)) as ask:
            await ask()
            async with asyncio.timeout(5):
                await ended.wait()


async def test_cookies_are_not_kept() -> None:
    """What an upstream sets as a cookie does not come back with the next request."""
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "session=1; Path=/"})

    async with upstream(handler) as ask:
        await ask(10.0)
        await ask(10.0)
    assert seen == [None, None]


async def test_a_rejection_keeps_what_was_said() -> None:
    """Who knows Alpaca's words finds them unchanged in the rejection."""
    async with upstream(answering(400, '{"message":"invalid symbol: X.Y.Z"}')) as ask:
        seen = await failure(ask)
    assert isinstance(seen, UpstreamRejected)
    assert seen.said == "invalid symbol: X.Y.Z"


@pytest.mark.parametrize(
    "body",
    ["[]", "null", '{"message":null}', '{"message":7}', '{"message":', '{"m":' + "[" * 9000, '{"message":"\\ud800"}'],
    ids=["list", "null", "null message", "number", "cut off", "nested without end", "surrogate"],
)  # fmt: skip
async def test_an_error_body_may_be_anything(body: str) -> None:
    """An error whose body is not the documented one is an error without a message."""
    async with upstream(answering(400, body)) as ask:
        assert (await failure(ask)).message.endswith("answered 400")


async def test_a_quoted_message_is_short_and_printable() -> None:
    """Of what the upstream says, callers get one line of bounded length."""
    async with upstream(answering(400, '{"message":"a\\nb\\u0000' + "c" * 500 + '"}')) as ask:
        message = (await failure(ask)).message
    assert message.isprintable()
    assert "abccc" in message
    assert len(message) < 300


async def test_a_redirect_is_not_followed() -> None:
    """Keys go to the configured host only: a redirect is a failure, and nobody else is asked."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with upstream(handler) as ask:
        seen = await failure(ask)
    assert type(seen) is UnexpectedStatus
    assert paths == [PATH]


async def test_no_answer_before_the_deadline() -> None:
    """An upstream that hangs is a timeout as soon as the deadline passes."""
    stop = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await stop.wait()
        return web.Response()

    async with upstream(handler) as ask:
        assert type(await failure(ask, 0.05)) is UpstreamTimeout
        stop.set()


async def test_a_body_that_stalls_is_a_timeout() -> None:
    """A deadline covers the whole answer, not only its beginning."""
    stop = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"quotes"')
        await stop.wait()
        return response

    async with upstream(handler) as ask:
        assert type(await failure(ask, 0.1)) is UpstreamTimeout
        stop.set()


async def test_a_deadline_in_the_past_costs_no_request() -> None:
    """Who has no time left does not spend the upstream's."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    async with upstream(handler) as ask:
        assert type(await failure(ask, 0.0)) is UpstreamTimeout
    assert asked == []


async def test_a_refused_connection() -> None:
    """Where nobody listens, the upstream could not be reached."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with asking(f"http://127.0.0.1:{taken.getsockname()[1]}") as ask:
            seen = await failure(ask)
    assert type(seen) is UpstreamUnreachable
    assert "could not be reached" in seen.message


@pytest.mark.parametrize(
    ("answer", "reset"),
    [
        (b"", False),
        (b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", False),
        (b"this is not HTTP at all\r\n\r\n", False),
    ],
    ids=["closed", "reset", "cut body", "reset body", "cut chunk", "not gzip", "not HTTP"],
)  # fmt: skip
async def test_a_connection_that_breaks_off(answer: bytes, reset: bool) -> None:
    """However an answer is cut or garbled on the way, it is a broken connection and never half a value."""
    async with raw_upstream(answer, reset=reset) as ask:
        seen = await failure(ask)
    assert type(seen) is UpstreamUnreachable
    assert "broke off" in seen.message


async def test_an_answer_larger_than_any_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body beyond all documented sizes, unpacked, is cut off; one of the largest size is not."""
    monkeypatch.setattr(http, "_LARGEST_BODY", 100_000)
    size = 100_000

    async def handler(_: web.Request) -> web.Response:
        packed = gzip.compress(b" " * size)
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    async with upstream(handler) as ask:
        assert len((await ask()).body) == size
        size += 1
        assert type(await failure(ask)) is UpstreamUnreachable
        size -= 1
        assert len((await ask()).body) == size


async def test_a_request_id_is_text() -> None:
    """Bytes in the upstream's request id that are no text do not reach a message, which could not carry them."""
    answer = b"HTTP/1.1 200 OK\r\nX-Request-ID: a\xffb\r\nContent-Length: 2\r\n\r\n{}"
    async with raw_upstream(answer) as ask:
        assert (await ask()).request_id == "ab"


async def test_a_caller_that_leaves_is_no_failure() -> None:
    """Cancelling a request cancels it; nothing else is raised."""
    arrived, stop = asyncio.Event(), asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        arrived.set()
        await stop.wait()
        return web.Response()

    async with upstream(handler) as ask:
        asking_now = asyncio.ensure_future(ask())
        await arrived.wait()
        asking_now.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking_now
        stop.set()
