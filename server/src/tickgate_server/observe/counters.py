"""Counters as plain integers: counting must cost nothing on a hot path, and whoever exports reads them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from .buckets import AGES, SCORES, Buckets
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
    seconds: dict[str, Buckets] = field(default_factory=dict)
    """Seconds on the wire by what came of it: "answered", "abandoned" (nobody waited any longer), or a `Reason`."""

    retries: int = 0
    queued: int = 0
    """Requests that wait for a place."""

    circuit: CircuitCounts = field(default_factory=CircuitCounts)
    probe: ProbeCounts | None = None

    def took(self, outcome: str, seconds: float) -> None:
        """Count a request that came to *outcome* after *seconds*."""
        buckets = self.seconds.get(outcome)
        if buckets is None:
            buckets = self.seconds[outcome] = Buckets()
        buckets.observe(seconds)


class CacheCounts(Struct):
    """What a tier has done with one kind of value."""

    hits: int = 0
    misses: int = 0
    writes: int = 0
    """Values that were put, the words that there is none among them."""

    evictions: int = 0
    """Values that made room for others."""

    invalidations: int = 0
    """Values that were forgotten because they were superseded, or because somebody said so."""


class TierCounts(CacheCounts):
    """What a tier has done; with the kinds that are not counted by themselves."""

    state: TierState = "up"
    failures: int = 0
    """Times that it could not be asked or written."""

    changed_time: int | None = None
    """When it went down or came back, nanoseconds of the wall clock."""

    reads: Buckets = field(default_factory=Buckets)
    """Seconds that a look took which left the process."""

    writings: Buckets = field(default_factory=Buckets)
    """Seconds that it took to write."""


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
    waits: Buckets = field(default_factory=Buckets)
    """Seconds that requests waited for budget, in vain or not."""

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
    lag: Buckets = field(default_factory=Buckets)
    """Seconds from receipt until gRPC took it over, of the first live update of each message."""

    writing: Buckets = field(default_factory=Buckets)
    """Seconds until gRPC took over a message."""


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

    reads: Buckets = field(default_factory=Buckets)
    """Seconds that it took to read a block of values."""

    writings: Buckets = field(default_factory=Buckets)
    """Seconds of a transaction that writes values."""


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

    awaited: bool = False
    """Whether a look has failed and none before had found them: nobody is let in yet."""


class PoolCounts(Struct):
    """Connections to PostgreSQL that are kept for one kind of use."""

    size: int = 0
    available: int = 0
    waiting: int = 0
    requests: int = 0
    waited: float = 0.0
    """Seconds that requests waited for a connection."""


class LogCounts(Struct):
    """A log that is written behind the backs of those whose calls it is about."""

    dropped: int = 0
    """Lines that were lost."""


class ValueCounts(Struct):
    """What became of the values that calls of one method asked for, on one feed."""

    asked: int = 0
    given: dict[str, int] = field(default_factory=dict)
    """By tier."""

    missing: dict[str, int] = field(default_factory=dict)
    """By the name of a `Reason`, or of the status with which the call failed before there was one."""


class RpcCounts(Struct):
    """The calls of one method."""

    seconds: Buckets = field(default_factory=Buckets)
    codes: dict[str, int] = field(default_factory=dict)
    """Calls by the name of the gRPC status they ended with."""

    values: dict[str, ValueCounts] = field(default_factory=dict)
    """By feed; "none" for what belongs to none."""

    def values_on(self, feed: str) -> ValueCounts:
        """Return what became of the values on *feed*."""
        counts = self.values.get(feed)
        if counts is None:
            counts = self.values[feed] = ValueCounts()
        return counts


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

        self.caches: dict[tuple[str, str], CacheCounts] = {}
        """By the value of a `Tier` and the kind of value."""

        self.rpcs: dict[str, RpcCounts] = {}
        """By service and method, such as "QuoteService/GetQuote"."""

        self.freshness: dict[str, Buckets] = {}
        """Event ages of the live values that were served, in seconds, by feed."""

        self.quality: dict[str, Buckets] = {}
        """Scores of quotes when they were first served, by feed."""

        self.parsing = Buckets()
        """Seconds that it took to read and judge an answer of the upstream."""

        self.loop_lag = 0.0
        """The longest of the last seconds that the event loop was late, seconds."""

        self.call_log = LogCounts()
        self.audit_log = LogCounts()
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

    @property
    def why_unready(self) -> str:
        """Why it cannot be asked now, in a sentence; empty while it can.

        Full memory is a reason to ask another one, and so are keys that were never read: nobody is let in before.
        """
        if not self.unready and self.keys.awaited:
            return "the API keys could not be read yet: nobody is let in"
        if not self.unready and self.memory_level > 1:
            return "the memory is full: nothing but questions about the gateway itself is answered"
        return self.unready

    def refuse_limit(self, limit: str) -> None:
        """Count a refusal for the limit called *limit*."""
        self.limit_refusals[limit] = self.limit_refusals.get(limit, 0) + 1

    def tier(self, tier: str) -> TierCounts:
        """Return the counters of *tier*, which exist from the first time they are asked for."""
        return self.tiers.setdefault(tier, TierCounts())

    def cache(self, tier: str, kind: str) -> CacheCounts:
        """Return the counters of *kind* in *tier*, which exist from the first time they are asked for."""
        return self.caches.setdefault((tier, kind), CacheCounts())

    def rpc(self, name: str) -> RpcCounts:
        """Return the counters of the method *name*, which exist from the first time they are asked for."""
        counts = self.rpcs.get(name)
        if counts is None:
            counts = self.rpcs[name] = RpcCounts()
        return counts

    def ages_on(self, feed: str) -> Buckets:
        """Return the event ages of *feed*, which exist from the first time they are asked for."""
        ages = self.freshness.get(feed)
        if ages is None:
            ages = self.freshness[feed] = Buckets(AGES)
        return ages

    def scores_on(self, feed: str) -> Buckets:
        """Return the scores of *feed*, which exist from the first time they are asked for."""
        return self.quality.setdefault(feed, Buckets(SCORES))
