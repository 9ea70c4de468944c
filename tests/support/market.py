"""A sandbox in a process of its own, and what a test tells it: nothing it does shares the loop of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from typing import Any, Final

import grpc

from tickgate.v1 import status_service_pb2_grpc as status
from tools.programs import Program, gateway_program, sandbox_program

_PATIENCE: Final = 300.0
"""Seconds that one word to the sandbox may take: a replay is answered when all of it is sent."""


class Market:
    """A word with a sandbox that runs elsewhere, over its control endpoints. May be used from any one thread."""

    def __init__(self, address: str) -> None:
        """Talk to the sandbox at *address*."""
        self.address = address
        self._connection = HTTPConnection(address, timeout=_PATIENCE)

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Say one thing and return the answer, waiting for it."""
        self._connection.request(method, f"/sandbox/{path}", body)
        response = self._connection.getresponse()
        text = response.read()
        assert response.status < 300, text
        return json.loads(text) if text else None

    def post(self, path: str, body: Any) -> Any:
        """Say one thing that has a body."""
        return self.ask("POST", path, json.dumps(body).encode())

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    @property
    def stream(self) -> Mapping[str, Any]:
        """The counters of the stream."""
        counters: Mapping[str, Any] = self.ask("GET", "counters")["stream"]
        return counters


async def replayed(
    address: str, start: str, end: str, channels: Sequence[str]
) -> Mapping[str, Any]:
    """Let the sandbox at *address* send what was recorded as fast as it is read; return how much by channel."""

    def replay() -> Mapping[str, Any]:
        market = Market(address)
        try:
            told = market.post(
                "stream/replay", {"start": start, "end": end, "channels": list(channels)}
            )
        finally:
            market.close()
        records: Mapping[str, Any] = told["records"]
        return records

    return await asyncio.to_thread(replay)


class Programs:
    """A sandbox and a gateway, each in a process of its own, and a channel to the gateway."""

    def __init__(self, sandbox: Program, gateway: Program, channel: grpc.aio.Channel) -> None:
        self.sandbox = sandbox
        self.gateway = gateway
        self.channel = channel
        self.market = Market(sandbox.address)
        self.status: status.StatusServiceAsyncStub = status.StatusServiceStub(channel)


@asynccontextmanager
async def programs(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> AsyncIterator[Programs]:
    """Run a sandbox with *arguments* and a gateway with *environment* as programs."""
    with (
        sandbox_program(*arguments) as sandbox,
        gateway_program(sandbox.address, environment) as gateway,
    ):
        # The first look at an address waits until its program has said it.
        await asyncio.to_thread(lambda: gateway.address)
        async with grpc.aio.insecure_channel(gateway.address) as channel:
            running = Programs(sandbox, gateway, channel)
            try:
                yield running
            finally:
                running.market.close()
