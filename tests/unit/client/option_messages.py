"""Options as a gateway sends them, and what a client must make of them, as `messages` has stocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.type.date_pb2 import Date

import tickgate
from tickgate.v1 import (
    market_session_pb2,
    option_pb2,
    option_service_pb2,
    provenance_pb2,
    quote_pb2,
    trade_pb2,
)

from .messages import (
    LIST_PROVENANCE,
    LIST_PROVENANCE_READ,
    NOON,
    SECOND,
    UNAVAILABLE,
    at,
    dollars,
    lasting,
    unavailable_read,
)

SYMBOL = "SPY220715C00380000"
OCC = tickgate.Occ(
    root="SPY", expiry=date(2022, 7, 15), type=tickgate.OptionType.CALL, strike=Decimal(380)
)
FRIDAY = Date(year=2022, month=7, day=15)
THURSDAY = Date(year=2022, month=7, day=14)

ORIGIN = provenance_pb2.Provenance(
    source=provenance_pb2.DATA_SOURCE_ALPACA,
    feed=provenance_pb2.FEED_OPRA,
    served_from=provenance_pb2.TIER_UPSTREAM,
    event_time=at(NOON),
    receive_time=at(NOON + 1),
    serve_time=at(NOON + 2),
    feed_delay=Duration(),
    upstream_request_id="up-1",
    event_age=lasting(7),
    receive_age=lasting(5),
)
ORIGIN_READ = tickgate.Provenance(
    source=tickgate.DataSource.ALPACA,
    feed=tickgate.Feed.OPRA,
    served_from=tickgate.Tier.UPSTREAM,
    event_time_ns=NOON,
    receive_time_ns=NOON + 1,
    serve_time_ns=NOON + 2,
    feed_delay_ns=0,
    upstream_request_id="up-1",
    stale=False,
    event_age_ns=7,
    receive_age_ns=5,
)

QUOTE = quote_pb2.Quote(
    symbol=SYMBOL,
    bid=quote_pb2.QuoteSide(price=dollars("12.34"), size=11, exchange="C"),
    ask=quote_pb2.QuoteSide(price=dollars("12.4"), size=0, exchange="N"),
    conditions=["A"],
    provenance=ORIGIN,
)
QUOTE_READ = tickgate.Quote(
    symbol=SYMBOL,
    bid=tickgate.QuoteSide(price=Decimal("12.34"), size=11, exchange="C"),
    ask=tickgate.QuoteSide(price=Decimal("12.4"), size=0, exchange="N"),
    conditions=("A",),
    tape=None,
    provenance=ORIGIN_READ,
    market_session=None,
    derived=None,
    quality=None,
    latest_trade=None,
    latest_trade_unavailable=None,
    rule_flags=(),
)
TRADE = trade_pb2.Trade(
    symbol=SYMBOL,
    price=dollars("12.36"),
    size=4,
    exchange="C",
    conditions=["a"],
    provenance=ORIGIN,
)
TRADE_READ = tickgate.Trade(
    symbol=SYMBOL,
    price=Decimal("12.36"),
    size=4,
    exchange="C",
    conditions=("a",),
    id=None,
    tape=None,
    amendment=None,
    provenance=ORIGIN_READ,
    market_session=None,
    rule_flags=(),
)
BAR = option_pb2.OptionBar(
    start_time=at(NOON),
    open=dollars("12"),
    high=dollars("13"),
    low=dollars("11.5"),
    close=dollars("12.36"),
    volume=0,
    trade_count=3,
    vwap=dollars("12.3456"),
    provenance=ORIGIN,
)
BAR_READ = tickgate.OptionBar(
    start_time_ns=NOON,
    open=Decimal(12),
    high=Decimal(13),
    low=Decimal("11.5"),
    close=Decimal("12.36"),
    volume=0,
    trade_count=3,
    vwap=Decimal("12.3456"),
    provenance=ORIGIN_READ,
)
# A bar of which only its origin was sent.
BARE_BAR = option_pb2.OptionBar(provenance=LIST_PROVENANCE)
BARE_BAR_READ = tickgate.OptionBar(
    start_time_ns=None,
    open=None,
    high=None,
    low=None,
    close=None,
    volume=None,
    trade_count=None,
    vwap=None,
    provenance=LIST_PROVENANCE_READ,
)
INTEREST = option_pb2.OpenInterest(contracts=1_234, date=THURSDAY, provenance=LIST_PROVENANCE)
INTEREST_READ = tickgate.OpenInterest(
    contracts=1_234, date=date(2022, 7, 14), provenance=LIST_PROVENANCE_READ
)
GREEKS = option_pb2.OptionGreeks(delta=0.5123, gamma=0.0, theta=-0.25, vega=0.1)
GREEKS_READ = tickgate.OptionGreeks(delta=0.5123, gamma=0.0, theta=-0.25, vega=0.1, rho=None)

CONTRACT = option_pb2.OptionContract(
    symbol=SYMBOL,
    id="c-1",
    name="SPY Jul 15 2022 380 Call",
    underlying_symbol="SPY",
    root_symbol="SPY",
    expiry_date=FRIDAY,
    last_trading_time=at(NOON),
    type=option_pb2.OPTION_TYPE_CALL,
    style=option_pb2.OPTION_STYLE_AMERICAN,
    strike_price=dollars("380"),
    multiplier=dollars("100"),
    size=dollars("100"),
    status=option_pb2.OPTION_CONTRACT_STATUS_ACTIVE,
    tradable=False,
    open_interest=INTEREST,
    close_price=dollars("11.9"),
    close_price_date=THURSDAY,
    deliverables=[
        option_pb2.OptionDeliverable(
            type="equity",
            symbol="SPY",
            amount=dollars("100"),
            allocation_percentage=dollars("100"),
            settlement_type="T+1",
            settlement_method="CCC",
            delayed_settlement=False,
        ),
        option_pb2.OptionDeliverable(type="cash"),
    ],
)
CONTRACT_READ = tickgate.OptionContract(
    symbol=SYMBOL,
    id="c-1",
    name="SPY Jul 15 2022 380 Call",
    underlying_symbol="SPY",
    root_symbol="SPY",
    expiry_date=date(2022, 7, 15),
    last_trading_time_ns=NOON,
    type=tickgate.OptionType.CALL,
    style=tickgate.OptionStyle.AMERICAN,
    strike_price=Decimal(380),
    multiplier=Decimal(100),
    size=Decimal(100),
    status=tickgate.OptionContractStatus.ACTIVE,
    tradable=False,
    open_interest=INTEREST_READ,
    close_price=Decimal("11.9"),
    close_price_date=date(2022, 7, 14),
    deliverables=(
        tickgate.OptionDeliverable(
            type="equity",
            symbol="SPY",
            amount=Decimal(100),
            allocation_percentage=Decimal(100),
            settlement_type="T+1",
            settlement_method="CCC",
            delayed_settlement=False,
        ),
        tickgate.OptionDeliverable(
            type="cash",
            symbol=None,
            amount=None,
            allocation_percentage=None,
            settlement_type=None,
            settlement_method=None,
            delayed_settlement=None,
        ),
    ),
    provenance=None,
)
# As little as the contract allows.
BARE_CONTRACT = option_pb2.OptionContract(
    symbol="SPY1220715P00012500",
    underlying_symbol="SPY",
    root_symbol="SPY1",
    expiry_date=FRIDAY,
    type=option_pb2.OPTION_TYPE_PUT,
    strike_price=dollars("12.5"),
)
BARE_CONTRACT_READ = tickgate.OptionContract(
    symbol="SPY1220715P00012500",
    id=None,
    name=None,
    underlying_symbol="SPY",
    root_symbol="SPY1",
    expiry_date=date(2022, 7, 15),
    last_trading_time_ns=None,
    type=tickgate.OptionType.PUT,
    style=None,
    strike_price=Decimal("12.5"),
    multiplier=None,
    size=None,
    status=None,
    tradable=None,
    open_interest=None,
    close_price=None,
    close_price_date=None,
    deliverables=(),
    provenance=None,
)

OPTION = option_pb2.OptionQuote(
    symbol=SYMBOL,
    underlying_symbol="SPY",
    root_symbol="SPY",
    expiry_date=FRIDAY,
    type=option_pb2.OPTION_TYPE_CALL,
    strike_price=dollars("380"),
    quote=QUOTE,
    latest_trade=TRADE,
    greeks=GREEKS,
    implied_volatility=0.372,
    model_provenance=LIST_PROVENANCE,
    day_volume=1_500,
    open_interest=INTEREST,
    minute_bar=BARE_BAR,
    daily_bar=BAR,
    contract=CONTRACT,
    missing_parts=[
        option_pb2.MissingOptionPart(
            part=option_pb2.OPTION_PART_PREVIOUS_DAILY_BAR, unavailable=UNAVAILABLE
        )
    ],
    market_session=market_session_pb2.MARKET_SESSION_OPEN,
)
OPTION_READ = tickgate.OptionQuote(
    symbol=SYMBOL,
    underlying_symbol="SPY",
    root_symbol="SPY",
    expiry_date=date(2022, 7, 15),
    type=tickgate.OptionType.CALL,
    strike_price=Decimal(380),
    quote=QUOTE_READ,
    latest_trade=TRADE_READ,
    greeks=GREEKS_READ,
    implied_volatility=0.372,
    model_provenance=LIST_PROVENANCE_READ,
    day_volume=1_500,
    open_interest=INTEREST_READ,
    minute_bar=BARE_BAR_READ,
    daily_bar=BAR_READ,
    previous_daily_bar=None,
    contract=CONTRACT_READ,
    missing_parts=(
        tickgate.MissingOptionPart(
            part=tickgate.OptionPart.PREVIOUS_DAILY_BAR, unavailable=unavailable_read(SYMBOL)
        ),
    ),
    market_session=tickgate.MarketSession.OPEN,
)

# One that has an implied volatility of zero and nothing else.
BARE_OPTION = option_pb2.OptionQuote(
    symbol="SPY220715P00380000",
    underlying_symbol="SPY",
    root_symbol="SPY",
    expiry_date=FRIDAY,
    type=option_pb2.OPTION_TYPE_PUT,
    strike_price=dollars("380.000"),
    implied_volatility=0,
    model_provenance=LIST_PROVENANCE,
)
BARE_OPTION_READ = tickgate.OptionQuote(
    symbol="SPY220715P00380000",
    underlying_symbol="SPY",
    root_symbol="SPY",
    expiry_date=date(2022, 7, 15),
    type=tickgate.OptionType.PUT,
    strike_price=Decimal(380),
    quote=None,
    latest_trade=None,
    greeks=None,
    implied_volatility=0.0,
    model_provenance=LIST_PROVENANCE_READ,
    day_volume=None,
    open_interest=None,
    minute_bar=None,
    daily_bar=None,
    previous_daily_bar=None,
    contract=None,
    missing_parts=(),
    market_session=None,
)

# ---------------------------------------------------------------------------------------- chains

IN_CHAIN = provenance_pb2.Provenance(
    source=provenance_pb2.DATA_SOURCE_ALPACA,
    feed=provenance_pb2.FEED_OPRA,
    event_time=at(NOON - 3 * SECOND),
    receive_time=at(NOON - 2 * SECOND),
    feed_delay=Duration(),
)
"""Origin of a contract's part in a chain: what the header says is left out."""
IN_CHAIN_READ = tickgate.Provenance(
    source=tickgate.DataSource.ALPACA,
    feed=tickgate.Feed.OPRA,
    served_from=tickgate.Tier.MEMORY,
    event_time_ns=NOON - 3 * SECOND,
    receive_time_ns=NOON - 2 * SECOND,
    serve_time_ns=NOON,
    feed_delay_ns=0,
    upstream_request_id=None,
    stale=False,
    event_age_ns=4 * SECOND,
    receive_age_ns=2 * SECOND,
)
CONFIRMED_READ = replace(IN_CHAIN_READ, receive_age_ns=SECOND)
"""Origin of what the refresh has confirmed, which was after it was received."""

SPOT = trade_pb2.Trade(symbol="SPY", price=dollars("380.25"), size=100, provenance=ORIGIN)
SPOT_READ = tickgate.Trade(
    symbol="SPY",
    price=Decimal("380.25"),
    size=100,
    exchange=None,
    conditions=(),
    id=None,
    tape=None,
    amendment=None,
    provenance=ORIGIN_READ,
    market_session=None,
    rule_flags=(),
)


def undated(origin: provenance_pb2.Provenance) -> provenance_pb2.Provenance:
    """The origin of what nobody stamps."""
    changed = provenance_pb2.Provenance()
    changed.CopyFrom(origin)
    changed.ClearField("event_time")
    return changed


def in_chain(symbol: str, strike: str, **fields: Any) -> option_pb2.OptionQuote:
    """A contract of 2022-07-15 in a chain."""
    kind = option_pb2.OPTION_TYPE_CALL if symbol[-9] == "C" else option_pb2.OPTION_TYPE_PUT
    return option_pb2.OptionQuote(
        symbol=symbol,
        underlying_symbol="SPY",
        root_symbol=symbol[:-15],
        expiry_date=FRIDAY,
        type=kind,
        strike_price=dollars(strike),
        **fields,
    )


CALL = in_chain(
    SYMBOL,
    "380",
    quote=quote_pb2.Quote(symbol=SYMBOL, bid=QUOTE.bid, ask=QUOTE.ask, provenance=IN_CHAIN),
    latest_trade=trade_pb2.Trade(symbol=SYMBOL, price=dollars("12.36"), provenance=IN_CHAIN),
    greeks=GREEKS,
    implied_volatility=0.372,
    model_provenance=undated(IN_CHAIN),
    day_volume=1_500,
    open_interest=option_pb2.OpenInterest(contracts=9, provenance=undated(IN_CHAIN)),
    daily_bar=option_pb2.OptionBar(close=dollars("12.36"), provenance=IN_CHAIN),
    contract=option_pb2.OptionContract(
        symbol=SYMBOL,
        underlying_symbol="SPY",
        root_symbol="SPY",
        expiry_date=FRIDAY,
        type=option_pb2.OPTION_TYPE_CALL,
        strike_price=dollars("380"),
        open_interest=option_pb2.OpenInterest(contracts=9, provenance=undated(IN_CHAIN)),
    ),
)
_UNDATED_READ = replace(IN_CHAIN_READ, event_time_ns=None, event_age_ns=None)
CALL_READ = replace(
    OPTION_READ,
    quote=replace(QUOTE_READ, conditions=(), provenance=CONFIRMED_READ),
    latest_trade=replace(
        TRADE_READ, size=None, exchange=None, conditions=(), provenance=CONFIRMED_READ
    ),
    model_provenance=_UNDATED_READ,
    open_interest=tickgate.OpenInterest(contracts=9, date=None, provenance=_UNDATED_READ),
    minute_bar=None,
    daily_bar=replace(BARE_BAR_READ, close=Decimal("12.36"), provenance=IN_CHAIN_READ),
    contract=replace(
        BARE_CONTRACT_READ,
        symbol=SYMBOL,
        root_symbol="SPY",
        type=tickgate.OptionType.CALL,
        strike_price=Decimal(380),
        open_interest=tickgate.OpenInterest(contracts=9, date=None, provenance=_UNDATED_READ),
    ),
    missing_parts=(),
    market_session=tickgate.MarketSession.OPEN,
)
PUT = in_chain(
    "SPY220715P00381000",
    "381",
    quote=quote_pb2.Quote(symbol="SPY220715P00381000", bid=QUOTE.bid, provenance=IN_CHAIN),
)
PUT_READ = replace(
    BARE_OPTION_READ,
    symbol="SPY220715P00381000",
    strike_price=Decimal(381),
    quote=replace(
        QUOTE_READ,
        symbol="SPY220715P00381000",
        ask=None,
        conditions=(),
        provenance=CONFIRMED_READ,
    ),
    implied_volatility=None,
    model_provenance=None,
    market_session=tickgate.MarketSession.OPEN,
)

HEADER = option_pb2.OptionChainHeader(
    underlying_symbol="SPY",
    feed=provenance_pb2.FEED_OPRA,
    total_size=2,
    chain_size=8_120,
    missing=option_pb2.OptionChainGaps(
        quotes=1, latest_trades=2, greeks=3, implied_volatilities=4, open_interests=5
    ),
    without_delta=6,
    expired=7,
    refused=8,
    underlying_price=SPOT,
    load_time=at(NOON - 60 * SECOND),
    confirm_time=at(NOON - SECOND),
    serve_time=at(NOON),
    market_time=at(NOON + SECOND),
    market_session=market_session_pb2.MARKET_SESSION_OPEN,
    served_from=provenance_pb2.TIER_MEMORY,
    contracts_unavailable=UNAVAILABLE,
)
CHAIN_READ = tickgate.OptionChain(
    underlying_symbol="SPY",
    feed=tickgate.Feed.OPRA,
    option_quotes=(CALL_READ, PUT_READ),
    next_page_token=None,
    total_size=2,
    chain_size=8_120,
    missing=tickgate.OptionChainGaps(
        quotes=1, latest_trades=2, greeks=3, implied_volatilities=4, open_interests=5
    ),
    without_delta=6,
    expired=7,
    refused=8,
    underlying_price=SPOT_READ,
    load_time_ns=NOON - 60 * SECOND,
    confirm_time_ns=NOON - SECOND,
    serve_time_ns=NOON,
    market_time_ns=NOON + SECOND,
    market_session=tickgate.MarketSession.OPEN,
    served_from=tickgate.Tier.MEMORY,
    contracts_unavailable=unavailable_read("SPY"),
)
BARE_HEADER = option_pb2.OptionChainHeader(
    underlying_symbol="SPY",
    feed=provenance_pb2.FEED_INDICATIVE,
    total_size=0,
    confirm_time=at(NOON),
    serve_time=at(NOON),
    market_time=at(NOON),
    served_from=provenance_pb2.TIER_UPSTREAM,
)


def chunk(*quotes: option_pb2.OptionQuote) -> option_service_pb2.StreamOptionChainResponse:
    """Some contracts of a chain."""
    return option_service_pb2.StreamOptionChainResponse(
        chunk=option_service_pb2.OptionChainChunk(option_quotes=quotes)
    )


def streamed(
    header: option_pb2.OptionChainHeader, *quotes: option_pb2.OptionQuote
) -> list[Message]:
    """A whole chain, a chunk for each contract, with the counts that belong to it."""
    counted = option_pb2.OptionChainHeader()
    counted.CopyFrom(header)
    counted.total_size = len(quotes)
    reply = option_service_pb2.StreamOptionChainResponse
    return [
        reply(header=counted),
        *map(chunk, quotes),
        reply(end=option_service_pb2.OptionChainEnd(count=len(quotes))),
    ]
