"""What every request passes on its way in and out: ids, counting, faults, keys, limits."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .answers import RATE_LIMITED, Refusal, unauthorized, uri_too_long
from .control import CONTROL_PREFIX
from .counters import Counters
from .faults import Fault, Faults
from .history.paging import page_number
from .keys import Keys, accepted
from .limits import TokenBucket
from .stream.feeds import STREAM_ROUTES

LONGEST_TARGET: Final = 16_384
"""Characters of path and query; 9,424 are known to work at Alpaca, its limit is not known."""

UNKNOWN_ENDPOINT: Final = "unknown"
"""How requests for paths that do not exist are counted."""

_METERED_STATUSES = frozenset({HTTPStatus.OK, HTTPStatus.BAD_REQUEST})
"""These answers tell the state of the limit. By the specification 429 does too; it does not."""

_TRADING_PREFIXES = ("/v2/assets", "/v2/clock", "/v2/calendar", "/v2/options")

_NAMED_IN_PATHS = ("symbol", "underlying", "contract")
_LISTED_IN_QUERIES = ("symbols", "underlying_symbols")
"""Where a request names the symbols it asks for."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """The request limits, one for each API."""

    data: TokenBucket
    trading: TokenBucket


class Gate:
    """The middlewares, in the order in which a request meets them."""

    def __init__(
        self, counters: Counters, faults: Faults, keys: Keys | None, buckets: Buckets | None
    ) -> None:
        """Guard an application.

        Args:
            counters: Where requests are counted.
            faults: What strikes them.
            keys: The accepted keys; None accepts any that are not empty.
            buckets: The request limits; None sets none.
        """
        self._counters = counters
        self._faults = faults
        self._keys = keys
        self._buckets = buckets

    def middlewares(self) -> Sequence[Middleware]:
        """Return the middlewares, outermost first."""
        return [self._count, self._fault, self._authenticate, self._limit, _refuse]

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if _is_exempt(request):
            return await handler(request)
        self._counters.arrived(_endpoint(request), _symbols(request))
        response = await handler(request)
        if request.transport is not None and not request.transport.is_closing():
            self._counters.statuses[response.status] += 1
        return response

    @web.middleware
    async def _fault(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = None if _is_exempt(request) else self._strike(request)
        if fault is None:
            return await handler(request)
        return await fault.answer(request, lambda: handler(request), self._faults.cleared)

    def _strike(self, request: web.Request) -> Fault | None:
        return self._faults.strike(request.path, page_number(request.query.get("page_token")))

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if _is_exempt(request) or self._accepts(request):
            return await handler(request)
        return unauthorized()

    def _accepts(self, request: web.Request) -> bool:
        key_id = request.headers.get("APCA-API-KEY-ID", "")
        secret = request.headers.get("APCA-API-SECRET-KEY", "")
        return accepted(self._keys, key_id, secret)

    @web.middleware
    async def _limit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if _is_exempt(request):
            return await handler(request)
        if len(request.raw_path) > LONGEST_TARGET:
            return uri_too_long()
        if self._buckets is None:
            return await handler(request)
        trading = request.path.startswith(_TRADING_PREFIXES)
        bucket = self._buckets.trading if trading else self._buckets.data
        if not bucket.take():
            return _too_many(trading=trading).response()
        response = await handler(request)
        if response.status in _METERED_STATUSES:
            _show_limit(bucket, response)
        return response


@web.middleware
async def _refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raised into the answer that Alpaca would give."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return refusal.response()
    except web.HTTPException as error:
        return web.Response(status=error.status, text=error.reason)


def _too_many(*, trading: bool) -> Refusal:
    if trading:
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "rate limit exceeded", RATE_LIMITED)
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many requests.")


def _show_limit(bucket: TokenBucket, response: web.StreamResponse) -> None:
    response.headers["X-RateLimit-Limit"] = str(bucket.per_minute)
    response.headers["X-RateLimit-Remaining"] = str(bucket.remaining)
    full_at = math.ceil(time.time() + bucket.seconds_until_full)
    response.headers["X-RateLimit-Reset"] = str(full_at)


def _is_exempt(request: web.Request) -> bool:
    """Return whether *request* is none of the REST API: a control request or a handshake."""
    return request.path.startswith(CONTROL_PREFIX) or _is_handshake(request)


def _is_handshake(request: web.Request) -> bool:
    upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
    return upgrade and _endpoint(request) in (*STREAM_ROUTES, UNKNOWN_ENDPOINT)


def _endpoint(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else UNKNOWN_ENDPOINT


def _symbols(request: web.Request) -> set[str]:
    named = (request.match_info.get(name, "") for name in _NAMED_IN_PATHS)
    listed = (request.query.get(name, "").split(",") for name in _LISTED_IN_QUERIES)
    return set(filter(None, [*named, *chain.from_iterable(listed)]))


async def mark(_request: web.Request, response: web.StreamResponse) -> None:
    """Give *response* the request id that Alpaca's support asks for.

    A signal rather than a middleware, so that no answer leaves without it.
    """
    response.headers["X-Request-ID"] = uuid.uuid4().hex
