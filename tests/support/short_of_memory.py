"""Memory that fills for real: what is refused then, what goes on, and that it is given back.

`python -m tests.support.short_of_memory` is a process of its own: what other tests have left of a heap is not given
back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import Any

import grpc

from tickgate.v1 import history_service_pb2 as history_pb
from tickgate.v1 import option_service_pb2 as option_pb
from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate.v1 import stream_service_pb2 as stream_pb
from tickgate_server.access.pressure import Level, resident_memory
from tickgate_server.market.time import NANOS, parse_rfc3339

from .limited import refused
from .running import Stack, running
from .waiting import until

MIB = 1 << 20
AAPL = pb.GetQuoteRequest(symbol="AAPL")
BALLAST = 1000
"""MiB that are filled from the start: what is left between short and full is wide enough to be seen."""

ROOM = 180
"""MiB more that may be filled before anything is refused."""


def days_of_trades(number: int) -> history_pb.StreamTradesRequest:
    """A request of which no two are alike, so that each is fetched for itself: much more than a reader can hold."""
    request = history_pb.StreamTradesRequest(symbols=["AAPL"])
    request.start_time.FromNanoseconds(parse_rfc3339("2026-09-21T13:30:00Z") + number * NANOS)
    request.end_time.FromNanoseconds(parse_rfc3339("2026-09-30T20:00:00Z"))
    return request


async def fill(stack: Stack) -> list[Any]:
    """Begin streams of the past that nobody goes on reading, until one is refused, and return them."""
    calls: list[Any] = []
    for number in count():
        assert number < 500, "the memory does not fill"
        call = stack.history.StreamTrades(days_of_trades(number))
        calls.append(call)
        with suppress(grpc.aio.AioRpcError):
            await call.read()
            continue
        return calls
    return calls


async def fill_and_read() -> None:
    """Let streams whose readers stop fill the memory, read meanwhile, and see it come back."""
    ballast = bytearray(b"x") * (BALLAST * MIB)
    before = resident_memory()
    assert before is not None
    limit = round((before / MIB + ROOM) / 0.9)
    async with running(alpaca={"plan": "plus"}, limits={"memory_mib": limit}) as stack:
        counters = stack.gateway.counters
        await stack.quotes.GetQuote(AAPL)
        held = await fill(stack)
        assert counters.memory_level == Level.TIGHT

        contract = option_pb.GetOptionChainRequest(underlying_symbol="AAPL")
        watch = stream_pb.WatchRequest(subscription=stream_pb.Subscription(symbols=["AAPL"]))
        for heavy in (
            stack.history.StreamTrades(days_of_trades(1000)),
            stack.options.GetOptionChain(contract),
            stack.streams.Watch(watch),
        ):
            no = await refused(heavy)
            assert no.error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (no.info.reason, no.info.metadata["limit"]) == ("LIMIT_EXCEEDED", "memory")
            assert no.delay is not None
            assert 1 <= no.delay <= 5
        for _ in range(50):
            answer = await stack.quotes.GetQuote(AAPL)
            assert answer.result.HasField("quote")
        await stack.status.GetStatus(status_pb.GetStatusRequest())
        assert counters.limit_refusals["memory"] >= 4
        assert counters.memory_alarms == 1

        # The ballast stays: it is what the streams took that must come back.
        for call in held:
            call.cancel()
        await until(lambda: counters.memory_level == Level.CALM, within=20)
        again = stack.history.StreamTrades(days_of_trades(2000))
        assert await again.read() is not grpc.aio.EOF
        again.cancel()
    assert len(ballast) == BALLAST * MIB


if __name__ == "__main__":
    asyncio.run(fill_and_read())
