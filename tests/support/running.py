"""A whole gateway in front of a sandbox, in one process, for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc

from tickgate.v1 import admin_service_pb2_grpc as admin
from tickgate.v1 import history_service_pb2_grpc as history
from tickgate.v1 import option_service_pb2_grpc as options
from tickgate.v1 import quote_service_pb2_grpc as quotes
from tickgate.v1 import reference_service_pb2_grpc as reference
from tickgate.v1 import status_service_pb2_grpc as status
from tickgate.v1 import stream_service_pb2_grpc as streams
from tickgate_sandbox import Sandbox, SandboxSettings, sandbox
from tickgate_server.app import Gateway, gateway
from tickgate_server.settings import Settings

FROZEN = SandboxSettings(at="2026-10-01T15:00:00Z", speed=0)
"""A synthetic market that stands still on a Thursday at 11:00 New York: nothing changes between two questions."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A sandbox, the gateway in front of it, and a stub of each service."""

    sandbox: Sandbox
    gateway: Gateway
    channel: grpc.aio.Channel
    quotes: quotes.QuoteServiceAsyncStub
    options: options.OptionServiceAsyncStub
    reference: reference.ReferenceServiceAsyncStub
    status: status.StatusServiceAsyncStub
    admin: admin.AdminServiceAsyncStub
    streams: streams.StreamServiceAsyncStub
    history: history.HistoryServiceAsyncStub

    @property
    def target(self) -> str:
        """Address of the gateway."""
        return f"127.0.0.1:{self.gateway.port}"

    def asked(self, path: str = "/v2/stocks") -> int:
        """Return how many requests below *path* the sandbox has counted."""
        return sum(
            count for endpoint, count in self.sandbox.counters.endpoints.items() if path in endpoint
        )

    async def refresh(self) -> None:
        """Let the gateway read the sandbox's clock now."""
        await self.gateway.keeper.refresh(self.gateway.clock.monotonic() + 5)


def settings_for(upstream: str, **changed: Any) -> Settings:
    """Return settings of a gateway on a free port that asks *upstream*; nested sections are dicts."""
    alpaca = {
        "data_url": upstream,
        "trading_url": upstream,
        "stream_url": upstream.replace("http", "ws", 1),
    } | changed.pop("alpaca", {})
    log = {"calls": False} | changed.pop("log", {})
    given: dict[str, Any] = {"listen": "127.0.0.1:0", "http_listen": "off", "drain": 0.0} | changed
    return Settings(**given, alpaca=alpaca, log=log)


@asynccontextmanager
async def running(
    market: SandboxSettings = FROZEN,
    *,
    before: Callable[[Sandbox], None] = lambda _: None,
    **changed: Any,
) -> AsyncIterator[Stack]:
    """Run a sandbox with *market* and a gateway with *changed* settings; *before* the gateway starts, prepare."""
    async with AsyncExitStack() as parts:
        upstream = await parts.enter_async_context(sandbox(replace(market, listen="127.0.0.1:0")))
        before(upstream)
        yield await parts.enter_async_context(
            _in_front_of(upstream, settings_for(upstream.url, **changed))
        )


@asynccontextmanager
async def second_gateway(first: Stack, **changed: Any) -> AsyncIterator[Stack]:
    """Run another gateway in front of the sandbox of *first*."""
    async with _in_front_of(first.sandbox, settings_for(first.sandbox.url, **changed)) as stack:
        yield stack


@asynccontextmanager
async def _in_front_of(upstream: Sandbox, settings: Settings) -> AsyncIterator[Stack]:
    async with (
        gateway(settings) as served,
        grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel,
    ):
        yield Stack(
            sandbox=upstream,
            gateway=served,
            channel=channel,
            quotes=quotes.QuoteServiceStub(channel),
            options=options.OptionServiceStub(channel),
            reference=reference.ReferenceServiceStub(channel),
            status=status.StatusServiceStub(channel),
            admin=admin.AdminServiceStub(channel),
            streams=streams.StreamServiceStub(channel),
            history=history.HistoryServiceStub(channel),
        )
