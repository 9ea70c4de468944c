"""Every question once, with all its arguments: what it must send and what it must return."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.decimal_pb2 import Decimal as DecimalMessage

import tickgate
from tickgate.v1 import (
    admin_service_pb2,
    asset_pb2,
    error_reason_pb2,
    freshness_pb2,
    history_pb2,
    history_service_pb2,
    option_pb2,
    option_service_pb2,
    provenance_pb2,
    quote_pb2,
    quote_service_pb2,
    reference_service_pb2,
    snapshot_pb2,
    status_service_pb2,
    trade_pb2,
)

from . import history_messages, messages, option_messages

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

SERVICES = {
    name: service
    for file in (
        admin_service_pb2,
        history_service_pb2,
        option_service_pb2,
        quote_service_pb2,
        reference_service_pb2,
        status_service_pb2,
    )
    for name, service in file.DESCRIPTOR.services_by_name.items()
}


@dataclass(frozen=True)
class Case:
    """A call of a client's method, what goes over the wire, and what comes out."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rpc: str
    request: Message
    reply: Message | list[Message]
    """Of an RPC that streams its reply, all messages."""
    value: Any
    """For a method that yields, the list of what it yields."""
    descriptor: MethodDescriptor = field(init=False)

    def __post_init__(self) -> None:
        """Look the RPC up in the contract."""
        service, rpc = self.rpc.split("/")
        object.__setattr__(self, "descriptor", SERVICES[service].methods_by_name[rpc])

    def __str__(self) -> str:
        return self.method


FRESH = {
    "feed": tickgate.Feed.SIP,
    "max_age": 1.5,
    "max_event_age": timedelta(minutes=5, microseconds=1),
    "allowed_tiers": [tickgate.Tier.BOOK, tickgate.Tier.UPSTREAM],
    "allow_stale": True,
}
FRESHNESS = freshness_pb2.Freshness(
    max_age=Duration(seconds=1, nanos=500_000_000),
    max_event_age=Duration(seconds=300, nanos=1_000),
    allowed_tiers=[provenance_pb2.TIER_BOOK, provenance_pb2.TIER_UPSTREAM],
    allow_stale=True,
)
SENT: dict[str, Any] = {"feed": provenance_pb2.FEED_SIP, "freshness": FRESHNESS}

UNSTALE = {name: value for name, value in FRESH.items() if name != "allow_stale"} | {
    "feed": tickgate.Feed.OPRA,
    "view": tickgate.OptionView.FULL,
}
SENT_UNSTALE: dict[str, Any] = {
    "feed": provenance_pb2.FEED_OPRA,
    "view": option_pb2.OPTION_VIEW_FULL,
    "freshness": freshness_pb2.Freshness(
        max_age=FRESHNESS.max_age,
        max_event_age=FRESHNESS.max_event_age,
        allowed_tiers=FRESHNESS.allowed_tiers,
    ),
}

CHAIN = {
    "expiry": (date(2022, 7, 15), date(2022, 8, 20)),
    "type": tickgate.OptionType.PUT,
    "strikes": (Decimal("0.125"), 1000),
    "around": 10,
    "root": "SPY",
    "updated_since": datetime(2026, 3, 6, 15, tzinfo=UTC),
    "delta": (-0.5, 0.0),
    "feed": tickgate.Feed.OPRA,
    "view": tickgate.OptionView.FULL,
    "max_age": 0,
}
SENT_CHAIN: dict[str, Any] = {
    "underlying_symbol": "SPY",
    "feed": provenance_pb2.FEED_OPRA,
    "view": option_pb2.OPTION_VIEW_FULL,
    "filter": option_pb2.OptionChainFilter(
        type=option_pb2.OPTION_TYPE_PUT,
        start_expiry_date=Date(year=2022, month=7, day=15),
        end_expiry_date=Date(year=2022, month=8, day=20),
        min_strike_price=DecimalMessage(value="0.125"),
        max_strike_price=DecimalMessage(value="1000"),
        root_symbol="SPY",
        updated_since=Timestamp(seconds=1_772_809_200),
        around=option_pb2.AroundTheMoney(strikes=10),
        delta=option_pb2.DeltaBand(min=-0.5, max=0.0),
    ),
    "max_age": Duration(),
}

CASES = [
    Case(
        "quote",
        ("AAPL",),
        {**FRESH, "view": tickgate.View.FULL, "min_quality": 40},
        "QuoteService/GetQuote",
        quote_service_pb2.GetQuoteRequest(
            symbol="AAPL", view=quote_pb2.QUOTE_VIEW_FULL, min_quality=40, **SENT
        ),
        quote_service_pb2.GetQuoteResponse(
            result=quote_pb2.QuoteResult(symbol="AAPL", quote=messages.QUOTE)
        ),
        messages.QUOTE_READ,
    ),
    Case(
        "quotes",
        (["AAPL", "ZZZZ", "MSFT"],),
        {**FRESH, "view": tickgate.View.DERIVED, "min_quality": 1},
        "QuoteService/GetQuotes",
        quote_service_pb2.GetQuotesRequest(
            symbols=["AAPL", "ZZZZ", "MSFT"],
            view=quote_pb2.QUOTE_VIEW_DERIVED,
            min_quality=1,
            **SENT,
        ),
        quote_service_pb2.GetQuotesResponse(
            results=[
                quote_pb2.QuoteResult(symbol="AAPL", quote=messages.QUOTE),
                quote_pb2.QuoteResult(symbol="ZZZZ", unavailable=messages.UNAVAILABLE),
                quote_pb2.QuoteResult(symbol="MSFT", quote=messages.BARE_QUOTE),
            ]
        ),
        [messages.QUOTE_READ, messages.unavailable_read("ZZZZ"), messages.BARE_QUOTE_READ],
    ),
    Case(
        "trade",
        ("AAPL",),
        FRESH,
        "QuoteService/GetLatestTrade",
        quote_service_pb2.GetLatestTradeRequest(symbol="AAPL", **SENT),
        quote_service_pb2.GetLatestTradeResponse(
            result=trade_pb2.TradeResult(symbol="AAPL", trade=messages.TRADE)
        ),
        messages.TRADE_READ,
    ),
    Case(
        "trades",
        (("AAPL", "ZZZZ"),),
        FRESH,
        "QuoteService/GetLatestTrades",
        quote_service_pb2.GetLatestTradesRequest(symbols=["AAPL", "ZZZZ"], **SENT),
        quote_service_pb2.GetLatestTradesResponse(
            results=[
                trade_pb2.TradeResult(symbol="AAPL", trade=messages.TRADE),
                trade_pb2.TradeResult(symbol="ZZZZ", unavailable=messages.UNAVAILABLE),
            ]
        ),
        [messages.TRADE_READ, messages.unavailable_read("ZZZZ")],
    ),
    Case(
        "snapshot",
        ("AAPL",),
        FRESH,
        "QuoteService/GetSnapshot",
        quote_service_pb2.GetSnapshotRequest(symbol="AAPL", **SENT),
        quote_service_pb2.GetSnapshotResponse(
            result=snapshot_pb2.SnapshotResult(symbol="AAPL", snapshot=messages.SNAPSHOT)
        ),
        messages.SNAPSHOT_READ,
    ),
    Case(
        "snapshots",
        (["AAPL", "ZZZZ"],),
        FRESH,
        "QuoteService/GetSnapshots",
        quote_service_pb2.GetSnapshotsRequest(symbols=["AAPL", "ZZZZ"], **SENT),
        quote_service_pb2.GetSnapshotsResponse(
            results=[
                snapshot_pb2.SnapshotResult(symbol="AAPL", snapshot=messages.SNAPSHOT),
                snapshot_pb2.SnapshotResult(symbol="ZZZZ", unavailable=messages.UNAVAILABLE),
            ]
        ),
        [messages.SNAPSHOT_READ, messages.unavailable_read("ZZZZ")],
    ),
    Case(
        "option_quote",
        (option_messages.OCC,),
        UNSTALE,
        "OptionService/GetOptionQuote",
        option_service_pb2.GetOptionQuoteRequest(symbol=option_messages.SYMBOL, **SENT_UNSTALE),
        option_service_pb2.GetOptionQuoteResponse(
            result=option_pb2.OptionQuoteResult(
                symbol=option_messages.SYMBOL, option_quote=option_messages.OPTION
            )
        ),
        option_messages.OPTION_READ,
    ),
    Case(
        "option_quotes",
        (["SPY220715P00380000", option_messages.OCC, "SPY220715C00999000"],),
        UNSTALE,
        "OptionService/GetOptionQuotes",
        option_service_pb2.GetOptionQuotesRequest(
            symbols=["SPY220715P00380000", option_messages.SYMBOL, "SPY220715C00999000"],
            **SENT_UNSTALE,
        ),
        option_service_pb2.GetOptionQuotesResponse(
            results=[
                option_pb2.OptionQuoteResult(
                    symbol="SPY220715P00380000", option_quote=option_messages.BARE_OPTION
                ),
                option_pb2.OptionQuoteResult(
                    symbol=option_messages.SYMBOL, option_quote=option_messages.OPTION
                ),
                option_pb2.OptionQuoteResult(
                    symbol="SPY220715C00999000", unavailable=messages.UNAVAILABLE
                ),
            ]
        ),
        [
            option_messages.BARE_OPTION_READ,
            option_messages.OPTION_READ,
            messages.unavailable_read("SPY220715C00999000"),
        ],
    ),
    Case(
        "chain",
        ("SPY",),
        CHAIN,
        "OptionService/StreamOptionChain",
        option_service_pb2.StreamOptionChainRequest(**SENT_CHAIN),
        option_messages.streamed(option_messages.HEADER, option_messages.CALL, option_messages.PUT),
        option_messages.CHAIN_READ,
    ),
    Case(
        "chain_page",
        ("SPY",),
        {**CHAIN, "page_size": 1, "page_token": "t1"},
        "OptionService/GetOptionChain",
        option_service_pb2.GetOptionChainRequest(**SENT_CHAIN, page_size=1, page_token="t1"),
        option_service_pb2.GetOptionChainResponse(
            page=option_pb2.OptionChainPage(
                header=option_messages.HEADER,
                option_quotes=[option_messages.CALL],
                next_page_token="t2",
            )
        ),
        replace(
            option_messages.CHAIN_READ,
            option_quotes=(option_messages.CALL_READ,),
            next_page_token="t2",
        ),
    ),
    Case(
        "contracts",
        ("SPY",),
        {
            "status": tickgate.OptionContractStatus.INACTIVE,
            "type": tickgate.OptionType.CALL,
            "expiry": date(2022, 7, 15),
            "strikes": (None, Decimal(380)),
            "root": "SPY1",
            "show_deliverables": True,
            "page_size": 2,
        },
        "OptionService/ListOptionContracts",
        option_service_pb2.ListOptionContractsRequest(
            underlying_symbol="SPY",
            status=option_pb2.OPTION_CONTRACT_STATUS_INACTIVE,
            type=option_pb2.OPTION_TYPE_CALL,
            expiry_date=Date(year=2022, month=7, day=15),
            max_strike_price=DecimalMessage(value="380"),
            root_symbol="SPY1",
            show_deliverables=True,
            page_size=2,
        ),
        option_service_pb2.ListOptionContractsResponse(
            page=option_pb2.OptionContractPage(
                contracts=[option_messages.CONTRACT, option_messages.BARE_CONTRACT],
                total_size=2,
                provenance=messages.LIST_PROVENANCE,
            )
        ),
        [
            replace(each, provenance=messages.LIST_PROVENANCE_READ)
            for each in (option_messages.CONTRACT_READ, option_messages.BARE_CONTRACT_READ)
        ],
    ),
    Case(
        "assets",
        ("apple",),
        {
            "status": tickgate.AssetStatus.ACTIVE,
            "exchange": "NASDAQ",
            "attribute": "has_options",
            "page_size": 2,
        },
        "ReferenceService/ListAssets",
        reference_service_pb2.ListAssetsRequest(
            query="apple",
            status=asset_pb2.ASSET_STATUS_ACTIVE,
            exchange="NASDAQ",
            attribute="has_options",
            page_size=2,
        ),
        reference_service_pb2.ListAssetsResponse(
            page=asset_pb2.AssetPage(
                assets=[messages.asset("AAPL"), messages.asset("APLE")],
                total_size=2,
                provenance=messages.LIST_PROVENANCE,
            )
        ),
        [messages.asset_read("AAPL"), messages.asset_read("APLE")],
    ),
    Case(
        "asset",
        ("AAPL",),
        {},
        "ReferenceService/GetAsset",
        reference_service_pb2.GetAssetRequest(symbol="AAPL"),
        reference_service_pb2.GetAssetResponse(
            result=asset_pb2.AssetResult(
                symbol="AAPL",
                asset=messages.asset("AAPL"),
                provenance=messages.LIST_PROVENANCE,
            )
        ),
        messages.asset_read("AAPL"),
    ),
    Case(
        "clock",
        (),
        {},
        "ReferenceService/GetMarketClock",
        reference_service_pb2.GetMarketClockRequest(),
        reference_service_pb2.GetMarketClockResponse(clock=messages.CLOCK),
        messages.CLOCK_READ,
    ),
    Case(
        "sessions",
        (date(2026, 3, 6), date(2026, 3, 9)),
        {},
        "ReferenceService/ListMarketSessions",
        reference_service_pb2.ListMarketSessionsRequest(
            start_date=Date(year=2026, month=3, day=6), end_date=Date(year=2026, month=3, day=9)
        ),
        reference_service_pb2.ListMarketSessionsResponse(
            days=reference_service_pb2.TradingDays(
                days=[messages.TRADING_DAY], provenance=messages.LIST_PROVENANCE
            )
        ),
        [messages.TRADING_DAY_READ],
    ),
    Case(
        "codes",
        (tickgate.CodeKind.TRADE_CONDITION, "C"),
        {},
        "ReferenceService/ListCodes",
        reference_service_pb2.ListCodesRequest(kind=asset_pb2.CODE_KIND_TRADE_CONDITION, tape="C"),
        reference_service_pb2.ListCodesResponse(
            table=asset_pb2.CodeTable(
                codes=[asset_pb2.Code(code=" ", name="Regular Sale")],
                provenance=messages.LIST_PROVENANCE,
            )
        ),
        [tickgate.Code(code=" ", name="Regular Sale", provenance=messages.LIST_PROVENANCE_READ)],
    ),
    Case(
        "status",
        (),
        {},
        "StatusService/GetStatus",
        status_service_pb2.GetStatusRequest(),
        messages.STATUS,
        messages.STATUS_READ,
    ),
    Case(
        "entitlements",
        (),
        {},
        "StatusService/GetEntitlements",
        status_service_pb2.GetEntitlementsRequest(),
        messages.ENTITLEMENTS,
        messages.ENTITLEMENTS_READ,
    ),
    Case(
        "gaps",
        (),
        {
            "feed": tickgate.Feed.SIP,
            "symbol": "AAPL",
            "start": datetime(2026, 3, 6, 15, tzinfo=UTC),
            "end": datetime(2026, 3, 6, 17, tzinfo=timezone(timedelta(hours=1))),
            "page_size": 2,
        },
        "StatusService/ListGaps",
        status_service_pb2.ListGapsRequest(
            feed=provenance_pb2.FEED_SIP,
            symbol="AAPL",
            start_time=Timestamp(seconds=1_772_809_200),
            end_time=Timestamp(seconds=1_772_812_800),
            page_size=2,
        ),
        status_service_pb2.ListGapsResponse(gaps=[messages.OPEN_GAP, messages.GAP]),
        [messages.OPEN_GAP_READ, messages.GAP_READ],
    ),
    Case(
        "errors",
        (),
        {
            "reasons": [tickgate.Reason.CIRCUIT_OPEN, tickgate.Reason.NO_DATA],
            "of_call": "r-1",
            "start": datetime(2026, 3, 6, 15, tzinfo=UTC),
            "end": datetime(2026, 3, 6, 17, tzinfo=timezone(timedelta(hours=1))),
            "page_size": 2,
        },
        "AdminService/ListErrors",
        admin_service_pb2.ListErrorsRequest(
            reasons=[
                error_reason_pb2.ERROR_REASON_CIRCUIT_OPEN,
                error_reason_pb2.ERROR_REASON_NO_DATA,
            ],
            request_id="r-1",
            start_time=Timestamp(seconds=1_772_809_200),
            end_time=Timestamp(seconds=1_772_812_800),
            page_size=2,
        ),
        admin_service_pb2.ListErrorsResponse(
            errors=[messages.error_record(7), messages.BARE_ERROR_RECORD],
            place=admin_service_pb2.ERROR_LOG_PLACE_POSTGRES,
        ),
        [messages.error_record_read(7), messages.BARE_ERROR_RECORD_READ],
    ),
    Case(
        "invalidate_cache",
        (["AAPL", "MSFT"],),
        {
            "feed": tickgate.Feed.SIP,
            "kinds": [tickgate.ValueKind.QUOTE, tickgate.ValueKind.SNAPSHOT],
        },
        "AdminService/InvalidateCache",
        admin_service_pb2.InvalidateCacheRequest(
            symbols=["AAPL", "MSFT"],
            feed=provenance_pb2.FEED_SIP,
            kinds=[admin_service_pb2.VALUE_KIND_QUOTE, admin_service_pb2.VALUE_KIND_SNAPSHOT],
        ),
        admin_service_pb2.InvalidateCacheResponse(
            memory_entries=5, redis_entries=0, serve_time=messages.at(messages.NOON)
        ),
        tickgate.Invalidation(memory_entries=5, redis_entries=0, serve_time_ns=messages.NOON),
    ),
    Case(
        "price_at",
        ("AAPL", "2026-03-06T15:00:00.000000001Z"),
        {
            "tolerance": 1.5,
            "feed": tickgate.Feed.SIP,
            "as_of": messages.NOON,
            "allowed_tiers": [tickgate.Tier.STORE],
        },
        "HistoryService/GetPriceAt",
        history_service_pb2.GetPriceAtRequest(
            symbol="AAPL",
            time=Timestamp(seconds=1_772_809_200, nanos=1),
            tolerance=Duration(seconds=1, nanos=500_000_000),
            feed=provenance_pb2.FEED_SIP,
            as_of_time=messages.at(messages.NOON),
            allowed_tiers=[provenance_pb2.TIER_STORE],
        ),
        history_service_pb2.GetPriceAtResponse(
            result=history_pb2.PriceAtResult(symbol="AAPL", price=history_messages.PRICE_AT)
        ),
        history_messages.PRICE_AT_READ,
    ),
    Case(
        "coverage",
        (["AAPL", "ZZZZ", "MSFT"], tickgate.SeriesKind.BARS, "1Min"),
        {
            "feed": tickgate.Feed.SIP,
            "adjustments": [tickgate.Adjustment.SPLIT, tickgate.Adjustment.DIVIDEND],
            "start": date(2026, 3, 6),
            "end": "2026-03-09",
            "as_of": datetime(2026, 3, 6, 15, tzinfo=UTC),
        },
        "HistoryService/GetCoverage",
        history_service_pb2.GetCoverageRequest(
            symbols=["AAPL", "ZZZZ", "MSFT"],
            kind=history_pb2.SERIES_KIND_BARS,
            timeframe="1Min",
            feed=provenance_pb2.FEED_SIP,
            adjustments=[history_pb2.ADJUSTMENT_SPLIT, history_pb2.ADJUSTMENT_DIVIDEND],
            # Midnight in New York, in winter and, from the eighth on, in summer.
            start_time=Timestamp(seconds=1_772_773_200),
            end_time=Timestamp(seconds=1_773_028_800),
            as_of_time=Timestamp(seconds=1_772_809_200),
        ),
        history_service_pb2.GetCoverageResponse(results=history_messages.COVERAGES),
        history_messages.COVERAGES_READ,
    ),
    Case(
        "corporate_actions",
        ("AAPL", date(2020, 8, 1), date(2020, 9, 1)),
        {
            "types": [
                tickgate.CorporateActionType.FORWARD_SPLIT,
                tickgate.CorporateActionType.CASH_DIVIDEND,
            ],
            "page_size": 2,
        },
        "HistoryService/ListCorporateActions",
        history_service_pb2.ListCorporateActionsRequest(
            symbols=["AAPL"],
            types=[
                history_pb2.CORPORATE_ACTION_TYPE_FORWARD_SPLIT,
                history_pb2.CORPORATE_ACTION_TYPE_CASH_DIVIDEND,
            ],
            start_date=Date(year=2020, month=8, day=1),
            end_date=Date(year=2020, month=9, day=1),
            page_size=2,
        ),
        history_service_pb2.ListCorporateActionsResponse(
            page=history_service_pb2.CorporateActionPage(corporate_actions=history_messages.ACTIONS)
        ),
        history_messages.ACTIONS_READ,
    ),
    Case(
        "put_watchlist",
        ("default", ["AAPL", "MSFT"]),
        {"record": True, "refresh_timeframes": ["1Day", "1Min"], "refresh_days": 366},
        "AdminService/PutWatchlist",
        admin_service_pb2.PutWatchlistRequest(
            watchlist=admin_service_pb2.Watchlist(
                name="default",
                symbols=["AAPL", "MSFT"],
                record=True,
                refresh_timeframes=["1Day", "1Min"],
                refresh_days=366,
            )
        ),
        admin_service_pb2.PutWatchlistResponse(watchlist=history_messages.WATCHLIST),
        history_messages.WATCHLIST_READ,
    ),
    Case(
        "watchlist",
        ("default",),
        {},
        "AdminService/GetWatchlist",
        admin_service_pb2.GetWatchlistRequest(name="default"),
        admin_service_pb2.GetWatchlistResponse(watchlist=history_messages.WATCHLIST),
        history_messages.WATCHLIST_READ,
    ),
    Case(
        "watchlists",
        (),
        {},
        "AdminService/ListWatchlists",
        admin_service_pb2.ListWatchlistsRequest(),
        admin_service_pb2.ListWatchlistsResponse(watchlists=[history_messages.WATCHLIST]),
        [history_messages.WATCHLIST_READ],
    ),
    Case(
        "delete_watchlist",
        ("default",),
        {},
        "AdminService/DeleteWatchlist",
        admin_service_pb2.DeleteWatchlistRequest(name="default"),
        admin_service_pb2.DeleteWatchlistResponse(),
        None,
    ),
    Case(
        "start_backfill",
        (["AAPL", "MSFT"], 1_709_251_200_000_000_001, datetime(2024, 3, 2, tzinfo=UTC)),
        {
            "timeframe": "1Min",
            "feed": tickgate.Feed.SIP,
            "adjustments": [tickgate.Adjustment.SPIN_OFF],
        },
        "AdminService/StartBackfill",
        admin_service_pb2.StartBackfillRequest(
            symbols=["AAPL", "MSFT"],
            kind=history_pb2.SERIES_KIND_BARS,
            timeframe="1Min",
            feed=provenance_pb2.FEED_SIP,
            adjustments=[history_pb2.ADJUSTMENT_SPIN_OFF],
            start_time=Timestamp(seconds=1_709_251_200, nanos=1),
            end_time=Timestamp(seconds=1_709_337_600),
        ),
        admin_service_pb2.StartBackfillResponse(backfill=history_messages.RUNNING),
        history_messages.RUNNING_READ,
    ),
    Case(
        "backfill",
        ("b-1",),
        {},
        "AdminService/GetBackfill",
        admin_service_pb2.GetBackfillRequest(id="b-1"),
        admin_service_pb2.GetBackfillResponse(backfill=history_messages.BACKFILL),
        history_messages.BACKFILL_READ,
    ),
    Case(
        "backfills",
        (),
        {"page_size": 2},
        "AdminService/ListBackfills",
        admin_service_pb2.ListBackfillsRequest(page_size=2),
        admin_service_pb2.ListBackfillsResponse(
            backfills=[history_messages.RUNNING, history_messages.BACKFILL]
        ),
        [history_messages.RUNNING_READ, history_messages.BACKFILL_READ],
    ),
    Case(
        "cancel_backfill",
        ("b-2",),
        {},
        "AdminService/CancelBackfill",
        admin_service_pb2.CancelBackfillRequest(id="b-2"),
        admin_service_pb2.CancelBackfillResponse(backfill=history_messages.BACKFILL),
        history_messages.BACKFILL_READ,
    ),
]

YIELDING = {"assets", "backfills", "contracts", "corporate_actions", "errors", "gaps"}
"""Methods that walk pages."""
