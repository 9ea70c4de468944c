"""Metrics: what was counted, in the words of Prometheus.

Hot paths count in plain integers, which cost next to nothing; here they are read when somebody asks, by observable
instruments of OpenTelemetry, and histograms by a collector beside them (docs/adr/0024). No label is ever a symbol, a
consumer or an address, so there are only so many series however many call and whatever they ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

from msgspec import Struct
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ..market.live import FeedState
from ..market.provenance import Tier
from ..market.time import NANOS
from ..market.unavailable import Reason
from .buckets import Buckets, merged
from .counters import CacheCounts, Counters, FeedCounts, PoolCounts, UpstreamCounts

T = TypeVar("T")

Kind = Literal["counter", "gauge", "histogram"]
Labels: TypeAlias = tuple[str, ...]
Numbers: TypeAlias = Iterable[tuple[Labels, float]]
"""Numbers, each under the values of its labels."""

Histograms: TypeAlias = Iterable[tuple[Labels, Buckets]]


class Described(Struct, frozen=True):
    """What a metric is."""

    kind: Kind
    labels: Labels
    sentence: str


def _counter(sentence: str, *labels: str) -> Described:
    return Described("counter", labels, sentence)


def _gauge(sentence: str, *labels: str) -> Described:
    return Described("gauge", labels, sentence)


def _histogram(sentence: str, *labels: str) -> Described:
    return Described("histogram", labels, sentence)


NAMES: Final[Mapping[str, Described]] = {
    # What callers got
    "real_data_requests_total": _counter("Values that calls asked for.", "rpc", "feed"),
    "real_data_success_total": _counter("Values that were given.", "rpc", "feed", "tier"),
    "real_data_failures_total": _counter("Values that were not given.", "rpc", "feed", "reason"),
    "api_response_time_seconds": _histogram(
        "Seconds from the arrival of a call to its answer; a stream takes as long as it is followed.",
        "rpc",
    ),
    "calls_total": _counter("Calls that have ended.", "rpc", "code"),
    "calls_in_flight": _gauge("Calls under way, those of followers not among them."),
    "calls_refused_total": _counter("Refusals for a limit of the gateway's own.", "limit"),
    "pipeline_stage_seconds": _histogram("Seconds that a stage of the work took.", "stage"),
    "market_data_freshness_seconds": _histogram(
        "Event ages of live values when they were served.", "feed"
    ),
    "quality_score": _histogram("Scores of quotes when they were first served.", "feed"),
    # The upstream
    "upstream_request_seconds": _histogram(
        "Seconds on the wire, by what came of it.", "upstream", "group", "outcome"
    ),
    "upstream_retries_total": _counter("Requests that were repeated.", "upstream", "group"),
    "circuit_state": _gauge("0 closed, 1 half open, 2 open.", "upstream", "group"),
    "circuit_opened_total": _counter("Times that the circuit opened.", "upstream", "group"),
    "budget_remaining": _gauge("Requests that would be admitted now.", "upstream"),
    "budget_limit": _gauge("Requests that a full budget holds.", "upstream"),
    "budget_spent_total": _counter("Requests taken out of the budget.", "upstream"),
    "budget_refused_total": _counter("Requests refused for want of budget.", "upstream"),
    "budget_waiting": _gauge("Requests that wait for budget.", "upstream"),
    # The tiers
    "cache_hits_total": _counter("Questions that a tier answered.", "tier", "kind"),
    "cache_misses_total": _counter("Questions that a tier could not answer.", "tier", "kind"),
    "cache_writes_total": _counter("Values that were put into a tier.", "tier", "kind"),
    "cache_evictions_total": _counter("Values that made room for others.", "tier", "kind"),
    "cache_invalidations_total": _counter(
        "Values that were superseded, or forgotten because somebody said so.", "tier", "kind"
    ),
    "cache_values": _gauge("Values that a tier of this process holds.", "tier", "kind"),
    "tier_up": _gauge("Whether a tier can be asked; not told of one that is off.", "tier"),
    # Records at the edge
    "ingress_refusals_total": _counter("Records of the upstream that were refused.", "rule"),
    "ingress_flags_total": _counter("Records of the upstream that were let in flagged.", "rule"),
    # Live feeds
    "feed_up": _gauge("Whether records of the feed come in.", "feed"),
    "feed_state": _gauge("1 for the state of the connection, 0 for the others.", "feed", "state"),
    "feed_records_total": _counter("Records that came.", "feed"),
    "feed_dropped_total": _counter("Records dropped because decoding was too slow.", "feed"),
    "feed_connections_total": _counter("Connections that were made.", "feed"),
    "feed_gaps_total": _counter("Gaps in what came.", "feed"),
    "feed_gap_open": _gauge("Gaps that have not ended.", "feed"),
    "feed_lag_seconds": _gauge("Age of the newest record when it came.", "feed"),
    "feed_last_record_age_seconds": _gauge("Seconds since a record came.", "feed"),
    "feed_wanted_symbols": _gauge("Symbols that somebody follows.", "feed"),
    # Followers
    "stream_followers": _gauge("Streams that follow."),
    "stream_subscriptions": _gauge("Subscriptions on them."),
    "stream_deliveries_total": _counter("Updates that were delivered."),
    "stream_conflated_total": _counter("Updates that newer ones superseded before delivery."),
    "stream_lost_total": _counter("Updates that slow followers lost, and were told of."),
    "stream_messages_total": _counter("Messages that were sent."),
    "stream_lag_seconds": _histogram("Seconds from the receipt of an update to its writing."),
    # Option chains
    "chain_hits_total": _counter("Questions for a chain that was held."),
    "chain_loads_total": _counter("Chains that were read whole."),
    "chain_refreshes_total": _counter("Chains of which only what had moved was read."),
    "chain_contracts": _gauge("Contracts that chains in memory hold."),
    # The store of history
    "store_up": _gauge("Whether PostgreSQL can be asked; not told where there is none."),
    "store_rows_written_total": _counter("Rows of history that were written."),
    "store_rows_read_total": _counter("Rows of history that were read."),
    "store_rows_superseded_total": _counter("Rows that later knowledge superseded."),
    "store_write_failures_total": _counter("Intervals that could not be written."),
    "store_size_bytes": _gauge("Bytes of the tables of history."),
    # Recording
    "ingestion_lag_seconds": _gauge("Age of the newest record when it was written."),
    "ingestion_waiting": _gauge("Records that wait to be written."),
    "ingestion_records_total": _counter("Records that were written.", "kind"),
    "ingestion_dropped_total": _counter("Records that could not be kept."),
    "ingestion_heartbeat_age_seconds": _gauge("Seconds since the recorder last looked."),
    # Logs
    "error_log_written_total": _counter("Entries of the error log."),
    "error_log_dropped_total": _counter("Entries that were lost."),
    "call_log_dropped_total": _counter("Lines of the log of calls and events that were lost."),
    "audit_log_dropped_total": _counter("Lines of the audit log that were lost."),
    # PostgreSQL
    "db_pool_size": _gauge("Connections of a pool.", "pool"),
    "db_pool_available": _gauge("Connections that are free.", "pool"),
    "db_pool_waiting": _gauge("Questions that wait for a connection.", "pool"),
    "db_pool_requests_total": _counter("Questions for a connection.", "pool"),
    "db_pool_wait_seconds_total": _counter("Seconds that they waited.", "pool"),
    # The process
    "market_open": _gauge("Whether the market is open; not told while nobody knows."),
    "build_info": _gauge("1; its label says which version runs.", "version"),
    "gateway_ready": _gauge("Whether it takes calls."),
    "event_loop_lag_seconds": _gauge("Longest wait for a turn on the loop in the last seconds."),
    "memory_pressure": _gauge("0 none; 1 nothing heavy is begun; 2 only the essential is done."),
    "api_keys_up": _gauge("Whether API keys could be read; not told where none are asked for."),
    "certificate_expires_seconds": _gauge("Seconds until the certificate expires, with TLS."),
    "process_cpu_seconds_total": _counter("Seconds of CPU."),
    "process_resident_memory_bytes": _gauge("Resident memory."),
    "process_virtual_memory_bytes": _gauge("Virtual memory."),
    "process_open_fds": _gauge("Open file descriptors."),
    "process_max_fds": _gauge("File descriptors that may be open."),
    "process_start_time_seconds": _gauge("When the process started, seconds of the epoch."),
}
"""Every metric that there is, by its name."""

_PROCESS: Final = "process_"
"""How those begin that prometheus_client reads from the system."""

_END: Final = b"# EOF\n"
"""What OpenMetrics writes behind everything."""

_OUTCOMES: Final = (
    "answered",
    Reason.UPSTREAM_RATE_LIMITED.name,
    Reason.UPSTREAM_UNAUTHENTICATED.name,
)
"""Those of requests that are told before there was one: alerts look for the first, and Prometheus takes a counter that
begins at 1 for one that has not grown."""

_CIRCUITS: Final = {"closed": 0, "half_open": 1, "open": 2}


class Levels(Struct):
    """What is read where it stands, and what is known of labels before anything has happened under them.

    The parts of a gateway fill it in as they come into being.
    """

    version: str
    rpcs: Sequence[str] = ()
    """Methods of the contract, such as "QuoteService/GetQuote"."""

    asked: Sequence[tuple[str, str]] = ()
    """Methods that values are asked by, each with the feed that they are of by default."""

    given: Sequence[tuple[str, str, str]] = ()
    """The same with each tier that may answer."""

    groups: Sequence[tuple[str, str]] = ()
    """Upstreams and their groups of endpoints."""

    limits: Sequence[str] = ()
    """Limits that calls may be refused for."""

    feeds: Sequence[str] = ()
    """Feeds that values are of by default."""

    live_feeds: Sequence[str] = ()
    """Feeds that are followed by default."""

    wall: Callable[[], int] = lambda: 0
    """Nanoseconds of the wall clock."""

    remaining: Callable[[str], int] | None = None
    """Requests that the budget of an upstream would admit."""

    held: Callable[[], Mapping[tuple[str, str], int]] = dict
    """Values that tiers hold, by tier and kind."""

    open_gaps: Callable[[], Mapping[str, int]] = dict
    """Gaps that have not ended, by feed."""

    pools: Callable[[], Mapping[str, PoolCounts]] = dict
    """Connections to PostgreSQL, by pool."""

    market_open: Callable[[], bool | None] = lambda: None
    """None while nobody knows."""


class Metrics:
    """The numbers of one gateway, in a registry of its own: several may live in one process."""

    def __init__(self, counters: Counters, levels: Levels) -> None:
        """Tell *counters* and *levels*."""
        self._registry = CollectorRegistry(auto_describe=False)
        numbers = _Numbers(counters, levels)
        reader = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self._registry
        )
        # Never the global one, and without the words about the host that a resource would find: labels are ours to say.
        self._provider = MeterProvider(
            metric_readers=[reader],
            resource=Resource.get_empty(),
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        meter = self._provider.get_meter("tickgate")
        self._registry.register(_Collected(_Buckets(counters, levels)))
        ProcessCollector(registry=self._registry)
        for name, described in NAMES.items():
            if name.startswith(_PROCESS) or described.kind == "histogram":
                continue
            create = (
                meter.create_observable_counter
                if described.kind == "counter"
                else meter.create_observable_gauge
            )
            read: Callable[[], Numbers] = getattr(numbers, name.removesuffix("_total"))
            create(name, [_observing(described.labels, read)], description=described.sentence)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all numbers of one moment as text, and its content type, for somebody who accepts *accept*.

        To read them takes the event loop some milliseconds, and to write them some more, between which others get
        their turns.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):
            # It names a version that is none.
            encode, content_type = choose_encoder("")
        parts: list[bytes] = []
        end = b""
        for family in tuple(self._registry.collect()):
            part = encode(_Family(family))
            if part.endswith(_END):
                part, end = part.removesuffix(_END), _END
            parts.append(part)
            await asyncio.sleep(0)
        return b"".join((*parts, end)), content_type

    def close(self) -> None:
        """Tell nothing any more."""
        self._provider.shutdown()


def _observing(
    labels: Labels, read: Callable[[], Numbers]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    known: dict[Labels, dict[str, str]] = {}

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        for values, number in read():
            attributes = known.get(values)
            if attributes is None:
                attributes = known[values] = dict(zip(labels, values, strict=True))
            yield Observation(number, attributes)

    return observe


class _Family(Collector):
    """One metric, as something to be written."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


class _Collected(Collector):
    """Histograms, which OpenTelemetry has no observable instrument for."""

    def __init__(self, buckets: _Buckets) -> None:
        self._buckets = buckets

    def collect(self) -> Iterator[Metric]:
        for name, described in NAMES.items():
            if described.kind != "histogram":
                continue
            family = HistogramMetricFamily(name, described.sentence, labels=described.labels)
            read: Callable[[], Histograms] = getattr(self._buckets, name)
            for values, buckets in read():
                family.add_metric(values, _cumulated(buckets), buckets.total)
            yield family


def _cumulated(buckets: Buckets) -> list[tuple[str, int]]:
    bounds = [*(str(bound) for bound in buckets.bounds), "+Inf"]
    return list(zip(bounds, buckets.cumulated(), strict=True))


class _Buckets:
    """Reads each histogram; the methods have the names of the metrics."""

    def __init__(self, counters: Counters, levels: Levels) -> None:
        self._counters = counters
        self._levels = levels

    def api_response_time_seconds(self) -> Histograms:
        rpcs, nothing = self._counters.rpcs, Buckets()
        for rpc in dict.fromkeys((*self._levels.rpcs, *rpcs)):
            yield (rpc,), rpcs[rpc].seconds if rpc in rpcs else nothing

    def pipeline_stage_seconds(self) -> Histograms:
        counters = self._counters
        redis = counters.tiers.get(Tier.REDIS)
        yield ("budget",), merged(one.waits for one in counters.budgets.values())
        yield (
            ("wire",),
            merged(one for group in counters.upstreams.values() for one in group.seconds.values()),
        )
        yield ("parse",), counters.parsing
        yield ("redis_read",), Buckets() if redis is None else redis.reads
        yield ("redis_write",), Buckets() if redis is None else redis.writings
        yield ("store_read",), counters.store.reads
        yield ("store_write",), counters.store.writings
        yield ("deliver",), counters.streams.writing

    def market_data_freshness_seconds(self) -> Histograms:
        for feed in self._levels.feeds:
            self._counters.ages_on(feed)
        for feed, ages in self._counters.freshness.items():
            yield (feed,), ages

    def quality_score(self) -> Histograms:
        for feed in self._levels.feeds[:1]:
            self._counters.scores_on(feed)
        for feed, scores in self._counters.quality.items():
            yield (feed,), scores

    def upstream_request_seconds(self) -> Histograms:
        none_yet = dict.fromkeys(_OUTCOMES, Buckets())
        for key, counts in _groups(self._counters, self._levels).items():
            for outcome, buckets in (none_yet | counts.seconds).items():
                yield (*key, outcome), buckets

    def stream_lag_seconds(self) -> Histograms:
        yield (), self._counters.streams.lag


class _Numbers:
    """Reads each counter and gauge; the methods have the names of the metrics, without what a counter's ends in."""

    def __init__(self, counters: Counters, levels: Levels) -> None:
        self._counters = counters
        self._levels = levels

    # ----------------------------------------------------------------------- what callers got

    def real_data_requests(self) -> Numbers:
        told = dict.fromkeys(self._levels.asked, 0)
        for rpc, counts in self._counters.rpcs.items():
            for feed, values in counts.values.items():
                told[rpc, feed] = values.asked
        return told.items()

    def real_data_success(self) -> Numbers:
        told = dict.fromkeys(self._levels.given, 0)
        for rpc, counts in self._counters.rpcs.items():
            for feed, values in counts.values.items():
                for tier, count in values.given.items():
                    told[rpc, feed, str(tier)] = count
        return told.items()

    def real_data_failures(self) -> Numbers:
        for rpc, counts in self._counters.rpcs.items():
            for feed, values in counts.values.items():
                for reason, count in values.missing.items():
                    yield (rpc, feed, reason), count

    def calls(self) -> Numbers:
        told = {(rpc, "OK"): 0 for rpc in self._levels.rpcs}
        for rpc, counts in self._counters.rpcs.items():
            for code, count in counts.codes.items():
                told[rpc, code] = count
        return told.items()

    def calls_in_flight(self) -> Numbers:
        yield (), self._counters.calls_in_flight

    def calls_refused(self) -> Numbers:
        told = dict.fromkeys(self._levels.limits, 0) | self._counters.limit_refusals
        return _single(told)

    # -------------------------------------------------------------------------- the upstream

    def upstream_retries(self) -> Numbers:
        return self._of_groups(lambda counts: counts.retries)

    def circuit_state(self) -> Numbers:
        return self._of_groups(lambda counts: _CIRCUITS[counts.circuit.state])

    def circuit_opened(self) -> Numbers:
        return self._of_groups(lambda counts: counts.circuit.opened)

    def _of_groups(self, number: Callable[[UpstreamCounts], int]) -> Numbers:
        for key, counts in _groups(self._counters, self._levels).items():
            yield key, number(counts)

    def budget_remaining(self) -> Numbers:
        remaining = self._levels.remaining
        if remaining is not None:
            for upstream in self._counters.budgets:
                yield (upstream,), remaining(upstream)

    def budget_limit(self) -> Numbers:
        return _single({name: one.limit for name, one in self._counters.budgets.items()})

    def budget_spent(self) -> Numbers:
        return _single({name: one.spent for name, one in self._counters.budgets.items()})

    def budget_refused(self) -> Numbers:
        return _single({name: one.refused for name, one in self._counters.budgets.items()})

    def budget_waiting(self) -> Numbers:
        return _single({name: one.waiting for name, one in self._counters.budgets.items()})

    # ----------------------------------------------------------------------------- the tiers

    def cache_hits(self) -> Numbers:
        return self._of_caches(lambda counts: counts.hits)

    def cache_misses(self) -> Numbers:
        return self._of_caches(lambda counts: counts.misses)

    def cache_writes(self) -> Numbers:
        # What the book holds was not put by a question: `feed_records_total` counts it.
        return self._of_caches(lambda counts: counts.writes, Tier.MEMORY, Tier.REDIS)

    def cache_evictions(self) -> Numbers:
        # What Redis evicts it does not say.
        return self._of_caches(lambda counts: counts.evictions, Tier.MEMORY)

    def cache_invalidations(self) -> Numbers:
        return self._of_caches(lambda counts: counts.invalidations, Tier.MEMORY, Tier.REDIS)

    def _of_caches(self, number: Callable[[CacheCounts], int], *only: Tier) -> Numbers:
        tiers = self._counters.tiers
        for (tier, kind), counts in self._counters.caches.items():
            is_on = tier in tiers and tiers[tier].state != "off"
            if is_on and (not only or tier in only):
                yield (str(tier), str(kind)), number(counts)

    def cache_values(self) -> Numbers:
        return self._levels.held().items()

    def tier_up(self) -> Numbers:
        for tier, counts in self._counters.tiers.items():
            if counts.state != "off":
                yield (str(tier),), counts.state == "up"

    # ------------------------------------------------------------------------ records, feeds

    def ingress_refusals(self) -> Numbers:
        return _single(self._counters.refusals)

    def ingress_flags(self) -> Numbers:
        return _single(self._counters.rule_flags)

    def feed_up(self) -> Numbers:
        return self._of_feeds(lambda counts: counts.state == FeedState.LIVE.value)

    def feed_state(self) -> Numbers:
        for feed, counts in self._feeds():
            for state in FeedState:
                yield (feed, state.value), counts.state == state.value

    def feed_records(self) -> Numbers:
        return self._of_feeds(lambda counts: counts.records)

    def feed_dropped(self) -> Numbers:
        return self._of_feeds(lambda counts: counts.dropped)

    def feed_connections(self) -> Numbers:
        return self._of_feeds(lambda counts: counts.connections)

    def feed_gaps(self) -> Numbers:
        return self._of_feeds(lambda counts: counts.gaps)

    def feed_gap_open(self) -> Numbers:
        gaps = self._levels.open_gaps()
        for feed, _ in self._feeds():
            yield (feed,), gaps.get(feed, 0)

    def feed_lag_seconds(self) -> Numbers:
        return self._of_feeds(lambda counts: _seconds(counts.lag))

    def feed_last_record_age_seconds(self) -> Numbers:
        return self._of_feeds(lambda counts: self._age(counts.last_record_time))

    def feed_wanted_symbols(self) -> Numbers:
        return self._of_feeds(lambda counts: counts.symbols)

    def _feeds(self) -> Iterable[tuple[str, FeedCounts]]:
        nobody = dict.fromkeys(self._levels.live_feeds, FeedCounts())
        return (nobody | self._counters.feeds).items()

    def _of_feeds(self, number: Callable[[FeedCounts], float | None]) -> Numbers:
        for feed, counts in self._feeds():
            told = number(counts)
            if told is not None:
                yield (feed,), told

    # ---------------------------------------------------------------------- followers, chains

    def stream_followers(self) -> Numbers:
        yield (), self._counters.streams.streams

    def stream_subscriptions(self) -> Numbers:
        yield (), self._counters.streams.subscriptions

    def stream_deliveries(self) -> Numbers:
        yield (), self._counters.streams.delivered

    def stream_conflated(self) -> Numbers:
        yield (), self._counters.streams.conflated

    def stream_lost(self) -> Numbers:
        yield (), self._counters.streams.lost

    def stream_messages(self) -> Numbers:
        yield (), self._counters.streams.messages

    def chain_hits(self) -> Numbers:
        yield (), self._counters.chains.hits

    def chain_loads(self) -> Numbers:
        yield (), self._counters.chains.loads

    def chain_refreshes(self) -> Numbers:
        yield (), self._counters.chains.refreshes

    def chain_contracts(self) -> Numbers:
        yield (), self._counters.chains.contracts

    # ------------------------------------------------------------------------- store, recording

    def store_up(self) -> Numbers:
        state = self._counters.store.state
        if state != "off":
            yield (), state == "up"

    def store_rows_written(self) -> Numbers:
        yield (), self._counters.store.rows_written

    def store_rows_read(self) -> Numbers:
        yield (), self._counters.store.rows_read

    def store_rows_superseded(self) -> Numbers:
        yield (), self._counters.store.rows_superseded

    def store_write_failures(self) -> Numbers:
        yield (), self._counters.store.write_failures

    def store_size_bytes(self) -> Numbers:
        return _known(self._counters.store.size)

    def ingestion_lag_seconds(self) -> Numbers:
        return _known(_seconds(self._counters.ingestion.lag))

    def ingestion_waiting(self) -> Numbers:
        yield (), self._counters.ingestion.waiting

    def ingestion_records(self) -> Numbers:
        counts = self._counters.ingestion
        return _single(
            {"trades": counts.trades, "bars": counts.bars, "revisions": counts.revisions}
        )

    def ingestion_dropped(self) -> Numbers:
        yield (), self._counters.ingestion.dropped

    def ingestion_heartbeat_age_seconds(self) -> Numbers:
        return _known(self._age(self._counters.ingestion.heartbeat_time))

    # --------------------------------------------------------------------------- logs, PostgreSQL

    def error_log_written(self) -> Numbers:
        yield (), self._counters.error_log.written

    def error_log_dropped(self) -> Numbers:
        yield (), self._counters.error_log.dropped

    def call_log_dropped(self) -> Numbers:
        yield (), self._counters.call_log.dropped

    def audit_log_dropped(self) -> Numbers:
        yield (), self._counters.audit_log.dropped

    def db_pool_size(self) -> Numbers:
        return _single({name: one.size for name, one in self._levels.pools().items()})

    def db_pool_available(self) -> Numbers:
        return _single({name: one.available for name, one in self._levels.pools().items()})

    def db_pool_waiting(self) -> Numbers:
        return _single({name: one.waiting for name, one in self._levels.pools().items()})

    def db_pool_requests(self) -> Numbers:
        return _single({name: one.requests for name, one in self._levels.pools().items()})

    def db_pool_wait_seconds(self) -> Numbers:
        return _single({name: one.waited for name, one in self._levels.pools().items()})

    # ------------------------------------------------------------------------------- the process

    def market_open(self) -> Numbers:
        return _known(self._levels.market_open())

    def build_info(self) -> Numbers:
        yield (self._levels.version,), 1

    def gateway_ready(self) -> Numbers:
        yield (), not self._counters.why_unready

    def event_loop_lag_seconds(self) -> Numbers:
        yield (), self._counters.loop_lag

    def memory_pressure(self) -> Numbers:
        yield (), self._counters.memory_level

    def api_keys_up(self) -> Numbers:
        state = self._counters.keys.store
        if state != "off":
            yield (), state == "up"

    def certificate_expires_seconds(self) -> Numbers:
        expires = self._counters.certificate_expires
        return _known(None if expires is None else (expires - self._levels.wall()) / NANOS)

    def _age(self, time: int | None) -> float | None:
        return None if time is None else max(0, self._levels.wall() - time) / NANOS


def _groups(counters: Counters, levels: Levels) -> dict[tuple[str, str], UpstreamCounts]:
    """Return the counters of every group of endpoints, those among them that nobody has asked yet."""
    missing = [key for key in levels.groups if key not in counters.upstreams]
    # Not made where they would stay: GetStatus tells of groups that were asked.
    return dict.fromkeys(missing, UpstreamCounts()) | counters.upstreams


def _single(numbers: Mapping[str, float]) -> Numbers:
    for label, number in numbers.items():
        yield (label,), number


def _known(number: float | None) -> Numbers:
    """Tell *number* where it is known: nobody could tell one that was made up from a real one."""
    if number is not None:
        yield (), number


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / NANOS
