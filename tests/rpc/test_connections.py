"""Connections: how long they live, and how often a client may ping on them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

import tickgate
from tickgate_sandbox import SandboxSettings

from ..support.following import watching
from ..support.proxy import fault_proxy
from ..support.running import Stack, running

MOVING = SandboxSettings(at="2026-10-01T15:00:00Z")
"""A synthetic market in which prices move."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1
ENHANCE_YOUR_CALM = 0xB


def frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 that belongs to no stream."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags, 0, 0, 0, 0]) + payload


class Pinger:
    """A client that says nothing but pings."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ping(self) -> int | None:
        """Ping, and return the error code of the goodbye that came instead of an answer; None for an answer."""
        self._writer.write(frame(PING, payload=b"eight by"))
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == GOAWAY:
                code: int = struct.unpack(">I", payload[4:8])[0]
                return code
            if head[3] == SETTINGS and not head[4] & ACK:
                self._writer.write(frame(SETTINGS, ACK))
            if head[3] == PING and head[4] & ACK:
                return None


@asynccontextmanager
async def pinging(stack: Stack) -> AsyncIterator[Pinger]:
    """Connect to a gateway without calling it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.gateway.port)
    writer.write(PREFACE + frame(SETTINGS))
    try:
        yield Pinger(reader, writer)
    finally:
        writer.close()


# ------------------------------------------------------------------------------------------ age


async def test_calls_do_not_notice_the_age_of_their_connection() -> None:
    """While connections are made anew again and again under load, not one call of the client fails."""
    limits = {"connection_age": 0.3, "connection_grace": 5.0}
    async with (
        running(MOVING, limits=limits) as stack,
        fault_proxy(stack.gateway.port) as proxy,
        tickgate.connect(f"127.0.0.1:{proxy.port}") as client,
    ):
        answered = 0

        async def load() -> None:
            nonlocal answered
            while proxy.accepted < 6:
                for result in await client.quotes(["AAPL", "MSFT"]):
                    assert result.ok
                answered += 1

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(load())
        assert answered > 100


async def test_a_follower_goes_on_over_the_age_of_its_connection() -> None:
    """A stream that outlives its connection is ended with a status, and the client's follower resumes by itself."""
    limits = {"connection_age": 0.5, "connection_grace": 0.3}
    async with (
        running(MOVING, limits=limits) as stack,
        tickgate.connect(stack.target) as client,
        client.follow("AAPL") as quotes,
    ):
        back = 0
        behind = False
        async with asyncio.timeout(20):
            async for event in quotes.with_events():
                back += isinstance(event, tickgate.Reconnected)
                behind = back > 1 and isinstance(event, tickgate.Update)
                if behind:
                    break
        assert behind


async def test_a_stream_is_told_why_it_ends() -> None:
    """A stream that is still there after the grace ends as UNAVAILABLE, which says to connect again."""
    limits = {"connection_age": 0.2, "connection_grace": 0.2}
    async with running(limits=limits) as stack, watching(stack, "AAPL") as watcher:
        error = await watcher.until_ended()
    assert error is not None
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "max connection age"


# ---------------------------------------------------------------------------------------- pings


async def test_who_pings_all_the_time_is_shown_out() -> None:
    """A client that pings without a pause is told ENHANCE_YOUR_CALM, within a few pings."""
    async with running() as stack, pinging(stack) as client:
        codes = [await client.ping() for _ in range(3)]
        while codes[-1] is None and len(codes) < 6:
            codes.append(await client.ping())
        assert codes[-1] == ENHANCE_YOUR_CALM


@pytest.mark.slow  # pings ten seconds apart, of which the third would be one too many
async def test_a_ping_in_ten_seconds_is_borne() -> None:
    """A client without a call that pings every ten seconds, or a little sooner for once, stays connected."""
    async with running() as stack, pinging(stack) as client:
        loop = asyncio.get_running_loop()
        assert await client.ping() is None
        for pause in (10.0, 9.0, 10.0, 9.5, 10.0):
            over = loop.create_future()
            loop.call_later(pause, over.set_result, None)
            await over
            assert await client.ping() is None
