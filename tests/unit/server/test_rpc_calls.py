"""What every call has in common, for callers that no test can be: afar, without a deadline, gone."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import reference_service_pb2 as reference
from tickgate_server.errors import CircuitOpen, UpstreamBroken
from tickgate_server.identity.consumer import Scope
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.unavailable import Reason, Refusal, TierAttempt, TierOutcome
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.calls import Calls, Method, Methods, Read

from ...support.admin import FakeContext, Parts, served
from ...support.fakes import NOW, FakeReference, quote, settle, unavailable


def untouched(_: bytes) -> object:
    """Read a request that nobody may look at."""
    msg = "the request was read"
    raise AssertionError(msg)


async def answering(_: object, __: Call) -> bytes:
    """Answer whatever is asked."""
    return b"answer"


async def ask(
    calls: Calls,
    context: FakeContext,
    method: Method[Any] = answering,
    read: Read[Any] = bytes,
    scope: Scope = Scope.READ,
) -> bytes | None:
    """Put a call through a handler, None where it failed."""
    handler = calls.handler("AdminService/Ask", read, method, scope)
    handle: Any = handler.unary_unary
    try:
        answer: bytes = await handle(b"", context)
    except grpc.aio.AbortError:
        return None
    return answer


async def get(parts: Parts, context: FakeContext, **request: Any) -> pb.GetQuotesResponse | None:
    """Put a GetQuotes through a handler."""
    servicer = parts.quote_servicer()
    handler = parts.calls().handler(
        "QuoteService/GetQuotes",
        servicer.reading(pb.GetQuotesRequest.FromString),
        servicer.GetQuotes,
        Scope.READ,
    )
    handle: Any = handler.unary_unary
    try:
        return pb.GetQuotesResponse.FromString(
            await handle(pb.GetQuotesRequest(**request).SerializeToString(), context)
        )
    except grpc.aio.AbortError:
        return None


# ------------------------------------------------------------------------------------ metadata


async def test_what_is_said_first_holds() -> None:
    """Of an id that a caller sends several times the first is the call's."""
    context = FakeContext(metadata=(("x-request-id", "one"), ("x-request-id", "two")))
    assert await ask(Parts().calls(), context) == b"answer"
    assert context.trailers["x-request-id"] == "one"


async def test_calls_under_way_together_do_not_hear_each_other() -> None:
    """Each call goes by its own metadata, also while another is answered, and one that says nothing by none."""
    both, said = asyncio.Event(), dict[bytes, str]()

    async def telling(asked: bytes, call: Call) -> bytes:
        said[asked] = call.request_id
        if len(said) == 3:
            both.set()
        await both.wait()
        return b"answer"

    handler = Parts().calls().handler("AdminService/Ask", bytes, telling, Scope.READ)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods("some.Service", {"Ask": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary("/some.Service/Ask")
            other: Any = channel.unary_unary("/some.Service/Other")
            told = {b"1": (("x-request-id", "one"),), b"2": (("x-request-id", "two"),), b"3": ()}
            asked = [call(body, metadata=metadata, timeout=10) for body, metadata in told.items()]
            await asyncio.gather(*asked)
            trailers = [dict(await one.trailing_metadata())["x-request-id"] for one in asked]
            with pytest.raises(grpc.aio.AioRpcError, match="Method not found"):
                await other(b"")
    finally:
        await server.stop(None)
    assert trailers == [said[body] for body in told]
    assert trailers[:2] == ["one", "two"]
    assert trailers[2] not in ("", "one", "two")


# ------------------------------------------------------------------------------------ operators


@pytest.mark.parametrize("peer", ["ipv4:10.0.0.5:4000", "ipv6:%5B2001:db8::1%5D:4000", "gibberish"])
async def test_operators_are_on_this_machine(peer: str) -> None:
    """A method for operators refuses a caller from afar with PERMISSION_DENIED, and does not read its request."""
    parts, context = Parts(), FakeContext(peer)
    assert await ask(parts.calls(), context, read=untouched, scope=Scope.ADMIN) is None
    assert context.code is grpc.StatusCode.PERMISSION_DENIED
    assert "call it from there" in context.message
    assert context.trailers["grpc-retry-pushback-ms"] == "-1"
    (noted,) = parts.errors.entries
    assert (noted.reason, noted.context["consumer"]) == ("PERMISSION_DENIED", peer)


@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:4000", "ipv6:%5B::1%5D:4000", "unix:"])
async def test_an_operator_is_answered(peer: str) -> None:
    """A method for operators answers callers on this machine."""
    assert await ask(Parts().calls(), FakeContext(peer), scope=Scope.ADMIN) == b"answer"


async def test_everybody_may_ask_the_other_methods() -> None:
    """A method that is not for operators does not care where its caller is."""
    assert await ask(Parts().calls(), FakeContext("ipv4:10.0.0.5:4000")) == b"answer"


# ------------------------------------------------------------------------------------- trailers


async def test_the_remaining_budget_travels_with_every_answer() -> None:
    """A success carries its request id and what remains of the budget now, and nothing before the answer."""
    parts, context = Parts(), FakeContext(metadata=[("other", "x"), ("x-request-id", "order-1")])
    calls = parts.calls()
    for remaining in (190, 190, 7, 0):
        parts.remaining = remaining
        await ask(calls, context)
        assert context.trailers == {
            "x-request-id": "order-1",
            "x-upstream-remaining": str(remaining),
        }
    assert not context.initial_metadata_sent


async def test_the_remaining_budget_travels_with_every_failure() -> None:
    """A failure carries what remains of the budget as well."""

    async def failing(_: object, __: Call) -> bytes:
        raise RuntimeError

    parts, context = Parts(remaining=3), FakeContext()
    assert await ask(parts.calls(), context, failing) is None
    assert context.trailers["x-upstream-remaining"] == "3"
    assert not context.initial_metadata_sent


@pytest.mark.parametrize(
    ("delay", "time_left", "pushback"),
    [
        (2.5, 5.0, "2500"),
        (0.0, 5.0, "1"),
        (7.5, 5.0, "-1"),
        (7.5, None, "7500"),
        (12.5, None, "12500"),
        (None, 5.0, None),
    ],
)
async def test_a_cool_down_is_a_pushback(
    delay: float | None, time_left: float | None, pushback: str | None
) -> None:
    """Strict CIRCUIT_OPEN pushes retries back by the cool-down, unless the caller will not be there any more."""
    parts, context = Parts(), FakeContext(time_left=time_left)
    parts.quotes.outage = CircuitOpen("failed repeatedly", retry_delay=delay).unavailable()
    await get(parts, context, symbols=["AAPL"], strict=True)
    assert context.code is grpc.StatusCode.UNAVAILABLE
    assert context.trailers.get("grpc-retry-pushback-ms") == pushback


# ------------------------------------------------------------------------------------ error log


async def test_what_is_given_is_not_noted() -> None:
    """A call that got all it asked for leaves nothing in the log."""
    parts = Parts()
    parts.quotes.values = {"AAPL": quote("AAPL")}
    answer = await get(parts, FakeContext(), symbols=["AAPL"])
    assert answer is not None
    assert answer.results[0].quote.symbol == "AAPL"
    assert parts.errors.entries == []


@pytest.mark.parametrize("strict", [False, True])
async def test_a_missing_value_is_noted_with_all_that_is_known(*, strict: bool) -> None:
    """A value that was not given is noted once, with who asked for what, where it was sought and what was wrong."""
    parts = Parts()
    parts.clock.advance(1)
    parts.quotes.reasons["AAPL"] = unavailable(
        Reason.INVALID_DATA,
        refusal=Refusal("crossed", "bid 2 above ask 1"),
        tiers=(
            TierAttempt(Tier.MEMORY, TierOutcome.EMPTY, NOW),
            TierAttempt(Tier.UPSTREAM, TierOutcome.REFUSED, NOW),
        ),
        retry_delay=1.5,
        upstream="alpaca.data",
    )
    context = FakeContext("ipv4:10.0.0.5:4000", [("x-request-id", "order-1")])
    await get(parts, context, symbols=["AAPL"], strict=strict)
    (noted,) = parts.errors.entries
    assert (noted.time, noted.request_id) == (parts.clock.wall(), "order-1")
    assert (noted.reason, noted.message) == ("INVALID_DATA", "because of INVALID_DATA")
    assert noted.context == {
        "origin": "call",
        "endpoint": "QuoteService/GetQuotes",
        "consumer": "ipv4:10.0.0.5:4000",
        "strict": strict,
        "symbols": ["AAPL"],
        "count": 1,
        "feed": "iex",
        "tiers": ["memory EMPTY", "upstream REFUSED"],
        "rule": "crossed",
        "evidence": "bid 2 above ask 1",
        "upstream": "alpaca.data",
        "retry_delay": 1.5,
    }


async def test_a_batch_is_noted_once_for_each_reason() -> None:
    """A batch leaves one entry for each reason, which counts its symbols and names the first twenty."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    parts = Parts()
    parts.quotes.values = {"GOOD": quote("GOOD")}
    parts.quotes.reasons = {"OLD": unavailable(Reason.TOO_STALE)}
    unknown = [f"Q{letter}" for letter in letters]
    await get(parts, FakeContext(), symbols=[*unknown[:3], "OLD", "GOOD", *unknown[3:]])
    first, second = parts.errors.entries
    assert (first.reason, second.reason) == ("SYMBOL_UNKNOWN", "TOO_STALE")
    assert first.context["symbols"] == unknown[:20]
    assert first.context["count"] == 26
    assert (second.context["symbols"], second.context["count"]) == (["OLD"], 1)


async def test_missing_reference_data_is_noted() -> None:
    """Reference data that was not given is noted too, with a symbol where one was asked for."""
    parts = Parts(reference=FakeReference(["AAPL"]))
    async with served(parts) as face:
        await face.reference.GetAsset(reference.GetAssetRequest(symbol="ZZZZ"))
        parts.reference.failure = UpstreamBroken("alpaca.trading answered 500")
        await face.reference.GetAsset(reference.GetAssetRequest(symbol="AAPL"))
        await face.reference.ListAssets(reference.ListAssetsRequest())
    unknown, broken, listing = parts.errors.entries
    assert (unknown.reason, unknown.context["symbols"]) == ("SYMBOL_UNKNOWN", ["ZZZZ"])
    assert (broken.reason, broken.context["symbols"]) == ("UPSTREAM_ERROR", ["AAPL"])
    assert set(listing.context) == {"origin", "endpoint", "consumer", "strict"}


async def test_a_wrong_request_is_noted() -> None:
    """A request that breaks a rule is noted with the rule, as is one whose id is too long to keep."""
    parts = Parts()
    await get(parts, FakeContext(), symbols=["aapl"])
    await get(parts, FakeContext(metadata=[("x-request-id", "x" * 129)]), symbols=["AAPL"])
    wrong, long = parts.errors.entries
    assert wrong.reason == long.reason == "INVALID_REQUEST"
    assert wrong.message.startswith("symbols[0]: ")
    assert long.request_id == "x" * 128
    assert wrong.context == {
        "origin": "call",
        "endpoint": "QuoteService/GetQuotes",
        "consumer": "ipv4:127.0.0.1:40000",
    }


async def test_a_fault_of_ours_is_noted_without_its_text() -> None:
    """An exception is noted as INTERNAL, and what it says stays in the gateway's own log."""

    async def failing(_: object, __: Call) -> bytes:
        msg = "password=hunter2"
        raise RuntimeError(msg)

    parts = Parts()
    await ask(parts.calls(), FakeContext(), failing)
    (noted,) = parts.errors.entries
    assert noted.reason == "INTERNAL"
    assert "hunter2" not in repr(noted)


async def test_a_fault_while_answering_is_noted_as_what_it_is() -> None:
    """A call that fails over one value is noted as INTERNAL, not as missing the others."""
    parts = Parts()
    broken: Any = object()
    parts.quotes.values = {"AAPL": broken}
    assert await get(parts, FakeContext(), symbols=["ZZZZ", "AAPL"]) is None
    assert [noted.reason for noted in parts.errors.entries] == ["INTERNAL"]


async def test_a_stopping_gateway_notes_whom_it_sends_away() -> None:
    """Calls that come too late are noted as SHUTTING_DOWN."""
    parts = Parts()
    calls = parts.calls()
    calls.close()
    await ask(calls, FakeContext(), read=untouched)
    assert [noted.reason for noted in parts.errors.entries] == ["SHUTTING_DOWN"]


async def test_a_call_that_is_called_back_is_not_noted() -> None:
    """A caller who leaves is no failure: nothing is noted, and nothing stays under way."""
    parts = Parts()
    parts.quotes.open.clear()
    asking = asyncio.ensure_future(get(parts, FakeContext(), symbols=["AAPL"]))
    await parts.quotes.waiting.wait()
    asking.cancel()
    await settle(asking.done)
    assert asking.cancelled()
    assert parts.errors.entries == []
    assert parts.counters.calls_in_flight == 0
    assert [call.code for call in parts.finished] == ["CANCELLED"]


async def test_a_finished_call_holds_no_answers() -> None:
    """Once noted, reasons are let go: a call waits for its log line much longer than they are of use."""
    parts = Parts()
    await get(parts, FakeContext(), symbols=["ZZZZ"])
    (call,) = parts.finished
    assert (call.reason, call.asked, call.given, call.missing) == ("SYMBOL_UNKNOWN", 1, 0, ())
    assert call.feed is Feed.IEX


async def test_an_answer_is_either_a_value_or_a_reason() -> None:
    """What the log counts as missing is what the answer calls unavailable."""
    parts = Parts()
    parts.quotes.values = {"AAPL": quote("AAPL")}
    answer = await get(parts, FakeContext(), symbols=["AAPL", "ZZZZ"])
    assert answer is not None
    kinds = [result.WhichOneof("result") for result in answer.results]
    assert kinds == ["quote", "unavailable"]
    assert parts.errors.entries[0].context["symbols"] == ["ZZZZ"]
