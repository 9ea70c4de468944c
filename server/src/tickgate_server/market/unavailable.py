"""The exact reason why there is no value."""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct
from msgspec.structs import replace

from .provenance import Tier


class Reason(Enum):
    """Why there is no value. The names are those of `ErrorReason` in the contract."""

    SYMBOL_UNKNOWN = auto()
    CONTRACT_UNKNOWN = auto()
    CONTRACT_EXPIRED = auto()
    NO_DATA = auto()
    TOO_STALE = auto()
    LOW_QUALITY = auto()
    RULE_VIOLATION = auto()
    INVALID_DATA = auto()
    NOT_ENTITLED = auto()
    UPSTREAM_RATE_LIMITED = auto()
    BUDGET_EXHAUSTED = auto()
    NOT_SUPPORTED = auto()
    UPSTREAM_ERROR = auto()
    UPSTREAM_TIMEOUT = auto()
    UPSTREAM_UNAUTHENTICATED = auto()
    CIRCUIT_OPEN = auto()
    INVALID_REQUEST = auto()
    SUBSCRIPTION_LIMIT = auto()
    NOT_FEED_HOLDER = auto()
    SHUTTING_DOWN = auto()
    STORE_UNAVAILABLE = auto()
    NOT_FOUND = auto()
    NOT_HELD = auto()
    OUT_OF_TIME = auto()
    UNAUTHENTICATED = auto()
    LIMIT_EXCEEDED = auto()


OUTAGES: frozenset[Reason] = frozenset(
    {
        Reason.UPSTREAM_RATE_LIMITED,
        Reason.BUDGET_EXHAUSTED,
        Reason.UPSTREAM_ERROR,
        Reason.UPSTREAM_TIMEOUT,
        Reason.CIRCUIT_OPEN,
    }
)
"""Reasons that say nothing about the value, only that the upstream cannot be had. Only these may be bridged by a stale
answer."""


class Refusal(Struct, frozen=True, gc=False):
    """A rule that did not let a record become a value."""

    rule: str
    """Name of the rule; docs/errors.md lists them."""

    evidence: str
    """What was seen."""

    event_time: int | None = None
    """Event time of the refused record, nanoseconds, where it could be read."""


class TierOutcome(Enum):
    """What a tier answered."""

    EMPTY = auto()
    TOO_OLD = auto()
    REFUSED = auto()
    FAILED = auto()
    NOT_ALLOWED = auto()


class TierAttempt(Struct, frozen=True, gc=False):
    """One tier's part in an answer."""

    tier: Tier
    outcome: TierOutcome
    time: int
    """When it answered, nanoseconds of the wall clock."""


class Unavailable(Struct, frozen=True, gc=False, kw_only=True):
    """Stands where a value would stand. It may be shared by many askers, so it knows nothing of any one call."""

    reason: Reason
    message: str
    """What happened, to what. Never an exception's text, never a secret."""

    retry_delay: float | None = None
    """Seconds to wait before asking again, where that is known to help."""

    upstream: str = ""
    """Whose limit was reached, such as "alpaca.data"; empty where the reason is not about a limit."""

    last_event_time: int | None = None
    """Event time of the value that was refused, or of the newest one held, nanoseconds."""

    refusal: Refusal | None = None
    passing: bool = False
    """The next question may be answered otherwise, so nobody should remember this."""

    tiers: tuple[TierAttempt, ...] = ()

    def after(self, *tiers: TierAttempt) -> Unavailable:
        """Return the same reason with *tiers* tried before."""
        return replace(self, tiers=(*tiers, *self.tiers))
