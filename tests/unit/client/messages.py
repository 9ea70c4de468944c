"""Messages as a gateway sends them, and the values that a client must make of them.

The two are written side by side and by hand: what is checked here is the conversion, so nothing of
it may be used.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.decimal_pb2 import Decimal as DecimalMessage

import tickgate
from tickgate.v1 import (
    admin_service_pb2,
    asset_pb2,
    bar_pb2,
    channel_pb2,
    error_reason_pb2,
    gap_pb2,
    market_session_pb2,
    provenance_pb2,
    quote_pb2,
    rule_flag_pb2,
    snapshot_pb2,
    status_service_pb2,
    trade_pb2,
    trading_status_pb2,
    unavailable_pb2,
)

NOON = 1_772_811_000_123_456_789
"""An instant with every nanosecond in use."""
SECOND = 1_000_000_000


def at(ns: int) -> Timestamp:
    """An instant."""
    return Timestamp(seconds=ns // SECOND, nanos=ns % SECOND)


def lasting(ns: int) -> Duration:
    """A length of time, not negative."""
    return Duration(seconds=ns // SECOND, nanos=ns % SECOND)


def dollars(text: str) -> DecimalMessage:
    """A price."""
    return DecimalMessage(value=text)


PROVENANCE = provenance_pb2.Provenance(
    source=provenance_pb2.DATA_SOURCE_ALPACA,
    feed=provenance_pb2.FEED_IEX,
    served_from=provenance_pb2.TIER_MEMORY,
    event_time=at(NOON),
    receive_time=at(NOON + 1),
    serve_time=at(NOON + 2),
    feed_delay=Duration(),
    upstream_request_id="up-1",
    stale=True,
    event_age=lasting(7),
    receive_age=lasting(5),
)
PROVENANCE_READ = tickgate.Provenance(
    source=tickgate.DataSource.ALPACA,
    feed=tickgate.Feed.IEX,
    served_from=tickgate.Tier.MEMORY,
    event_time_ns=NOON,
    receive_time_ns=NOON + 1,
    serve_time_ns=NOON + 2,
    feed_delay_ns=0,
    upstream_request_id="up-1",
    stale=True,
    event_age_ns=7,
    receive_age_ns=5,
)

# Lists and codes belong to no feed and nobody stamps them.
LIST_PROVENANCE = provenance_pb2.Provenance(
    source=provenance_pb2.DATA_SOURCE_SANDBOX,
    served_from=provenance_pb2.TIER_UPSTREAM,
    receive_time=at(NOON),
    serve_time=at(NOON),
    receive_age=Duration(),
)
LIST_PROVENANCE_READ = tickgate.Provenance(
    source=tickgate.DataSource.SANDBOX,
    feed=None,
    served_from=tickgate.Tier.UPSTREAM,
    event_time_ns=None,
    receive_time_ns=NOON,
    serve_time_ns=NOON,
    feed_delay_ns=None,
    upstream_request_id=None,
    stale=False,
    event_age_ns=None,
    receive_age_ns=0,
)

UNAVAILABLE = unavailable_pb2.DataUnavailable(
    reason=error_reason_pb2.ERROR_REASON_TOO_STALE,
    category=unavailable_pb2.UNAVAILABLE_CATEGORY_DATA_UNAVAILABLE,
    message="ZZZZ: 400 s old, 300 s asked for",
    request_id="r-1",
    time=at(NOON),
    suggested_action="Ask again with a wider bound.",
    retry_delay=lasting(2 * SECOND + 1),
    last_event_time=at(NOON - 400 * SECOND),
    tiers_tried=[
        unavailable_pb2.TierAttempt(
            tier=provenance_pb2.TIER_UPSTREAM,
            outcome=unavailable_pb2.TIER_OUTCOME_TOO_OLD,
            time=at(NOON - 1),
        )
    ],
    refusal=unavailable_pb2.Refusal(rule="crossed", evidence="bid 182.10 above ask 182.05"),
)


def unavailable_read(symbol: str | None) -> tickgate.Unavailable:
    """What a client makes of UNAVAILABLE."""
    return tickgate.Unavailable(
        symbol=symbol,
        reason=tickgate.Reason.TOO_STALE,
        category=tickgate.Category.DATA_UNAVAILABLE,
        message="ZZZZ: 400 s old, 300 s asked for",
        request_id="r-1",
        time_ns=NOON,
        suggested_action="Ask again with a wider bound.",
        retry_delay_ns=2 * SECOND + 1,
        last_event_time_ns=NOON - 400 * SECOND,
        tiers=(
            tickgate.TierAttempt(
                tier=tickgate.Tier.UPSTREAM,
                outcome=tickgate.TierOutcome.TOO_OLD,
                time_ns=NOON - 1,
            ),
        ),
        refusal=tickgate.Refusal(rule="crossed", evidence="bid 182.10 above ask 182.05"),
    )


RULE_FLAG = rule_flag_pb2.RuleFlag(rule="price_range", evidence="90.0 % below the last trade")
RULE_FLAG_READ = tickgate.RuleFlag(rule="price_range", evidence="90.0 % below the last trade")

TRADE = trade_pb2.Trade(
    symbol="AAPL",
    price=dollars("182.0725"),
    size=0,
    exchange="V",
    conditions=["@", "I"],
    id=2**63,
    tape="C",
    amendment="corrected",
    provenance=PROVENANCE,
    market_session=market_session_pb2.MARKET_SESSION_OPEN,
    rule_flags=[RULE_FLAG, RULE_FLAG],
)
TRADE_READ = tickgate.Trade(
    symbol="AAPL",
    price=Decimal("182.0725"),
    size=0,
    exchange="V",
    conditions=("@", "I"),
    id=2**63,
    tape="C",
    amendment="corrected",
    provenance=PROVENANCE_READ,
    market_session=tickgate.MarketSession.OPEN,
    rule_flags=(RULE_FLAG_READ, RULE_FLAG_READ),
)

QUOTE = quote_pb2.Quote(
    symbol="AAPL",
    bid=quote_pb2.QuoteSide(price=dollars("182.05"), size=3, exchange="V"),
    ask=quote_pb2.QuoteSide(price=dollars("182.10")),
    conditions=["R"],
    tape="C",
    provenance=PROVENANCE,
    market_session=market_session_pb2.MARKET_SESSION_PRE_MARKET,
    derived=quote_pb2.DerivedQuote(spread=dollars("0.05"), mid=dollars("182.075")),
    quality=quote_pb2.QuoteQuality(score=90, flags=[quote_pb2.QUOTE_FLAG_ZERO_SIZE]),
    latest_trade=TRADE,
    rule_flags=[RULE_FLAG],
)
QUOTE_READ = tickgate.Quote(
    symbol="AAPL",
    bid=tickgate.QuoteSide(price=Decimal("182.05"), size=3, exchange="V"),
    ask=tickgate.QuoteSide(price=Decimal("182.10"), size=None, exchange=None),
    conditions=("R",),
    tape="C",
    provenance=PROVENANCE_READ,
    market_session=tickgate.MarketSession.PRE_MARKET,
    derived=tickgate.DerivedQuote(spread=Decimal("0.05"), mid=Decimal("182.075")),
    quality=tickgate.QuoteQuality(score=90, flags=(tickgate.QuoteFlag.ZERO_SIZE,)),
    latest_trade=TRADE_READ,
    latest_trade_unavailable=None,
    rule_flags=(RULE_FLAG_READ,),
)

# As little as the contract allows: a bid alone, in the basic view.
BARE_QUOTE = quote_pb2.Quote(
    symbol="MSFT",
    bid=quote_pb2.QuoteSide(price=dollars("410")),
    provenance=LIST_PROVENANCE,
)
BARE_QUOTE_READ = tickgate.Quote(
    symbol="MSFT",
    bid=tickgate.QuoteSide(price=Decimal(410), size=None, exchange=None),
    ask=None,
    conditions=(),
    tape=None,
    provenance=LIST_PROVENANCE_READ,
    market_session=None,
    derived=None,
    quality=None,
    latest_trade=None,
    latest_trade_unavailable=None,
    rule_flags=(),
)

BAR = bar_pb2.Bar(
    symbol="AAPL",
    start_time=at(NOON),
    open=dollars("1"),
    high=dollars("4"),
    low=dollars("0.5"),
    close=dollars("2"),
    volume=100,
    trade_count=7,
    vwap=dollars("1.234567"),
    provenance=PROVENANCE,
    rule_flags=[RULE_FLAG],
)
BAR_READ = tickgate.Bar(
    symbol="AAPL",
    start_time_ns=NOON,
    open=Decimal(1),
    high=Decimal(4),
    low=Decimal("0.5"),
    close=Decimal(2),
    volume=100,
    trade_count=7,
    vwap=Decimal("1.234567"),
    provenance=PROVENANCE_READ,
    rule_flags=(RULE_FLAG_READ,),
)

SNAPSHOT = snapshot_pb2.Snapshot(
    symbol="AAPL",
    latest_trade=TRADE,
    latest_quote=QUOTE,
    minute_bar=BAR,
    daily_bar=BAR,
    missing_parts=[
        snapshot_pb2.MissingPart(
            part=snapshot_pb2.SNAPSHOT_PART_PREVIOUS_DAILY_BAR, unavailable=UNAVAILABLE
        )
    ],
    market_session=market_session_pb2.MARKET_SESSION_CLOSED,
)
SNAPSHOT_READ = tickgate.Snapshot(
    symbol="AAPL",
    latest_trade=TRADE_READ,
    latest_quote=QUOTE_READ,
    minute_bar=BAR_READ,
    daily_bar=BAR_READ,
    previous_daily_bar=None,
    missing_parts=(
        tickgate.MissingPart(
            part=tickgate.SnapshotPart.PREVIOUS_DAILY_BAR, unavailable=unavailable_read("AAPL")
        ),
    ),
    market_session=tickgate.MarketSession.CLOSED,
)


def asset(symbol: str) -> asset_pb2.Asset:
    """An asset with everything set."""
    return asset_pb2.Asset(
        symbol=symbol,
        name="Apple Inc.",
        id="b0b6",
        exchange="NASDAQ",
        asset_class="us_equity",
        status=asset_pb2.ASSET_STATUS_ACTIVE,
        tradable=True,
        marginable=False,
        shortable=True,
        attributes=["has_options"],
    )


def asset_read(symbol: str) -> tickgate.Asset:
    """What a client makes of `asset(symbol)`."""
    return tickgate.Asset(
        symbol=symbol,
        name="Apple Inc.",
        id="b0b6",
        exchange="NASDAQ",
        asset_class="us_equity",
        status=tickgate.AssetStatus.ACTIVE,
        tradable=True,
        marginable=False,
        shortable=True,
        fractionable=None,
        attributes=("has_options",),
        provenance=LIST_PROVENANCE_READ,
    )


CLOCK = market_session_pb2.MarketClock(
    market_time=at(NOON),
    session=market_session_pb2.MARKET_SESSION_AFTER_HOURS,
    next_open_time=at(NOON + 1),
    next_close_time=at(NOON + 2),
    provenance=LIST_PROVENANCE,
)
CLOCK_READ = tickgate.MarketClock(
    market_time_ns=NOON,
    session=tickgate.MarketSession.AFTER_HOURS,
    next_open_time_ns=NOON + 1,
    next_close_time_ns=NOON + 2,
    provenance=LIST_PROVENANCE_READ,
)

TRADING_DAY = market_session_pb2.TradingDay(
    date=Date(year=2026, month=3, day=6),
    open_time=at(NOON),
    close_time=at(NOON + 1),
    after_hours_close_time=at(NOON + 2),
    settlement_date=Date(year=2026, month=3, day=9),
)
TRADING_DAY_READ = tickgate.TradingDay(
    date=date(2026, 3, 6),
    pre_market_open_time_ns=None,
    open_time_ns=NOON,
    close_time_ns=NOON + 1,
    after_hours_close_time_ns=NOON + 2,
    settlement_date=date(2026, 3, 9),
    provenance=LIST_PROVENANCE_READ,
)

STATUS = status_service_pb2.GetStatusResponse(
    version="7.8.9",
    environment="sandbox",
    source=provenance_pb2.DATA_SOURCE_SANDBOX,
    default_stock_feed=provenance_pb2.FEED_IEX,
    start_time=at(NOON),
    serve_time=at(NOON + SECOND),
    market_time=at(NOON + 1),
    upstreams=[
        status_service_pb2.UpstreamStatus(
            upstream="alpaca.data",
            group="latest",
            state=status_service_pb2.UPSTREAM_STATE_FAILING,
            requests=9,
            failures=2,
            in_flight=1,
            last_failure_time=at(NOON),
            last_failure_reason=error_reason_pb2.ERROR_REASON_UPSTREAM_ERROR,
            last_latency=lasting(1_500),
            circuit=status_service_pb2.CircuitStatus(
                state=status_service_pb2.CIRCUIT_STATE_OPEN,
                reason=error_reason_pb2.ERROR_REASON_UPSTREAM_TIMEOUT,
                change_time=at(NOON - 1),
                retry_delay=lasting(800_000_000),
                opened=2,
                refused=70,
            ),
            windows=[
                status_service_pb2.UpstreamWindow(length=lasting(60 * SECOND)),
                status_service_pb2.UpstreamWindow(
                    length=lasting(300 * SECOND),
                    requests=2000,
                    failures=1,
                    success_share=0.9995,
                    mean_latency=lasting(12_000_000),
                    max_latency=lasting(250_000_000),
                ),
            ],
            retries=4,
            queued=3,
            probe=status_service_pb2.UpstreamProbe(
                probe_time=at(NOON - 2),
                latency=lasting(9),
                key_valid=True,
                symbol="AAPL",
                quality_score=90,
            ),
        ),
        status_service_pb2.UpstreamStatus(
            upstream="alpaca.trading",
            group="reference",
            state=status_service_pb2.UPSTREAM_STATE_IDLE,
            circuit=status_service_pb2.CircuitStatus(state=status_service_pb2.CIRCUIT_STATE_CLOSED),
            probe=status_service_pb2.UpstreamProbe(
                probe_time=at(NOON), reason=error_reason_pb2.ERROR_REASON_UPSTREAM_ERROR
            ),
        ),
    ],
    tiers=[
        status_service_pb2.TierStatus(
            tier=provenance_pb2.TIER_REDIS,
            state=status_service_pb2.TIER_STATE_DOWN,
            entries=3,
            hits=2,
            misses=1,
            hit_share=2 / 3,
            failures=5,
            change_time=at(NOON),
        ),
        status_service_pb2.TierStatus(
            tier=provenance_pb2.TIER_MEMORY, state=status_service_pb2.TIER_STATE_UP
        ),
    ],
    refusals=[unavailable_pb2.RefusalCount(rule="crossed", count=4)],
    calls_in_flight=1,
    budgets=[
        status_service_pb2.BudgetStatus(
            upstream="alpaca.data",
            limit=190,
            window=lasting(60 * SECOND),
            remaining=17,
            shared=True,
            spent=1_234,
            refused=6,
            waiting=2,
            corrections=1,
            floors=[
                status_service_pb2.BudgetFloor(priority="interactive", floor=0),
                status_service_pb2.BudgetFloor(priority="backfill", floor=95),
            ],
        ),
        status_service_pb2.BudgetStatus(
            upstream="alpaca.trading", limit=190, window=lasting(60 * SECOND), remaining=190
        ),
    ],
    rule_flags=[status_service_pb2.RuleFlagCount(rule="price_range", count=8)],
    error_log=status_service_pb2.ErrorLogStatus(
        store=status_service_pb2.TIER_STATE_DOWN, written=11, dropped=3, schema_version="0001"
    ),
    feeds=[
        status_service_pb2.FeedStatus(
            feed=provenance_pb2.FEED_IEX,
            state=status_service_pb2.FEED_STATE_LIVE,
            change_time=at(NOON),
            epoch="e1",
            channels=[
                status_service_pb2.FeedChannelStatus(
                    channel=channel_pb2.CHANNEL_QUOTES, wanted=20, confirmed=19
                ),
                status_service_pb2.FeedChannelStatus(
                    channel=channel_pb2.CHANNEL_DAILY_BARS, wanted=2, confirmed=2
                ),
            ],
            symbol_limit=30,
            symbols=20,
            last_record_time=at(NOON + 1),
            frames=5,
            records=1_200,
            dropped=7,
            connections=2,
            gaps=1,
            lag=lasting(400_000_000),
            max_lag=lasting(SECOND),
        ),
        status_service_pb2.FeedStatus(
            feed=provenance_pb2.FEED_SIP,
            state=status_service_pb2.FEED_STATE_NOT_ENTITLED,
            message="the plan does not cover it",
        ),
    ],
    streams=status_service_pb2.StreamsStatus(
        streams=3,
        stream_limit=500,
        subscriptions=4,
        followed=1_000,
        delivered=2_000,
        conflated=50,
        lost=6,
        messages=77,
    ),
    default_option_feed=provenance_pb2.FEED_INDICATIVE,
    store=status_service_pb2.StoreStatus(
        state=status_service_pb2.TIER_STATE_UP,
        rows_written=98_000,
        rows_superseded=1,
        intervals_written=2,
        write_failures=3,
        rows_read=4,
        last_write_failure="no space left on device",
        last_write_time=at(NOON),
        size_bytes=5_000_000,
    ),
    ingestion=status_service_pb2.IngestionStatus(
        state=status_service_pb2.INGESTION_STATE_RUNNING,
        heartbeat_time=at(NOON),
        last_ingestion_time=at(NOON - 1),
        symbols=5,
        trades=1_000,
        bars=60,
        revisions=7,
        waiting=8,
        dropped=9,
        lag=lasting(SECOND // 2),
    ),
    option_chains=status_service_pb2.OptionChainsStatus(
        chains=2,
        contracts=8_120,
        capacity=50_000,
        hits=30,
        loads=4,
        refreshes=5,
        failures=6,
        evictions=7,
    ),
)
STATUS_READ = tickgate.GatewayStatus(
    version="7.8.9",
    environment="sandbox",
    source=tickgate.DataSource.SANDBOX,
    default_stock_feed=tickgate.Feed.IEX,
    start_time_ns=NOON,
    serve_time_ns=NOON + SECOND,
    market_time_ns=NOON + 1,
    market_session=None,
    upstreams=(
        tickgate.UpstreamStatus(
            upstream="alpaca.data",
            group="latest",
            state=tickgate.UpstreamState.FAILING,
            requests=9,
            failures=2,
            in_flight=1,
            last_success_time_ns=None,
            last_failure_time_ns=NOON,
            last_failure_reason=tickgate.Reason.UPSTREAM_ERROR,
            last_latency_ns=1_500,
            circuit=tickgate.CircuitStatus(
                state=tickgate.CircuitState.OPEN,
                reason=tickgate.Reason.UPSTREAM_TIMEOUT,
                change_time_ns=NOON - 1,
                retry_delay_ns=800_000_000,
                opened=2,
                refused=70,
            ),
            windows=(
                tickgate.UpstreamWindow(
                    length_ns=60 * SECOND,
                    requests=0,
                    failures=0,
                    success_share=None,
                    mean_latency_ns=None,
                    max_latency_ns=None,
                ),
                tickgate.UpstreamWindow(
                    length_ns=300 * SECOND,
                    requests=2000,
                    failures=1,
                    success_share=0.9995,
                    mean_latency_ns=12_000_000,
                    max_latency_ns=250_000_000,
                ),
            ),
            retries=4,
            queued=3,
            probe=tickgate.UpstreamProbe(
                probe_time_ns=NOON - 2,
                reason=None,
                latency_ns=9,
                key_valid=True,
                symbol="AAPL",
                quality_score=90,
            ),
        ),
        tickgate.UpstreamStatus(
            upstream="alpaca.trading",
            group="reference",
            state=tickgate.UpstreamState.IDLE,
            requests=0,
            failures=0,
            in_flight=0,
            last_success_time_ns=None,
            last_failure_time_ns=None,
            last_failure_reason=None,
            last_latency_ns=None,
            circuit=tickgate.CircuitStatus(
                state=tickgate.CircuitState.CLOSED,
                reason=None,
                change_time_ns=None,
                retry_delay_ns=None,
                opened=0,
                refused=0,
            ),
            windows=(),
            retries=0,
            queued=0,
            probe=tickgate.UpstreamProbe(
                probe_time_ns=NOON,
                reason=tickgate.Reason.UPSTREAM_ERROR,
                latency_ns=None,
                key_valid=None,
                symbol=None,
                quality_score=None,
            ),
        ),
    ),
    tiers=(
        tickgate.TierStatus(
            tier=tickgate.Tier.REDIS,
            state=tickgate.TierState.DOWN,
            entries=3,
            hits=2,
            misses=1,
            hit_share=2 / 3,
            failures=5,
            change_time_ns=NOON,
        ),
        tickgate.TierStatus(
            tier=tickgate.Tier.MEMORY,
            state=tickgate.TierState.UP,
            entries=0,
            hits=0,
            misses=0,
            hit_share=None,
            failures=0,
            change_time_ns=None,
        ),
    ),
    refusals=(tickgate.RefusalCount(rule="crossed", count=4),),
    calls_in_flight=1,
    budgets=(
        tickgate.BudgetStatus(
            upstream="alpaca.data",
            limit=190,
            window_ns=60 * SECOND,
            remaining=17,
            shared=True,
            spent=1_234,
            refused=6,
            waiting=2,
            corrections=1,
            floors=(
                tickgate.BudgetFloor(priority="interactive", floor=0),
                tickgate.BudgetFloor(priority="backfill", floor=95),
            ),
        ),
        tickgate.BudgetStatus(
            upstream="alpaca.trading",
            limit=190,
            window_ns=60 * SECOND,
            remaining=190,
            shared=False,
            spent=0,
            refused=0,
            waiting=0,
            corrections=0,
            floors=(),
        ),
    ),
    rule_flags=(tickgate.RuleFlagCount(rule="price_range", count=8),),
    error_log=tickgate.ErrorLogStatus(
        store=tickgate.TierState.DOWN, written=11, dropped=3, schema_version="0001"
    ),
    feeds=(
        tickgate.FeedStatus(
            feed=tickgate.Feed.IEX,
            state=tickgate.FeedState.LIVE,
            message="",
            change_time_ns=NOON,
            epoch="e1",
            channels=(
                tickgate.FeedChannelStatus(
                    channel=tickgate.Channel.QUOTES, wanted=20, confirmed=19
                ),
                tickgate.FeedChannelStatus(
                    channel=tickgate.Channel.DAILY_BARS, wanted=2, confirmed=2
                ),
            ),
            symbol_limit=30,
            symbols=20,
            last_record_time_ns=NOON + 1,
            frames=5,
            records=1_200,
            dropped=7,
            connections=2,
            gaps=1,
            lag_ns=400_000_000,
            max_lag_ns=SECOND,
        ),
        tickgate.FeedStatus(
            feed=tickgate.Feed.SIP,
            state=tickgate.FeedState.NOT_ENTITLED,
            message="the plan does not cover it",
            change_time_ns=None,
            epoch=None,
            channels=(),
            symbol_limit=None,
            symbols=0,
            last_record_time_ns=None,
            frames=0,
            records=0,
            dropped=0,
            connections=0,
            gaps=0,
            lag_ns=None,
            max_lag_ns=None,
        ),
    ),
    streams=tickgate.StreamsStatus(
        streams=3,
        stream_limit=500,
        subscriptions=4,
        followed=1_000,
        delivered=2_000,
        conflated=50,
        lost=6,
        messages=77,
    ),
    default_option_feed=tickgate.Feed.INDICATIVE,
    store=tickgate.StoreStatus(
        state=tickgate.TierState.UP,
        rows_written=98_000,
        rows_superseded=1,
        intervals_written=2,
        write_failures=3,
        rows_read=4,
        last_write_failure="no space left on device",
        last_write_time_ns=NOON,
        size_bytes=5_000_000,
    ),
    ingestion=tickgate.IngestionStatus(
        state=tickgate.IngestionState.RUNNING,
        message="",
        heartbeat_time_ns=NOON,
        last_ingestion_time_ns=NOON - 1,
        symbols=5,
        trades=1_000,
        bars=60,
        revisions=7,
        waiting=8,
        dropped=9,
        lag_ns=SECOND // 2,
    ),
    option_chains=tickgate.OptionChainsStatus(
        chains=2,
        contracts=8_120,
        capacity=50_000,
        hits=30,
        loads=4,
        refreshes=5,
        failures=6,
        evictions=7,
    ),
)

GAP = gap_pb2.Gap(
    id=2,
    feed=provenance_pb2.FEED_IEX,
    cause=gap_pb2.GAP_CAUSE_OVERFLOW,
    message="received faster than served",
    start_time=at(NOON),
    end_time=at(NOON + SECOND),
    lost_records=12,
    repair=gap_pb2.GAP_REPAIR_PARTIAL,
    parts=[
        gap_pb2.GapPart(
            channel=channel_pb2.CHANNEL_QUOTES,
            symbols=["AAPL", "GOOGL", "MSFT", "TSLA"],
            symbol_count=1_500,
        ),
        gap_pb2.GapPart(channel=channel_pb2.CHANNEL_DAILY_BARS, symbols=["AAPL"], symbol_count=1),
    ],
)
GAP_READ = tickgate.Gap(
    id=2,
    feed=tickgate.Feed.IEX,
    cause=tickgate.GapCause.OVERFLOW,
    message="received faster than served",
    start_time_ns=NOON,
    end_time_ns=NOON + SECOND,
    lost_records=12,
    repair=tickgate.GapRepair.PARTIAL,
    parts=(
        tickgate.GapPart(
            channel=tickgate.Channel.QUOTES,
            symbols=("AAPL", "GOOGL", "MSFT", "TSLA"),
            symbol_count=1_500,
        ),
        tickgate.GapPart(channel=tickgate.Channel.DAILY_BARS, symbols=("AAPL",), symbol_count=1),
    ),
)
# One that is open, as the status of a symbol names it.
OPEN_GAP = gap_pb2.Gap(
    id=3,
    feed=provenance_pb2.FEED_SIP,
    cause=gap_pb2.GAP_CAUSE_DISCONNECTED,
    message="the upstream has closed",
    start_time=at(NOON),
    repair=gap_pb2.GAP_REPAIR_PENDING,
)
OPEN_GAP_READ = tickgate.Gap(
    id=3,
    feed=tickgate.Feed.SIP,
    cause=tickgate.GapCause.DISCONNECTED,
    message="the upstream has closed",
    start_time_ns=NOON,
    end_time_ns=None,
    lost_records=None,
    repair=tickgate.GapRepair.PENDING,
    parts=(),
)

ENTITLEMENTS = status_service_pb2.GetEntitlementsResponse(
    plan="basic",
    feeds=[
        status_service_pb2.FeedEntitlement(
            feed=provenance_pb2.FEED_IEX,
            state=status_service_pb2.ENTITLEMENT_STATE_GRANTED,
            delay=Duration(),
            learn_time=at(NOON),
        ),
        status_service_pb2.FeedEntitlement(
            feed=provenance_pb2.FEED_SIP,
            state=status_service_pb2.ENTITLEMENT_STATE_DENIED,
            learn_time=at(NOON),
            message="subscription does not permit",
        ),
        status_service_pb2.FeedEntitlement(
            feed=provenance_pb2.FEED_OTC, state=status_service_pb2.ENTITLEMENT_STATE_UNKNOWN
        ),
    ],
    limits=[
        status_service_pb2.RequestLimit(
            upstream="alpaca.data", requests_per_minute=200, confirmed=True, budget_per_minute=190
        ),
        status_service_pb2.RequestLimit(
            upstream="alpaca.trading", requests_per_minute=100, budget_per_minute=95
        ),
    ],
    serve_time=at(NOON),
)
ENTITLEMENTS_READ = tickgate.Entitlements(
    plan="basic",
    feeds=(
        tickgate.FeedEntitlement(
            feed=tickgate.Feed.IEX,
            state=tickgate.EntitlementState.GRANTED,
            delay_ns=0,
            learn_time_ns=NOON,
            message="",
        ),
        tickgate.FeedEntitlement(
            feed=tickgate.Feed.SIP,
            state=tickgate.EntitlementState.DENIED,
            delay_ns=None,
            learn_time_ns=NOON,
            message="subscription does not permit",
        ),
        tickgate.FeedEntitlement(
            feed=tickgate.Feed.OTC,
            state=tickgate.EntitlementState.UNKNOWN,
            delay_ns=None,
            learn_time_ns=None,
            message="",
        ),
    ),
    limits=(
        tickgate.RequestLimit(
            upstream="alpaca.data", requests_per_minute=200, confirmed=True, budget_per_minute=190
        ),
        tickgate.RequestLimit(
            upstream="alpaca.trading",
            requests_per_minute=100,
            confirmed=False,
            budget_per_minute=95,
        ),
    ),
    serve_time_ns=NOON,
)

CONTEXT: dict[str, Any] = {
    "endpoint": "QuoteService/GetQuote",
    "symbols": ["AAPL", "MSFT"],
    "count": 2,
    "retry_delay": 0.5,
    "strict": True,
    "nested": {"rule": None},
}
"""As JSON has it, and as a client must give it back: a whole number is an int again."""


def error_record(number: int) -> admin_service_pb2.ErrorRecord:
    """A refusal with everything set."""
    record = admin_service_pb2.ErrorRecord(
        id=number,
        request_id="r-1",
        reason=error_reason_pb2.ERROR_REASON_CIRCUIT_OPEN,
        message="alpaca.data is left alone",
        time=at(NOON),
    )
    record.context.update(CONTEXT)
    return record


def error_record_read(number: int) -> tickgate.ErrorRecord:
    """What a client makes of `error_record(number)` out of PostgreSQL."""
    return tickgate.ErrorRecord(
        id=number,
        request_id="r-1",
        reason=tickgate.Reason.CIRCUIT_OPEN,
        message="alpaca.data is left alone",
        context=CONTEXT,
        time_ns=NOON,
        place=tickgate.ErrorLogPlace.POSTGRES,
    )


BARE_ERROR_RECORD = admin_service_pb2.ErrorRecord(
    id=1, reason=error_reason_pb2.ERROR_REASON_INTERNAL, message="it broke", time=at(NOON)
)
BARE_ERROR_RECORD_READ = tickgate.ErrorRecord(
    id=1,
    request_id=None,
    reason=tickgate.Reason.INTERNAL,
    message="it broke",
    context={},
    time_ns=NOON,
    place=tickgate.ErrorLogPlace.POSTGRES,
)

REVISED_BAR_READ = replace(BAR_READ, revised=True)

CORRECTION = trade_pb2.TradeCorrection(
    symbol="AAPL",
    original=trade_pb2.CorrectedTrade(price=dollars("1")),
    corrected=trade_pb2.CorrectedTrade(id=7, price=dollars("2"), size=0, conditions=["@"]),
    exchange="V",
    tape="C",
    provenance=PROVENANCE,
)
CORRECTION_READ = tickgate.TradeCorrection(
    symbol="AAPL",
    original=tickgate.CorrectedTrade(id=None, price=Decimal(1), size=None, conditions=()),
    corrected=tickgate.CorrectedTrade(id=7, price=Decimal(2), size=0, conditions=("@",)),
    exchange="V",
    tape="C",
    provenance=PROVENANCE_READ,
)

CANCELLATION = trade_pb2.TradeCancellation(
    symbol="AAPL", id=7, price=dollars("2"), size=100, action="E", provenance=PROVENANCE
)
CANCELLATION_READ = tickgate.TradeCancellation(
    symbol="AAPL",
    id=7,
    price=Decimal(2),
    size=100,
    exchange=None,
    action="E",
    tape=None,
    provenance=PROVENANCE_READ,
)

HALT = trading_status_pb2.TradingStatus(
    symbol="AAPL",
    status_code="H",
    status_message="Trading Halt",
    reason_code="T1",
    tape="C",
    provenance=PROVENANCE,
)
HALT_READ = tickgate.TradingStatus(
    symbol="AAPL",
    status_code="H",
    status_message="Trading Halt",
    reason_code="T1",
    reason_message=None,
    tape="C",
    provenance=PROVENANCE_READ,
)

BANDS = trading_status_pb2.PriceBands(
    symbol="AAPL", limit_up=dollars("4"), indicator="B", provenance=PROVENANCE
)
BANDS_READ = tickgate.PriceBands(
    symbol="AAPL",
    limit_up=Decimal(4),
    limit_down=None,
    indicator="B",
    tape=None,
    provenance=PROVENANCE_READ,
)
