"""The one table from a reason to the faces that callers see, and the making of failed calls from it.

A reason has two faces: `DataUnavailable` inside an OK answer or a symbol's status on a stream, and a gRPC status, with
`strict` or when it fails the call itself. Both are read off here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from msgspec import Struct

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import unavailable_pb2 as pb

from ..errors import (
    GatewayError,
    InvalidRequest,
    KeysUnread,
    LimitExceeded,
    NotFeedHolder,
    NotFound,
    NotPermitted,
    NotSupported,
    ShuttingDown,
    StoreDown,
    TooManyStreams,
    Unauthenticated,
)
from ..fanout.mailbox import Closing
from ..market.unavailable import Reason, Unavailable

DOMAIN: Final = "tickgate"
"""`ErrorInfo.domain` of everything this gateway says."""

NEVER: Final = -1
"""A pushback that stops a client's automatic retries (gRFC A6)."""

_MOST_VIOLATIONS: Final = 16
"""Broken rules that a failed call names. All of a failure travels in headers, and gRPC drops a call whose headers
pass 8 KiB: the caller would not even learn that its request was wrong."""

_LONGEST_SAID: Final = 512
"""Bytes of a sentence or of evidence in a failed call, for the same headers; an answer quotes them in full."""

_LONGEST_DELAY: Final = 24 * 3600.0
"""Seconds of a delay that a failed call names: nobody waits longer in one place."""

_QUOTAS: Final = frozenset(
    {
        Reason.UPSTREAM_RATE_LIMITED,
        Reason.BUDGET_EXHAUSTED,
        Reason.SUBSCRIPTION_LIMIT,
        Reason.LIMIT_EXCEEDED,
    }
)
"""Reasons that are about a quota."""

_Code = grpc.StatusCode


class Face(Struct, frozen=True):
    """How a reason looks to a caller."""

    code: grpc.StatusCode
    """Status of a call that fails for it."""

    category: pb.UnavailableCategory.ValueType
    action: str
    """What to do about it."""

    retry: bool = False
    """Whether the same question may have an answer soon."""


_NO_VALUE = pb.UNAVAILABLE_CATEGORY_DATA_UNAVAILABLE
_LIMITED = pb.UNAVAILABLE_CATEGORY_RATE_LIMITED
_SERVICE = pb.UNAVAILABLE_CATEGORY_SERVICE_UNAVAILABLE
_INVALID = pb.UNAVAILABLE_CATEGORY_INVALID_DATA

FACES: Final[Mapping[Reason, Face]] = {
    Reason.SYMBOL_UNKNOWN: Face(
        _Code.NOT_FOUND, _NO_VALUE, "Check the symbol with ReferenceService.ListAssets."
    ),
    Reason.CONTRACT_UNKNOWN: Face(
        _Code.NOT_FOUND, _NO_VALUE, "Check underlying, expiry, type and strike."
    ),
    Reason.CONTRACT_EXPIRED: Face(
        _Code.NOT_FOUND, _NO_VALUE, "Ask for a contract that still trades."
    ),
    Reason.NO_DATA: Face(
        _Code.NOT_FOUND,
        _NO_VALUE,
        "Widen the range or the filter, ask another feed, or again when the symbol has traded.",
    ),
    Reason.TOO_STALE: Face(
        _Code.FAILED_PRECONDITION,
        _NO_VALUE,
        "Allow more age or more tiers in `freshness`, or ask again after the next update.",
    ),
    Reason.LOW_QUALITY: Face(
        _Code.FAILED_PRECONDITION,
        _NO_VALUE,
        "Lower `min_quality`, or ask again after the next update.",
    ),
    Reason.RULE_VIOLATION: Face(
        _Code.FAILED_PRECONDITION, _INVALID, "Look up the rule named in `refusal`."
    ),
    Reason.INVALID_DATA: Face(
        _Code.DATA_LOSS,
        _INVALID,
        "Ask again after the next update; `refusal` shows what the upstream sent.",
    ),
    Reason.NOT_ENTITLED: Face(
        _Code.PERMISSION_DENIED, _SERVICE, "Ask a feed that the account's plan covers."
    ),
    Reason.UPSTREAM_RATE_LIMITED: Face(
        _Code.RESOURCE_EXHAUSTED, _LIMITED, "Wait for `retry_delay`, then ask again.", retry=True
    ),
    Reason.BUDGET_EXHAUSTED: Face(
        _Code.RESOURCE_EXHAUSTED, _LIMITED, "Wait for `retry_delay`, then ask again.", retry=True
    ),
    Reason.NOT_SUPPORTED: Face(
        _Code.UNIMPLEMENTED,
        _SERVICE,
        "Neither the upstream nor this gateway offers it as it is; do without.",
    ),
    Reason.UPSTREAM_ERROR: Face(
        _Code.UNAVAILABLE,
        _SERVICE,
        "Ask again; where a request takes `allow_stale`, an older value may do.",
        retry=True,
    ),
    Reason.UPSTREAM_TIMEOUT: Face(
        _Code.UNAVAILABLE,
        _SERVICE,
        "Ask again, with a longer deadline if it was short.",
        retry=True,
    ),
    Reason.UPSTREAM_UNAUTHENTICATED: Face(
        _Code.UNAVAILABLE,
        _SERVICE,
        "Tell the gateway's operator: its upstream credentials are refused.",
    ),
    Reason.CIRCUIT_OPEN: Face(
        _Code.UNAVAILABLE, _SERVICE, "Wait for `retry_delay`, then ask again.", retry=True
    ),
    Reason.INVALID_REQUEST: Face(
        _Code.INVALID_ARGUMENT, _NO_VALUE, "Correct the symbol, then add it again."
    ),
    Reason.SUBSCRIPTION_LIMIT: Face(
        _Code.RESOURCE_EXHAUSTED, _LIMITED, "Follow fewer symbols, or add it when one is free."
    ),
    Reason.NOT_FEED_HOLDER: Face(
        _Code.UNAVAILABLE, _SERVICE, "Connect again: another replica holds the feed.", retry=True
    ),
    Reason.SHUTTING_DOWN: Face(
        _Code.UNAVAILABLE, _SERVICE, "Connect again: another replica answers.", retry=True
    ),
    Reason.STORE_UNAVAILABLE: Face(
        _Code.UNAVAILABLE,
        _SERVICE,
        "Ask again soon: the gateway looks for its store by itself.",
        retry=True,
    ),
    Reason.NOT_FOUND: Face(
        _Code.NOT_FOUND, _NO_VALUE, "List what there is, and take a name from there."
    ),
    Reason.OUT_OF_TIME: Face(
        _Code.DEADLINE_EXCEEDED,
        _SERVICE,
        "Go on behind what came, with the cursor or token, and allow more time.",
    ),
    Reason.NOT_HELD: Face(
        _Code.NOT_FOUND, _NO_VALUE, "Allow more tiers, or ask for what was known later."
    ),
    Reason.UNAUTHENTICATED: Face(
        _Code.UNAUTHENTICATED,
        _SERVICE,
        "Send an API key that is valid; the gateway's operator makes them.",
    ),
    Reason.LIMIT_EXCEEDED: Face(
        _Code.RESOURCE_EXHAUSTED,
        _LIMITED,
        "Wait for `retry_delay` where there is one, ask for less at once, or have the limit raised.",
        retry=True,
    ),
}


_REASON_PREFIX: Final = "ERROR_REASON_"

_NUMBER_OF: Final = {
    reason: reasons.ErrorReason.Value(_REASON_PREFIX + reason.name) for reason in Reason
}


def reason_number(reason: Reason) -> reasons.ErrorReason.ValueType:
    """Return the contract's number of *reason*."""
    return _NUMBER_OF[reason]


def reason_names() -> Mapping[int, str]:
    """Return the names of all reasons that are ever sent, without their prefix, by their numbers in the contract."""
    members = reasons.ErrorReason.items()
    return {number: name.removeprefix(_REASON_PREFIX) for name, number in members if number}


def number_named(name: str) -> reasons.ErrorReason.ValueType | None:
    """Return the contract's number of the reason called *name*; None for one that this contract does not have."""
    return _NUMBERS.get(name)


class Failure(Struct, frozen=True):
    """A call that fails: a status, its details, and when to try again."""

    code: grpc.StatusCode
    message: str
    reason: str
    """`ErrorInfo.reason`: the contract's name without its prefix."""

    status: status_pb2.Status
    pushback: int | None
    """Milliseconds for `grpc-retry-pushback-ms`; None leaves it to the client."""


class StreamClosed(GatewayError):
    """A stream has had its last word."""

    def __init__(self, closing: Closing) -> None:
        """Repeat it as a status."""
        super().__init__(closing.message)
        self.closing = closing


def of_unavailable(why: Unavailable, symbol: str, request_id: str) -> Failure:
    """Return the failure that *why* is under `strict`; *symbol* is empty where none was asked for."""
    category = pb.UnavailableCategory.Name(FACES[why.reason].category)
    metadata = {"category": category.removeprefix(_PREFIX)}
    if symbol:
        metadata["symbol"] = symbol
    if why.upstream:
        metadata["upstream"] = why.upstream
    if why.refusal is not None:
        metadata |= {"rule": why.refusal.rule, "evidence": _clipped(why.refusal.evidence)}
    failure = _of_reason(
        why.reason, _clipped(why.message), metadata | {"request_id": request_id}, why.retry_delay
    )
    if why.reason in _QUOTAS:
        failure.status.details.append(_quota_failure(why.upstream or "upstream", why.message))
    return failure


_PLAIN: Final[Mapping[type, Reason]] = {
    NotFeedHolder: Reason.NOT_FEED_HOLDER,
    NotFound: Reason.NOT_FOUND,
    NotSupported: Reason.NOT_SUPPORTED,
    Unauthenticated: Reason.UNAUTHENTICATED,
}
"""Errors whose own words are what the caller is told, and all there is to tell."""


def of_error(error: GatewayError | None, request_id: str) -> Failure:
    """Return the failure that *error* is; None stands for a fault of the gateway itself."""
    metadata = {"request_id": request_id}
    match error:
        case InvalidRequest():
            failure = _of_reason(Reason.INVALID_REQUEST, _summary(error), metadata)
            failure.status.details.append(_packed(_bad_request(error)))
            return failure
        case ShuttingDown():
            message = "the gateway is stopping; ask another replica, or again when it is back"
            return _of_reason(Reason.SHUTTING_DOWN, message, metadata)
        case TooManyStreams():
            failure = _of_reason(Reason.SUBSCRIPTION_LIMIT, str(error), metadata)
            failure.status.details.append(_quota_failure("stream.streams", str(error)))
            return failure
        case LimitExceeded(limit=limit, retry_delay=delay):
            metadata["limit"] = limit
            face = FACES[Reason.LIMIT_EXCEEDED]
            # Without a delay waiting does not help, and nor does trying again.
            failure = _failure(
                face.code,
                str(error),
                Reason.LIMIT_EXCEEDED.name,
                metadata,
                retry=delay is not None,
                retry_delay=delay,
            )
            failure.status.details.append(_quota_failure(limit, str(error)))
            return failure
        case KeysUnread():
            message = "the gateway cannot read its API keys yet, and lets nobody in before it has"
            return _of_reason(Reason.STORE_UNAVAILABLE, message, metadata)
        case StoreDown():
            # Why, the log says: it names addresses, which are nobody else's business.
            message = "the gateway's store cannot be had now"
            return _of_reason(Reason.STORE_UNAVAILABLE, message, metadata)
        case StreamClosed(closing=closing):
            return _of_reason(closing.reason, closing.message, metadata, closing.retry_delay)
        case NotPermitted():
            return _failure(_Code.PERMISSION_DENIED, str(error), "PERMISSION_DENIED", metadata)
    if type(error) in _PLAIN:
        return _of_reason(_PLAIN[type(error)], str(error), metadata)
    message = f"tickgate failed to answer; its log holds request id {request_id}"
    return _failure(_Code.INTERNAL, message, "INTERNAL", metadata)


def _of_reason(
    reason: Reason, message: str, metadata: Mapping[str, str], retry_delay: float | None = None
) -> Failure:
    face = FACES[reason]
    return _failure(
        face.code, message, reason.name, metadata, retry=face.retry, retry_delay=retry_delay
    )


_PREFIX: Final = "UNAVAILABLE_CATEGORY_"
_NUMBERS: Final = {
    name: reasons.ErrorReason.ValueType(number) for number, name in reason_names().items()
}


def _failure(
    code: grpc.StatusCode,
    message: str,
    reason: str,
    metadata: Mapping[str, str],
    *,
    retry: bool = False,
    retry_delay: float | None = None,
) -> Failure:
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
    status.details.append(_packed(info))
    pushback = None if retry else NEVER
    if retry and retry_delay is not None:
        pushback = _milliseconds(retry_delay)
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(pushback)
        status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return Failure(code, message, reason, status, pushback)


def _milliseconds(delay: float) -> int:
    """Return *delay*, of seconds, rounded up: whoever comes too early is refused again. Never 0, which is no delay."""
    return max(1, math.ceil(round(min(delay, _LONGEST_DELAY) * 1000, 3)))


def _clipped(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= _LONGEST_SAID:
        return text
    return encoded[:_LONGEST_SAID].decode(errors="ignore") + "…"


def _quota_failure(subject: str, said: str) -> any_pb2.Any:
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=subject, description=_clipped(said)
    )
    return _packed(error_details_pb2.QuotaFailure(violations=[violation]))


def _summary(error: InvalidRequest) -> str:
    field, rule = error.violations[0]
    more = len(error.violations) - 1 + error.left_out
    named = f"{field}: {rule}" if field else rule
    return named + (f"; and {more} more" if more else "")


def in_short(error: InvalidRequest) -> InvalidRequest:
    """Return *error* with no more broken rules than are told, and the number of the others."""
    named = error.violations[:_MOST_VIOLATIONS]
    left_out = error.left_out + len(error.violations) - len(named)
    return InvalidRequest(named, left_out=left_out)


def _bad_request(error: InvalidRequest) -> error_details_pb2.BadRequest:
    short = in_short(error)
    named = short.violations
    if short.left_out:
        named = [*named, ("", f"{short.left_out} more broken rules are not listed")]
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=rule)
            for field, rule in named
        ]
    )


def _packed(
    detail: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.QuotaFailure
    | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
