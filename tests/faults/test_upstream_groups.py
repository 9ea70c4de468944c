"""What fails is kept apart: other groups, another upstream, other connections, and the clock on the wall."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from tickgate.v1 import asset_pb2
from tickgate.v1 import reference_service_pb2 as reference_pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_sandbox import faults, sandbox
from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.market.time import NANOS

from ..support.outages import (
    LATE,
    LATEST,
    QUICK,
    ask,
    ask_for_two,
    cold_symbols,
    latest,
    nothing_left,
    own_tasks,
    pin,
    recovered,
    request,
    told,
)
from ..support.proxy import fault_proxy
from ..support.running import FROZEN, Stack, running
from ..support.waiting import until

HOUR = 3600 * NANOS


def jump_clock(clock: MarketClock, hours: int) -> None:
    """Set the wall clock that *clock* reads forward by *hours*, or back."""
    wall = clock.wall
    clock.wall = lambda: wall() + hours * HOUR


async def fail_until_open(stack: Stack) -> None:
    """Let the endpoints of latest values fail until their circuit is open."""
    stack.sandbox.faults.add(faults.Status(path=LATEST, status=500))
    for symbol in cold_symbols():
        await ask(stack, symbol)
        if latest(stack).circuit.state == "open":
            return


async def test_one_group_fails_and_the_others_work() -> None:
    """While latest values fail and their circuit is open, codes, the clock and assets are answered, theirs closed."""
    async with running(alpaca=QUICK | {"breaker": {"cool_down": 30.0}}) as stack:
        await fail_until_open(stack)
        codes = await stack.reference.ListCodes(
            reference_pb.ListCodesRequest(kind=asset_pb2.CODE_KIND_EXCHANGE)
        )
        clock = await stack.reference.GetMarketClock(reference_pb.GetMarketClockRequest())
        asset = await stack.reference.GetAsset(reference_pb.GetAssetRequest(symbol="AAPL"))
        states = {
            name: counts.circuit.state
            for name, counts in stack.gateway.counters.upstreams.items()
            if counts.requests
        }

    assert codes.WhichOneof("result") == "table"
    assert clock.WhichOneof("result") == "clock"
    assert asset.result.WhichOneof("result") == "asset"
    assert states.pop(("alpaca.data", "latest")) == "open"
    assert set(states.values()) == {"closed"}


async def test_connections_that_swallow_everything() -> None:
    """When pooled connections are half open, callers are told by their deadlines, and what comes after is answered."""
    symbols, heard = cold_symbols(), set[str]()
    async with (
        sandbox(replace(FROZEN, listen="127.0.0.1:0")) as upstream,
        fault_proxy(upstream.port) as proxy,
        running(alpaca=QUICK | {"data_url": f"http://127.0.0.1:{proxy.port}"}) as stack,
    ):
        before = own_tasks()
        pairs = [(next(symbols), next(symbols)) for _ in range(8)]
        pin(upstream, [symbol for pair in pairs for symbol in pair])
        pin(upstream, ["BACK"])
        upstream.faults.add(faults.Latency(path=LATEST, seconds=60))
        # All at once, so that each has a connection of its own.
        warm = asyncio.gather(*(ask_for_two(stack, pair) for pair in pairs))
        await until(lambda: latest(stack).in_flight == len(pairs))
        upstream.faults.clear()
        warmed = set(await warm)
        pooled = proxy.open

        proxy.blackhole()
        while latest(stack).circuit.opened < 2:
            heard.add(await ask(stack, next(symbols), timeout=0.3))
        proxy.mend()
        await recovered(stack, "BACK")
        await nothing_left(stack.gateway, before)

    assert warmed == {"UPSTREAM"}
    assert pooled >= len(pairs)
    assert heard - {LATE} == {"UPSTREAM_TIMEOUT", "CIRCUIT_OPEN"}


@pytest.mark.parametrize("hours", [1, -1, 24 * 365, -24 * 365])
async def test_the_clock_on_the_wall_jumps(hours: int) -> None:
    """However the wall clock jumps, ages, circuits and budgets go on; only receive and serve times follow it."""
    async with running(alpaca=QUICK | {"breaker": {"cool_down": 30.0}}) as stack:
        clock = stack.gateway.clock
        pin(stack.sandbox, ("HELD", "NEW"))
        first = await ask(stack, "HELD")
        jump_clock(clock, hours)
        # Whatever is told has ages of seconds, or `told` fails.
        held, new = await ask(stack, "HELD"), await ask(stack, "NEW")
        answer = await stack.quotes.GetQuote(request("HELD"))
        served = answer.result.quote.provenance.serve_time.ToNanoseconds()
        budget = (await stack.status.GetStatus(status_pb.GetStatusRequest())).budgets[0]
        await fail_until_open(stack)
        retry_at = latest(stack).circuit.retry_at
        jump_clock(clock, -hours)
        refused = await ask(stack, "COLD")
        unmoved = latest(stack).circuit.retry_at == retry_at

    assert (first, held, new, refused) == ("UPSTREAM", "MEMORY", "UPSTREAM", "CIRCUIT_OPEN")
    assert abs(served - time.time_ns() - hours * HOUR) < 60 * NANOS
    assert budget.limit - budget.remaining <= 2
    assert unmoved


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_limit_that_ends_at_a_time_is_not_measured_by_our_clock(hours: int) -> None:
    """A 429 that names when its limit ends is waited for by the upstream's own clock, whatever the gateway's says."""
    async with running(alpaca=QUICK) as stack:
        jump_clock(stack.gateway.clock, hours)
        ends = {"X-RateLimit-Reset": str(int(time.time()) + 2)}
        limited = faults.Status(path=LATEST, status=429, headers=ends, times=1)
        stack.sandbox.faults.add(limited)
        answer = await stack.quotes.GetQuote(request("COLD"))
        pin(stack.sandbox, ["BACK"])
        await recovered(stack, "BACK")

    assert told(answer.result) == "UPSTREAM_RATE_LIMITED"
    assert 0.5 < answer.result.unavailable.retry_delay.ToMilliseconds() / 1000 <= 3
