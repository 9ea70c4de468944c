"""Errors: every reason has a name to catch, and nothing of gRPC reaches a caller."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

import tickgate
from tickgate import _errors as errors
from tickgate.v1 import error_reason_pb2, quote_pb2, quote_service_pb2, unavailable_pb2

from .messages import UNAVAILABLE, unavailable_read
from .serving import served_by_threads, status

if TYPE_CHECKING:
    from google.protobuf.message import Message

REASONS = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()[1:]]
ABOUT_THE_CALL = {
    *("INVALID_REQUEST", "SHUTTING_DOWN", "INTERNAL", "PERMISSION_DENIED", "NOT_FEED_HOLDER"),
    *("NOT_FOUND", "UNAUTHENTICATED"),
}
"""Reasons that never stand inside an answer."""


def raised(code: grpc.StatusCode, message: str, *details: Message) -> tickgate.TickgateError:
    """What a client raises when a gateway fails a call so."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort_with_status(status(code, message, *details))

    with (
        served_by_threads(GetQuote=answer) as target,
        tickgate.connect_sync(target) as gateway,
        pytest.raises(tickgate.TickgateError) as caught,
    ):
        gateway.quote("ZZZZ", request_id="sent")
    return caught.value


def info(reason: str, **metadata: str) -> ErrorInfo:
    """The detail with which a gateway names a reason."""
    return ErrorInfo(domain="tickgate", reason=reason, metadata=metadata)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_class(reason: str) -> None:
    """Each reason of the contract is raised as a class of its own kind, never as a root."""
    kind = errors.ERROR_OF[tickgate.Reason(reason)]
    assert kind not in {tickgate.TickgateError, tickgate.DataUnavailableError}
    assert issubclass(kind, tickgate.DataUnavailableError) is (reason not in ABOUT_THE_CALL)


def test_every_class_has_a_reason() -> None:
    """No class about data stands for nothing."""
    named = set(errors.ERROR_OF.values())
    assert set(tickgate.DataUnavailableError.__subclasses__()) <= named


def test_the_drawing_is_the_tree() -> None:
    """The tree drawn at the top of the module names every class that is there."""
    drawn = set(errors.__doc__.split()) if errors.__doc__ else set()
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    ours = {kind.__name__ for kind in kinds if issubclass(kind, tickgate.TickgateError)}
    assert ours <= drawn


@pytest.mark.parametrize("reason", sorted(set(REASONS) - ABOUT_THE_CALL))
def test_both_faces_of_a_reason_raise_alike(reason: str) -> None:
    """A reason inside an answer and the same reason as a status raise the same class."""
    why = unavailable_pb2.DataUnavailable(
        reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"),
        category=unavailable_pb2.UNAVAILABLE_CATEGORY_RATE_LIMITED,
        message="said so",
        request_id="r",
    )
    result = quote_pb2.QuoteResult(symbol="ZZZZ", unavailable=why)

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        return quote_service_pb2.GetQuoteResponse(result=result)

    with (
        served_by_threads(GetQuote=answer) as target,
        tickgate.connect_sync(target) as gateway,
        pytest.raises(tickgate.DataUnavailableError) as caught,
    ):
        gateway.quote("ZZZZ")
    soft = caught.value
    hard = raised(
        grpc.StatusCode.NOT_FOUND,
        "said so",
        info(reason, request_id="r", symbol="ZZZZ", category="RATE_LIMITED"),
    )
    assert type(hard) is type(soft) is errors.ERROR_OF[tickgate.Reason(reason)]
    assert isinstance(hard, tickgate.DataUnavailableError)
    assert hard.unavailable == soft.unavailable


def test_an_error_carries_all_that_was_said() -> None:
    """Whoever catches it need not ask again to know why and what to do."""
    error = errors.unavailable_error(unavailable_read("ZZZZ"))
    assert isinstance(error, tickgate.TooStale)
    assert error.symbol == "ZZZZ"
    assert error.reason is tickgate.Reason.TOO_STALE
    assert error.message == UNAVAILABLE.message
    assert error.request_id == "r-1"
    assert error.retry_delay == timedelta(seconds=2)
    assert error.suggested_action == UNAVAILABLE.suggested_action
    assert error.last_event_time is not None
    assert error.tiers == error.unavailable.tiers
    assert error.refusal == error.unavailable.refusal


def test_a_wrong_request_names_each_field() -> None:
    """What was wrong stands in the error, field by field."""
    error = raised(
        grpc.StatusCode.INVALID_ARGUMENT,
        "symbol: must be upper case",
        info("INVALID_REQUEST", request_id="r"),
        BadRequest(
            field_violations=[
                BadRequest.FieldViolation(field="symbol", description="must be upper case")
            ]
        ),
    )
    assert isinstance(error, tickgate.InvalidRequest)
    assert error.violations == (tickgate.FieldViolation("symbol", "must be upper case"),)
    assert str(error) == "symbol: must be upper case (request r)"


def test_a_delay_comes_along() -> None:
    """When to ask again is part of the error, whichever way it came."""
    delay = RetryInfo(retry_delay=Duration(seconds=3))
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    limited = raised(code, "spent", info("BUDGET_EXHAUSTED", category="RATE_LIMITED"), delay)
    assert isinstance(limited, tickgate.RateLimited)
    assert limited.retry_delay == timedelta(seconds=3)

    ours = raised(code, "too many calls", delay)
    assert isinstance(ours, tickgate.GatewayError)
    assert ours.retry_delay == timedelta(seconds=3)
    assert ours.code == "RESOURCE_EXHAUSTED"


def test_a_stopping_gateway_is_unreachable() -> None:
    """Stopping and not being there mean the same to a caller: ask again."""
    error = raised(grpc.StatusCode.UNAVAILABLE, "stopping", info("SHUTTING_DOWN"))
    assert isinstance(error, tickgate.GatewayUnreachable)


def test_another_replica_may_hold_the_feed() -> None:
    """The wrong replica is told apart, and caught with all that means: come again."""
    error = raised(grpc.StatusCode.UNAVAILABLE, "not here", info("NOT_FEED_HOLDER"))
    assert type(error) is tickgate.NotFeedHolder
    assert isinstance(error, tickgate.GatewayUnreachable)


def test_what_only_operators_may_is_told_apart() -> None:
    """A caller who may not ask learns it by a class of its own, and not as a fault of the gateway."""
    error = raised(
        grpc.StatusCode.PERMISSION_DENIED,
        "AdminService answers callers on the gateway's own machine only",
        info("PERMISSION_DENIED", request_id="r"),
    )
    assert type(error) is tickgate.NotPermitted
    assert str(error).endswith("own machine only (request r)")


def test_what_has_no_such_name_is_told_apart() -> None:
    """A watchlist or a backfill that does not exist is no lack of data and no fault of the gateway."""
    error = raised(grpc.StatusCode.NOT_FOUND, "no watchlist “x”", info("NOT_FOUND", request_id="r"))
    assert type(error) is tickgate.NotFound
    assert not isinstance(error, tickgate.DataUnavailableError)


@pytest.mark.parametrize("kind", [tickgate.CircuitOpen, tickgate.BudgetExhausted])
def test_a_refusal_of_the_gateways_own_is_caught_with_its_kind(kind: type[Exception]) -> None:
    """Who waits for an upstream in trouble, or for its limit, waits for what the gateway refuses by itself too."""
    kinds = (tickgate.UpstreamUnavailable, tickgate.RateLimited)
    assert issubclass(kind, kinds)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
def test_a_status_without_details_is_ours_too(code: grpc.StatusCode) -> None:
    """A proxy's failure is translated as well, and names the id that the call was sent with."""
    error = raised(code, "said a proxy")
    kinds = {
        "DEADLINE_EXCEEDED": tickgate.DeadlineExceeded,
        "UNAVAILABLE": tickgate.GatewayUnreachable,
    }
    assert type(error) is kinds.get(code.name, tickgate.GatewayError)
    assert error.message == "said a proxy"
    assert error.request_id == "sent"


def test_details_that_contradict_the_status_are_not_believed() -> None:
    """Details that something in between left behind, or garbled, are not about this failure."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(grpc.StatusCode.INTERNAL, "garbled")

    with (
        served_by_threads(GetQuote=answer) as target,
        tickgate.connect_sync(target) as gateway,
        pytest.raises(tickgate.GatewayError, match="garbled"),
    ):
        gateway.quote("ZZZZ")


def test_details_of_another_domain_are_not_ours() -> None:
    """A reason is believed only from the gateway."""
    error = raised(
        grpc.StatusCode.NOT_FOUND,
        "no such route",
        ErrorInfo(domain="proxy.example", reason="SYMBOL_UNKNOWN"),
    )
    assert isinstance(error, tickgate.GatewayError)


def test_a_reason_of_tomorrow_about_data_is_about_data() -> None:
    """A reason that this client has no name for is caught with its family."""
    error = raised(
        grpc.StatusCode.NOT_FOUND,
        "delisted",
        info("SYMBOL_DELISTED", category="DATA_UNAVAILABLE"),
    )
    assert isinstance(error, tickgate.DataUnavailableError)
    assert type(error) is tickgate.DataUnavailableError
    assert error.reason is tickgate.Reason.UNRECOGNIZED
    assert error.unavailable.category is tickgate.Category.DATA_UNAVAILABLE
    assert error.symbol == "ZZZZ"


def test_a_reason_of_tomorrow_about_the_call_is_the_gateways() -> None:
    """A reason that this client has no name for, without a family, is not mistaken for absence."""
    error = raised(grpc.StatusCode.UNAVAILABLE, "not here", info("ON_HOLIDAY"))
    assert isinstance(error, tickgate.GatewayError)
    assert error.code == "UNAVAILABLE"


@pytest.mark.parametrize(
    "error",
    [
        tickgate.TooStale(unavailable_read("ZZZZ")),
        tickgate.InvalidRequest(
            "no", violations=(tickgate.FieldViolation("symbol", "no"),), request_id="r"
        ),
        tickgate.GatewayError("no", code="ABORTED", retry_delay_ns=5, request_id="r"),
        tickgate.DeadlineExceeded("no", request_id="r"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_being_sent(error: tickgate.TickgateError) -> None:
    """An error crosses process borders with all that it carries."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert vars(again) == vars(error)
        assert str(again) == str(error)
