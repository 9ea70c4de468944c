"""What a client with the Python client's own service config experiences before an open circuit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import tickgate
from tickgate import _channel
from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import quote_service_pb2_grpc as services
from tickgate_sandbox import faults

from ..support.running import Stack, running

COOL_DOWN = 0.3
"""Seconds: what gRPC really waits here, for its timers follow no clock of ours."""

STRICT = pb.GetQuoteRequest(symbol="AAPL", strict=True)


@asynccontextmanager
async def open_circuit(cool_down: float) -> AsyncIterator[Stack]:
    """Run a gateway whose circuit has just opened, before an upstream that is already well again."""
    breaker = {"streak": 1, "cool_down": cool_down, "jitter": 0}
    async with running(alpaca={"breaker": breaker, "retries": {"most": 0}}) as stack:
        stack.sandbox.faults.add(faults.Status(status=503, path="/v2/stocks", times=1))
        failed = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
        assert failed.result.WhichOneof("result") == "unavailable"
        yield stack


def client_options(target: str) -> list[tuple[str, Any]]:
    """Return the options of the Python client's own channel to *target*."""
    way = _channel.way_to(
        target, tls=False, credentials=None, api_key=None, insecure_key=False, options=()
    )
    return way.options()


def refused(stack: Stack) -> int:
    """Return how many questions the circuits have refused."""
    return sum(each.circuit.refused for each in stack.gateway.counters.upstreams.values())


async def test_a_strict_call_outlasts_a_cool_down() -> None:
    """With time left after the cool-down, gRPC asks once more by itself, and the caller never learns of the refusal."""
    async with open_circuit(COOL_DOWN) as stack:
        options = client_options(stack.target)
        async with grpc.aio.insecure_channel(stack.target, options=options) as channel:
            quotes = services.QuoteServiceStub(channel)
            answer = await quotes.GetQuote(STRICT, timeout=10)
        turned_away = refused(stack)

    assert answer.result.WhichOneof("result") == "quote"
    assert turned_away == 1


async def test_a_strict_call_that_cannot_outlast_it_is_refused_at_once() -> None:
    """A cool-down beyond the deadline is told with its delay, instead of being sat out until there is no time left."""
    async with open_circuit(30) as stack:
        options = client_options(stack.target)
        async with grpc.aio.insecure_channel(stack.target, options=options) as channel:
            quotes = services.QuoteServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await quotes.GetQuote(STRICT, timeout=10)
        turned_away = refused(stack)

    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # it is the call too
    assert status is not None
    info, delay = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert any(detail.Unpack(delay) for detail in status.details)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info.reason == "CIRCUIT_OPEN"
    assert 20 < delay.retry_delay.seconds <= 30
    assert turned_away == 1


async def test_the_python_client_is_told_at_once() -> None:
    """The Python client leaves waiting to its caller: a refusal is an answer, which gRPC repeats for nobody."""
    async with open_circuit(30) as stack, tickgate.connect(stack.target) as gateway:
        with pytest.raises(tickgate.CircuitOpen) as caught:
            await gateway.quote("AAPL", timeout=60)
        turned_away = refused(stack)

    delay = caught.value.retry_delay
    assert delay is not None
    assert 20 < delay.total_seconds() <= 30
    assert turned_away == 1
