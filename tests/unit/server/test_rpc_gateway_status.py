"""StatusService: what was counted is told, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.message import Message
from msgspec.structs import replace

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import provenance_pb2
from tickgate.v1 import status_service_pb2 as pb
from tickgate.v1.market_session_pb2 import MARKET_SESSION_OPEN
from tickgate_server.market.entitlement import Entitlement, Standing
from tickgate_server.market.provenance import FEED_DELAY, STOCK_FEEDS, Feed, Tier
from tickgate_server.observe.counters import (
    BudgetCounts,
    CircuitCounts,
    ErrorLogCounts,
    ProbeCounts,
    TierCounts,
    UpstreamCounts,
)
from tickgate_server.ports import Upstream
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.gateway_status import StatusServicer

from ...support.admin import ABOUT, FakeEntitlements, Parts
from ...support.fakes import NOW

CALL = Call("StatusService/GetStatus", "id", 1010.0, "unix:", 1000.0)
REMAINING = {Upstream.DATA: 29, Upstream.TRADING: 150}


async def told(
    parts: Parts, entries: dict[Tier, Callable[[], int]] | None = None
) -> pb.GetStatusResponse:
    """The status of *parts*."""
    servicer = StatusServicer(
        ABOUT,
        parts.counters,
        entries or {},
        REMAINING.__getitem__,
        parts.entitlements,
        parts.live.gaps,
        parts.moment,
    )
    return pb.GetStatusResponse.FromString(await servicer.GetStatus(pb.GetStatusRequest(), CALL))


def unset(message: Message, *fields: str) -> bool:
    """Whether *message* has none of *fields*."""
    return not any(message.HasField(field) for field in fields)


async def told_of(counts: UpstreamCounts, parts: Parts | None = None) -> pb.UpstreamStatus:
    """The status of one group of endpoints."""
    parts = parts or Parts()
    parts.counters.upstreams["alpaca.data", "latest"] = counts
    (upstream,) = (await told(parts)).upstreams
    return upstream


async def test_a_gateway_that_saw_nothing_tells_nothing() -> None:
    """Right after the start nothing stands there that was not counted, and tiers that are not in use are off."""
    status = await told(Parts())
    assert (status.version, status.environment) == ("1.2.3", "sandbox")
    assert status.start_time.ToNanoseconds() == status.serve_time.ToNanoseconds() == NOW
    assert not status.upstreams
    assert not status.budgets
    assert [(tier.tier, tier.state) for tier in status.tiers] == [
        (provenance_pb2.TIER_BOOK, pb.TIER_STATE_OFF),
        (provenance_pb2.TIER_MEMORY, pb.TIER_STATE_OFF),
        (provenance_pb2.TIER_REDIS, pb.TIER_STATE_OFF),
    ]
    assert status.error_log.store == pb.TIER_STATE_OFF


async def test_an_unknown_session_is_unset() -> None:
    """Whether the market is open is told when it is known, and left out when it is not."""
    parts = Parts()
    assert (await told(parts)).market_session == MARKET_SESSION_OPEN
    unknown = StatusServicer(
        ABOUT,
        parts.counters,
        {},
        REMAINING.__getitem__,
        parts.entitlements,
        parts.live.gaps,
        lambda request_id: replace(parts.moment(request_id), session=None),
    )
    body = await unknown.GetStatus(pb.GetStatusRequest(), CALL)
    assert unset(pb.GetStatusResponse.FromString(body), "market_session")


async def test_a_group_that_nobody_asked_has_neither_times_nor_shares() -> None:
    """What has never happened is unset, not zero."""
    upstream = await told_of(UpstreamCounts())
    assert upstream.state == pb.UPSTREAM_STATE_IDLE
    assert unset(upstream, "last_success_time", "last_failure_time", "last_failure_reason")
    assert unset(upstream, "last_latency", "probe")
    assert upstream.circuit.state == pb.CIRCUIT_STATE_CLOSED
    assert unset(upstream.circuit, "reason", "change_time", "retry_delay")
    assert [window.length.seconds for window in upstream.windows] == [60, 300, 900]
    for window in upstream.windows:
        assert (window.requests, window.failures) == (0, 0)
        assert unset(window, "success_share", "mean_latency", "max_latency")


async def test_groups_are_told_in_order() -> None:
    """Groups stand ordered by upstream and group, each with its counts."""
    parts = Parts()
    for key in (("b", "x"), ("a", "y"), ("a", "x")):
        parts.counters.upstream(*key)
    parts.counters.upstreams["a", "y"] = UpstreamCounts(
        state="unauthenticated",
        requests=9,
        failures=2,
        in_flight=3,
        last_success_time=NOW - 1,
        last_failure_time=NOW - 2,
        last_failure_reason="UPSTREAM_UNAUTHENTICATED",
        last_latency=0.25,
        retries=4,
        queued=5,
    )
    status = await told(parts)
    assert [(one.upstream, one.group) for one in status.upstreams] == [
        ("a", "x"),
        ("a", "y"),
        ("b", "x"),
    ]
    one = status.upstreams[1]
    assert one.state == pb.UPSTREAM_STATE_UNAUTHENTICATED
    assert (one.requests, one.failures, one.in_flight, one.retries, one.queued) == (9, 2, 3, 4, 5)
    assert one.last_success_time.ToNanoseconds() == NOW - 1
    assert one.last_failure_time.ToNanoseconds() == NOW - 2
    assert one.last_failure_reason == reasons.ERROR_REASON_UPSTREAM_UNAUTHENTICATED
    assert one.last_latency.ToMilliseconds() == 250


async def test_a_reason_that_the_contract_lacks_is_left_out() -> None:
    """A counter that names a reason this contract does not have spoils no answer."""
    upstream = await told_of(UpstreamCounts(last_failure_reason="OF_A_LATER_RELEASE"))
    assert not upstream.HasField("last_failure_reason")


async def test_windows_sum_up_what_ended_within_them() -> None:
    """Each window tells requests, failures, success share and latencies of its own minutes alone."""
    parts, counts = Parts(), UpstreamCounts()
    counts.recent.failed(parts.clock.monotonic())
    parts.clock.advance(200)
    counts.recent.succeeded(parts.clock.monotonic(), 0.1)
    counts.recent.failed(parts.clock.monotonic())
    parts.clock.advance(200)
    counts.recent.succeeded(parts.clock.monotonic(), 0.3)
    one, five, fifteen = (await told_of(counts, parts)).windows
    assert [(w.requests, w.failures) for w in (one, five, fifteen)] == [(1, 0), (3, 1), (4, 2)]
    assert [w.success_share for w in (one, five, fifteen)] == [1.0, pytest.approx(2 / 3), 0.5]
    assert [w.mean_latency.ToMilliseconds() for w in (one, five, fifteen)] == [300, 200, 200]
    assert [w.max_latency.ToMilliseconds() for w in (one, five, fifteen)] == [300, 300, 300]


async def test_a_window_of_failures_has_a_share_and_no_latency() -> None:
    """Where everything failed the share is zero, and nothing was answered that took time."""
    parts, counts = Parts(), UpstreamCounts()
    counts.recent.failed(parts.clock.monotonic())
    window = (await told_of(counts, parts)).windows[0]
    assert window.HasField("success_share")
    assert window.success_share == 0
    assert not window.HasField("mean_latency")
    assert not window.HasField("max_latency")


async def test_an_open_circuit_tells_why_and_for_how_long() -> None:
    """An open circuit names its reason and what is left of its cool-down, which a wall clock cannot change."""
    parts = Parts()
    circuit = CircuitCounts("open", "UPSTREAM_TIMEOUT", NOW - 5, 1012.5, opened=3, refused=70)
    parts.clock.advance(10)
    told_circuit = (await told_of(UpstreamCounts(circuit=circuit), parts)).circuit
    assert told_circuit.state == pb.CIRCUIT_STATE_OPEN
    assert told_circuit.reason == reasons.ERROR_REASON_UPSTREAM_TIMEOUT
    assert told_circuit.change_time.ToNanoseconds() == NOW - 5
    assert told_circuit.retry_delay.ToMilliseconds() == 2500
    assert (told_circuit.opened, told_circuit.refused) == (3, 70)
    parts.clock.advance(10)
    over = (await told_of(UpstreamCounts(circuit=circuit), parts)).circuit
    assert over.HasField("retry_delay")
    assert over.retry_delay.ToNanoseconds() == 0


@pytest.mark.parametrize("state", ["closed", "half_open"])
async def test_a_circuit_that_is_not_open_has_no_delay(state: str) -> None:
    """Only an open circuit makes everybody wait."""
    circuit = CircuitCounts(state, None, NOW, 1012.5)  # type: ignore[arg-type]  # one of its words
    told_circuit = (await told_of(UpstreamCounts(circuit=circuit))).circuit
    assert pb.CircuitState.Name(told_circuit.state) == f"CIRCUIT_STATE_{state.upper()}"
    assert not told_circuit.HasField("retry_delay")


async def test_a_probe_is_told() -> None:
    """A probe that was answered tells latency, key and quality; one that failed its reason instead."""
    good = ProbeCounts(NOW - 1, None, 0.02, key_valid=True, symbol="SPY", quality_score=90)
    probe = (await told_of(UpstreamCounts(probe=good))).probe
    assert probe.probe_time.ToNanoseconds() == NOW - 1
    assert (probe.key_valid, probe.symbol, probe.quality_score) == (True, "SPY", 90)
    assert probe.latency.ToMilliseconds() == 20
    assert not probe.HasField("reason")
    bad = ProbeCounts(NOW, "UPSTREAM_UNAUTHENTICATED", None, key_valid=False)
    probe = (await told_of(UpstreamCounts(probe=bad))).probe
    assert probe.reason == reasons.ERROR_REASON_UPSTREAM_UNAUTHENTICATED
    assert probe.HasField("key_valid")
    assert not probe.key_valid
    assert unset(probe, "latency", "quality_score")


async def test_tiers_tell_state_use_and_size() -> None:
    """Tiers stand nearest first, with what they hold, how often they answered, and when they went down."""
    parts = Parts()
    parts.counters.tiers = {
        "redis": TierCounts("down", 5, 15, 7, NOW - 9),
        "memory": TierCounts("up", 0, 0),
    }
    book, memory, redis = (await told(parts, {Tier.MEMORY: lambda: 42})).tiers
    assert (book.state, book.entries) == (pb.TIER_STATE_OFF, 0)
    assert (memory.state, memory.entries) == (pb.TIER_STATE_UP, 42)
    assert not memory.HasField("hit_share")
    assert not memory.HasField("change_time")
    assert (redis.state, redis.hits, redis.misses, redis.failures) == (pb.TIER_STATE_DOWN, 5, 15, 7)
    assert redis.hit_share == 0.25
    assert redis.change_time.ToNanoseconds() == NOW - 9


def budget(**changed: object) -> BudgetCounts:
    """The budget of a basic plan."""
    floors = {"backfill": 95, "interactive": 0, "repair": 19, "history": 57}
    given: dict[str, object] = {
        "limit": 190,
        "window": 60.0,
        "shared": True,
        "floors": floors,
    }
    return BudgetCounts(**(given | changed))  # type: ignore[arg-type]  # its own fields


async def test_budgets_are_told_as_they_stand_now() -> None:
    """What is left is asked for, and what the classes must leave stands most urgent first."""
    parts = Parts()
    parts.counters.budgets = {
        "alpaca.trading": budget(shared=False),
        "alpaca.data": budget(spent=7, refused=3, waiting=2, corrections=1),
    }
    data, trading = (await told(parts)).budgets
    assert (data.upstream, trading.upstream) == ("alpaca.data", "alpaca.trading")
    assert (data.limit, data.window.seconds, data.remaining, data.shared) == (190, 60, 29, True)
    assert (data.spent, data.refused, data.waiting, data.corrections) == (7, 3, 2, 1)
    assert [(floor.priority, floor.floor) for floor in data.floors] == [
        ("interactive", 0),
        ("repair", 19),
        ("history", 57),
        ("backfill", 95),
    ]
    assert (trading.remaining, trading.shared) == (150, False)


async def test_rules_and_the_error_log_are_told() -> None:
    """Refusals and flags stand by rule, and the error log tells where it is kept and what it lost."""
    parts = Parts()
    parts.counters.refusals = {"future": 1, "crossed": 2}
    parts.counters.rule_flags = {"price_range": 4, "consistency": 3}
    parts.counters.error_log = ErrorLogCounts("down", 100, 5, "0001")
    status = await told(parts)
    assert [(one.rule, one.count) for one in status.refusals] == [("crossed", 2), ("future", 1)]
    flags = [(one.rule, one.count) for one in status.rule_flags]
    assert flags == [("consistency", 3), ("price_range", 4)]
    log = status.error_log
    assert (log.store, log.written, log.dropped) == (pb.TIER_STATE_DOWN, 100, 5)
    assert log.schema_version == "0001"


async def entitled(parts: Parts) -> pb.GetEntitlementsResponse:
    """The entitlements of *parts*."""
    return pb.GetEntitlementsResponse.FromString(
        await parts.status().GetEntitlements(pb.GetEntitlementsRequest(), CALL)
    )


async def test_entitlements_are_told_as_they_were_learned() -> None:
    """Each feed tells whether it may be read, since when, what was said, and its delay by design if known."""
    parts = Parts(
        entitlements=FakeEntitlements(
            Entitlement(Feed.IEX, Standing.GRANTED, NOW - 1),
            Entitlement(Feed.SIP, Standing.DENIED, NOW - 2, "subscription does not permit"),
            Entitlement(Feed.DELAYED_SIP),
            Entitlement(Feed.OTC),
        )
    )
    answer = await entitled(parts)
    iex, sip, delayed, otc = answer.feeds
    assert (iex.feed, iex.state) == (provenance_pb2.FEED_IEX, pb.ENTITLEMENT_STATE_GRANTED)
    assert (iex.learn_time.ToNanoseconds(), iex.message) == (NOW - 1, "")
    assert iex.HasField("delay")
    assert (sip.state, sip.message) == (
        pb.ENTITLEMENT_STATE_DENIED,
        "subscription does not permit",
    )
    assert delayed.state == pb.ENTITLEMENT_STATE_UNKNOWN
    assert not delayed.HasField("learn_time")
    assert delayed.delay.ToNanoseconds() == FEED_DELAY[Feed.DELAYED_SIP]
    assert not otc.HasField("delay")
    assert answer.plan == "basic"
    assert answer.serve_time.ToNanoseconds() == NOW
    assert parts.entitlements.deadlines == [CALL.deadline]


@pytest.mark.parametrize("feed", sorted(STOCK_FEEDS))
@pytest.mark.parametrize("standing", list(Standing))
async def test_every_feed_and_standing_has_a_number(feed: Feed, standing: Standing) -> None:
    """Whatever is known of whatever feed can be told."""
    parts = Parts(entitlements=FakeEntitlements(Entitlement(feed, standing)))
    (told_feed,) = (await entitled(parts)).feeds
    assert provenance_pb2.Feed.Name(told_feed.feed) == f"FEED_{feed.name}"
    state = pb.EntitlementState.Name(told_feed.state)
    assert state == f"ENTITLEMENT_STATE_{standing.name}"


async def test_limits_are_told_by_the_minute() -> None:
    """Each upstream tells its limit, whether it said so itself, and what the gateway allows itself of it a minute."""
    parts = Parts()
    parts.counters.budgets = {
        "alpaca.trading": budget(window=30.0, upstream_limit=400, confirmed=True),
        "alpaca.data": budget(upstream_limit=200),
    }
    data, trading = (await entitled(parts)).limits
    assert (data.upstream, data.requests_per_minute, data.budget_per_minute) == (
        "alpaca.data",
        200,
        190,
    )
    assert not data.confirmed
    assert (trading.requests_per_minute, trading.budget_per_minute) == (400, 380)
    assert trading.confirmed
