"""Reasons and their faces: one table, walked whole."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import unavailable_pb2 as pb
from tickgate_server.errors import (
    CircuitOpen,
    GatewayError,
    InvalidRequest,
    NotFeedHolder,
    NotFound,
    NotPermitted,
    NotSupported,
    ShuttingDown,
    StoreDown,
    TooManyStreams,
    UpstreamBroken,
)
from tickgate_server.fanout.mailbox import Closing
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable
from tickgate_server.rpc import convert, status
from tickgate_server.rpc.convert import Moment

from ...support.fakes import NOW, unavailable

MOMENT = Moment("call-1", NOW, 1000.0, NOW, None)
CODES = {
    "NOT_FOUND": "SYMBOL_UNKNOWN CONTRACT_UNKNOWN CONTRACT_EXPIRED NO_DATA NOT_FOUND NOT_HELD",
    "FAILED_PRECONDITION": "TOO_STALE LOW_QUALITY RULE_VIOLATION",
    "DEADLINE_EXCEEDED": "OUT_OF_TIME",
    "DATA_LOSS": "INVALID_DATA",
    "PERMISSION_DENIED": "NOT_ENTITLED",
    "INVALID_ARGUMENT": "INVALID_REQUEST",
    "RESOURCE_EXHAUSTED": "UPSTREAM_RATE_LIMITED BUDGET_EXHAUSTED SUBSCRIPTION_LIMIT LIMIT_EXCEEDED",
    "UNAUTHENTICATED": "UNAUTHENTICATED",
    "UNIMPLEMENTED": "NOT_SUPPORTED",
    "UNAVAILABLE": (
        "UPSTREAM_ERROR UPSTREAM_TIMEOUT UPSTREAM_UNAUTHENTICATED CIRCUIT_OPEN NOT_FEED_HOLDER"
        " SHUTTING_DOWN STORE_UNAVAILABLE"
    ),
}
"""The status of each reason, as the design and the contract's comments list them."""

RETRIED = frozenset(
    "UPSTREAM_RATE_LIMITED BUDGET_EXHAUSTED UPSTREAM_ERROR UPSTREAM_TIMEOUT CIRCUIT_OPEN"
    " NOT_FEED_HOLDER SHUTTING_DOWN STORE_UNAVAILABLE LIMIT_EXCEEDED".split()
)
"""Reasons for which the same question may soon have an answer."""

EVERY_REASON = pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
HEADERS = 8 * 1024
"""Bytes of headers that gRPC takes before it drops a call."""


def details(failure: status.Failure) -> dict[type[Message], Any]:
    """The details of a failed call, by type."""
    found: dict[type[Message], Any] = {}
    for packed in failure.status.details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.RetryInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.QuotaFailure,
        ):
            detail = kind()
            if packed.Unpack(detail):
                found[kind] = detail
    assert len(found) == len(failure.status.details)
    return found


def info(failure: status.Failure) -> Any:
    """The ErrorInfo of a failed call."""
    return details(failure)[error_details_pb2.ErrorInfo]


def test_every_reason_of_the_contract_has_its_way_out() -> None:
    """Each ErrorReason is a reason with two faces, or one of the two that only fail calls."""
    sent = {reason.name for reason in Reason} | {"INTERNAL", "PERMISSION_DENIED"}
    contract = {
        name.removeprefix("ERROR_REASON_") for name in reasons.ErrorReason.DESCRIPTOR.values_by_name
    }
    assert contract - {"UNSPECIFIED"} == sent
    assert set(status.FACES) == set(Reason)


def test_the_statuses_are_the_designs() -> None:
    """Each reason has the status that the contract's comments name."""
    expected = {name: code for code, names in CODES.items() for name in names.split()}
    assert {reason.name: face.code.name for reason, face in status.FACES.items()} == expected


@EVERY_REASON
def test_strict_and_soft_agree(reason: Reason) -> None:
    """The two faces of a reason name the same reason, category, message, call and evidence."""
    why = unavailable(reason, retry_delay=1.5, refusal=Refusal("crossed", "bid 2 above ask 1"))
    soft = convert.unavailable(why, MOMENT)
    strict = status.of_unavailable(why, "AAPL", "call-1")
    assert reasons.ErrorReason.Name(soft.reason) == f"ERROR_REASON_{strict.reason}"
    said = info(strict)
    assert (said.reason, said.domain) == (reason.name, "tickgate")
    assert said.metadata["request_id"] == soft.request_id == "call-1"
    assert f"UNAVAILABLE_CATEGORY_{said.metadata['category']}" == pb.UnavailableCategory.Name(
        soft.category
    )
    assert (said.metadata["rule"], said.metadata["evidence"]) == (
        soft.refusal.rule,
        soft.refusal.evidence,
    )
    assert said.metadata["symbol"] == "AAPL"
    assert strict.message == strict.status.message == soft.message
    assert strict.status.code == strict.code.value[0]
    assert soft.category != pb.UNAVAILABLE_CATEGORY_UNSPECIFIED
    assert soft.suggested_action.endswith(".")


@EVERY_REASON
def test_a_pushback_stops_or_times_retries(reason: Reason) -> None:
    """Where trying again cannot help, retries are stopped; else a known delay is the pushback, an unknown none."""
    retry = reason.name in RETRIED
    timed = status.of_unavailable(unavailable(reason, retry_delay=1.5), "", "")
    untimed = status.of_unavailable(unavailable(reason), "", "")
    assert timed.pushback == (1500 if retry else -1)
    assert untimed.pushback == (None if retry else -1)
    assert error_details_pb2.RetryInfo not in details(untimed)
    if retry:
        delay = details(timed)[error_details_pb2.RetryInfo].retry_delay
        assert (delay.seconds, delay.nanos) == (1, 500_000_000)
    else:
        assert error_details_pb2.RetryInfo not in details(timed)


@pytest.mark.parametrize(
    ("delay", "milliseconds"),
    [(0.0, 1), (1e-9, 1), (0.0004, 1), (0.3, 300), (1.0001, 1001), (86_400, 86_400_000), (1e300, 86_400_000)],
)  # fmt: skip
def test_a_pushback_is_never_too_short(delay: float, milliseconds: int) -> None:
    """A delay is rounded up, so that nobody comes too early; the shortest is a millisecond, the longest a day."""
    failure = status.of_unavailable(unavailable(Reason.CIRCUIT_OPEN, retry_delay=delay), "", "")
    assert failure.pushback == milliseconds
    named = details(failure)[error_details_pb2.RetryInfo].retry_delay
    assert named.ToMilliseconds() == milliseconds


def test_an_open_circuit_says_when_it_may_close() -> None:
    """Under `strict` CIRCUIT_OPEN is UNAVAILABLE with its cool-down as delay and as pushback."""
    why = CircuitOpen("alpaca.data has failed repeatedly", retry_delay=2.5).unavailable()
    failure = status.of_unavailable(why, "AAPL", "id")
    assert (failure.code.name, failure.reason, failure.pushback) == (
        "UNAVAILABLE",
        "CIRCUIT_OPEN",
        2500,
    )
    assert set(details(failure)) == {error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo}


@EVERY_REASON
def test_a_spent_quota_is_named(reason: Reason) -> None:
    """A reason that is about a quota says whose it is and what happened; no other reason speaks of quotas."""
    failure = status.of_unavailable(unavailable(reason, upstream="alpaca.data"), "", "")
    quota = details(failure).get(error_details_pb2.QuotaFailure)
    if failure.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        assert quota is None
        return
    assert quota is not None
    (violation,) = quota.violations
    assert (violation.subject, violation.description) == ("alpaca.data", failure.message)
    assert info(failure).metadata["upstream"] == "alpaca.data"


def test_a_quota_of_nobody_in_particular_is_the_upstreams() -> None:
    """Where it is not known whose quota is spent, the detail says no more than is known."""
    failure = status.of_unavailable(unavailable(Reason.UPSTREAM_RATE_LIMITED), "", "")
    (violation,) = details(failure)[error_details_pb2.QuotaFailure].violations
    assert violation.subject == "upstream"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=3000), st.sampled_from(Reason))
def test_a_failure_fits_its_headers_whatever_it_quotes(text: str, reason: Reason) -> None:
    """However long the message and the evidence, and of whatever characters, a failed call can be delivered."""
    longest = text * (1 + 3000 // max(1, len(text)))
    refusal, upstream = Refusal("a_rule_with_quite_a_long_name", longest), "alpaca.trading"
    why = Unavailable(
        reason=reason, message=longest, refusal=refusal, upstream=upstream, retry_delay=1e12
    )
    failure = status.of_unavailable(why, "ABCDEFG.HI", "i" * 128)
    message = failure.message.encode()
    # gRPC writes what is not printable ASCII as three bytes for one.
    written = sum(1 if 0x20 <= byte < 0x7F else 3 for byte in message)
    assert len(failure.status.SerializeToString()) * 4 / 3 + written + 300 < HEADERS
    assert longest.startswith(failure.message.removesuffix("…"))


def test_what_is_not_known_is_not_named() -> None:
    """Without a symbol or a rule the metadata has none."""
    metadata = info(status.of_unavailable(unavailable(Reason.NO_DATA), "", "id")).metadata
    assert set(metadata) == {"category", "request_id"}


def test_an_invalid_request_names_every_field() -> None:
    """INVALID_ARGUMENT carries each broken rule with its field, and its message the first."""
    error = InvalidRequest([("symbol", "is none"), ("view", "is not one")])
    failure = status.of_error(error, "id")
    assert (failure.code, failure.reason, failure.pushback) == (
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", -1,
    )  # fmt: skip
    assert failure.message == "symbol: is none; and 1 more"
    named = details(failure)[error_details_pb2.BadRequest].field_violations
    assert [(one.field, one.description) for one in named] == error.violations
    assert info(failure).metadata == {"request_id": "id"}


def test_one_broken_rule_is_the_whole_message() -> None:
    """With a single mistake there are no more."""
    assert (
        status.of_error(InvalidRequest([("symbol", "is none")]), "id").message == "symbol: is none"
    )


@pytest.mark.parametrize("count", [17, 18, 200])
def test_a_failure_fits_its_headers(count: int) -> None:
    """However many rules a request breaks, the failed call can be delivered, and says how many are not listed."""
    rule = "a rule in a sentence that is as long as the longest of those that callers are told here, and longer"
    failure = status.of_error(
        InvalidRequest([(f"symbols[{n}]", rule) for n in range(count)]), "i" * 128
    )
    assert len(failure.status.SerializeToString()) * 4 / 3 + len(failure.message) + 300 < HEADERS
    named = details(failure)[error_details_pb2.BadRequest].field_violations
    assert named[0].field == "symbols[0]"
    assert len(named) == 17
    if count > 17:
        assert named[-1].field == ""
        assert named[-1].description == f"{count - 16} more broken rules are not listed"


@pytest.mark.parametrize("count", [1, 16, 17, 18, 10_000])
def test_what_is_in_short_is_not_shortened_again(count: int) -> None:
    """However many rules a request breaks, what is kept of them is bounded, and tells callers the same."""
    error = InvalidRequest([(f"symbols[{n}]", "is none") for n in range(count)])
    short = status.in_short(error)
    assert len(short.violations) <= 17
    assert status.in_short(short).violations == short.violations
    told = (
        details(status.of_error(one, "id"))[error_details_pb2.BadRequest] for one in (error, short)
    )
    assert next(told) == next(told)


def test_a_stopping_gateway_asks_to_try_elsewhere() -> None:
    """SHUTTING_DOWN is UNAVAILABLE and may be retried at once."""
    failure = status.of_error(ShuttingDown(), "id")
    assert (failure.code.name, failure.reason, failure.pushback) == (
        "UNAVAILABLE",
        "SHUTTING_DOWN",
        None,
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidRequest([("symbol", "is none")]), Reason.INVALID_REQUEST),
        (ShuttingDown(), Reason.SHUTTING_DOWN),
        (NotFeedHolder("elsewhere"), Reason.NOT_FEED_HOLDER),
        (TooManyStreams("all are taken"), Reason.SUBSCRIPTION_LIMIT),
        (StoreDown("the gateway's store cannot be had now"), Reason.STORE_UNAVAILABLE),
        (NotFound("no watchlist has that name"), Reason.NOT_FOUND),
        (NotSupported("this gateway has no store"), Reason.NOT_SUPPORTED),
    ],
    ids=lambda value: value.name if isinstance(value, Reason) else "",
)
def test_an_error_fails_a_call_as_its_reason_says(error: GatewayError, reason: Reason) -> None:
    """A call that fails as a whole has the status and the pushback that the table gives its reason."""
    failure = status.of_error(error, "id")
    strict = status.of_unavailable(unavailable(reason), "", "id")
    assert (failure.code, failure.reason, failure.pushback) == (
        strict.code,
        reason.name,
        strict.pushback,
    )
    assert str(error) in failure.message or isinstance(error, ShuttingDown)


def test_a_store_that_is_down_is_not_told_by_its_address() -> None:
    """Callers learn that the store cannot be had; where it was looked for is in the log alone."""
    failure = status.of_error(StoreDown('connection to server at "10.0.0.7", port 5432'), "id")
    assert "10.0.0.7" not in failure.message


def test_a_limit_on_streams_is_a_quota() -> None:
    """Who finds all streams taken is told which limit it is, by the name of its setting."""
    failure = status.of_error(TooManyStreams("this gateway takes 3 streams"), "id")
    (violation,) = details(failure)[error_details_pb2.QuotaFailure].violations
    assert (violation.subject, violation.description) == ("stream.streams", failure.message)


@pytest.mark.parametrize("reason", [Reason.SHUTTING_DOWN, Reason.NOT_FEED_HOLDER])
def test_a_stream_ends_with_its_last_word(reason: Reason) -> None:
    """The status of a stream that the gateway ends says what its last message said, and when to come again."""
    failure = status.of_error(status.StreamClosed(Closing(reason, "goodbye", 0.75)), "id")
    assert (failure.code.name, failure.reason, failure.message) == (
        "UNAVAILABLE",
        reason.name,
        "goodbye",
    )
    delay = details(failure)[error_details_pb2.RetryInfo].retry_delay
    assert failure.pushback == delay.ToMilliseconds() == 750


def test_who_may_not_is_told_why() -> None:
    """PERMISSION_DENIED carries the sentence that it was refused with, and stops retries."""
    failure = status.of_error(NotPermitted("from this machine only"), "id")
    assert (failure.code.name, failure.reason, failure.message, failure.pushback) == (
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "from this machine only",
        -1,
    )
    assert info(failure).metadata == {"request_id": "id"}


def test_names_of_reasons_lead_to_their_numbers() -> None:
    """A name that the contract has is its number, and any other is none."""
    assert status.number_named("CIRCUIT_OPEN") == reasons.ERROR_REASON_CIRCUIT_OPEN
    for name in ("", "UNSPECIFIED", "ERROR_REASON_NO_DATA", "OF_A_LATER_RELEASE"):
        assert status.number_named(name) is None


@pytest.mark.parametrize("error", [None, UpstreamBroken("secret details")])
def test_a_fault_of_ours_tells_nothing_but_its_id(error: UpstreamBroken | None) -> None:
    """INTERNAL names the request id, under which the log has the rest."""
    failure = status.of_error(error, "id-7")
    assert (failure.code.name, failure.reason, failure.pushback) == ("INTERNAL", "INTERNAL", -1)
    assert "id-7" in failure.message
    assert "secret" not in failure.status.SerializeToString().decode("latin1")
