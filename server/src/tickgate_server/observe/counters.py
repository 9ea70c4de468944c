"""Counters as plain integers: counting must cost nothing on a hot path, and whoever exports reads them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from .recent import Recent

UpstreamState = Literal["idle", "up", "failing", "unauthenticated"]
CircuitState = Literal["closed", "open", "half_open"]
TierState = Literal["up", "down", "off"]


class CircuitCounts(Struct):
    """A circuit breaker, as it stands."""

    state: CircuitState = "closed"
    reason: str | None = None
    """Name of the `Reason` that opened it; None while it is closed."""

    changed_time: int | None = None
    """When it took on its state, nanoseconds of the wall clock."""

    retry_at: float | None = None
    """When one request may try again, seconds of the monotonic clock; None while it is closed."""

    opened: int = 0
    refused: int = 0


class ProbeCounts(Struct):
    """The last question that the gateway asked by itself."""

    time: int
    """Nanoseconds of the wall clock."""

    reason: str | None
    """Name of the `Reason` why it failed; None when it was answered."""

    latency: float | None
    """Seconds."""

    key_valid: bool | None
    """None when the answer does not tell."""

    symbol: str = ""
    quality_score: int | None = None


class UpstreamCounts(Struct):
    """What became of the requests to one group of upstream endpoints."""

    state: UpstreamState = "idle"
    """Judged by the last answer."""

    requests: int = 0
    failures: int = 0
    in_flight: int = 0
    last_request_at: float | None = None
    """Seconds of the monotonic clock."""

    last_success_time: int | None = None
    """Nanoseconds of the wall clock."""

    last_failure_time: int | None = None
    last_failure_reason: str | None = None
    """Name of a `Reason`."""

    last_latency: float | None = None
    """Seconds."""

    recent: Recent = field(default_factory=Recent)
    retries: int = 0
    queued: int = 0
    """Requests that wait for a place."""

    circuit: CircuitCounts = field(default_factory=CircuitCounts)
    probe: ProbeCounts | None = None


class TierCounts(Struct):
    """What a tier has done."""

    state: TierState = "up"
    hits: int = 0
    misses: int = 0
    failures: int = 0
    """Times that it could not be asked or written."""

    changed_time: int | None = None
    """When it went down or came back, nanoseconds of the wall clock."""


class BudgetCounts(Struct):
    """The budget of one upstream. What is left of it changes with the time: `Budget.remaining` tells."""

    limit: int
    """Requests that it holds when full."""

    window: float
    """Seconds that bring back as many."""

    shared: bool
    """Whether all replicas spend from it together."""

    floors: dict[str, int]
    """What each class must leave for the others, by the value of its `Priority`."""

    spent: int = 0
    refused: int = 0
    waiting: int = 0
    corrections: int = 0
    upstream_limit: int = 0
    """Requests a minute that the upstream admits: what it has said itself, or what the settings say before that."""

    confirmed: bool = False
    """Whether the upstream itself has said so."""


class ErrorLogCounts(Struct):
    """The log of refusals and failures."""

    store: TierState = "off"
    written: int = 0
    dropped: int = 0
    schema_version: str = ""


class Counters:
    """All counters of one gateway."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.upstreams: dict[tuple[str, str], UpstreamCounts] = {}
        self.budgets: dict[str, BudgetCounts] = {}
        """By upstream."""

        self.tiers: dict[str, TierCounts] = {}
        """By the value of a `Tier`; nearest first."""

        self.refusals: dict[str, int] = {}
        """Upstream records refused, by rule."""

        self.rule_flags: dict[str, int] = {}
        """Upstream records flagged, by rule."""

        self.error_log = ErrorLogCounts()
        self.calls_in_flight = 0

    def upstream(self, upstream: str, group: str) -> UpstreamCounts:
        """Return the counters of *group* at *upstream*, which exist from the first time they are asked for."""
        counts = self.upstreams.get((upstream, group))
        if counts is None:
            # Not made in advance: its windows are a hundred objects.
            counts = self.upstreams[upstream, group] = UpstreamCounts()
        return counts

    def tier(self, tier: str) -> TierCounts:
        """Return the counters of *tier*, which exist from the first time they are asked for."""
        return self.tiers.setdefault(tier, TierCounts())
