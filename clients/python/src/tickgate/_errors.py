"""What can be raised, and the one place where gRPC's failures become ours.

TickgateError
├── InvalidRequest             you asked wrongly: correct the request
├── Unauthenticated            the gateway does not know you: get a valid API key
├── NotPermitted               you may not: ask where and as whom it is allowed
├── NotFound                   nothing has that name: list what there is
├── DataUnavailableError       the question is right and there is no value now
│   ├── UnknownSymbol          check the spelling with `assets`
│   ├── UnknownContract        check the option symbol
│   ├── ExpiredContract        ask another contract
│   ├── NoData                 ask again when the market moves
│   ├── NotHeld                allow more tiers, or ask for a later `as_of`
│   ├── OutOfTime              go on behind what came, and allow more time
│   ├── TooStale               ask with wider bounds, or wait
│   ├── LowQuality             ask with a lower `min_quality`, or wait
│   ├── RuleViolation          read `refusal`; wait for the next update
│   ├── InvalidData            read `refusal`; wait for the next update
│   ├── NotEntitled            ask another feed
│   ├── RateLimited            wait for `retry_delay`
│   │   ├── BudgetExhausted    the same: the gateway's own count is spent
│   │   └── LimitExceeded      the same, or ask for less: a limit of the gateway's own is reached
│   ├── SubscriptionLimit      follow less, or wait until somebody follows less
│   ├── NotSupported           do not ask again
│   ├── StoreUnavailable       ask again: only the gateway's store could answer
│   └── UpstreamUnavailable    ask again, after `retry_delay` if there is one
│       └── CircuitOpen        the same: the upstream is left alone for now
├── DeadlineExceeded           the gateway did not answer in time
├── GatewayUnreachable         no gateway answers, or it is stopping: ask again
│   └── NotFeedHolder          another replica has the live feed: connect again
└── GatewayError               a fault of the gateway: report it with the request id
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ._enums import Category, Reason
from ._models import Unavailable
from ._time import rounded_optional_length

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from google.protobuf.message import Message
    from google.rpc.status_pb2 import Status

    from ._models import Refusal, TierAttempt

DOMAIN = "tickgate"
"""The domain of ErrorInfo details that the gateway itself wrote."""


class TickgateError(Exception):
    """Root of everything that this package raises on purpose."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        """One sentence for people. Not for parsing."""
        self.request_id = request_id
        """Id of the call; the gateway's logs hold it."""

    def __str__(self) -> str:
        return f"{self.message} (request {self.request_id})" if self.request_id else self.message


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request and the rule it breaks."""

    field: str
    """Path of the field in the request message, such as "symbols[3]", or an argument of the call."""
    description: str
    """The rule, as a sentence."""


class InvalidRequest(TickgateError):
    """The request breaks a rule of the API. No upstream call was made; do not retry."""

    def __init__(
        self,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.violations = violations
        """Each field that breaks a rule."""


class Unauthenticated(TickgateError):
    """The gateway does not know who calls: no API key, or none that is valid there. Do not retry."""


class NotPermitted(TickgateError):
    """The caller may not use this method, as what only operators may; do not retry."""


class NotFound(TickgateError):
    """What the request names does not exist: a watchlist, a backfill. List what there is."""


class DataUnavailableError(TickgateError):
    """The question is right and there is no value now. Raised where one value was asked for.

    Itself it stands only for reasons newer than this client.
    """

    def __init__(self, unavailable: Unavailable) -> None:
        super().__init__(unavailable.message, request_id=unavailable.request_id)
        self.args = (unavailable,)  # what pickle and copy make it from again
        self.unavailable = unavailable
        """Everything that the gateway said about it."""

    @property
    def symbol(self) -> str | None:
        """Symbol as asked. None where the question was not about a symbol."""
        return self.unavailable.symbol

    @property
    def reason(self) -> Reason:
        """Why there is no value."""
        return self.unavailable.reason

    @property
    def suggested_action(self) -> str:
        """One sentence for people: what to do about it. May be empty."""
        return self.unavailable.suggested_action

    @property
    def retry_delay(self) -> timedelta | None:
        """Wait at least this long before asking again. None when waiting does not help."""
        return self.unavailable.retry_delay

    @property
    def last_event_time(self) -> datetime | None:
        """Event time of the value that was refused, or of the newest one held."""
        return self.unavailable.last_event_time

    @property
    def tiers(self) -> tuple[TierAttempt, ...]:
        """Every tier that was asked, in order, with what it answered."""
        return self.unavailable.tiers

    @property
    def refusal(self) -> Refusal | None:
        """The rule that refused the value, and the evidence."""
        return self.unavailable.refusal


class UnknownSymbol(DataUnavailableError):
    """No asset of this symbol exists, by the upstream's own list."""


class UnknownContract(DataUnavailableError):
    """The upstream does not list this option symbol."""


class ExpiredContract(DataUnavailableError):
    """The option contract's last trading moment has passed."""


class NoData(DataUnavailableError):
    """The upstream has no value for it."""


class NotHeld(DataUnavailableError):
    """What the request allows to answer does not hold it: the tiers that it names, or what was known at `as_of`.

    The upstream was not asked, so there may well be a value.
    """


class OutOfTime(DataUnavailableError):
    """The deadline came before all of a series of the past was told. What came before it stands."""


class TooStale(DataUnavailableError):
    """A value exists and is older than the freshness asked for."""


class LowQuality(DataUnavailableError):
    """The quote's quality score is below `min_quality`."""


class RuleViolation(DataUnavailableError):
    """A business rule of the gateway refuses the value; `refusal` names it."""


class InvalidData(DataUnavailableError):
    """The upstream sent something that cannot be a market value; `refusal` shows the evidence."""


class NotEntitled(DataUnavailableError):
    """The account behind the gateway may not read this feed."""


class RateLimited(DataUnavailableError):
    """Too many requests, by the upstream's count or the gateway's; wait for `retry_delay`."""


class BudgetExhausted(RateLimited):
    """The gateway has spent its own budget of upstream requests, and made none for this call."""


class LimitExceeded(RateLimited):
    """A limit of the gateway's own is reached; the message names it. Ask for less where `retry_delay` is None."""


class SubscriptionLimit(DataUnavailableError):
    """A limit on what may be followed at once is reached; the message names it."""


class NotSupported(DataUnavailableError):
    """The upstream does not offer this."""


class StoreUnavailable(DataUnavailableError):
    """The gateway's store cannot be had now, and only the store could answer. Ask again."""


class UpstreamUnavailable(DataUnavailableError):
    """The upstream failed, did not answer, refuses the gateway, or is left alone for now."""


class CircuitOpen(UpstreamUnavailable):
    """The upstream has failed repeatedly and is left alone until `retry_delay` has passed."""


class DeadlineExceeded(TickgateError):
    """The gateway did not answer before the deadline. Ask again, with a longer `timeout`."""


class GatewayUnreachable(TickgateError):
    """No gateway answers at the target, or it is stopping. Ask again."""


class NotFeedHolder(GatewayUnreachable):
    """This replica does not hold the live feed. Connect again: another may hold it."""


class GatewayError(TickgateError):
    """The gateway failed, refused the call for a reason of its own, or broke its contract."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "INTERNAL",
        retry_delay_ns: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.code = code
        """Name of the gRPC status, such as "PERMISSION_DENIED"."""
        self.retry_delay_ns = retry_delay_ns
        """Wait at least this long before asking again. None when nothing was said about it."""

    retry_delay = rounded_optional_length()


ERROR_OF: dict[Reason, type[TickgateError]] = {
    Reason.INVALID_REQUEST: InvalidRequest,
    Reason.SYMBOL_UNKNOWN: UnknownSymbol,
    Reason.CONTRACT_UNKNOWN: UnknownContract,
    Reason.CONTRACT_EXPIRED: ExpiredContract,
    Reason.NO_DATA: NoData,
    Reason.TOO_STALE: TooStale,
    Reason.LOW_QUALITY: LowQuality,
    Reason.RULE_VIOLATION: RuleViolation,
    Reason.INVALID_DATA: InvalidData,
    Reason.NOT_ENTITLED: NotEntitled,
    Reason.UPSTREAM_RATE_LIMITED: RateLimited,
    Reason.BUDGET_EXHAUSTED: BudgetExhausted,
    Reason.NOT_SUPPORTED: NotSupported,
    Reason.UPSTREAM_ERROR: UpstreamUnavailable,
    Reason.UPSTREAM_TIMEOUT: UpstreamUnavailable,
    Reason.UPSTREAM_UNAUTHENTICATED: UpstreamUnavailable,
    Reason.CIRCUIT_OPEN: CircuitOpen,
    Reason.SHUTTING_DOWN: GatewayUnreachable,
    Reason.INTERNAL: GatewayError,
    Reason.PERMISSION_DENIED: NotPermitted,
    Reason.SUBSCRIPTION_LIMIT: SubscriptionLimit,
    Reason.NOT_FEED_HOLDER: NotFeedHolder,
    Reason.STORE_UNAVAILABLE: StoreUnavailable,
    Reason.NOT_FOUND: NotFound,
    Reason.NOT_HELD: NotHeld,
    Reason.OUT_OF_TIME: OutOfTime,
    Reason.UNAUTHENTICATED: Unauthenticated,
    Reason.LIMIT_EXCEEDED: LimitExceeded,
    Reason.UNRECOGNIZED: DataUnavailableError,
}
"""What each reason of the contract is raised as."""


def rejected_error(unavailable: Unavailable) -> InvalidRequest | DataUnavailableError:
    """The error to raise where no symbol can be followed, and *unavailable* is why."""
    if unavailable.reason is Reason.INVALID_REQUEST:
        return InvalidRequest(unavailable.message, request_id=unavailable.request_id)
    return unavailable_error(unavailable)


def violations(detail: error_details_pb2.BadRequest | None) -> tuple[FieldViolation, ...]:
    """Each field that a BadRequest names."""
    named = detail.field_violations if detail else ()
    return tuple(FieldViolation(each.field, each.description) for each in named)


def unavailable_error(unavailable: Unavailable) -> DataUnavailableError:
    """The error to raise where *unavailable* stands and a value was asked for."""
    kind = ERROR_OF[unavailable.reason]
    if not issubclass(kind, DataUnavailableError):
        kind = DataUnavailableError
    return kind(unavailable)


def translated(error: grpc.RpcError, *, symbol: str | None, request_id: str) -> TickgateError:
    """The error of ours that says what *error* says.

    Args:
        error: What a call raised, of either gRPC API.
        symbol: Symbol that was asked for, if it was one.
        request_id: Id that the call was sent with, in case the failure carries none.
    """
    # Whatever a call raises is the call too, but neither gRPC API says so in its types.
    call = cast("grpc.Call", error)
    code, message = call.code(), call.details() or "no reason was given"
    status = _status(call)
    info = _detail(status, error_details_pb2.ErrorInfo)
    if info is None or info.domain != DOMAIN:
        return _without_reason(code, message, status, request_id)

    request_id = info.metadata.get("request_id", request_id)
    reason = _member(Reason, info.reason)
    kind = ERROR_OF[reason]
    if kind is InvalidRequest:
        return InvalidRequest(
            message,
            violations=violations(_detail(status, error_details_pb2.BadRequest)),
            request_id=request_id,
        )
    if issubclass(kind, GatewayUnreachable | Unauthenticated | NotPermitted | NotFound):
        return kind(message, request_id=request_id)
    category = info.metadata.get("category")
    # A reason of the future is about data if it belongs to a family of such reasons.
    if kind is GatewayError or (reason is Reason.UNRECOGNIZED and category is None):
        return _gateway_error(code, message, status, request_id)
    return unavailable_error(
        Unavailable(
            symbol=info.metadata.get("symbol", symbol),
            reason=reason,
            category=_member(Category, category or ""),
            message=message,
            request_id=request_id,
            time_ns=None,
            suggested_action="",
            retry_delay_ns=_retry_delay_ns(status),
            last_event_time_ns=None,
            tiers=(),
            refusal=None,
        )
    )


def _without_reason(
    code: grpc.StatusCode, message: str, status: Status | None, request_id: str
) -> TickgateError:
    """A failure that gRPC, a proxy or something else in between has made."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(message, request_id=request_id)
    if code is grpc.StatusCode.UNAVAILABLE:
        return GatewayUnreachable(message, request_id=request_id)
    return _gateway_error(code, message, status, request_id)


def _gateway_error(
    code: grpc.StatusCode, message: str, status: Status | None, request_id: str
) -> GatewayError:
    return GatewayError(
        message, code=code.name, retry_delay_ns=_retry_delay_ns(status), request_id=request_id
    )


# -------------------------------------------------------------------------- details of a status

Detail = TypeVar("Detail", bound="Message")
Word = TypeVar("Word", Reason, Category)


def _status(call: grpc.Call) -> Status | None:
    try:
        status: Status | None = rpc_status.from_call(call)
    except (ValueError, DecodeError):
        # Something in between has changed the status or the details: they are not about this.
        return None
    return status


def _detail(status: Status | None, kind: type[Detail]) -> Detail | None:
    found = kind()
    for detail in status.details if status else ():
        if detail.Unpack(found):
            return found
    return None


def _retry_delay_ns(status: Status | None) -> int | None:
    detail = _detail(status, error_details_pb2.RetryInfo)
    if detail is None or not detail.HasField("retry_delay"):
        return None
    return detail.retry_delay.ToNanoseconds()


def _member(kind: type[Word], name: str) -> Word:
    return kind.__members__.get(name, kind["UNRECOGNIZED"])
