"""StatusService."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf import duration_pb2, timestamp_pb2
from msgspec import Struct

from tickgate.v1 import gap_pb2, unavailable_pb2
from tickgate.v1 import status_service_pb2 as pb

from ..errors import InvalidRequest
from ..fanout.gaps import Gaps
from ..market.entitlement import Entitlement, Standing
from ..market.live import Channel, FeedState, Gap
from ..market.provenance import FEED_DELAY, DataSource, Feed, Tier
from ..market.time import NANOS
from ..observe.counters import (
    BudgetCounts,
    ChainCounts,
    CircuitCounts,
    Counters,
    ErrorLogCounts,
    FeedCounts,
    IngestionCounts,
    ProbeCounts,
    StoreCounts,
    StreamCounts,
    TierCounts,
    UpstreamCounts,
)
from ..ports import EntitlementSource, Priority, Upstream
from . import convert
from .call import Call
from .convert import Moment
from .paging import GapPosition, encode_token
from .requests import Reader
from .status import number_named

_STATES: Final[Mapping[str, pb.UpstreamState.ValueType]] = {
    "idle": pb.UPSTREAM_STATE_IDLE,
    "up": pb.UPSTREAM_STATE_UP,
    "failing": pb.UPSTREAM_STATE_FAILING,
    "unauthenticated": pb.UPSTREAM_STATE_UNAUTHENTICATED,
}
_CIRCUITS: Final[Mapping[str, pb.CircuitState.ValueType]] = {
    "closed": pb.CIRCUIT_STATE_CLOSED,
    "open": pb.CIRCUIT_STATE_OPEN,
    "half_open": pb.CIRCUIT_STATE_HALF_OPEN,
}
_TIER_STATES: Final[Mapping[str, pb.TierState.ValueType]] = {
    "up": pb.TIER_STATE_UP,
    "down": pb.TIER_STATE_DOWN,
    "off": pb.TIER_STATE_OFF,
}
_INGESTION_STATES: Final[Mapping[str, pb.IngestionState.ValueType]] = {
    "off": pb.INGESTION_STATE_OFF,
    "idle": pb.INGESTION_STATE_IDLE,
    "running": pb.INGESTION_STATE_RUNNING,
    "failing": pb.INGESTION_STATE_FAILING,
}
_STANDINGS: Final = convert.numbers(Standing, pb.EntitlementState, "ENTITLEMENT_STATE_")

_FEED_STATES: Final = convert.numbers(FeedState, pb.FeedState, "FEED_STATE_")

_GAPS: Final = 50
_MOST_GAPS: Final = 500
"""Gaps of a page, if the request does not say, and at most."""

_MOST_NAMED: Final = 1000
"""Symbols of a gap's channel that are named; all are counted."""

_LIVE_TIERS: Final = (Tier.BOOK, Tier.MEMORY, Tier.REDIS)
"""Tiers of live values, nearest first. The upstream behind them has a report of its own."""

_WINDOWS: Final = (60, 300, 900)
"""Seconds of the windows that sum up the requests to an upstream."""

_MINUTE: Final = 60.0


class About(Struct, frozen=True):
    """What a gateway is."""

    version: str
    environment: str
    source: DataSource
    default_stock_feed: Feed
    default_option_feed: Feed
    plan: str
    """Plan that the settings name."""

    start_time: int
    """Nanoseconds of the wall clock."""


class GapQuery(Struct, frozen=True):
    """Which gaps are asked for."""

    feed: Feed | None
    symbol: str
    start: int | None
    end: int | None

    def matches(self, gap: Gap) -> bool:
        """Tell whether *gap* is among them."""
        return (
            self.feed in (None, gap.feed)
            and (not self.symbol or any(self.symbol in part for part in gap.parts.values()))
            and (self.start is None or gap.end is None or gap.end >= self.start)
            and (self.end is None or gap.start < self.end)
        )


class StatusServicer:
    """Answers StatusService: the state of the gateway without asking anybody, and what its account may read."""

    def __init__(
        self,
        about: About,
        counters: Counters,
        entries: Mapping[Tier, Callable[[], int]],
        remaining: Callable[[Upstream], int],
        entitlements: EntitlementSource,
        gaps: Gaps,
        moment: Callable[[str], Moment],
    ) -> None:
        """Report *counters* and *entitlements*.

        Args:
            about: what this gateway is.
            counters: everything that was counted.
            entries: tells how many values each tier of this process holds.
            remaining: tells how many requests to an upstream would be admitted now.
            entitlements: knows what the account may read.
            gaps: knows what was missed of live feeds.
            moment: makes the moment of one call's answer.
        """
        self._about = about
        self._counters = counters
        self._entries = entries
        self._remaining = remaining
        self._entitlements = entitlements
        self._gaps = gaps
        self._moment = moment

    async def GetStatus(self, _: pb.GetStatusRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with the state of the gateway; ask nobody."""
        moment, counters = self._moment(call.request_id), self._counters
        message = pb.GetStatusResponse(
            version=self._about.version,
            environment=self._about.environment,
            source=convert.SOURCES[self._about.source],
            default_stock_feed=convert.FEEDS[self._about.default_stock_feed],
            default_option_feed=convert.FEEDS[self._about.default_option_feed],
            start_time=convert.timestamp(self._about.start_time),
            serve_time=convert.timestamp(moment.wall),
            market_time=convert.timestamp(moment.market),
            upstreams=[
                _upstream(*key, counts, moment)
                for key, counts in sorted(counters.upstreams.items())
            ],
            tiers=[self._tier(tier) for tier in _LIVE_TIERS],
            refusals=[
                unavailable_pb2.RefusalCount(rule=rule, count=count)
                for rule, count in sorted(counters.refusals.items())
            ],
            rule_flags=[
                pb.RuleFlagCount(rule=rule, count=count)
                for rule, count in sorted(counters.rule_flags.items())
            ],
            budgets=[
                _budget(upstream, counts, self._remaining(Upstream(upstream)))
                for upstream, counts in sorted(counters.budgets.items())
            ],
            error_log=_error_log(counters.error_log),
            feeds=[_feed(feed, counts) for feed, counts in sorted(counters.feeds.items())],
            streams=_streams(counters.streams),
            option_chains=_chains(counters.chains),
            store=_store(counters.store),
            ingestion=_ingestion(counters.ingestion),
            calls_in_flight=counters.calls_in_flight,
        )
        if moment.session is not None:
            message.market_session = convert.SESSIONS[moment.session]
        return message.SerializeToString()

    async def GetEntitlements(self, _: pb.GetEntitlementsRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with what the account may read, and how often."""
        known = await self._entitlements.entitlements(call.deadline)
        return pb.GetEntitlementsResponse(
            plan=self._about.plan,
            feeds=[_entitlement(one) for one in known],
            limits=[
                _limit(upstream, counts)
                for upstream, counts in sorted(self._counters.budgets.items())
            ],
            serve_time=convert.timestamp(self._moment(call.request_id).wall),
        ).SerializeToString()

    async def ListGaps(self, request: pb.ListGapsRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with a page of what was missed of live feeds."""
        reader = Reader()
        start, end = reader.instants(
            request.start_time if request.HasField("start_time") else None,
            request.end_time if request.HasField("end_time") else None,
        )
        feed = reader.some_feed(request.feed if request.HasField("feed") else None)
        symbol = reader.any_symbol(request.symbol) if request.symbol else ""
        filters = GapQuery(feed, symbol, start, end)
        size = reader.page_size(request.page_size, default=_GAPS, largest=_MOST_GAPS)
        position = reader.page_token(request.page_token, filters, GapPosition)
        reader.done()
        if position is not None and position.born != self._about.start_time:
            rule = "the gateway has started anew since this page token was made: start again without one"
            raise InvalidRequest([("page_token", rule)])
        before = math.inf if position is None else position.before_id
        found = [
            gap for gap in self._gaps.newest_first() if gap.id < before and filters.matches(gap)
        ]
        page = pb.ListGapsResponse(gaps=[_gap(gap) for gap in found[:size]])
        if len(found) > size:
            following = GapPosition(self._about.start_time, found[size - 1].id)
            page.next_page_token = encode_token(filters, following)
        return page.SerializeToString()

    def _tier(self, tier: Tier) -> pb.TierStatus:
        counts = self._counters.tiers.get(tier.value) or TierCounts(state="off")
        held = self._entries.get(tier)
        kinds = [kind for (one, _), kind in self._counters.caches.items() if one == tier.value]
        hits = counts.hits + sum(kind.hits for kind in kinds)
        misses = counts.misses + sum(kind.misses for kind in kinds)
        asked = hits + misses
        return pb.TierStatus(
            tier=convert.TIERS[tier],
            state=_TIER_STATES[counts.state],
            entries=0 if held is None else held(),
            hits=hits,
            misses=misses,
            hit_share=hits / asked if asked else None,
            failures=counts.failures,
            change_time=_timestamp(counts.changed_time),
        )


def _store(counts: StoreCounts) -> pb.StoreStatus:
    message = pb.StoreStatus(
        state=_TIER_STATES[counts.state],
        rows_written=counts.rows_written,
        rows_superseded=counts.rows_superseded,
        intervals_written=counts.intervals_written,
        write_failures=counts.write_failures,
        rows_read=counts.rows_read,
        last_write_failure=counts.last_write_failure,
        last_write_time=_timestamp(counts.last_write_time),
    )
    convert.set_present(message, size_bytes=counts.size)
    return message


def _ingestion(counts: IngestionCounts) -> pb.IngestionStatus:
    return pb.IngestionStatus(
        state=_INGESTION_STATES[counts.state],
        message=counts.message,
        heartbeat_time=_timestamp(counts.heartbeat_time),
        last_ingestion_time=_timestamp(counts.last_time),
        symbols=counts.symbols,
        trades=counts.trades,
        bars=counts.bars,
        revisions=counts.revisions,
        waiting=counts.waiting,
        dropped=counts.dropped,
        lag=None if counts.lag is None else convert.duration(counts.lag),
    )


def _chains(counts: ChainCounts) -> pb.OptionChainsStatus:
    return pb.OptionChainsStatus(
        chains=counts.chains,
        contracts=counts.contracts,
        capacity=counts.capacity,
        hits=counts.hits,
        loads=counts.loads,
        refreshes=counts.refreshes,
        failures=counts.failures,
        evictions=counts.evictions,
    )


def _upstream(
    upstream: str, group: str, counts: UpstreamCounts, moment: Moment
) -> pb.UpstreamStatus:
    message = pb.UpstreamStatus(
        upstream=upstream,
        group=group,
        state=_STATES[counts.state],
        requests=counts.requests,
        failures=counts.failures,
        in_flight=counts.in_flight,
        last_success_time=_timestamp(counts.last_success_time),
        last_failure_time=_timestamp(counts.last_failure_time),
        last_latency=_duration(counts.last_latency),
        circuit=_circuit(counts.circuit, moment),
        windows=[_window(counts, moment, seconds) for seconds in _WINDOWS],
        retries=counts.retries,
        queued=counts.queued,
        probe=None if counts.probe is None else _probe(counts.probe),
    )
    _set_reason(message, "last_failure_reason", counts.last_failure_reason)
    return message


def _circuit(counts: CircuitCounts, moment: Moment) -> pb.CircuitStatus:
    message = pb.CircuitStatus(
        state=_CIRCUITS[counts.state],
        change_time=_timestamp(counts.changed_time),
        opened=counts.opened,
        refused=counts.refused,
    )
    _set_reason(message, "reason", counts.reason)
    if counts.state == "open" and counts.retry_at is not None:
        delay = max(0.0, counts.retry_at - moment.monotonic)
        message.retry_delay.CopyFrom(convert.duration(round(delay * NANOS)))
    return message


def _window(counts: UpstreamCounts, moment: Moment, seconds: int) -> pb.UpstreamWindow:
    total = counts.recent.within(moment.monotonic, seconds)
    answered = total.answered
    return pb.UpstreamWindow(
        length=convert.duration(seconds * NANOS),
        requests=total.requests,
        failures=total.failures,
        success_share=answered / total.requests if total.requests else None,
        mean_latency=_duration(total.seconds / answered if answered else None),
        max_latency=_duration(total.longest if answered else None),
    )


def _probe(counts: ProbeCounts) -> pb.UpstreamProbe:
    message = pb.UpstreamProbe(
        probe_time=convert.timestamp(counts.time),
        latency=_duration(counts.latency),
        key_valid=counts.key_valid,
        symbol=counts.symbol,
        quality_score=counts.quality_score,
    )
    _set_reason(message, "reason", counts.reason)
    return message


def _budget(upstream: str, counts: BudgetCounts, remaining: int) -> pb.BudgetStatus:
    return pb.BudgetStatus(
        upstream=upstream,
        limit=counts.limit,
        window=_duration(counts.window),
        remaining=remaining,
        shared=counts.shared,
        spent=counts.spent,
        refused=counts.refused,
        waiting=counts.waiting,
        corrections=counts.corrections,
        floors=[
            pb.BudgetFloor(priority=priority.value, floor=counts.floors[priority.value])
            for priority in Priority
            if priority.value in counts.floors
        ],
    )


def _feed(feed: str, counts: FeedCounts) -> pb.FeedStatus:
    message = pb.FeedStatus(
        feed=convert.FEEDS[Feed(feed)],
        state=_FEED_STATES[FeedState(counts.state)],
        message=counts.message,
        change_time=_timestamp(counts.changed_time),
        epoch=counts.epoch,
        channels=[
            pb.FeedChannelStatus(
                channel=convert.CHANNELS[channel],
                wanted=counts.wanted.get(channel.value, 0),
                confirmed=counts.confirmed.get(channel.value, 0),
            )
            for channel in Channel
            if counts.wanted.get(channel.value) or counts.confirmed.get(channel.value)
        ],
        symbols=counts.symbols,
        last_record_time=_timestamp(counts.last_record_time),
        frames=counts.frames,
        records=counts.records,
        dropped=counts.dropped,
        connections=counts.connections,
        gaps=counts.gaps,
        lag=None if counts.lag is None else convert.duration(counts.lag),
        max_lag=None if counts.max_lag is None else convert.duration(counts.max_lag),
    )
    convert.set_present(message, symbol_limit=counts.symbol_limit)
    return message


def _streams(counts: StreamCounts) -> pb.StreamsStatus:
    return pb.StreamsStatus(
        streams=counts.streams,
        stream_limit=counts.limit,
        subscriptions=counts.subscriptions,
        followed=counts.followed,
        delivered=counts.delivered,
        conflated=counts.conflated,
        lost=counts.lost,
        messages=counts.messages,
    )


def _gap(gap: Gap) -> gap_pb2.Gap:
    message = convert.gap(gap)
    message.parts.extend(
        gap_pb2.GapPart(
            channel=convert.CHANNELS[channel],
            symbols=symbols[:_MOST_NAMED],
            symbol_count=len(symbols),
        )
        for channel, symbols in gap.parts.items()
    )
    return message


def _error_log(counts: ErrorLogCounts) -> pb.ErrorLogStatus:
    return pb.ErrorLogStatus(
        store=_TIER_STATES[counts.store],
        written=counts.written,
        dropped=counts.dropped,
        schema_version=counts.schema_version,
    )


def _entitlement(known: Entitlement) -> pb.FeedEntitlement:
    delay = FEED_DELAY.get(known.feed)
    return pb.FeedEntitlement(
        feed=convert.FEEDS[known.feed],
        state=_STANDINGS[known.standing],
        delay=None if delay is None else convert.duration(delay),
        learn_time=_timestamp(known.learned_at),
        message=known.said,
    )


def _limit(upstream: str, counts: BudgetCounts) -> pb.RequestLimit:
    return pb.RequestLimit(
        upstream=upstream,
        requests_per_minute=counts.upstream_limit,
        confirmed=counts.confirmed,
        budget_per_minute=int(counts.limit * _MINUTE / counts.window),
    )


def _set_reason(message: Any, field: str, name: str | None) -> None:
    number = None if name is None else number_named(name)
    if number is not None:
        setattr(message, field, number)


def _timestamp(instant: int | None) -> timestamp_pb2.Timestamp | None:
    return None if instant is None else convert.timestamp(instant)


def _duration(seconds: float | None) -> duration_pb2.Duration | None:
    return None if seconds is None else convert.duration(round(seconds * NANOS))
