"""What tests of faults have in common: one known quote, questions about it, and what a fault leaves behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from itertools import product
from string import ascii_uppercase
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import freshness_pb2, provenance_pb2, quote_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tickgate_sandbox import Sandbox
from tickgate_server import __file__ as server_file
from tickgate_server.app import Gateway
from tickgate_server.observe.counters import Counters, UpstreamCounts

from .running import Stack
from .waiting import PATIENCE, until, until_told

LATEST = "/v2/stocks/quotes/latest"
TRUTH = '{"t":"2026-10-01T15:00:00Z","bx":"V","bp":10.5,"bs":3,"ax":"Q","ap":10.6,"as":2}'
"""The quote that the sandbox holds for every symbol of `pin`."""

QUICK: dict[str, Any] = {
    "breaker": {"cool_down": 0.2, "growth": 1.0, "jitter": 0.0},
    "retries": {"most": 0},
    "budget": {"data_per_minute": 1_000_000},
}
"""Settings of the upstream in which an outage of half a minute takes a second: the cool-down is a fifth of a second and
does not grow, each question is one request, and no budget stands in its way."""

_SERVER = server_file.removesuffix("__init__.py")


def cold_symbols() -> Iterator[str]:
    """Symbols that nobody has asked for, without end for any test."""
    for letters in product(ascii_uppercase, repeat=4):
        yield "".join(letters)


def pin(sandbox: Sandbox, symbols: Iterable[str]) -> None:
    """Let *sandbox* hold the one known quote for each of *symbols*."""
    for symbol in symbols:
        sandbox.pins.put("quotes", symbol, TRUTH)


def request(
    symbol: str, *, max_age: float | None = None, allow_stale: bool = False
) -> pb.GetQuoteRequest:
    """Return the question for one quote, which may have been confirmed *max_age* seconds ago."""
    freshness = freshness_pb2.Freshness(allow_stale=allow_stale)
    if max_age is not None:
        freshness.max_age.CopyFrom(Duration(nanos=int(max_age * 1e9)))
    return pb.GetQuoteRequest(symbol=symbol, freshness=freshness)


def told(result: quote_pb2.QuoteResult) -> str:
    """Return the tier that served the true quote, with "STALE " before it where it is marked, or the reason.

    Fails when it is anything else: a value that the sandbox does not hold, or one of another origin or age.
    """
    if result.WhichOneof("result") == "unavailable":
        assert result.unavailable.message
        assert result.unavailable.request_id
        return reasons.ErrorReason.Name(result.unavailable.reason).removeprefix("ERROR_REASON_")
    quote, origin = result.quote, result.quote.provenance
    assert (quote.bid.price.value, quote.ask.price.value) == ("10.5", "10.6")
    assert (quote.bid.size, quote.ask.size) == (3, 2)
    assert origin.source == provenance_pb2.DATA_SOURCE_SANDBOX
    assert origin.feed == provenance_pb2.FEED_IEX
    assert origin.event_time.ToJsonString() == "2026-10-01T15:00:00Z"
    assert origin.event_age.ToNanoseconds() >= 0
    # No test of an outage takes longer; a confirmation that came with this very call is no older than the call.
    assert 0 <= origin.receive_age.ToNanoseconds() < 20 * 10**9
    tier = provenance_pb2.Tier.Name(origin.served_from).removeprefix("TIER_")
    return f"STALE {tier}" if origin.stale else tier


LATE = "LATE"
"""What is told where the caller's own deadline was over before the reply was here: on a busy machine that happens."""


async def ask(stack: Stack, symbol: str, *, timeout: float = PATIENCE, **freshness: Any) -> str:  # noqa: ASYNC109
    """Ask for one quote, waiting *timeout* seconds at most, and return what was `told`, or `LATE`."""
    try:
        answer = await stack.quotes.GetQuote(request(symbol, **freshness), timeout=timeout)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
        return LATE
    assert answer.result.symbol == symbol
    return told(answer.result)


async def ask_for_two(stack: Stack, pair: tuple[str, str]) -> str:
    """Ask for two quotes, which costs an upstream request of its own, and return what is told of both."""
    answer = await stack.quotes.GetQuotes(pb.GetQuotesRequest(symbols=pair), timeout=30)
    first, second = (told(result) for result in answer.results)
    assert first == second
    return first


async def timed(asked: Any) -> tuple[Any, float]:
    """Return what comes of *asked*, and the seconds it took."""
    began = time.monotonic()
    return await asked, time.monotonic() - began


async def recovered(stack: Stack, symbol: str) -> None:
    """Ask for *symbol*, which nobody holds, until the upstream answers; fail when that takes too long."""
    await until_told(lambda: ask(stack, symbol, max_age=0), lambda told: told == "UPSTREAM")


def latest(stack: Stack) -> UpstreamCounts:
    """Return the counters of the endpoints of latest values."""
    return stack.gateway.counters.upstream("alpaca.data", "latest")


def own_tasks() -> set[asyncio.Task[Any]]:
    """Return the tasks whose coroutines are the gateway's: not the sandbox's, and not a client's."""
    return {task for task in asyncio.all_tasks() if _is_own(task)}


def _is_own(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(_SERVER)


def is_idle(counters: Counters) -> bool:
    """Return whether nobody waits for anything, and nothing is under way."""
    return (
        counters.calls_in_flight == 0
        and all(one.in_flight == 0 and one.queued == 0 for one in counters.upstreams.values())
        and all(budget.waiting == 0 for budget in counters.budgets.values())
    )


async def nothing_left(gateway: Gateway, before: set[asyncio.Task[Any]]) -> None:
    """Wait until *gateway* is idle and runs no task beyond those *before*."""
    await until(lambda: is_idle(gateway.counters) and own_tasks() <= before)
