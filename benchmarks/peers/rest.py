"""The design that was replaced, written anew and small: FastAPI, uvicorn, Pydantic and Redis, a quote kept for 30 s.

python -m benchmarks.peers.rest UPSTREAM REDIS_URL full|lean|stripped

It has what its kind has when it is well made: one worker on uvloop with httptools, a pool of connections to Redis with
hiredis, Pydantic's compiled JSON both ways, prices as floats. In full it also has what the replaced services had: a
middleware that counts and times each call for Prometheus, and writes one line of JSON for each. Full is the middleware
that FastAPI's manual teaches, `@app.middleware("http")`; lean is the same in plain ASGI, which few write and which
costs a fraction; stripped has none. Lean and stripped also take what was there at the start out of the collector's
sight (`gc.freeze`): measured, Python's collector otherwise stops such a service for 40 ms three times a second.

It says "listening on PORT" when it takes calls.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import aiohttp
import msgspec
import prometheus_client
import structlog
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from redis.asyncio import Redis

TTL: Final = 30
"""Seconds that a quote is kept in Redis and served from there."""

_METRICS: Final = "/metrics"

_SECONDS_OF_OPEN: Final = (13 * 3600 + 1800, 20 * 3600)
"""When the market is open, in seconds of a UTC day: the replaced services had such a rule of their own."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Kept(BaseModel):
    """A quote as it lies in Redis."""

    symbol: str
    bid_price: float
    bid_size: int
    ask_price: float
    ask_size: int
    timestamp: datetime
    received: datetime


class StockQuote(Kept):
    """A quote as it is answered, with the fields of the replaced services."""

    spread: float
    mid_price: float
    data_age_seconds: float
    processing_timestamp: datetime
    data_source: str = "alpaca_real_time"
    source: str
    is_market_hours: bool
    data_quality_score: int
    request_id: str


class Quotes:
    """Asks Redis, and the upstream where Redis has nothing."""

    def __init__(self, upstream: str, redis: Redis, http: aiohttp.ClientSession) -> None:
        """Ask *upstream* over *http* and keep what it says in *redis*."""
        self._url = f"{upstream}/v2/stocks/quotes/latest"
        self._redis = redis
        self._http = http

    async def latest(self, symbol: str) -> StockQuote:
        """Return the quote of *symbol*.

        Raises:
            HTTPException: 404, there is none; 503, the upstream does not answer.
        """
        kept, source = await self._redis.get(f"quote:{symbol}"), "cache"
        if kept is None:
            kept, source = await self._fetch(symbol), "real_time"
            await self._redis.set(f"quote:{symbol}", kept, ex=TTL)
        return _answer(Kept.model_validate_json(kept), source)

    async def _fetch(self, symbol: str) -> bytes:
        terms = {"symbols": symbol, "feed": "iex"}
        async with self._http.get(self._url, params=terms) as answer:
            if answer.status != HTTPStatus.OK:
                raise HTTPException(503, {"error_code": "UPSTREAM_SERVICE_ERROR"})
            said = msgspec.json.decode(await answer.read())
        if (quote := said["quotes"].get(symbol)) is None:
            raise HTTPException(404, {"error_code": "REAL_DATA_UNAVAILABLE"})
        return (
            Kept(
                symbol=symbol,
                bid_price=quote["bp"],
                bid_size=quote["bs"],
                ask_price=quote["ap"],
                ask_size=quote["as"],
                timestamp=quote["t"],
                received=datetime.now(UTC),
            )
            .model_dump_json()
            .encode()
        )


def _answer(kept: Kept, source: str) -> StockQuote:
    now = datetime.now(UTC)
    age = (now - kept.timestamp).total_seconds()
    of_day = now.hour * 3600 + now.minute * 60 + now.second
    return StockQuote(
        **kept.__dict__,
        spread=kept.ask_price - kept.bid_price,
        mid_price=(kept.ask_price + kept.bid_price) / 2,
        data_age_seconds=age,
        processing_timestamp=now,
        source=source,
        is_market_hours=now.weekday() < 5 and _SECONDS_OF_OPEN[0] <= of_day < _SECONDS_OF_OPEN[1],
        data_quality_score=max(50, 100 - max(0, int(age) - 30)),
        request_id=str(uuid4()),
    )


class Watch:
    """Counts, times and logs calls."""

    def __init__(self) -> None:
        """Begin to count."""
        path = ("endpoint",)
        self._asked = prometheus_client.Counter(
            "real_data_requests_total", "Values asked for", path
        )
        self._given = prometheus_client.Counter("real_data_success_total", "Values given", path)
        self._refused = prometheus_client.Counter(
            "real_data_failures_total", "Values not given", (*path, "status")
        )
        self._took = prometheus_client.Histogram(
            "api_response_time_seconds", "From the call to its answer", path
        )
        self._log = structlog.get_logger()

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Say how a call went."""
        route = scope.get("route")
        endpoint = route.path if route is not None else "unknown"
        self._asked.labels(endpoint).inc()
        if status == HTTPStatus.OK:
            self._given.labels(endpoint).inc()
        else:
            self._refused.labels(endpoint, str(status)).inc()
        self._took.labels(endpoint).observe(seconds)
        self._log.info(
            "request",
            request_id=str(uuid4()),
            endpoint=scope["path"],
            method=scope["method"],
            status_code=status,
            response_time_ms=round(seconds * 1e3, 3),
            real_data_available=status == HTTPStatus.OK,
        )


class Lean:
    """The watch as plain ASGI."""

    def __init__(self, app: App) -> None:
        """Watch *app*."""
        self._app = app
        self._watch = Watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and say how it went."""
        if scope["type"] != "http" or scope["path"] == _METRICS:
            await self._app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def notice(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, notice)
        finally:
            self._watch.note(scope, status, time.perf_counter() - start)


def watch_as_taught(app: FastAPI) -> None:
    """Give *app* the watch as FastAPI's manual teaches it."""
    watch = Watch()

    @app.middleware("http")
    async def watched(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if request.url.path == _METRICS:
            return await call_next(request)
        start = time.perf_counter()
        answer = await call_next(request)
        watch.note(request.scope, answer.status_code, time.perf_counter() - start)
        return answer


def application(upstream: str, redis_url: str, form: str) -> App:
    """Return the service in one of its forms."""
    quotes: list[Quotes] = []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        keys = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
        async with Redis.from_url(redis_url) as redis, aiohttp.ClientSession(headers=keys) as http:
            quotes.append(Quotes(upstream, redis, http))
            if form != "full":
                gc.collect()
                gc.freeze()
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/stocks/{symbol}/quote")
    async def quote(symbol: str) -> StockQuote:
        return await quotes[0].latest(symbol)

    @app.get(_METRICS)
    async def metrics() -> Response:
        return Response(prometheus_client.generate_latest(), media_type="text/plain")

    if form == "full":
        watch_as_taught(app)
    return Lean(app) if form == "lean" else app


async def serve(app: App) -> None:
    """Serve *app* on a free port until the process is told to end."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
    print(f"listening on {listening.getsockname()[1]}", flush=True)
    await uvicorn.Server(config).serve([listening])


def main(upstream: str, redis_url: str, form: str) -> None:
    """Run on the loop that the gateway has too."""
    import uvloop  # noqa: PLC0415 - an extra of the server

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(application(upstream, redis_url, form)))


if __name__ == "__main__":
    main(*sys.argv[1:])
