"""Clients go away wherever a call can wait: nothing of theirs is left, and nobody else is harmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import grpc
import pytest

from tickgate.v1 import quote_service_pb2 as pb
from tickgate_sandbox import Fault, faults
from tools.embedded import redis_server

from ..support.outages import (
    LATEST,
    QUICK,
    ask,
    cold_symbols,
    latest,
    nothing_left,
    own_tasks,
    pin,
    request,
)
from ..support.proxy import fault_proxy
from ..support.running import Stack, running
from ..support.waiting import until

Call = grpc.aio.UnaryUnaryCall[Any, Any]

NOBODY_JOINS = {"batching": {"window": 1.0, "longest_wait": 1.0}}


@dataclass(frozen=True)
class Place:
    """Where calls wait, and how to tell that they do."""

    name: str
    waits: Callable[[Stack], bool]
    fault: Fault | None
    settings: dict[str, Any] = field(default_factory=dict)
    same_symbol: bool = False
    before: Fault | None = None
    """Met by a call before them."""


def budget(stack: Stack) -> Any:
    """Return the counters of the budget of market data."""
    return stack.gateway.counters.budgets["alpaca.data"]


SLOW_DOWN = faults.Status(path=LATEST, status=429, headers={"Retry-After": "3"})
PLACES = [
    Place("on-the-wire", lambda stack: latest(stack).in_flight == 3, faults.Hang(path=LATEST)),
    Place(
        "coalesced",
        lambda stack: latest(stack).in_flight == 1,
        faults.Hang(path=LATEST),
        same_symbol=True,
    ),
    Place(
        "at-the-bulkhead",
        lambda stack: latest(stack).queued == 2,
        faults.Hang(path=LATEST),
        {"places": 1},
    ),
    Place("for-budget", lambda stack: budget(stack).waiting == 3, None, before=SLOW_DOWN),
    Place(
        "in-a-retry's-pause",
        lambda stack: latest(stack).failures >= 1 and latest(stack).in_flight == 0,
        SLOW_DOWN,
        {"retries": {"most": 2}},
    ),
]


async def gone(calls: list[Call]) -> None:
    """Cancel *calls*, as their callers would, and wait until each is over."""
    for call in calls:
        call.cancel()
    for call in calls:
        with suppress(asyncio.CancelledError):
            await call


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
async def test_who_goes_away_leaves_nothing_behind(place: Place) -> None:
    """Calls that are cancelled while they wait leave no task, no place and no turn taken."""
    symbols = cold_symbols()
    async with running(alpaca=QUICK | place.settings) as stack:
        before = own_tasks()
        if place.before is not None:
            stack.sandbox.faults.add(place.before)
            assert await ask(stack, next(symbols)) == "UPSTREAM_RATE_LIMITED"
        if place.fault is not None:
            stack.sandbox.faults.add(place.fault)
        pairs = [(next(symbols), next(symbols)) for _ in range(1 if place.same_symbol else 3)]
        calls = [
            stack.quotes.GetQuotes(pb.GetQuotesRequest(symbols=pair), timeout=20)
            for pair in pairs * (3 if place.same_symbol else 1)
        ]
        await until(lambda: stack.gateway.counters.calls_in_flight == 3 and place.waits(stack))
        await gone(calls)
        await nothing_left(stack.gateway, before)
        circuit = latest(stack).circuit.state

    assert circuit == "closed"


async def test_who_goes_away_while_others_wait_harms_nobody() -> None:
    """Of callers who share a request, wait to share one, or wait for a place, those who stay get their answers."""
    shared, boarding, *queued = islice(cold_symbols(), 4)
    async with running(alpaca=QUICK | {"places": 1} | NOBODY_JOINS) as stack:
        before, counts = own_tasks(), latest(stack)
        pin(stack.sandbox, (shared, boarding, *queued))
        stack.sandbox.faults.add(faults.Latency(path=LATEST, seconds=60))

        def quote(symbol: str) -> Call:
            return stack.quotes.GetQuote(request(symbol), timeout=20)

        def both() -> Call:
            return stack.quotes.GetQuotes(pb.GetQuotesRequest(symbols=queued), timeout=20)

        pairs = [(quote(shared), quote(shared))]
        await until(lambda: counts.in_flight == 1)
        pairs.append((both(), both()))
        await until(lambda: counts.queued == 1)
        pairs.append((quote(boarding), quote(boarding)))
        await until(lambda: stack.gateway.counters.calls_in_flight == 6)
        await gone([leaving for leaving, _ in pairs])
        stack.sandbox.faults.clear()
        answers = [await staying for _, staying in pairs]
        await nothing_left(stack.gateway, before)
        asked = stack.asked(LATEST)

    served = [getattr(answer, "results", None) or [answer.result] for answer in answers]
    assert {one.WhichOneof("result") for results in served for one in results} == {"quote"}
    assert asked == 3


async def test_who_goes_away_before_the_batch_leaves() -> None:
    """Of a batch that everybody has left before it went, the upstream never hears."""
    first, *symbols = islice(cold_symbols(), 4)
    async with running(alpaca=QUICK | NOBODY_JOINS) as stack:
        before = own_tasks()
        pin(stack.sandbox, (first, "NEXT"))
        # Who comes a second after nobody else would leave alone and at once.
        alone = await ask(stack, first)
        calls = [stack.quotes.GetQuote(request(symbol), timeout=20) for symbol in symbols]
        await until(lambda: stack.gateway.counters.calls_in_flight == 3)
        await gone(calls)
        await nothing_left(stack.gateway, before)
        asked = stack.asked(LATEST)
        after = await ask(stack, "NEXT")

    assert (alone, asked, after) == ("UPSTREAM", 1, "UPSTREAM")


async def test_who_goes_away_while_redis_is_silent() -> None:
    """Calls that are cancelled while Redis does not answer leave nothing behind, and the next is answered upstream."""
    symbols = cold_symbols()
    with ExitStack() as servers:
        redis = servers.enter_context(redis_server())
        async with (
            fault_proxy(redis.port) as proxy,
            running(
                redis_url=f"redis://127.0.0.1:{proxy.port}/0",
                redis={"timeout": 2.0},
                alpaca=QUICK,
            ) as stack,
        ):
            await until(lambda: stack.gateway.counters.tier("redis").state == "up")
            pin(stack.sandbox, ["NEXT"])
            before = own_tasks()
            proxy.blackhole()
            calls = [stack.quotes.GetQuote(request(next(symbols)), timeout=20) for _ in range(3)]
            await until(lambda: stack.gateway.counters.calls_in_flight == 3)
            await gone(calls)
            await nothing_left(stack.gateway, before)
            asked = stack.asked(LATEST)
            after = await ask(stack, "NEXT")
            proxy.mend()

    assert (asked, after) == (0, "UPSTREAM")
