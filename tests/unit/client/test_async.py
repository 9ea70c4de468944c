"""The asynchronous client against real servers: deadlines, retries, pages, closing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import grpc.aio
import pytest

import tickgate
from tickgate.v1 import asset_pb2, quote_pb2, quote_service_pb2, reference_service_pb2

from . import messages
from .cases import CASES, YIELDING, Case
from .serving import served

Context = grpc.aio.ServicerContext[Any, Any]
QUOTE_REPLY = CASES[0].reply


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_each_method_asks_and_answers(case: Case) -> None:
    """A method sends exactly its arguments and returns exactly what was answered."""
    seen: list[tuple[Any, dict[str, Any]]] = []

    async def answer(request: Any, context: Context) -> Any:
        seen.append((request, dict(context.invocation_metadata() or ())))
        return case.reply

    async with (
        served(**{case.descriptor.name: answer}) as target,
        tickgate.connect(target, metadata={"Authorization": "Bearer k"}) as gateway,
    ):
        result = getattr(gateway, case.method)(*case.args, **case.kwargs, request_id="mine")
        value = [item async for item in result] if case.method in YIELDING else await result

    ((request, metadata),) = seen
    assert request == case.request
    assert metadata["authorization"] == "Bearer k"
    assert metadata["x-request-id"] == "mine"
    assert value == case.value


async def test_what_is_left_of_the_budget_is_known() -> None:
    """The client knows what the latest answer, a failure too, said is left for all who share the gateway."""
    said = iter(["17", "3", None, "no number"])

    async def answer(request: Any, context: Context) -> Any:
        left = next(said)
        if left is not None:
            context.set_trailing_metadata((("x-request-id", "r"), ("x-upstream-remaining", left)))
        if left == "3":
            await context.abort(grpc.StatusCode.INTERNAL, "it broke")
        return QUOTE_REPLY

    known: list[int | None] = []
    async with served(GetQuote=answer) as target, tickgate.connect(target) as gateway:
        known.append(gateway.upstream_remaining)
        for _ in range(4):
            with contextlib.suppress(tickgate.GatewayError):
                await gateway.quote("AAPL")
            known.append(gateway.upstream_remaining)
    assert known == [None, 17, 3, 3, 3]


async def test_every_call_has_a_deadline() -> None:
    """A call has its own deadline, or the client's, or five seconds."""
    left: list[float] = []

    async def answer(request: Any, context: Context) -> Any:
        left.append(context.time_remaining())
        return QUOTE_REPLY

    async with served(GetQuote=answer) as target:
        async with tickgate.connect(target) as gateway:
            await gateway.quote("AAPL")
            await gateway.quote("AAPL", timeout=20)
        async with tickgate.connect(target, timeout=40) as gateway:
            await gateway.quote("AAPL")

    for expected, actual in zip([5, 20, 40], left, strict=True):
        # gRPC rounds the time it sends; less than a second of it is spent on the way.
        assert expected - 1 < actual <= expected + 0.1


async def test_a_gateway_that_does_not_answer_is_given_up() -> None:
    """When the deadline has passed the call raises, naming the call."""

    async def answer(request: Any, context: Context) -> Any:
        await asyncio.Event().wait()

    async with served(GetQuote=answer) as target, tickgate.connect(target) as gateway:
        with pytest.raises(tickgate.DeadlineExceeded) as caught:
            await gateway.quote("AAPL", timeout=0.1, request_id="mine")
    assert caught.value.request_id == "mine"


async def test_nobody_at_the_target_is_said_at_once() -> None:
    """A gateway that is not there is reported long before the deadline."""
    async with tickgate.connect("127.0.0.1:1", timeout=30) as gateway, asyncio.timeout(10):
        with pytest.raises(tickgate.GatewayUnreachable, match=r"127\.0\.0\.1:1"):
            await gateway.status()


async def test_a_stopping_gateway_is_asked_once_more() -> None:
    """UNAVAILABLE is tried again, once, with the same id."""
    ids: list[Any] = []

    async def answer(request: Any, context: Context) -> Any:
        ids.append(dict(context.invocation_metadata() or ())["x-request-id"])
        if len(ids) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        return QUOTE_REPLY

    async with served(GetQuote=answer) as target, tickgate.connect(target) as gateway:
        assert await gateway.quote("AAPL") == messages.QUOTE_READ
    assert len(ids) == 2
    assert len(set(ids)) == 1


async def test_a_second_failure_is_the_last() -> None:
    """Two attempts are all there are."""
    attempts: list[Any] = []

    async def answer(request: Any, context: Context) -> Any:
        attempts.append(request)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")

    async with served(GetQuote=answer) as target, tickgate.connect(target) as gateway:
        with pytest.raises(tickgate.GatewayUnreachable, match="stopping"):
            await gateway.quote("AAPL")
    assert len(attempts) == 2


async def test_a_negative_pushback_stops_the_retry() -> None:
    """A gateway that knows that trying again cannot help is taken at its word."""
    attempts: list[Any] = []

    async def answer(request: Any, context: Context) -> Any:
        attempts.append(request)
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "do not ask again")

    async with served(GetQuote=answer) as target, tickgate.connect(target) as gateway:
        with pytest.raises(tickgate.GatewayUnreachable):
            await gateway.quote("AAPL")
    assert len(attempts) == 1


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code.name not in {"OK", "UNAVAILABLE"}]
)
async def test_no_other_status_is_retried(code: grpc.StatusCode) -> None:
    """Every other failure reaches the caller from the first attempt, pushback or not."""
    attempts: list[Any] = []

    async def answer(request: Any, context: Context) -> Any:
        attempts.append(request)
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "10"),))
        await context.abort(code, "no")

    async with served(GetQuote=answer) as target, tickgate.connect(target) as gateway:
        with pytest.raises(tickgate.TickgateError):
            await gateway.quote("AAPL")
    assert len(attempts) == 1


async def test_a_gateway_in_trouble_is_not_asked_twice_for_long() -> None:
    """When most calls fail, retries stop, so that they do not add to the trouble."""
    attempts: list[Any] = []

    async def answer(request: Any, context: Context) -> Any:
        attempts.append(request)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "overrun")

    async with served(GetQuote=answer) as target, tickgate.connect(target) as gateway:
        for _ in range(10):
            with pytest.raises(tickgate.GatewayUnreachable):
                await gateway.quote("AAPL")
    assert len(attempts) < 15


async def test_a_search_left_early_fetches_no_more() -> None:
    """Pages that the iteration does not reach are never asked for."""
    tokens: list[str] = []

    async def answer(request: Any, context: Context) -> Any:
        tokens.append(request.page_token)
        page = asset_pb2.AssetPage(
            assets=[messages.asset(f"A{len(tokens)}"), messages.asset(f"B{len(tokens)}")],
            next_page_token=f"t{len(tokens)}",
            provenance=messages.LIST_PROVENANCE,
        )
        return reference_service_pb2.ListAssetsResponse(page=page)

    found = []
    async with served(ListAssets=answer) as target, tickgate.connect(target) as gateway:
        async for asset in gateway.assets("a"):
            found.append(asset.symbol)
            if len(found) == 3:
                break
    assert found == ["A1", "B1", "A2"]
    assert tokens == ["", "t1"]


async def test_a_cancelled_call_is_cancelled_at_the_gateway() -> None:
    """Cancelling the task cancels the call, and raises nothing of ours."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Context) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with served(GetQuote=answer) as target, tickgate.connect(target) as gateway:
        call = asyncio.create_task(gateway.quote("AAPL"))
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await ended.wait()


async def test_simultaneous_calls_share_the_client() -> None:
    """One client serves many tasks at once, and none gets another's answer."""

    async def answer(request: Any, context: Context) -> Any:
        results = [
            quote_pb2.QuoteResult(symbol=symbol, unavailable=messages.UNAVAILABLE)
            for symbol in request.symbols
        ]
        return quote_service_pb2.GetQuotesResponse(results=results)

    symbols = [f"A{chr(65 + number)}" for number in range(20)]
    async with served(GetQuotes=answer) as target, tickgate.connect(target) as gateway:
        answers = await asyncio.gather(*(gateway.quotes([symbol]) for symbol in symbols))
    assert [answer.symbol for (answer,) in answers] == symbols


async def test_a_gateway_that_goes_away_is_reported() -> None:
    """A client outlives its gateway and says that it is gone."""

    async def answer(request: Any, context: Context) -> Any:
        return messages.STATUS

    async with contextlib.AsyncExitStack() as stack:
        target = await stack.enter_async_context(served(GetStatus=answer))
        async with tickgate.connect(target) as gateway:
            await gateway.status()
            await stack.aclose()
            with pytest.raises(tickgate.GatewayUnreachable):
                await gateway.status()
