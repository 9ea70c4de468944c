"""Reasons and their faces: one table, walked whole."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import unavailable_pb2 as pb
from tickgate_server.errors import InvalidRequest, ShuttingDown, UpstreamBroken
from tickgate_server.market.unavailable import Reason, Refusal
from tickgate_server.rpc import convert, status
from tickgate_server.rpc.convert import Moment

from ...support.fakes import NOW, unavailable

MOMENT = Moment("call-1", NOW, 1000.0, NOW, None)
CODES = {
    "NOT_FOUND": "SYMBOL_UNKNOWN CONTRACT_UNKNOWN CONTRACT_EXPIRED NO_DATA",
    "FAILED_PRECONDITION": "TOO_STALE LOW_QUALITY RULE_VIOLATION",
    "DATA_LOSS": "INVALID_DATA",
    "PERMISSION_DENIED": "NOT_ENTITLED",
    "RESOURCE_EXHAUSTED": "UPSTREAM_RATE_LIMITED BUDGET_EXHAUSTED",
    "UNIMPLEMENTED": "NOT_SUPPORTED",
    "UNAVAILABLE": "UPSTREAM_ERROR UPSTREAM_TIMEOUT UPSTREAM_UNAUTHENTICATED CIRCUIT_OPEN",
}
"""The status of each reason under `strict`, as the design lists them."""

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
    """Each ErrorReason is a reason for a missing value, or one of the three that only fail calls."""
    sent = {reason.name for reason in Reason} | {"INVALID_REQUEST", "SHUTTING_DOWN", "INTERNAL"}
    contract = {
        name.removeprefix("ERROR_REASON_") for name in reasons.ErrorReason.DESCRIPTOR.values_by_name
    }
    assert contract - {"UNSPECIFIED"} == sent
    assert set(status.FACES) == set(Reason)


def test_the_statuses_are_the_designs() -> None:
    """Under `strict` each reason has the status that the contract's comments name."""
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
    retry = (
        reason.name
        in (CODES["RESOURCE_EXHAUSTED"] + " UPSTREAM_ERROR UPSTREAM_TIMEOUT CIRCUIT_OPEN").split()
    )
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


def test_a_failure_fits_its_headers() -> None:
    """However many rules a request breaks, the failed call can be delivered, and says how many are not listed."""
    rule = "a rule in a sentence that is as long as the longest of those that callers are told here, and longer"
    failure = status.of_error(
        InvalidRequest([(f"symbols[{n}]", rule) for n in range(200)]), "i" * 128
    )
    assert len(failure.status.SerializeToString()) * 4 / 3 + len(failure.message) + 300 < HEADERS
    named = details(failure)[error_details_pb2.BadRequest].field_violations
    assert named[0].field == "symbols[0]"
    assert named[-1].field == ""
    assert named[-1].description == f"{200 - len(named) + 1} more broken rules are not listed"


def test_a_stopping_gateway_asks_to_try_elsewhere() -> None:
    """SHUTTING_DOWN is UNAVAILABLE and may be retried at once."""
    failure = status.of_error(ShuttingDown(), "id")
    assert (failure.code.name, failure.reason, failure.pushback) == (
        "UNAVAILABLE",
        "SHUTTING_DOWN",
        None,
    )


@pytest.mark.parametrize("error", [None, UpstreamBroken("secret details")])
def test_a_fault_of_ours_tells_nothing_but_its_id(error: UpstreamBroken | None) -> None:
    """INTERNAL names the request id, under which the log has the rest."""
    failure = status.of_error(error, "id-7")
    assert (failure.code.name, failure.reason, failure.pushback) == ("INTERNAL", "INTERNAL", -1)
    assert "id-7" in failure.message
    assert "secret" not in failure.status.SerializeToString().decode("latin1")
