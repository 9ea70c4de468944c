"""StatusService: what was counted is told, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import replace

from tickgate.v1 import channel_pb2, gap_pb2, provenance_pb2
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import status_service_pb2 as pb
from tickgate.v1.market_session_pb2 import MARKET_SESSION_OPEN
from tickgate_server.errors import InvalidRequest
from tickgate_server.market.entitlement import Entitlement, Standing
from tickgate_server.market.live import Channel, FeedState, Gap, GapCause, GapRepair
from tickgate_server.market.provenance import FEED_DELAY, Feed, Tier
from tickgate_server.market.time import NANOS
from tickgate_server.observe.counters import (
    BudgetCounts,
    ChainCounts,
    CircuitCounts,
    ErrorLogCounts,
    FeedCounts,
    IngestionCounts,
    ProbeCounts,
    StoreCounts,
    StreamCounts,
    TierCounts,
    UpstreamCounts,
)
from tickgate_server.ports import Upstream
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.gateway_status import GapQuery, StatusServicer
from tickgate_server.rpc.paging import GapPosition, encode_token

from ...support.admin import ABOUT, FakeEntitlements, Parts
from ...support.fakes import NOW

CALL = Call("StatusService/GetStatus", "id", 1010.0, "unix:", 1000.0)
CONTRACT = "SPY220715C00380000"
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
    assert status.default_stock_feed == provenance_pb2.FEED_IEX
    assert status.default_option_feed == provenance_pb2.FEED_INDICATIVE
    assert status.option_chains == pb.OptionChainsStatus()
    assert not status.upstreams
    assert not status.budgets
    assert [(tier.tier, tier.state) for tier in status.tiers] == [
        (provenance_pb2.TIER_BOOK, pb.TIER_STATE_OFF),
        (provenance_pb2.TIER_MEMORY, pb.TIER_STATE_OFF),
        (provenance_pb2.TIER_REDIS, pb.TIER_STATE_OFF),
    ]
    assert status.error_log.store == pb.TIER_STATE_OFF
    assert status.store == pb.StoreStatus(state=pb.TIER_STATE_OFF)
    assert status.ingestion == pb.IngestionStatus(state=pb.INGESTION_STATE_OFF)


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
        "redis": TierCounts(5, 15, state="down", failures=7, changed_time=NOW - 9),
        "memory": TierCounts(0, 0, state="up"),
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


@pytest.mark.parametrize("feed", list(Feed))
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


# ---------------------------------------------------------------------------------- live feeds


async def test_a_feed_that_nobody_follows_has_no_status() -> None:
    """Before the first subscription there are no feeds, and no streams out of those that may be."""
    status = await told(Parts())
    assert not status.feeds
    assert status.streams == pb.StreamsStatus(stream_limit=10)


async def test_a_feed_is_told_as_it_was_counted() -> None:
    """State, symbols, counts and lag of a feed arrive each in its field, with channels in the contract's order."""
    parts = Parts()
    parts.counters.feeds["iex"] = FeedCounts(
        state="waiting_for_slot",
        message="406",
        changed_time=NOW,
        epoch="e",
        wanted={"trades": 2, "quotes": 3, "bars": 0},
        confirmed={"quotes": 1},
        symbols=4,
        symbol_limit=30,
        last_record_time=NOW + 1,
        frames=5,
        records=6,
        dropped=7,
        connections=8,
        gaps=9,
        lag=-1,
        max_lag=1_500_000_000,
    )
    (feed,) = (await told(parts)).feeds
    assert (feed.feed, feed.state, feed.message, feed.epoch) == (
        provenance_pb2.FEED_IEX,
        pb.FEED_STATE_WAITING_FOR_SLOT,
        "406",
        "e",
    )
    assert [(one.channel, one.wanted, one.confirmed) for one in feed.channels] == [
        (channel_pb2.CHANNEL_QUOTES, 3, 1),
        (channel_pb2.CHANNEL_TRADES, 2, 0),
    ]
    assert (feed.symbols, feed.symbol_limit) == (4, 30)
    assert (feed.frames, feed.records, feed.dropped, feed.connections, feed.gaps) == (5, 6, 7, 8, 9)
    assert feed.change_time.ToNanoseconds() == NOW
    assert feed.last_record_time.ToNanoseconds() == NOW + 1
    assert (feed.lag.ToNanoseconds(), feed.max_lag.ToNanoseconds()) == (-1, 1_500_000_000)


async def test_what_a_feed_does_not_know_is_unset() -> None:
    """A feed without a limit, without a record and without a change tells of none."""
    parts = Parts()
    parts.counters.feed("sip")
    parts.counters.feed("delayed_sip")
    first, second = (await told(parts)).feeds
    assert (first.feed, second.feed) == (provenance_pb2.FEED_DELAYED_SIP, provenance_pb2.FEED_SIP)
    assert first.state == pb.FEED_STATE_IDLE
    assert unset(first, "symbol_limit", "last_record_time", "change_time", "lag", "max_lag")
    assert not first.channels


@pytest.mark.parametrize("state", list(FeedState))
async def test_every_state_of_a_feed_has_a_number(state: FeedState) -> None:
    """Each state of a connection is told by its name in the contract."""
    parts = Parts()
    parts.counters.feed("iex").state = state.value
    (feed,) = (await told(parts)).feeds
    assert pb.FeedState.Name(feed.state) == f"FEED_STATE_{state.name}"


async def test_streams_are_summed_up() -> None:
    """What streams have done is told as it was counted."""
    parts = Parts()
    parts.counters.streams = StreamCounts(1, 2, 3, 4, 5, 6, 7, 8)
    assert (await told(parts)).streams == pb.StreamsStatus(
        streams=1,
        stream_limit=2,
        subscriptions=3,
        followed=4,
        delivered=5,
        conflated=6,
        lost=7,
        messages=8,
    )


async def test_chains_are_summed_up() -> None:
    """What the chains that all callers share hold, cost and save is told as it was counted."""
    parts = Parts()
    parts.counters.chains = ChainCounts(1, 2, 3, 4, 5, 6, 7, 8)
    assert (await told(parts)).option_chains == pb.OptionChainsStatus(
        chains=1,
        contracts=2,
        capacity=3,
        hits=4,
        loads=5,
        refreshes=6,
        failures=7,
        evictions=8,
    )


# ---------------------------------------------------------------------------------------- gaps


def missed(
    parts: Parts,
    start: int,
    end: int | None,
    symbols: Sequence[str] = ("AAPL",),
    feed: Feed = Feed.IEX,
) -> Gap:
    """A gap of *symbols* from *start* to *end*, seconds after `NOW`."""
    gap = parts.live.gaps.add(
        feed, GapCause.DISCONNECTED, "reset", NOW + start * NANOS, {Channel.QUOTES: symbols}
    )
    gap.end = None if end is None else NOW + end * NANOS
    return gap


async def gaps(parts: Parts, **asked: Any) -> pb.ListGapsResponse:
    """A page of gaps."""
    request = pb.ListGapsRequest(**asked)
    return pb.ListGapsResponse.FromString(await parts.status().ListGaps(request, CALL))


async def numbers(parts: Parts, **asked: Any) -> list[int]:
    """The numbers of the gaps on a page."""
    return [gap.id for gap in (await gaps(parts, **asked)).gaps]


def stamp(seconds: int) -> Timestamp:
    """An instant some *seconds* after `NOW`."""
    return Timestamp(seconds=NOW // NANOS + seconds)


async def test_a_gap_is_told_with_all_that_is_known() -> None:
    """A gap tells cause, start, end, what was lost, what was done, and who followed what while it lasted."""
    parts = Parts()
    gap = parts.live.gaps.add(
        Feed.SIP,
        GapCause.OVERFLOW,
        "too fast",
        NOW,
        {Channel.TRADES: ["MSFT"], Channel.QUOTES: ["MSFT", "AAPL"]},
    )
    gap.end, gap.lost_records, gap.repair = NOW + NANOS, 12, GapRepair.PARTIAL
    (told_gap,) = (await gaps(parts)).gaps
    assert told_gap == gap_pb2.Gap(
        id=1,
        feed=provenance_pb2.FEED_SIP,
        cause=gap_pb2.GAP_CAUSE_OVERFLOW,
        message="too fast",
        start_time=stamp(0),
        end_time=stamp(1),
        lost_records=12,
        repair=gap_pb2.GAP_REPAIR_PARTIAL,
        parts=[
            gap_pb2.GapPart(channel=channel_pb2.CHANNEL_TRADES, symbols=["MSFT"], symbol_count=1),
            gap_pb2.GapPart(
                channel=channel_pb2.CHANNEL_QUOTES, symbols=["AAPL", "MSFT"], symbol_count=2
            ),
        ],
    )


async def test_an_open_gap_has_no_end() -> None:
    """A gap that is not over has neither an end nor a count of what nobody could count."""
    parts = Parts()
    missed(parts, 0, None)
    (gap,) = (await gaps(parts)).gaps
    assert unset(gap, "end_time", "lost_records")
    assert gap.repair == gap_pb2.GAP_REPAIR_PENDING


async def test_a_gap_of_very_many_symbols_names_a_thousand() -> None:
    """However many were followed, a thousand are named, all are counted, and any of them finds the gap."""
    parts = Parts()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    many = [one + two + three for one in "AZ" for two in letters for three in letters]
    missed(parts, 0, 1, many)
    (part,) = (await gaps(parts, symbol="ZZZ")).gaps[0].parts
    assert list(part.symbols) == sorted(many)[:1000]
    assert part.symbol_count == 1352


async def test_gaps_are_filtered() -> None:
    """Feed, symbol, and a time that a gap touches: a gap ends at or after the start and begins before the end."""
    parts = Parts()
    missed(parts, 0, 10)
    missed(parts, 20, 30, ["AAPL", "MSFT"])
    missed(parts, 40, None, ["IBM", CONTRACT], Feed.SIP)
    assert await numbers(parts) == [3, 2, 1]
    assert await numbers(parts, feed=provenance_pb2.FEED_IEX) == [2, 1]
    assert await numbers(parts, feed=provenance_pb2.FEED_OPRA) == []
    assert await numbers(parts, symbol=CONTRACT) == [3]
    assert await numbers(parts, symbol="MSFT") == [2]
    assert await numbers(parts, symbol="TSLA") == []
    assert await numbers(parts, start_time=stamp(10)) == [3, 2, 1]
    assert await numbers(parts, start_time=stamp(11)) == [3, 2]
    assert await numbers(parts, start_time=stamp(99)) == [3]
    assert await numbers(parts, end_time=stamp(20)) == [1]
    assert await numbers(parts, end_time=stamp(21)) == [2, 1]
    assert await numbers(parts, start_time=stamp(11), end_time=stamp(40)) == [2]


async def test_gaps_come_in_pages() -> None:
    """Page after page all gaps come once, newest first, whatever is missed in between."""
    parts = Parts()
    for second in range(7):
        missed(parts, second, second + 1)
    found: list[int] = []
    token = ""
    while not found or token:
        page = await gaps(parts, page_size=3, page_token=token)
        found += [gap.id for gap in page.gaps]
        token = page.next_page_token
        missed(parts, 100, 101)
    assert found == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("size", "count"), [(0, 50), (1, 1), (500, 500), (501, 500), (2**31 - 1, 500)]
)
async def test_a_page_of_gaps_has_a_size(size: int, count: int) -> None:
    """A page holds 50 gaps where the request does not say, and 500 at most."""
    parts = Parts()
    for second in range(501):
        missed(parts, second, second + 1)
    page = await gaps(parts, page_size=size)
    assert len(page.gaps) == count
    assert page.next_page_token


async def test_the_last_page_of_gaps_has_no_token() -> None:
    """Where everything fits there is no further page."""
    parts = Parts()
    missed(parts, 0, 1)
    assert (await gaps(parts, page_size=1)).next_page_token == ""


async def refused(parts: Parts, **asked: Any) -> dict[str, str]:
    """The rules that a request for gaps breaks, by field."""
    with pytest.raises(InvalidRequest) as error:
        await gaps(parts, **asked)
    return dict(error.value.violations)


async def test_wrong_filters_of_gaps_are_refused_together() -> None:
    """Each filter that breaks a rule is named, all at once."""
    found = await refused(
        Parts(),
        feed=provenance_pb2.FEED_UNSPECIFIED,
        symbol="aapl",
        start_time=stamp(1),
        end_time=stamp(1),
        page_size=-1,
        page_token="junk",
    )
    assert set(found) == {"feed", "symbol", "end_time", "page_size", "page_token"}


async def test_a_page_token_is_good_for_its_own_filters() -> None:
    """A token with other filters is refused; the size of the page may change."""
    parts = Parts()
    for second in range(4):
        missed(parts, second, second + 1)
    token = (await gaps(parts, page_size=1, symbol="AAPL")).next_page_token
    assert await numbers(parts, page_size=2, symbol="AAPL", page_token=token) == [3, 2]
    assert "another query" in (await refused(parts, page_token=token))["page_token"]


async def test_a_page_token_does_not_outlive_its_gateway() -> None:
    """A token of before a restart would lead to other gaps, so it is refused with that reason."""
    parts = Parts()
    for second in range(2):
        missed(parts, second, second + 1)
    before = GapPosition(ABOUT.start_time - 1, 2)
    token = encode_token(GapQuery(None, "", None, None), before)
    assert "started anew" in (await refused(parts, page_token=token))["page_token"]
    now = encode_token(GapQuery(None, "", None, None), GapPosition(ABOUT.start_time, 2))
    assert await numbers(parts, page_token=now) == [1]


async def test_the_store_of_the_past_is_told() -> None:
    """What was written, superseded and read is told, why a write failed, and how large the store is, if known."""
    parts = Parts()
    parts.counters.store = StoreCounts("down", 9, 8, 7, 6, 5, "no space left", NOW - 4, 3)
    store = (await told(parts)).store
    assert store.state == pb.TIER_STATE_DOWN
    assert (store.rows_written, store.rows_superseded, store.intervals_written) == (9, 8, 7)
    assert (store.write_failures, store.rows_read) == (6, 5)
    assert store.last_write_failure == "no space left"
    assert store.last_write_time.ToNanoseconds() == NOW - 4
    assert store.size_bytes == 3
    parts.counters.store.size = 0
    assert (await told(parts)).store.HasField("size_bytes")


@pytest.mark.parametrize("state", ["off", "idle", "running", "failing"])
async def test_the_recording_is_told(state: Any) -> None:
    """What is recorded live is told: whether it goes on, its pulse, its counts, and how far behind it is."""
    parts = Parts()
    parts.counters.ingestion = IngestionCounts(state, "why", NOW - 9, NOW - 8, 7, 6, 5, 4, 3, 2, -1)
    ingestion = (await told(parts)).ingestion
    assert pb.IngestionState.Name(ingestion.state) == f"INGESTION_STATE_{state.upper()}"
    assert ingestion.message == "why"
    assert ingestion.heartbeat_time.ToNanoseconds() == NOW - 9
    assert ingestion.last_ingestion_time.ToNanoseconds() == NOW - 8
    assert (ingestion.symbols, ingestion.trades, ingestion.bars) == (7, 6, 5)
    assert (ingestion.revisions, ingestion.waiting, ingestion.dropped) == (4, 3, 2)
    assert ingestion.lag.ToNanoseconds() == -1
