"""A gateway that is stopped in the middle of a fault tells whoever waits, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import grpc
import pytest

from tickgate.v1 import quote_service_pb2_grpc as quotes
from tickgate_sandbox import Fault, faults, sandbox
from tickgate_server.app import gateway

from ..support.outages import LATEST, QUICK, cold_symbols, own_tasks, request, told
from ..support.running import FROZEN, settings_for
from ..support.waiting import until

CALLERS = 20
SLOW_DOWN = faults.Status(status=429, headers={"Retry-After": "3"})

FAULTS: dict[str, tuple[Fault, dict[str, Any]]] = {
    "500-retried": (faults.Status(status=500), {"retries": {"most": 10, "wait_initial": 2.0}}),
    "429-retried": (SLOW_DOWN, {"retries": {"most": 2}}),
    "latency": (faults.Latency(seconds=60), {}),
    "hang": (faults.Hang(), {}),
    "hang-with-a-queue": (faults.Hang(), {"places": 1}),
    "reset": (faults.Reset(), {}),
    "truncated": (faults.Truncate(), {}),
    "html-401": (faults.Html401(), {}),
}
ENOUGH = {"breaker": {"cool_down": 0.2, "streak": 1000, "window": 1000}}
"""Settings with which no circuit opens: each call is to meet the fault itself."""

OVER = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""What a call may end with that the gateway had no more time for."""


@pytest.mark.parametrize("drain", [0.0, 0.3])
@pytest.mark.parametrize(("fault", "settings"), FAULTS.values(), ids=FAULTS)
async def test_stopping_in_a_fault(fault: Fault, settings: dict[str, Any], drain: float) -> None:
    """Every call under way ends when the gateway stops: with a true reason, or with a status; no task outlives it."""
    fault.path = LATEST
    before = own_tasks()
    async with sandbox(replace(FROZEN, listen="127.0.0.1:0")) as upstream:
        entered = gateway(settings_for(upstream.url, drain=drain, alpaca=QUICK | ENOUGH | settings))
        served = await entered.__aenter__()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            upstream.faults.add(fault)
            stub: quotes.QuoteServiceAsyncStub = quotes.QuoteServiceStub(channel)
            symbols = cold_symbols()
            calls = [asyncio.create_task(heard(stub, next(symbols))) for _ in range(CALLERS)]
            await until(lambda: upstream.counters.endpoints[LATEST] > 0)
            async with asyncio.timeout(5.0):
                await entered.__aexit__(None, None, None)
                ends = Counter(await asyncio.gather(*calls))
        left = served.counters.calls_in_flight
    await until(lambda: own_tasks() <= before)

    reasons = {"UPSTREAM_ERROR", "UPSTREAM_TIMEOUT", "UPSTREAM_RATE_LIMITED", "BUDGET_EXHAUSTED"}
    assert ends.total() == CALLERS
    assert set(ends) <= reasons | {"UPSTREAM_UNAUTHENTICATED"} | {code.name for code in OVER}
    assert left == 0


async def heard(stub: quotes.QuoteServiceAsyncStub, symbol: str) -> str:
    """Ask for one quote, and return what was told, or the status of the call."""
    try:
        return told((await stub.GetQuote(request(symbol), timeout=30)).result)
    except grpc.aio.AioRpcError as error:
        return error.code().name
