"""The synchronous client over gRPC's own testing channel: what goes out, what comes back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from math import inf, nan
from typing import TYPE_CHECKING, Any

import grpc
import grpc_testing
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

import tickgate
from tickgate.v1 import (
    admin_service_pb2,
    asset_pb2,
    quote_pb2,
    quote_service_pb2,
    reference_service_pb2,
)

from . import messages
from .cases import CASES, SERVICES, YIELDING, Case
from .serving import served_by_threads, status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from google.protobuf.message import Message

    Ask = Callable[..., Future[Any]]


@pytest.fixture
def channel() -> grpc_testing.Channel:
    """A channel whose other end is the test."""
    return grpc_testing.channel(SERVICES.values(), grpc_testing.strict_real_time())


@pytest.fixture
def ask(channel: grpc_testing.Channel) -> Iterator[Ask]:
    """Call a method of a client in a thread, since the test has to answer it."""
    client = tickgate.SyncClient(channel, metadata={"Authorization": "Bearer k"})

    def call(method: str, *args: Any, **kwargs: Any) -> Any:
        answer = getattr(client, method)(*args, **kwargs)
        return list(answer) if method in YIELDING else answer

    with ThreadPoolExecutor(1) as pool:
        yield lambda *args, **kwargs: pool.submit(call, *args, **kwargs)


def reply_to(
    channel: grpc_testing.Channel, case: Case, reply: Message | list[Message]
) -> tuple[Any, Message]:
    """Answer the next call of the case's RPC; return its metadata and its request."""
    if isinstance(reply, list):
        metadata, request, call = channel.take_unary_stream(case.descriptor)
        call.send_initial_metadata(())
        for part in reply:
            call.send_response(part)
        call.terminate((), grpc.StatusCode.OK, "")
        return dict(metadata), request
    metadata, request, call = channel.take_unary_unary(case.descriptor)
    call.send_initial_metadata(())
    call.terminate(reply, (), grpc.StatusCode.OK, "")
    return dict(metadata), request


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_method_asks_and_answers(channel: grpc_testing.Channel, ask: Ask, case: Case) -> None:
    """A method sends exactly its arguments and returns exactly what was answered."""
    answer = ask(case.method, *case.args, **case.kwargs, request_id="mine")
    metadata, request = reply_to(channel, case, case.reply)
    assert request == case.request
    assert metadata["authorization"] == "Bearer k"
    assert metadata["x-request-id"] == "mine"
    assert answer.result() == case.value


def test_what_is_left_out_is_not_sent(channel: grpc_testing.Channel, ask: Ask) -> None:
    """An argument left out is left to the gateway, not sent as some default of the client's."""
    answer = ask("quote", "AAPL")
    _, request = reply_to(channel, CASES[0], CASES[0].reply)
    assert request == quote_service_pb2.GetQuoteRequest(symbol="AAPL")
    assert answer.result()


def test_each_call_gets_an_id_of_its_own(channel: grpc_testing.Channel, ask: Ask) -> None:
    """Without a request id one is made up, so that every failure can name the call."""
    sent = []
    for _ in range(2):
        answer = ask("quote", "AAPL")
        metadata, _ = reply_to(channel, CASES[0], CASES[0].reply)
        sent.append(metadata["x-request-id"])
        answer.result()
    assert len(set(sent)) == 2


def test_pages_are_walked_to_the_end(channel: grpc_testing.Channel, ask: Ask) -> None:
    """A search goes on with the token of each page, all else unchanged, until there is none."""
    case = next(case for case in CASES if case.method == "assets")
    answer = ask("assets", "apple", exchange="NASDAQ")
    requests = []
    for symbol, token in [("AAPL", "t1"), ("APLE", "t2"), ("APPL", "")]:
        page = asset_pb2.AssetPage(
            assets=[messages.asset(symbol)],
            next_page_token=token,
            provenance=messages.LIST_PROVENANCE,
        )
        reply = reference_service_pb2.ListAssetsResponse(page=page)
        requests.append(reply_to(channel, case, reply)[1])

    assert requests == [
        reference_service_pb2.ListAssetsRequest(query="apple", exchange="NASDAQ", page_token=token)
        for token in ("", "t1", "t2")
    ]
    assert [asset.symbol for asset in answer.result()] == ["AAPL", "APLE", "APPL"]


def test_pages_are_fetched_when_reached(channel: grpc_testing.Channel) -> None:
    """A search that nobody iterates asks nobody."""
    tickgate.SyncClient(channel).assets("apple")
    assert not channel._state._rpc_states


def test_a_wrong_argument_is_refused_at_once(channel: grpc_testing.Channel) -> None:
    """What cannot be sent raises where the method is called, not where it is iterated."""
    with pytest.raises(ValueError, match="is no AssetStatus"):
        tickgate.SyncClient(channel).assets(status=tickgate.AssetStatus.UNRECOGNIZED)


@pytest.mark.parametrize(
    ("field", "argument", "value"),
    [
        *(("request_id", "request_id", text) for text in ["é", "a\nb", "a" * 129]),
        *(
            (field, field.rpartition(".")[2], length)
            for field in ["freshness.max_age", "freshness.max_event_age", "timeout"]
            for length in [nan, inf, 1e300, -0.1, timedelta(days=3661), "3d"]
        ),
        *(("min_quality", "min_quality", score) for score in [-1, 101]),
    ],
)
def test_a_value_out_of_bounds_is_never_sent(
    channel: grpc_testing.Channel, field: str, argument: str, value: Any
) -> None:
    """What cannot be sent, and what breaks a plain bound, is refused as the gateway would refuse it."""
    with pytest.raises(tickgate.InvalidRequest) as caught:
        tickgate.SyncClient(channel).quote("AAPL", **{argument: value})
    (violation,) = caught.value.violations
    assert violation.field == field
    assert str(caught.value) == f"{field}: {violation.description}"
    assert not channel._state._rpc_states


@pytest.mark.parametrize("field", ["start", "end"])
def test_a_time_names_its_zone(channel: grpc_testing.Channel, field: str) -> None:
    """A time that may mean any of a day's hours is refused before it is sent."""
    bounds: dict[str, Any] = {field: datetime(2026, 3, 6)}  # noqa: DTZ001
    with pytest.raises(tickgate.InvalidRequest, match=f"{field}_time: a time names its time zone"):
        tickgate.SyncClient(channel).errors(**bounds)


@pytest.mark.parametrize("field", ["symbols", "kinds"])
def test_an_empty_list_drops_nothing(channel: grpc_testing.Channel, field: str) -> None:
    """A list that came out empty never empties the whole cache."""
    empty: dict[str, Any] = {field: []}
    with pytest.raises(tickgate.InvalidRequest, match=f"{field}: an empty list would mean all"):
        tickgate.SyncClient(channel).invalidate_cache(**empty)
    assert not channel._state._rpc_states


def test_everything_is_dropped_when_nothing_is_named(
    channel: grpc_testing.Channel, ask: Ask
) -> None:
    """Left out, symbols and kinds are left out of the request, which then means all."""
    answer = ask("invalidate_cache")
    case = next(case for case in CASES if case.method == "invalidate_cache")
    reply = admin_service_pb2.InvalidateCacheResponse(serve_time=messages.at(1))
    _, request = reply_to(channel, case, reply)
    assert request == admin_service_pb2.InvalidateCacheRequest()
    assert answer.result().redis_entries is None


def test_what_is_left_of_the_budget_is_known() -> None:
    """The client knows what the latest answer, a failure too, said is left for all who share the gateway."""
    said = iter(["17", "3", None, "no number"])

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        left = next(said)
        if left is not None:
            context.set_trailing_metadata((("x-request-id", "r"), ("x-upstream-remaining", left)))
        if left == "3":
            context.abort(grpc.StatusCode.INTERNAL, "it broke")
        return CASES[0].reply

    with served_by_threads(GetQuote=answer) as target, tickgate.connect_sync(target) as gateway:
        known = [gateway.upstream_remaining]
        for _ in range(4):
            with suppress(tickgate.GatewayError):
                gateway.quote("AAPL")
            known.append(gateway.upstream_remaining)
    assert known == [None, 17, 3, 3, 3]


@pytest.mark.parametrize("client", [tickgate.Client, tickgate.SyncClient])
@pytest.mark.parametrize("timeout", [nan, -1, timedelta(days=3661)])
def test_a_clients_timeout_has_the_same_bounds(
    channel: grpc_testing.Channel, client: Any, timeout: float | timedelta
) -> None:
    """A client is not made with a timeout that none of its calls could have."""
    with pytest.raises(tickgate.InvalidRequest, match="timeout: "):
        client(channel, timeout=timeout)


@pytest.mark.parametrize("method", ["quotes", "trades", "snapshots", "option_quotes"])
def test_a_text_is_not_several_symbols(channel: grpc_testing.Channel, method: str) -> None:
    """A symbol where a list is due never asks for the stocks of its letters."""
    with pytest.raises(TypeError, match=r"\['MSFT'\]"):
        getattr(tickgate.SyncClient(channel), method)("MSFT")


def test_symbols_may_come_from_anything_iterable(channel: grpc_testing.Channel, ask: Ask) -> None:
    """A generator of symbols is read once and its order kept."""
    case = CASES[1]
    answer = ask("quotes", (symbol for symbol in ["AAPL", "ZZZZ", "MSFT"]))
    reply_to(channel, case, case.reply)
    assert answer.result() == case.value


@pytest.mark.parametrize(
    ("method", "args", "reply"),
    [
        (
            "quote",
            ("ZZZZ",),
            quote_service_pb2.GetQuoteResponse(
                result=quote_pb2.QuoteResult(symbol="ZZZZ", unavailable=messages.UNAVAILABLE)
            ),
        ),
        (
            "asset",
            ("ZZZZ",),
            reference_service_pb2.GetAssetResponse(
                result=asset_pb2.AssetResult(symbol="ZZZZ", unavailable=messages.UNAVAILABLE)
            ),
        ),
        (
            "clock",
            (),
            reference_service_pb2.GetMarketClockResponse(unavailable=messages.UNAVAILABLE),
        ),
    ],
)
def test_one_value_that_is_not_there_is_raised(
    channel: grpc_testing.Channel,
    ask: Ask,
    method: str,
    args: tuple[Any, ...],
    reply: Message,
) -> None:
    """Where one value was asked for, its absence raises, with all that the gateway said."""
    answer = ask(method, *args)
    reply_to(channel, next(case for case in CASES if case.method == method), reply)
    with pytest.raises(tickgate.TooStale) as caught:
        answer.result()
    assert caught.value.unavailable == messages.unavailable_read(args[0] if args else None)


def test_an_answer_out_of_order_is_refused(channel: grpc_testing.Channel, ask: Ask) -> None:
    """A batch whose results are not those of the asked symbols is never handed on."""
    case = CASES[1]
    answer = ask("quotes", ["MSFT", "AAPL", "ZZZZ"], request_id="mine")
    reply_to(channel, case, case.reply)
    with pytest.raises(tickgate.GatewayError, match="order") as caught:
        answer.result()
    assert caught.value.request_id == "mine"


def test_an_answer_without_a_result_is_refused(channel: grpc_testing.Channel, ask: Ask) -> None:
    """An answer that holds neither a value nor a reason is a fault of the gateway."""
    answer = ask("quote", "AAPL")
    reply_to(channel, CASES[0], quote_service_pb2.GetQuoteResponse())
    with pytest.raises(tickgate.GatewayError, match="neither a value nor a reason"):
        answer.result()


def test_a_failed_call_is_raised_from_what_grpc_raised(
    channel: grpc_testing.Channel, ask: Ask
) -> None:
    """A failure reads in our words and keeps gRPC's error as its cause."""
    failure = status(
        grpc.StatusCode.INTERNAL, "it broke", ErrorInfo(domain="tickgate", reason="INTERNAL")
    )
    answer = ask("clock", request_id="mine")
    case = next(case for case in CASES if case.method == "clock")
    _, _, call = channel.take_unary_unary(case.descriptor)
    call.send_initial_metadata(())
    call.terminate(None, failure.trailing_metadata, failure.code, failure.details)
    with pytest.raises(tickgate.GatewayError, match=r"it broke \(request mine\)") as caught:
        answer.result()
    assert isinstance(caught.value.__cause__, grpc.RpcError)
