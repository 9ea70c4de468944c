"""A gateway that stops, or dies, in the middle of everything: its followers know, and the upstream's place is free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import grpc
import pytest

import tickgate
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import gap_pb2, status_service_pb2
from tickgate.v1 import status_service_pb2_grpc as status_services
from tools.programs import Program, gateway_program, sandbox_program

from ..support.lateness import measured
from ..support.ledger import ENOUGH, QUOTES, TRADES, Follower, following
from ..support.pouring import pouring
from ..support.ticker import NOW

SYMBOLS = ("AAPL", "AMZN", "GOOGL", "MSFT", "TSLA")
BOTH = (QUOTES, TRADES)

SLOT = 1.0
"""Seconds after SIGTERM in which the upstream's place must be free."""

PATIENT = {"TICKGATE_DRAIN": "40"}
"""Seconds that followers get to read: so many that on the busiest machine nobody is cut off."""

IMPATIENT = {"TICKGATE_DRAIN": "1"}

BUSY = pytest.mark.timeout(180)
"""For a test that starts several programs and floods them."""


def load(sandbox: Program) -> AbstractContextManager[None]:
    """Let the sandbox send quotes and trades for the length of the block, as fast as it takes them."""
    return pouring(sandbox.address, quotes_and_trades)


def quotes_and_trades(number: int) -> list[dict[str, Any]]:
    """A quote and a trade of each symbol."""
    return [
        record
        for symbol in SYMBOLS
        for record in (
            {"T": "q", "S": symbol, "bx": "V", "bp": 100 + number % 1000 / 100, "bs": 3, "ax": "Q",
             "ap": 150, "as": 2, "c": ["R"], "z": "C", "t": NOW},
            {"T": "t", "S": symbol, "i": number, "x": "V", "p": 120.5, "s": 10,
             "c": ["@"], "z": "C", "t": NOW},
        )
    ]  # fmt: skip


@asynccontextmanager
async def crowd(gateway: Program, *, idle: bool = False) -> AsyncIterator[list[Follower]]:
    """Let seven follow everything until updates flow, at different speeds; or, *idle*, never acknowledging."""
    paces = (0.0, 0.0, 0.0, 0.0, 0.01, 0.1, 0.2)
    async with AsyncExitStack() as parts:
        channel = await parts.enter_async_context(grpc.aio.insecure_channel(gateway.address))
        followers = [
            await parts.enter_async_context(
                following(channel, *SYMBOLS, channels=BOTH, every=every, acks=not idle)
            )
            for every in paces
        ]
        for one in followers:
            await one.until(lambda it: it.number > 0, "a first message")
            if not idle:
                await one.standing(*SYMBOLS)
                await one.given("AAPL", 5)
        yield followers


async def place_is_free(sandbox: Program) -> float:
    """Ask for the upstream's place until it is given; return when, in seconds of the monotonic clock."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://{sandbox.address}/v2/iex") as socket,
    ):
        (word,) = await socket.receive_json()
        assert word["msg"] == "connected"
        while True:
            await socket.send_json({"action": "auth", "key": "another", "secret": "service"})
            (word,) = await socket.receive_json()
            if word["T"] == "success":
                return time.monotonic()
            assert word["code"] == 406
            # Nobody tells a stranger that the place is free; he asks as often as it takes to measure when it was.
            await asyncio.sleep(0.01)


@BUSY
async def test_sigterm_frees_the_place_and_tells_every_follower() -> None:
    """SIGTERM under load: the place is free within a second, each follower gets the last word, then UNAVAILABLE."""
    with (
        sandbox_program("--at", NOW, "--speed", "0") as sandbox,
        gateway_program(sandbox.address, PATIENT) as gateway,
    ):
        await asyncio.to_thread(lambda: gateway.address)
        with load(sandbox):
            async with crowd(gateway) as followers, measured() as lateness:
                rival = asyncio.create_task(place_is_free(sandbox))
                asked = time.monotonic()
                gateway.process.terminate()
                freed = await asyncio.wait_for(rival, ENOUGH)
                ends = [await one.ended() for one in followers]
        status = await asyncio.to_thread(gateway.process.wait, ENOUGH)

    assert freed - asked < SLOT + lateness.worst
    assert status == 0
    for one, end in zip(followers, ends, strict=True):
        assert one.closing is not None
        assert one.closing.reason == reasons.ERROR_REASON_SHUTTING_DOWN
        assert one.closing.retry_delay.ToNanoseconds() > 0
        assert end is not None
        assert end.code() is grpc.StatusCode.UNAVAILABLE
    for one in followers[:4]:
        # Whoever keeps up has had everything, and knows what became of the rest.
        assert all(account.is_balanced for account in one.accounts.values())
        assert all(account.delivered for account in one.accounts.values())
        assert not any(account.gaps for account in one.accounts.values())


@BUSY
async def test_sigterm_waits_for_nobody_who_does_not_read() -> None:
    """Followers who acknowledge nothing hold the gateway up for its grace at most, and get UNAVAILABLE."""
    with (
        sandbox_program("--at", NOW, "--speed", "0") as sandbox,
        gateway_program(sandbox.address, IMPATIENT) as gateway,
    ):
        await asyncio.to_thread(lambda: gateway.address)
        with load(sandbox):
            async with crowd(gateway, idle=True) as followers, measured() as lateness:
                rival = asyncio.create_task(place_is_free(sandbox))
                asked = time.monotonic()
                gateway.process.terminate()
                freed = await asyncio.wait_for(rival, ENOUGH)
                ends = [await one.ended() for one in followers]
        status = await asyncio.to_thread(gateway.process.wait, ENOUGH)

    assert freed - asked < SLOT + lateness.worst
    assert status == 0
    for end in ends:
        assert end is not None
        assert end.code() is grpc.StatusCode.UNAVAILABLE


@BUSY
async def test_kill_is_a_gap_for_who_comes_back() -> None:
    """After kill -9 followers get UNAVAILABLE, and from the next gateway, for their tokens, a gap, RESUME."""
    with (
        sandbox_program("--at", NOW, "--speed", "0") as sandbox,
        gateway_program(sandbox.address) as gateway,
    ):
        await asyncio.to_thread(lambda: gateway.address)
        with load(sandbox):
            async with crowd(gateway) as followers:
                # A word that crosses the end of a call makes gRPC say INTERNAL of itself, whatever the end was.
                for one in followers:
                    await one.fall_silent()
                killed = time.time_ns()
                gateway.process.kill()
                ends = [await one.ended() for one in followers]
            for one, end in zip(followers, ends, strict=True):
                assert one.closing is None
                assert end is not None
                assert end.code() is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(place_is_free(sandbox), ENOUGH)

        with gateway_program(sandbox.address) as following_gateway:
            address = await asyncio.to_thread(lambda: following_gateway.address)
            async with grpc.aio.insecure_channel(address) as channel:
                for one in followers[:3]:
                    await comes_back(channel, one, killed)
                stub: status_services.StatusServiceAsyncStub
                stub = status_services.StatusServiceStub(channel)
                # It is the follower's gap, not the feed's.
                listed = await stub.ListGaps(status_service_pb2.ListGapsRequest())
                assert list(listed.gaps) == []


async def comes_back(channel: grpc.aio.Channel, before: Follower, killed: int) -> None:
    """Check what one who shows his old token is told."""
    async with following(channel, *SYMBOLS, channels=BOTH, resume_token=before.token) as again:
        await again.standing(*SYMBOLS)
        for symbol in SYMBOLS:
            await again.standing(symbol, channel=TRADES)
            for kind in BOTH:
                (gap,) = again.of(symbol, kind).gaps
                assert gap.cause == gap_pb2.GAP_CAUSE_RESUME
                assert gap.start_time.ToNanoseconds() <= killed < gap.end_time.ToNanoseconds()
                assert again.of(symbol, kind).started == 0
        assert again.epochs != before.epochs


@BUSY
async def test_the_client_outlives_its_gateway() -> None:
    """A reader with the Python client is told that the gateway died, that there is one again, and that he has a gap."""
    with (
        sandbox_program("--at", NOW, "--speed", "0") as sandbox,
        load(sandbox),
        gateway_program(sandbox.address) as gateway,
    ):
        address = await asyncio.to_thread(lambda: gateway.address)
        async with (
            tickgate.connect(address) as client,
            client.follow("AAPL", heartbeat_interval=1.0) as quotes,
        ):
            events = quotes.with_events()
            async with asyncio.timeout(ENOUGH):
                await found(events, tickgate.Update)
                gateway.process.kill()
                await found(events, tickgate.Disconnected)
                with gateway_program(sandbox.address, listen=address):
                    back = await found(events, tickgate.Reconnected)
                    assert not back.resumed
                    while True:
                        status = await found(events, tickgate.SymbolStatus)
                        if status.gaps:
                            break
                    (gap,) = status.gaps
                    assert gap.cause is tickgate.GapCause.RESUME
                    await found(events, tickgate.Update)


Event = TypeVar("Event")


async def found(events: AsyncIterator[object], kind: type[Event]) -> Event:
    """Read on until an event of *kind* comes."""
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(kind)
