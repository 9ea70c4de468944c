"""Every question once, with all its arguments: what it must send and what it must return."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

import tickgate
from tickgate.v1 import (
    admin_service_pb2,
    asset_pb2,
    error_reason_pb2,
    freshness_pb2,
    provenance_pb2,
    quote_pb2,
    quote_service_pb2,
    reference_service_pb2,
    snapshot_pb2,
    status_service_pb2,
    trade_pb2,
)

from . import messages

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

SERVICES = {
    name: service
    for file in (
        admin_service_pb2,
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
    reply: Message
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
]

YIELDING = {"assets", "errors", "gaps"}
"""Methods that walk pages."""
