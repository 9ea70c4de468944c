"""HTTP to Alpaca: one request, one reply, or the exact reason why there is none."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from ...errors import (
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
from ...market.time import NANOS
from ...observe.spans import Telling, span
from ...ports import Clock, Quota, Reply, Request, Upstream

_LARGEST_BODY: Final = 64 * 1024 * 1024
"""Bytes read of one answer at most. The largest that Alpaca documents, the list of all assets, is about 6 MB."""

_NUMBER: Final = re.compile(r"\d{1,10}", re.ASCII)

_QUOTED: Final = 200
"""Characters of an upstream's message, and of its request id, that are passed on."""


class HttpLimits(msgspec.Struct, frozen=True):
    """Bounds of the connection pool; times in seconds."""

    total: float
    connect: float
    connections: int
    per_host: int
    dns_cache: int
    user_agent: str
    idle: float
    """For which a connection that nobody uses is kept. It may have died without a word, as all do when a router forgets
    them, and each costs a request its deadline before it is given up. A whole pool of them must soon be forgotten."""


class _ErrorBody(msgspec.Struct):
    message: str = ""


class HttpRequests:
    """The `Requests` port over a pool of connections. It never follows a redirect and never tries again by itself."""

    def __init__(
        self, session: aiohttp.ClientSession, urls: Mapping[Upstream, str], clock: Clock
    ) -> None:
        """Send over *session* to the base address of each upstream in *urls*."""
        self._session = session
        self._urls = urls
        self._hosts = {upstream: urlsplit(url).hostname or "" for upstream, url in urls.items()}
        self._clock = clock

    async def send(self, request: Request) -> Reply:
        """Return the answer to *request*, or raise the `UpstreamFailure` that says why there is none."""
        # Neither its query nor its headers are told: they hold symbols and keys. And Alpaca is told nothing of traces.
        template = _template(request.path)
        with span(
            f"GET {template}",
            "client",
            method="GET",
            host=self._hosts[request.upstream],
            template=template,
            group=request.group.value,
            repetition=request.effort.retries,
        ) as told:
            return await self._send(request, told)

    async def _send(self, request: Request, told: Telling) -> Reply:
        remaining = request.deadline - self._clock.monotonic()
        if remaining <= 0:
            raise UpstreamTimeout(_late(request))
        url = self._urls[request.upstream] + request.path
        try:
            async with asyncio.timeout(remaining):
                async with self._session.get(
                    url, params=request.params, allow_redirects=False
                ) as response:
                    body = await _read(response)
        except TimeoutError as error:
            raise UpstreamTimeout(_late(request)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamUnreachable(_cut_off(request, error)) from error
        told.tell(status=response.status, bytes=len(body))
        if response.status != 200:
            raise _failure(request, response, body, self._clock.wall())
        return Reply(
            body=body,
            request_id=_printable(response.headers.get("X-Request-ID", "")),
            receive_time=self._clock.wall(),
            received_at=self._clock.monotonic(),
            quota=_quota(response.headers),
        )


@asynccontextmanager
async def http_session(
    limits: HttpLimits, key_id: str, secret: str
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a pool that authenticates every request with a key pair, and close it after use."""
    connector = aiohttp.TCPConnector(
        limit=limits.connections,
        limit_per_host=limits.per_host,
        ttl_dns_cache=limits.dns_cache,
        keepalive_timeout=limits.idle,
    )
    headers = {
        "APCA-API-KEY-ID": key_id,
        "APCA-API-SECRET-KEY": secret,
        "User-Agent": limits.user_agent,
    }
    timeout = aiohttp.ClientTimeout(total=limits.total, connect=limits.connect)
    async with aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        timeout=timeout,
        middlewares=[_once],
        # A key needs no session, and cookies that were kept would only grow each request.
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield session


@lru_cache(maxsize=256)
def _template(path: str) -> str:
    """Return *path* without the symbol that it may be about: Alpaca's own words have no capitals."""
    return re.sub(r"/[^/]*[A-Z][^/]*", "/{symbol}", path)


class _BrokeOff(aiohttp.ClientConnectionError):
    """A connection ended before the head of the answer."""


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send *request* once.

    aiohttp repeats a GET whose connection breaks. Nobody would have paid for that, and it would make two requests of
    the one that tries an open circuit. It does so for errors of two kinds, so whatever breaks is given another.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _BrokeOff(str(error)) from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > _LARGEST_BODY:
            # Not read to its end: the connection cannot be used again.
            response.close()
            msg = "answer larger than any that is documented"
            raise aiohttp.ClientPayloadError(msg)
        chunks.append(chunk)
    return b"".join(chunks)


def _failure(
    request: Request, response: aiohttp.ClientResponse, body: bytes, now: int
) -> UpstreamFailure:
    status = response.status
    said = _message(body)
    what = f"{request.upstream.value} {request.path} answered {status}"
    quoted = f"{what}: {said}" if said else what
    if status == 401:
        return KeyRefused(f"{what}: the key pair is missing or wrong")
    if status == 403:
        # "forbidden." is what a wrong key gets on some paths; everything else is about the subscription.
        if said in ("", "forbidden."):
            return KeyRefused(quoted)
        return NotEntitled(quoted, said=said, about_feed=_is_about_feed(request, said))
    if status == 429:
        return RateLimited(
            quoted,
            retry_delay=_retry_delay(response.headers, now),
            upstream=request.upstream.value,
        )
    if status in (400, 404, 422):
        return UpstreamRejected(quoted, said=said)
    return UpstreamBroken(what) if status >= 500 else UnexpectedStatus(what)


def _is_about_feed(request: Request, said: str) -> bool:
    """Return whether a refusal is about the feed that was asked for, and not about the account or another feed."""
    feed = request.params.get("feed")
    return feed is not None and ("subscription" in said or feed in said.lower())


def _retry_delay(headers: Mapping[str, str], now: int) -> float | None:
    """Return the seconds that the upstream asks to wait; Alpaca's own 429 has been seen without any such header."""
    after, reset = headers.get("Retry-After", ""), headers.get("X-RateLimit-Reset", "")
    if _NUMBER.fullmatch(after):
        return float(after)
    if _NUMBER.fullmatch(reset):
        return max(0.0, int(reset) - _upstream_time(headers, now))
    return None


def _upstream_time(headers: Mapping[str, str], now: int) -> float:
    """Return seconds of the upstream's clock, by which its times are meant; *now*, of ours, where it does not tell."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return now / NANOS


def _quota(headers: Mapping[str, str]) -> Quota | None:
    """Return what the upstream says of its limit, if it says it in whole numbers and admits anything at all."""
    limit = headers.get("X-RateLimit-Limit", "")
    remaining = headers.get("X-RateLimit-Remaining", "")
    if not (_NUMBER.fullmatch(limit) and _NUMBER.fullmatch(remaining)) or int(limit) == 0:
        return None
    return Quota(int(limit), int(remaining))


def _message(body: bytes) -> str:
    try:
        text = msgspec.json.decode(body, type=_ErrorBody).message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return _printable(text)


def _printable(text: str) -> str:
    # aiohttp hands on bytes of a header that are not UTF-8 as surrogates, which no message can carry.
    return "".join(char for char in text[:_QUOTED] if char.isprintable())


def _late(request: Request) -> str:
    return f"{request.upstream.value} {request.path} did not answer before the deadline"


def _cut_off(request: Request, error: Exception) -> str:
    what = (
        "could not be reached" if isinstance(error, aiohttp.ClientConnectorError) else "broke off"
    )
    return f"the connection to {request.upstream.value} {what} ({request.path})"
