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


class FeedCounts(Struct):
    """What a live feed has done."""

    state: str = "idle"
    """Value of a `FeedState`."""

    message: str = ""
    changed_time: int | None = None
    """When it took on its state, nanoseconds of the wall clock."""

    epoch: str = ""
    wanted: dict[str, int] = field(default_factory=dict)
    """Symbols asked for, by the value of a `Channel`."""

    confirmed: dict[str, int] = field(default_factory=dict)
    symbols: int = 0
    """Symbols on quotes and trades together."""

    symbol_limit: int | None = None
    """How many the plan allows; None is no limit."""

    last_record_time: int | None = None
    """When a record last arrived, nanoseconds of the wall clock."""

    frames: int = 0
    records: int = 0
    dropped: int = 0
    """Records dropped because decoding could not keep up."""

    connections: int = 0
    gaps: int = 0
    lag: int | None = None
    """Market time at receipt minus event time of the newest record, nanoseconds."""

    max_lag: int | None = None
    """The largest of the last minute."""


class StreamCounts(Struct):
    """What the streams of this process have done."""

    streams: int = 0
    limit: int = 0
    subscriptions: int = 0
    followed: int = 0
    """Symbols and channels, each counted for every follower."""

    delivered: int = 0
    conflated: int = 0
    lost: int = 0
    messages: int = 0


class ChainCounts(Struct):
    """The option chains that all callers share."""

    chains: int = 0
    contracts: int = 0
    capacity: int = 0
    hits: int = 0
    loads: int = 0
    refreshes: int = 0
    failures: int = 0
    evictions: int = 0


class StoreCounts(Struct):
    """The store of history."""

    state: TierState = "off"
    rows_written: int = 0
    rows_superseded: int = 0
    intervals_written: int = 0
    write_failures: int = 0
    rows_read: int = 0
    last_write_failure: str = ""
    last_write_time: int | None = None
    """Nanoseconds of the wall clock."""

    size: int | None = None
    """Bytes of its tables; None when not known."""


class IngestionCounts(Struct):
    """The live recording of this process."""

    state: Literal["off", "idle", "running", "failing"] = "off"
    message: str = ""
    heartbeat_time: int | None = None
    """When it last looked for something to write, nanoseconds of the wall clock."""

    last_time: int | None = None
    """When it last wrote, nanoseconds of the wall clock."""

    symbols: int = 0
    trades: int = 0
    bars: int = 0
    revisions: int = 0
    waiting: int = 0
    dropped: int = 0
    lag: int | None = None
    """How long after its event the newest record was written, nanoseconds."""


class ErrorLogCounts(Struct):
    """The log of refusals and failures."""

    store: TierState = "off"
    written: int = 0
    dropped: int = 0
    schema_version: str = ""


class KeyCounts(Struct):
    """The API keys, as this gateway knows them."""

    store: TierState = "off"
    """Whether the newest look at them found them. Those of an earlier look are good until then."""

    keys: int = 0
    """Keys that are valid now."""

    failures: int = 0
    """Looks that did not find them, or found what cannot be read."""


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

        self.feeds: dict[str, FeedCounts] = {}
        """By the value of a `Feed`."""

        self.streams = StreamCounts()
        self.chains = ChainCounts()
        self.error_log = ErrorLogCounts()
        self.store = StoreCounts()
        self.ingestion = IngestionCounts()
        self.keys = KeyCounts()
        self.certificate_expires: int | None = None
        """When the gateway's certificate expires, nanoseconds of the wall clock; None without TLS."""

        self.calls_in_flight = 0
        self.limit_refusals: dict[str, int] = {}
        """Calls, symbols of streams and series that were refused for a limit of the gateway's own, by its name."""

        self.memory_level = 0
        """0 while there is enough, 1 while nothing heavy is begun, 2 while only what is essential is answered."""

        self.memory_alarms = 0
        """Times that the memory became short, or shorter."""

        self.unready = "the gateway is starting"
        """Why it cannot be asked, in a sentence; empty while it can."""

    def upstream(self, upstream: str, group: str) -> UpstreamCounts:
        """Return the counters of *group* at *upstream*, which exist from the first time they are asked for."""
        counts = self.upstreams.get((upstream, group))
        if counts is None:
            # Not made in advance: its windows are a hundred objects.
            counts = self.upstreams[upstream, group] = UpstreamCounts()
        return counts

    def feed(self, feed: str) -> FeedCounts:
        """Return the counters of *feed*, which exist from the first time they are asked for."""
        return self.feeds.setdefault(feed, FeedCounts())

    def refuse_limit(self, limit: str) -> None:
        """Count a refusal for the limit called *limit*."""
        self.limit_refusals[limit] = self.limit_refusals.get(limit, 0) + 1

    def tier(self, tier: str) -> TierCounts:
        """Return the counters of *tier*, which exist from the first time they are asked for."""
        return self.tiers.setdefault(tier, TierCounts())
