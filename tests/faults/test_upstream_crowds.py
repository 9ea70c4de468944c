"""Thousands of calls in flight when the upstream fails: each is answered in time, and the upstream hears of few."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import islice

from tickgate_sandbox import faults

from ..support.outages import (
    LATEST,
    QUICK,
    ask,
    ask_for_two,
    cold_symbols,
    latest,
    nothing_left,
    own_tasks,
)
from ..support.running import running
from ..support.waiting import until

CROWD = 5_000
PLACES = 50


async def test_who_queues_when_the_circuit_opens_is_refused() -> None:
    """Requests that wait for a place when the circuit opens never reach the upstream, and their callers are told so."""
    symbols = cold_symbols()
    pairs = [(next(symbols), next(symbols)) for _ in range(10 * PLACES)]
    settings = QUICK | {"places": PLACES, "breaker": {"cool_down": 30.0}}
    async with running(alpaca=settings) as stack:
        before, counts = own_tasks(), latest(stack)
        stack.sandbox.faults.add(faults.Hang(path=LATEST))
        async with asyncio.TaskGroup() as callers:
            crowd = [callers.create_task(ask_for_two(stack, pair)) for pair in pairs]
            await until(lambda: counts.queued + counts.in_flight == len(pairs))
            stack.sandbox.faults.clear()
            stack.sandbox.faults.add(faults.Status(path=LATEST, status=500))
        heard = Counter(one.result() for one in crowd)
        await nothing_left(stack.gateway, before)
        asked, refused = stack.asked(LATEST), counts.circuit.refused

    # Those on the wire fail, and so may whoever took the places of the first five.
    assert PLACES <= asked <= PLACES + 5
    assert heard == {"UPSTREAM_ERROR": asked, "CIRCUIT_OPEN": len(pairs) - asked}
    assert refused == heard["CIRCUIT_OPEN"]


async def test_five_thousand_calls_when_the_circuit_opens() -> None:
    """5,000 calls in flight when the circuit opens are all answered before their deadline, and leave nothing behind."""
    cold = list(islice(cold_symbols(), 200))
    settings = QUICK | {"breaker": {"cool_down": 30.0, "streak": 2}, "shared_call_cap": 30.0}
    async with running(alpaca=settings) as stack:
        before, counts = own_tasks(), latest(stack)
        stack.sandbox.faults.add(faults.Hang(path=LATEST))
        async with asyncio.TaskGroup() as callers:
            crowd = [
                callers.create_task(ask(stack, cold[number % len(cold)], timeout=50.0))
                for number in range(CROWD)
            ]
            # gRPC hands them over as fast as this machine can.
            await until(lambda: stack.gateway.counters.calls_in_flight == CROWD, within=40.0)
            opened_before = counts.circuit.opened
            stack.sandbox.faults.clear()
            stack.sandbox.faults.add(faults.Status(path=LATEST, status=500))
        heard = Counter(one.result() for one in crowd)
        await nothing_left(stack.gateway, before)

    assert opened_before == 0
    assert set(heard) <= {"UPSTREAM_ERROR", "CIRCUIT_OPEN"}
    assert heard.total() == CROWD
