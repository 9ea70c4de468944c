"""The gateway's messages as values, and a caller's arguments as messages. Knows no I/O."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.decimal_pb2 import Decimal as DecimalMessage

from . import _models as models
from ._enums import (
    Adjustment,
    AssetStatus,
    BackfillState,
    Category,
    Channel,
    CircuitState,
    CodeKind,
    CorporateActionType,
    DataSource,
    EntitlementState,
    ErrorLogPlace,
    Feed,
    FeedState,
    GapCause,
    GapRepair,
    IngestionState,
    LossCause,
    MarketSession,
    OptionContractStatus,
    OptionPart,
    OptionStyle,
    OptionType,
    OptionView,
    QuoteFlag,
    Reason,
    SeriesKind,
    SnapshotPart,
    Sort,
    SymbolState,
    Tier,
    TierOutcome,
    TierState,
    UpdateKind,
    UpstreamState,
    ValueKind,
    View,
)
from ._errors import GatewayError
from ._rules import check_length
from ._time import nanoseconds
from .v1 import (
    admin_service_pb2,
    asset_pb2,
    bar_pb2,
    channel_pb2,
    error_reason_pb2,
    freshness_pb2,
    gap_pb2,
    history_pb2,
    market_session_pb2,
    option_pb2,
    provenance_pb2,
    quote_pb2,
    rule_flag_pb2,
    snapshot_pb2,
    status_service_pb2,
    stream_service_pb2,
    trade_pb2,
    trading_status_pb2,
    unavailable_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import StrEnum

    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper
    from google.protobuf.message import Message
    from google.protobuf.struct_pb2 import Struct
    from google.protobuf.struct_pb2 import Value as JsonValue

    Origin = Callable[[provenance_pb2.Provenance], models.Provenance]
    """Reads the provenance of a part of an answer."""
    Fields = Mapping[str, Callable[[Any, Any], Any]]
    """How each field is read of a message, and of what is said around it."""

Member = TypeVar("Member", bound="StrEnum")
Value = TypeVar("Value")

_SECOND_NS = 1_000_000_000


class BrokenContract(Exception):
    """An answer lacks what the contract promises, or holds it in another form."""


def broken(error: BrokenContract, request_id: str | None) -> GatewayError:
    """The error of ours to raise from *error*."""
    return GatewayError(f"the gateway's answer breaks the contract: {error}", request_id=request_id)


# ---------------------------------------------------------------------------------------- enums


class _Twin(Generic[Member]):
    """An enum of the contract and its Python twin, matched by name."""

    def __init__(self, wire: _EnumTypeWrapper[Any], python: type[Member]) -> None:
        self._wire = wire
        self._name = python.__name__
        self._prefix = wire.Name(0).removesuffix("UNSPECIFIED")
        known = python.__members__
        self._members = {
            number: known[name.removeprefix(self._prefix)]
            for name, number in wire.items()
            if name.removeprefix(self._prefix) in known
        }
        self._unrecognized = known.get("UNRECOGNIZED")

    def member(self, number: int) -> Member:
        """Read a number off the wire."""
        found = self._members.get(number, self._unrecognized)
        if found is None:
            message = f"{self._wire.DESCRIPTOR.name} {number} was sent, which only requests hold"
            raise BrokenContract(message)
        return found

    def number(self, member: Member) -> Any:  # each generated enum has an int type of its own
        """Write a member to the wire.

        Raises:
            ValueError: for what is none, and for UNRECOGNIZED, which stands for no number.
        """
        try:
            return self._wire.Value(f"{self._prefix}{member}")
        except ValueError:
            known = ", ".join(each.name for each in self._members.values())
            raise ValueError(f"{str(member)!r} is no {self._name}: there are {known}") from None

    def numbers(self, members: Iterable[Member]) -> list[Any]:
        """Write members to the wire.

        Raises:
            TypeError: they are no list.
            ValueError: for what is none.
        """
        # A member is a text, and a text is a sequence of letters.
        if isinstance(members, str) or not isinstance(members, Iterable):
            first = next(iter(self._members.values()))
            said = (
                f"several of {self._name} are given in a list, such as [{first!s}], not {members!r}"
            )
            raise TypeError(said)
        return list(map(self.number, members))


ADJUSTMENT = _Twin(history_pb2.Adjustment, Adjustment)
ASSET_STATUS = _Twin(asset_pb2.AssetStatus, AssetStatus)
BACKFILL_STATE = _Twin(admin_service_pb2.BackfillState, BackfillState)
CATEGORY = _Twin(unavailable_pb2.UnavailableCategory, Category)
CHANNEL = _Twin(channel_pb2.Channel, Channel)
CIRCUIT_STATE = _Twin(status_service_pb2.CircuitState, CircuitState)
CODE_KIND = _Twin(asset_pb2.CodeKind, CodeKind)
CORPORATE_ACTION_TYPE = _Twin(history_pb2.CorporateActionType, CorporateActionType)
DATA_SOURCE = _Twin(provenance_pb2.DataSource, DataSource)
ENTITLEMENT_STATE = _Twin(status_service_pb2.EntitlementState, EntitlementState)
ERROR_LOG_PLACE = _Twin(admin_service_pb2.ErrorLogPlace, ErrorLogPlace)
FEED = _Twin(provenance_pb2.Feed, Feed)
FEED_STATE = _Twin(status_service_pb2.FeedState, FeedState)
GAP_CAUSE = _Twin(gap_pb2.GapCause, GapCause)
GAP_REPAIR = _Twin(gap_pb2.GapRepair, GapRepair)
INGESTION_STATE = _Twin(status_service_pb2.IngestionState, IngestionState)
LOSS_CAUSE = _Twin(stream_service_pb2.LossCause, LossCause)
MARKET_SESSION = _Twin(market_session_pb2.MarketSession, MarketSession)
OPTION_CONTRACT_STATUS = _Twin(option_pb2.OptionContractStatus, OptionContractStatus)
OPTION_PART = _Twin(option_pb2.OptionPart, OptionPart)
OPTION_STYLE = _Twin(option_pb2.OptionStyle, OptionStyle)
OPTION_TYPE = _Twin(option_pb2.OptionType, OptionType)
OPTION_VIEW = _Twin(option_pb2.OptionView, OptionView)
QUOTE_FLAG = _Twin(quote_pb2.QuoteFlag, QuoteFlag)
REASON = _Twin(error_reason_pb2.ErrorReason, Reason)
SERIES_KIND = _Twin(history_pb2.SeriesKind, SeriesKind)
SNAPSHOT_PART = _Twin(snapshot_pb2.SnapshotPart, SnapshotPart)
SORT = _Twin(history_pb2.Sort, Sort)
SYMBOL_STATE = _Twin(stream_service_pb2.SymbolState, SymbolState)
TIER = _Twin(provenance_pb2.Tier, Tier)
TIER_OUTCOME = _Twin(unavailable_pb2.TierOutcome, TierOutcome)
TIER_STATE = _Twin(status_service_pb2.TierState, TierState)
UPDATE_KIND = _Twin(stream_service_pb2.UpdateKind, UpdateKind)
UPSTREAM_STATE = _Twin(status_service_pb2.UpstreamState, UpstreamState)
VALUE_KIND = _Twin(admin_service_pb2.ValueKind, ValueKind)
VIEW = _Twin(quote_pb2.QuoteView, View)

TWINS = tuple(value for value in tuple(globals().values()) if isinstance(value, _Twin))
"""Every pair, for the test that walks the contract."""


# ----------------------------------------------------------------------------- parts of messages


def _optional(message: Message, field: str) -> Any:
    """A field with presence, None when unset."""
    return getattr(message, field) if message.HasField(field) else None


def _part(
    message: Message, field: str, read: Callable[..., Value], *beside: object
) -> Value | None:
    """A field with presence as what *read* makes of it and of what it is given *beside*, None when unset."""
    return read(getattr(message, field), *beside) if message.HasField(field) else None


def _required(message: Message, field: str) -> Any:
    """A message field that the contract always sets."""
    if not message.HasField(field):
        error = f"{message.DESCRIPTOR.name}.{field} is unset, which the contract rules out"
        raise BrokenContract(error)
    return getattr(message, field)


def _nanoseconds(message: Timestamp | Duration) -> int:
    # As ToNanoseconds, whose checks take longer than all else that is done with most instants.
    return message.seconds * _SECOND_NS + message.nanos


def _ns(message: Message, field: str) -> int:
    return _nanoseconds(_required(message, field))


def _optional_ns(message: Message, field: str) -> int | None:
    return _part(message, field, _nanoseconds)


def _number(message: DecimalMessage) -> Decimal:
    return number(message.value)


def number(text: str) -> Decimal:
    """Read a price or another exact number."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise BrokenContract(f"a price is {text!r}, which is no number")
    return found


def _decimal(message: Message, field: str) -> Decimal:
    return _number(_required(message, field))


def _date(message: Date) -> datetime.date:
    try:
        return datetime.date(message.year, message.month, message.day)
    except ValueError as error:
        raise BrokenContract(f"a day is no day: {error}") from error


# ------------------------------------------------------------------------------------ to values


def provenance(message: provenance_pb2.Provenance) -> models.Provenance:
    """Read a Provenance."""
    return models.Provenance(
        source=DATA_SOURCE.member(message.source),
        # Reference data belongs to no feed, and the contract's number for that is zero.
        feed=FEED.member(message.feed) if message.feed else None,
        # So it is with tiers: no tier serves reference data.
        served_from=TIER.member(message.served_from) if message.served_from else None,
        event_time_ns=_optional_ns(message, "event_time"),
        receive_time_ns=_ns(message, "receive_time"),
        serve_time_ns=_ns(message, "serve_time"),
        feed_delay_ns=_optional_ns(message, "feed_delay"),
        upstream_request_id=message.upstream_request_id or None,
        stale=message.stale,
        event_age_ns=_optional_ns(message, "event_age"),
        receive_age_ns=_ns(message, "receive_age"),
    )


def chunk_provenance(
    message: provenance_pb2.Provenance, newest_receipt_ns: int | None
) -> models.Provenance:
    """Read the Provenance of a chunk, which has no receive time where each row has its own."""
    receive_time_ns = newest_receipt_ns
    if receive_time_ns is None:
        receive_time_ns = _ns(message, "receive_time")
    serve_time_ns = _ns(message, "serve_time")
    age_ns = _optional_ns(message, "receive_age")
    return models.Provenance(
        source=DATA_SOURCE.member(message.source),
        feed=FEED.member(message.feed) if message.feed else None,
        served_from=TIER.member(message.served_from) if message.served_from else None,
        event_time_ns=None,
        receive_time_ns=receive_time_ns,
        serve_time_ns=serve_time_ns,
        feed_delay_ns=_optional_ns(message, "feed_delay"),
        upstream_request_id=message.upstream_request_id or None,
        stale=message.stale,
        event_age_ns=None,
        receive_age_ns=serve_time_ns - receive_time_ns if age_ns is None else age_ns,
    )


def unavailable(message: unavailable_pb2.DataUnavailable, symbol: str | None) -> models.Unavailable:
    """Read the reason why *symbol* has no value."""
    return models.Unavailable(
        symbol=symbol,
        reason=REASON.member(message.reason),
        category=CATEGORY.member(message.category),
        message=message.message,
        request_id=message.request_id or None,
        time_ns=_optional_ns(message, "time"),
        suggested_action=message.suggested_action,
        retry_delay_ns=_optional_ns(message, "retry_delay"),
        last_event_time_ns=_optional_ns(message, "last_event_time"),
        tiers=tuple(
            models.TierAttempt(
                tier=TIER.member(attempt.tier),
                outcome=TIER_OUTCOME.member(attempt.outcome),
                time_ns=_ns(attempt, "time"),
            )
            for attempt in message.tiers_tried
        ),
        refusal=_part(message, "refusal", _refusal),
    )


def _refusal(message: unavailable_pb2.Refusal) -> models.Refusal:
    return models.Refusal(rule=message.rule, evidence=message.evidence)


def _refusal_counts(
    messages: Iterable[unavailable_pb2.RefusalCount],
) -> tuple[models.RefusalCount, ...]:
    return tuple(models.RefusalCount(rule=each.rule, count=each.count) for each in messages)


def _rule_flags(messages: Iterable[rule_flag_pb2.RuleFlag]) -> tuple[models.RuleFlag, ...]:
    return tuple(models.RuleFlag(rule=each.rule, evidence=each.evidence) for each in messages)


_TRADE: Fields = {
    "symbol": lambda message, _: message.symbol,
    "price": lambda message, _: _decimal(message, "price"),
    "size": lambda message, _: _optional(message, "size"),
    "exchange": lambda message, _: _optional(message, "exchange"),
    "conditions": lambda message, _: tuple(message.conditions),
    "id": lambda message, _: _optional(message, "id"),
    "tape": lambda message, _: _optional(message, "tape"),
    "amendment": lambda message, _: _optional(message, "amendment"),
    "provenance": lambda message, around: around.confirmed(_required(message, "provenance")),
    "market_session": lambda message, _: _part(message, "market_session", MARKET_SESSION.member),
    "rule_flags": lambda message, _: _rule_flags(message.rule_flags),
}
"""How each field of a Trade is read."""


def trade(message: trade_pb2.Trade) -> models.Trade:
    """Read a Trade."""
    return models.Trade(**_every(_TRADE, message))


def _side(message: quote_pb2.QuoteSide) -> models.QuoteSide:
    return models.QuoteSide(
        price=_decimal(message, "price"),
        size=_optional(message, "size"),
        exchange=_optional(message, "exchange"),
    )


def _derived(message: quote_pb2.DerivedQuote) -> models.DerivedQuote:
    return models.DerivedQuote(spread=_decimal(message, "spread"), mid=_decimal(message, "mid"))


def _quality(message: quote_pb2.QuoteQuality) -> models.QuoteQuality:
    flags = tuple(map(QUOTE_FLAG.member, message.flags))
    return models.QuoteQuality(score=message.score, flags=flags)


_QUOTE: Fields = {
    "symbol": lambda message, _: message.symbol,
    "bid": lambda message, _: _part(message, "bid", _side),
    "ask": lambda message, _: _part(message, "ask", _side),
    "conditions": lambda message, _: tuple(message.conditions),
    "tape": lambda message, _: _optional(message, "tape"),
    "provenance": lambda message, around: around.confirmed(_required(message, "provenance")),
    "market_session": lambda message, _: _part(message, "market_session", MARKET_SESSION.member),
    "derived": lambda message, _: _part(message, "derived", _derived),
    "quality": lambda message, _: _part(message, "quality", _quality),
    "latest_trade": lambda message, around: _part(message, "latest_trade", around.trade),
    "latest_trade_unavailable": lambda message, _: _part(
        message, "latest_trade_unavailable", unavailable, message.symbol
    ),
    "rule_flags": lambda message, _: _rule_flags(message.rule_flags),
}
"""How each field of a Quote is read."""


def quote(message: quote_pb2.Quote) -> models.Quote:
    """Read a Quote."""
    return models.Quote(**_every(_QUOTE, message))


def bar(message: bar_pb2.Bar) -> models.Bar:
    """Read a Bar."""
    return models.Bar(
        symbol=message.symbol,
        start_time_ns=_ns(message, "start_time"),
        open=_decimal(message, "open"),
        high=_decimal(message, "high"),
        low=_decimal(message, "low"),
        close=_decimal(message, "close"),
        volume=_optional(message, "volume"),
        trade_count=_optional(message, "trade_count"),
        vwap=_part(message, "vwap", _number),
        provenance=provenance(_required(message, "provenance")),
        rule_flags=_rule_flags(message.rule_flags),
    )


def snapshot(message: snapshot_pb2.Snapshot) -> models.Snapshot:
    """Read a Snapshot."""
    return models.Snapshot(
        symbol=message.symbol,
        latest_trade=_part(message, "latest_trade", trade),
        latest_quote=_part(message, "latest_quote", quote),
        minute_bar=_part(message, "minute_bar", bar),
        daily_bar=_part(message, "daily_bar", bar),
        previous_daily_bar=_part(message, "previous_daily_bar", bar),
        missing_parts=tuple(
            models.MissingPart(
                part=SNAPSHOT_PART.member(missing.part),
                unavailable=unavailable(missing.unavailable, message.symbol),
            )
            for missing in message.missing_parts
        ),
        market_session=_part(message, "market_session", MARKET_SESSION.member),
    )


class _Alone:
    """Reads the parts of an answer that says all by itself."""

    market_session = None
    quote = staticmethod(quote)
    trade = staticmethod(trade)
    provenance = staticmethod(provenance)
    confirmed = provenance


def _every(fields: Fields, message: Message) -> dict[str, Any]:
    """Read all fields of a message that says all by itself."""
    return {field: read(message, _Alone) for field, read in fields.items()}


_OPTION_QUOTE: Fields = {
    "symbol": lambda message, _: message.symbol,
    "underlying_symbol": lambda message, _: message.underlying_symbol,
    "root_symbol": lambda message, _: message.root_symbol,
    "expiry_date": lambda message, _: _date(_required(message, "expiry_date")),
    "type": lambda message, _: OPTION_TYPE.member(message.type),
    "strike_price": lambda message, _: _decimal(message, "strike_price"),
    "quote": lambda message, around: _part(message, "quote", around.quote),
    "latest_trade": lambda message, around: _part(message, "latest_trade", around.trade),
    "greeks": lambda message, _: _part(message, "greeks", _greeks),
    "implied_volatility": lambda message, _: _optional(message, "implied_volatility"),
    "model_provenance": lambda message, around: _part(
        message, "model_provenance", around.provenance
    ),
    "day_volume": lambda message, _: _optional(message, "day_volume"),
    "open_interest": lambda message, around: _part(
        message, "open_interest", _open_interest, around.provenance
    ),
    "minute_bar": lambda message, around: _part(
        message, "minute_bar", _option_bar, around.provenance
    ),
    "daily_bar": lambda message, around: _part(
        message, "daily_bar", _option_bar, around.provenance
    ),
    "previous_daily_bar": lambda message, around: _part(
        message, "previous_daily_bar", _option_bar, around.provenance
    ),
    "contract": lambda message, around: _part(
        message, "contract", option_contract, None, around.provenance
    ),
    "missing_parts": lambda message, _: tuple(
        models.MissingOptionPart(
            part=OPTION_PART.member(missing.part),
            unavailable=unavailable(missing.unavailable, message.symbol),
        )
        for missing in message.missing_parts
    ),
    "market_session": lambda message, around: (
        MARKET_SESSION.member(message.market_session)
        if message.HasField("market_session")
        else around.market_session
    ),
}
"""How each field of an OptionQuote is read."""


def option_quote(message: option_pb2.OptionQuote) -> models.OptionQuote:
    """Read an OptionQuote."""
    return models.OptionQuote(**_every(_OPTION_QUOTE, message))


def _greeks(message: option_pb2.OptionGreeks) -> models.OptionGreeks:
    return models.OptionGreeks(
        delta=_optional(message, "delta"),
        gamma=_optional(message, "gamma"),
        theta=_optional(message, "theta"),
        vega=_optional(message, "vega"),
        rho=_optional(message, "rho"),
    )


def _option_bar(message: option_pb2.OptionBar, origin: Origin) -> models.OptionBar:
    return models.OptionBar(
        start_time_ns=_optional_ns(message, "start_time"),
        open=_part(message, "open", _number),
        high=_part(message, "high", _number),
        low=_part(message, "low", _number),
        close=_part(message, "close", _number),
        volume=_optional(message, "volume"),
        trade_count=_optional(message, "trade_count"),
        vwap=_part(message, "vwap", _number),
        provenance=origin(_required(message, "provenance")),
    )


def _open_interest(message: option_pb2.OpenInterest, origin: Origin) -> models.OpenInterest:
    return models.OpenInterest(
        contracts=message.contracts,
        date=_part(message, "date", _date),
        provenance=origin(_required(message, "provenance")),
    )


def option_contract(
    message: option_pb2.OptionContract,
    listed: models.Provenance | None,
    origin: Origin = provenance,
) -> models.OptionContract:
    """Read an OptionContract: of the list that came from *listed*, or of an option quote.

    The provenance of its open interest is read with *origin*.
    """
    return models.OptionContract(
        symbol=message.symbol,
        id=message.id or None,
        name=message.name or None,
        underlying_symbol=message.underlying_symbol,
        root_symbol=message.root_symbol,
        expiry_date=_date(_required(message, "expiry_date")),
        last_trading_time_ns=_optional_ns(message, "last_trading_time"),
        type=OPTION_TYPE.member(message.type),
        style=_part(message, "style", OPTION_STYLE.member),
        strike_price=_decimal(message, "strike_price"),
        multiplier=_part(message, "multiplier", _number),
        size=_part(message, "size", _number),
        status=_part(message, "status", OPTION_CONTRACT_STATUS.member),
        tradable=_optional(message, "tradable"),
        open_interest=_part(message, "open_interest", _open_interest, origin),
        close_price=_part(message, "close_price", _number),
        close_price_date=_part(message, "close_price_date", _date),
        deliverables=tuple(map(_deliverable, message.deliverables)),
        provenance=listed,
    )


def _deliverable(message: option_pb2.OptionDeliverable) -> models.OptionDeliverable:
    return models.OptionDeliverable(
        type=message.type,
        symbol=message.symbol or None,
        amount=_part(message, "amount", _number),
        allocation_percentage=_part(message, "allocation_percentage", _number),
        settlement_type=message.settlement_type or None,
        settlement_method=message.settlement_method or None,
        delayed_settlement=_optional(message, "delayed_settlement"),
    )


class _Chain:
    """Makes what a chain holds of its contracts: values whose fields are read when they are looked at.

    What the chain says once for all of them is added then.
    """

    def __init__(self, header: option_pb2.OptionChainHeader, request_id: str | None) -> None:
        self._request_id = request_id
        self.served_from = TIER.member(header.served_from)
        self.confirm_time_ns = _ns(header, "confirm_time")
        self.serve_time_ns = _ns(header, "serve_time")
        self.market_time_ns = _ns(header, "market_time")
        self.market_session = _part(header, "market_session", MARKET_SESSION.member)
        # Made once: there are thousands of contracts.
        self._option_quote = partial(self._read, _OPTION_QUOTE)
        self._quote = partial(self._read, _QUOTE)
        self._trade = partial(self._read, _TRADE)
        self._provenance = partial(self._read, _PROVENANCE)
        self._confirmed = partial(self._read, _CONFIRMED)

    def option_quote(self, message: option_pb2.OptionQuote) -> models.OptionQuote:
        """Return a contract."""
        return models.lazy(models.OptionQuote, self._option_quote, message, shared=True)

    def quote(self, message: quote_pb2.Quote) -> models.Quote:
        """Return the quote of a contract."""
        return models.lazy(models.Quote, self._quote, message)

    def trade(self, message: trade_pb2.Trade) -> models.Trade:
        """Return the latest trade of a contract."""
        return models.lazy(models.Trade, self._trade, message)

    def underlying_price(self, message: trade_pb2.Trade) -> models.Trade:
        """Return the trade of the underlying, which no refresh of its chain confirms."""
        origin = self.provenance(_required(message, "provenance"))
        return replace(self.trade(message), provenance=origin)

    def provenance(self, message: provenance_pb2.Provenance) -> models.Provenance:
        """Return the origin of a part that is as old as its receipt."""
        return models.lazy(models.Provenance, self._provenance, message)

    def confirmed(self, message: provenance_pb2.Provenance) -> models.Provenance:
        """Return the origin of a quote or a trade, which the chain's refresh has confirmed."""
        return models.lazy(models.Provenance, self._confirmed, message)

    def _read(self, fields: Fields, message: Message, name: str) -> Any:
        try:
            return fields[name](message, self)
        except BrokenContract as error:
            raise broken(error, self._request_id) from error


def _served_ns(message: provenance_pb2.Provenance, chain: _Chain) -> int:
    return _ns(message, "serve_time") if message.HasField("serve_time") else chain.serve_time_ns


def _event_age_ns(message: provenance_pb2.Provenance, chain: _Chain) -> int | None:
    if message.HasField("event_time") and not message.HasField("event_age"):
        return chain.market_time_ns - _ns(message, "event_time")
    return _optional_ns(message, "event_age")


def _receive_age_ns(message: provenance_pb2.Provenance, chain: _Chain, since_ns: int) -> int:
    if message.HasField("receive_age"):
        return _ns(message, "receive_age")
    return _served_ns(message, chain) - max(since_ns, _ns(message, "receive_time"))


_PROVENANCE: Fields = {
    "source": lambda message, _: DATA_SOURCE.member(message.source),
    "feed": lambda message, _: FEED.member(message.feed) if message.feed else None,
    "served_from": lambda message, chain: (
        TIER.member(message.served_from) if message.served_from else chain.served_from
    ),
    "event_time_ns": lambda message, _: _optional_ns(message, "event_time"),
    "receive_time_ns": lambda message, _: _ns(message, "receive_time"),
    "serve_time_ns": _served_ns,
    "feed_delay_ns": lambda message, _: _optional_ns(message, "feed_delay"),
    "upstream_request_id": lambda message, _: message.upstream_request_id or None,
    "stale": lambda message, _: message.stale,
    "event_age_ns": _event_age_ns,
    "receive_age_ns": lambda message, chain: _receive_age_ns(message, chain, 0),
}
"""As `provenance`, in a chain, to which is left what is the same for all, and ages."""

_CONFIRMED: Fields = {
    **_PROVENANCE,
    # What was received after the refresh is younger than it.
    "receive_age_ns": lambda message, chain: _receive_age_ns(message, chain, chain.confirm_time_ns),
}
"""The same of what a refresh confirms."""


def option_chain(
    header: option_pb2.OptionChainHeader,
    quotes: Iterable[option_pb2.OptionQuote],
    next_page_token: str | None,
    request_id: str | None = None,
) -> models.OptionChain:
    """Read a chain, or a page of one, that was the answer to the call *request_id*."""
    chain = _Chain(header, request_id)
    return models.OptionChain(
        underlying_symbol=header.underlying_symbol,
        feed=FEED.member(header.feed),
        option_quotes=tuple(map(chain.option_quote, quotes)),
        next_page_token=next_page_token,
        total_size=header.total_size,
        chain_size=header.chain_size,
        missing=_chain_gaps(header.missing),
        without_delta=header.without_delta,
        expired=header.expired,
        refused=header.refused,
        underlying_price=_part(header, "underlying_price", chain.underlying_price),
        load_time_ns=_optional_ns(header, "load_time"),
        confirm_time_ns=_ns(header, "confirm_time"),
        serve_time_ns=_ns(header, "serve_time"),
        market_time_ns=_ns(header, "market_time"),
        market_session=chain.market_session,
        served_from=TIER.member(header.served_from),
        contracts_unavailable=_part(
            header, "contracts_unavailable", unavailable, header.underlying_symbol
        ),
    )


def _chain_gaps(message: option_pb2.OptionChainGaps) -> models.OptionChainGaps:
    return models.OptionChainGaps(
        quotes=message.quotes,
        latest_trades=message.latest_trades,
        greeks=message.greeks,
        implied_volatilities=message.implied_volatilities,
        open_interests=message.open_interests,
    )


def _corrected(message: trade_pb2.CorrectedTrade) -> models.CorrectedTrade:
    return models.CorrectedTrade(
        id=_optional(message, "id"),
        price=_decimal(message, "price"),
        size=_optional(message, "size"),
        conditions=tuple(message.conditions),
    )


def trade_correction(message: trade_pb2.TradeCorrection) -> models.TradeCorrection:
    """Read a TradeCorrection."""
    return models.TradeCorrection(
        symbol=message.symbol,
        original=_corrected(_required(message, "original")),
        corrected=_corrected(_required(message, "corrected")),
        exchange=_optional(message, "exchange"),
        tape=_optional(message, "tape"),
        provenance=provenance(_required(message, "provenance")),
    )


def trade_cancellation(message: trade_pb2.TradeCancellation) -> models.TradeCancellation:
    """Read a TradeCancellation."""
    return models.TradeCancellation(
        symbol=message.symbol,
        id=_optional(message, "id"),
        price=_decimal(message, "price"),
        size=_optional(message, "size"),
        exchange=_optional(message, "exchange"),
        action=message.action or None,
        tape=_optional(message, "tape"),
        provenance=provenance(_required(message, "provenance")),
    )


def trading_status(message: trading_status_pb2.TradingStatus) -> models.TradingStatus:
    """Read a TradingStatus."""
    return models.TradingStatus(
        symbol=message.symbol,
        status_code=message.status_code,
        status_message=message.status_message or None,
        reason_code=message.reason_code or None,
        reason_message=message.reason_message or None,
        tape=_optional(message, "tape"),
        provenance=provenance(_required(message, "provenance")),
    )


def price_bands(message: trading_status_pb2.PriceBands) -> models.PriceBands:
    """Read a PriceBands."""
    return models.PriceBands(
        symbol=message.symbol,
        limit_up=_part(message, "limit_up", _number),
        limit_down=_part(message, "limit_down", _number),
        indicator=message.indicator or None,
        tape=_optional(message, "tape"),
        provenance=provenance(_required(message, "provenance")),
    )


RECORDS: dict[str, tuple[Channel, Callable[[Any], Any]]] = {
    "quote": (Channel.QUOTES, quote),
    "trade": (Channel.TRADES, trade),
    "trade_correction": (Channel.TRADES, trade_correction),
    "trade_cancellation": (Channel.TRADES, trade_cancellation),
    "bar": (Channel.BARS, bar),
    "revised_bar": (Channel.BARS, lambda message: replace(bar(message), revised=True)),
    "daily_bar": (Channel.DAILY_BARS, bar),
    "trading_status": (Channel.TRADING_STATUSES, trading_status),
    "price_bands": (Channel.PRICE_BANDS, price_bands),
}
"""What an Update may hold: the channel it belongs to, and how it is read."""


def record(message: stream_service_pb2.Update, channel: Channel) -> Any:
    """The record in an Update of *channel*, as a message: it has a symbol and a provenance."""
    field = message.WhichOneof("value")
    if field is None or RECORDS[field][0] is not channel:
        raise BrokenContract(f"an update holds {field or 'nothing known'}, not one of {channel}")
    return getattr(message, field)


def update(
    message: stream_service_pb2.Update, serve_time: Timestamp, conflated: int
) -> models.Update[Any]:
    """Read an Update that was sent at *serve_time* and supersedes *conflated* others."""
    field = message.WhichOneof("value") or ""
    found = getattr(message, field)
    _complete(found.provenance, serve_time)
    return models.Update(
        symbol=found.symbol,
        sequence=message.sequence,
        kind=UPDATE_KIND.member(message.kind),
        conflated=conflated,
        value=RECORDS[field][1](found),
    )


def _complete(origin: provenance_pb2.Provenance, serve_time: Timestamp) -> None:
    """Add what a record of a stream leaves to the message around it, and to the reader."""
    if not origin.HasField("serve_time"):
        origin.serve_time.CopyFrom(serve_time)
    if not origin.HasField("receive_age"):
        age = origin.serve_time.ToNanoseconds() - origin.receive_time.ToNanoseconds()
        origin.receive_age.FromNanoseconds(age)


def symbol_status(message: stream_service_pb2.SymbolStatus) -> models.SymbolStatus:
    """Read a SymbolStatus."""
    state = SYMBOL_STATE.member(message.state)
    if state is SymbolState.REJECTED:
        _required(message, "unavailable")
    return models.SymbolStatus(
        symbol=message.symbol,
        channel=CHANNEL.member(message.channel),
        state=state,
        change_time_ns=_ns(message, "change_time"),
        sequence=message.sequence,
        refusals=_refusal_counts(message.refusals),
        losses=tuple(map(_loss, message.losses)),
        unavailable=_part(message, "unavailable", lambda why: unavailable(why, message.symbol)),
        gaps=tuple(map(gap, message.gaps)),
    )


def _loss(message: stream_service_pb2.Loss) -> models.Loss:
    return models.Loss(
        cause=LOSS_CAUSE.member(message.cause),
        first_sequence=message.first_sequence,
        last_sequence=message.last_sequence,
        count=message.count,
        start_time_ns=_ns(message, "start_time"),
        end_time_ns=_ns(message, "end_time"),
    )


def gap(message: gap_pb2.Gap) -> models.Gap:
    """Read a Gap."""
    return models.Gap(
        id=message.id,
        feed=FEED.member(message.feed),
        cause=GAP_CAUSE.member(message.cause),
        message=message.message,
        start_time_ns=_ns(message, "start_time"),
        end_time_ns=_optional_ns(message, "end_time"),
        lost_records=_optional(message, "lost_records"),
        repair=GAP_REPAIR.member(message.repair),
        parts=tuple(
            models.GapPart(
                channel=CHANNEL.member(each.channel),
                symbols=tuple(each.symbols),
                symbol_count=each.symbol_count,
            )
            for each in message.parts
        ),
    )


def asset(message: asset_pb2.Asset, origin: models.Provenance) -> models.Asset:
    """Read an Asset of the list that came from *origin*."""
    return models.Asset(
        symbol=message.symbol,
        name=message.name or None,
        id=message.id or None,
        exchange=message.exchange or None,
        asset_class=message.asset_class or None,
        status=ASSET_STATUS.member(message.status) if message.status else None,
        tradable=_optional(message, "tradable"),
        marginable=_optional(message, "marginable"),
        shortable=_optional(message, "shortable"),
        fractionable=_optional(message, "fractionable"),
        attributes=tuple(message.attributes),
        provenance=origin,
    )


def clock(message: market_session_pb2.MarketClock) -> models.MarketClock:
    """Read a MarketClock."""
    return models.MarketClock(
        market_time_ns=_ns(message, "market_time"),
        session=_part(message, "session", MARKET_SESSION.member),
        next_open_time_ns=_ns(message, "next_open_time"),
        next_close_time_ns=_ns(message, "next_close_time"),
        provenance=provenance(_required(message, "provenance")),
    )


def trading_day(
    message: market_session_pb2.TradingDay, origin: models.Provenance
) -> models.TradingDay:
    """Read a TradingDay of the calendar that came from *origin*."""
    return models.TradingDay(
        date=_date(_required(message, "date")),
        pre_market_open_time_ns=_optional_ns(message, "pre_market_open_time"),
        open_time_ns=_ns(message, "open_time"),
        close_time_ns=_ns(message, "close_time"),
        after_hours_close_time_ns=_optional_ns(message, "after_hours_close_time"),
        settlement_date=_part(message, "settlement_date", _date),
        provenance=origin,
    )


def status(message: status_service_pb2.GetStatusResponse) -> models.GatewayStatus:
    """Read a GetStatusResponse."""
    return models.GatewayStatus(
        version=message.version,
        environment=message.environment,
        source=DATA_SOURCE.member(message.source),
        default_stock_feed=FEED.member(message.default_stock_feed),
        start_time_ns=_ns(message, "start_time"),
        serve_time_ns=_ns(message, "serve_time"),
        market_time_ns=_ns(message, "market_time"),
        market_session=_part(message, "market_session", MARKET_SESSION.member),
        upstreams=tuple(map(_upstream, message.upstreams)),
        tiers=tuple(map(_tier, message.tiers)),
        refusals=_refusal_counts(message.refusals),
        calls_in_flight=message.calls_in_flight,
        budgets=tuple(map(_budget, message.budgets)),
        rule_flags=tuple(
            models.RuleFlagCount(rule=flag.rule, count=flag.count) for flag in message.rule_flags
        ),
        error_log=_error_log(_required(message, "error_log")),
        feeds=tuple(map(_feed, message.feeds)),
        streams=_part(message, "streams", _streams),
        # A gateway without options has no feed for them, and the contract's number for that is zero.
        default_option_feed=(
            FEED.member(message.default_option_feed) if message.default_option_feed else None
        ),
        option_chains=_part(message, "option_chains", _option_chains),
        store=_part(message, "store", _store),
        ingestion=_part(message, "ingestion", _ingestion),
    )


def _upstream(message: status_service_pb2.UpstreamStatus) -> models.UpstreamStatus:
    return models.UpstreamStatus(
        upstream=message.upstream,
        group=message.group,
        state=UPSTREAM_STATE.member(message.state),
        requests=message.requests,
        failures=message.failures,
        in_flight=message.in_flight,
        last_success_time_ns=_optional_ns(message, "last_success_time"),
        last_failure_time_ns=_optional_ns(message, "last_failure_time"),
        last_failure_reason=_part(message, "last_failure_reason", REASON.member),
        last_latency_ns=_optional_ns(message, "last_latency"),
        circuit=_circuit(_required(message, "circuit")),
        windows=tuple(map(_window, message.windows)),
        retries=message.retries,
        queued=message.queued,
        probe=_part(message, "probe", _probe),
    )


def _circuit(message: status_service_pb2.CircuitStatus) -> models.CircuitStatus:
    return models.CircuitStatus(
        state=CIRCUIT_STATE.member(message.state),
        reason=_part(message, "reason", REASON.member),
        change_time_ns=_optional_ns(message, "change_time"),
        retry_delay_ns=_optional_ns(message, "retry_delay"),
        opened=message.opened,
        refused=message.refused,
    )


def _window(message: status_service_pb2.UpstreamWindow) -> models.UpstreamWindow:
    return models.UpstreamWindow(
        length_ns=_ns(message, "length"),
        requests=message.requests,
        failures=message.failures,
        success_share=_optional(message, "success_share"),
        mean_latency_ns=_optional_ns(message, "mean_latency"),
        max_latency_ns=_optional_ns(message, "max_latency"),
    )


def _probe(message: status_service_pb2.UpstreamProbe) -> models.UpstreamProbe:
    return models.UpstreamProbe(
        probe_time_ns=_ns(message, "probe_time"),
        reason=_part(message, "reason", REASON.member),
        latency_ns=_optional_ns(message, "latency"),
        key_valid=_optional(message, "key_valid"),
        symbol=message.symbol or None,
        quality_score=_optional(message, "quality_score"),
    )


def _tier(message: status_service_pb2.TierStatus) -> models.TierStatus:
    return models.TierStatus(
        tier=TIER.member(message.tier),
        state=TIER_STATE.member(message.state),
        entries=message.entries,
        hits=message.hits,
        misses=message.misses,
        hit_share=_optional(message, "hit_share"),
        failures=message.failures,
        change_time_ns=_optional_ns(message, "change_time"),
    )


def _budget(message: status_service_pb2.BudgetStatus) -> models.BudgetStatus:
    return models.BudgetStatus(
        upstream=message.upstream,
        limit=message.limit,
        window_ns=_ns(message, "window"),
        remaining=message.remaining,
        shared=message.shared,
        spent=message.spent,
        refused=message.refused,
        waiting=message.waiting,
        corrections=message.corrections,
        floors=tuple(
            models.BudgetFloor(priority=each.priority, floor=each.floor) for each in message.floors
        ),
    )


def _error_log(message: status_service_pb2.ErrorLogStatus) -> models.ErrorLogStatus:
    return models.ErrorLogStatus(
        store=TIER_STATE.member(message.store),
        written=message.written,
        dropped=message.dropped,
        schema_version=message.schema_version or None,
    )


def _feed(message: status_service_pb2.FeedStatus) -> models.FeedStatus:
    return models.FeedStatus(
        feed=FEED.member(message.feed),
        state=FEED_STATE.member(message.state),
        message=message.message,
        change_time_ns=_optional_ns(message, "change_time"),
        epoch=message.epoch or None,
        channels=tuple(
            models.FeedChannelStatus(
                channel=CHANNEL.member(each.channel), wanted=each.wanted, confirmed=each.confirmed
            )
            for each in message.channels
        ),
        symbol_limit=_optional(message, "symbol_limit"),
        symbols=message.symbols,
        last_record_time_ns=_optional_ns(message, "last_record_time"),
        frames=message.frames,
        records=message.records,
        dropped=message.dropped,
        connections=message.connections,
        gaps=message.gaps,
        lag_ns=_optional_ns(message, "lag"),
        max_lag_ns=_optional_ns(message, "max_lag"),
    )


def _streams(message: status_service_pb2.StreamsStatus) -> models.StreamsStatus:
    return models.StreamsStatus(
        streams=message.streams,
        stream_limit=message.stream_limit,
        subscriptions=message.subscriptions,
        followed=message.followed,
        delivered=message.delivered,
        conflated=message.conflated,
        lost=message.lost,
        messages=message.messages,
    )


def _option_chains(message: status_service_pb2.OptionChainsStatus) -> models.OptionChainsStatus:
    return models.OptionChainsStatus(
        chains=message.chains,
        contracts=message.contracts,
        capacity=message.capacity,
        hits=message.hits,
        loads=message.loads,
        refreshes=message.refreshes,
        failures=message.failures,
        evictions=message.evictions,
    )


def _store(message: status_service_pb2.StoreStatus) -> models.StoreStatus:
    return models.StoreStatus(
        state=TIER_STATE.member(message.state),
        rows_written=message.rows_written,
        rows_superseded=message.rows_superseded,
        intervals_written=message.intervals_written,
        write_failures=message.write_failures,
        rows_read=message.rows_read,
        last_write_failure=message.last_write_failure or None,
        last_write_time_ns=_optional_ns(message, "last_write_time"),
        size_bytes=_optional(message, "size_bytes"),
    )


def _ingestion(message: status_service_pb2.IngestionStatus) -> models.IngestionStatus:
    return models.IngestionStatus(
        state=INGESTION_STATE.member(message.state),
        message=message.message,
        heartbeat_time_ns=_optional_ns(message, "heartbeat_time"),
        last_ingestion_time_ns=_optional_ns(message, "last_ingestion_time"),
        symbols=message.symbols,
        trades=message.trades,
        bars=message.bars,
        revisions=message.revisions,
        waiting=message.waiting,
        dropped=message.dropped,
        lag_ns=_optional_ns(message, "lag"),
    )


def entitlements(message: status_service_pb2.GetEntitlementsResponse) -> models.Entitlements:
    """Read a GetEntitlementsResponse."""
    return models.Entitlements(
        plan=message.plan,
        feeds=tuple(
            models.FeedEntitlement(
                feed=FEED.member(each.feed),
                state=ENTITLEMENT_STATE.member(each.state),
                delay_ns=_optional_ns(each, "delay"),
                learn_time_ns=_optional_ns(each, "learn_time"),
                message=each.message,
            )
            for each in message.feeds
        ),
        limits=tuple(
            models.RequestLimit(
                upstream=each.upstream,
                requests_per_minute=each.requests_per_minute,
                confirmed=each.confirmed,
                budget_per_minute=each.budget_per_minute,
            )
            for each in message.limits
        ),
        serve_time_ns=_ns(message, "serve_time"),
    )


def error_record(
    message: admin_service_pb2.ErrorRecord, place: ErrorLogPlace
) -> models.ErrorRecord:
    """Read an ErrorRecord that was kept in *place*."""
    return models.ErrorRecord(
        id=message.id,
        request_id=message.request_id or None,
        reason=REASON.member(message.reason),
        message=message.message,
        context=_json_object(message.context),
        time_ns=_ns(message, "time"),
        place=place,
    )


def _json_object(message: Struct) -> dict[str, Any]:
    return {key: _json(value) for key, value in message.fields.items()}


def _json(message: JsonValue) -> Any:
    match message.WhichOneof("kind"):
        case "number_value":
            number = message.number_value
            # JSON has one kind of number: a count of symbols travels as a double.
            return int(number) if number.is_integer() else number
        case "struct_value":
            return _json_object(message.struct_value)
        case "list_value":
            return [_json(each) for each in message.list_value.values]
        case "string_value" | "bool_value" as kind:
            return getattr(message, kind)
        case _:
            return None


def invalidation(message: admin_service_pb2.InvalidateCacheResponse) -> models.Invalidation:
    """Read an InvalidateCacheResponse."""
    return models.Invalidation(
        memory_entries=message.memory_entries,
        redis_entries=_optional(message, "redis_entries"),
        serve_time_ns=_ns(message, "serve_time"),
    )


def price_at(message: history_pb2.PriceAt) -> models.PriceAt:
    """Read a PriceAt."""
    return models.PriceAt(trade=trade(_required(message, "trade")), age_ns=_ns(message, "age"))


def coverage(message: history_pb2.Coverage, symbol: str) -> models.Coverage:
    """Read the Coverage of *symbol*."""
    return models.Coverage(
        symbol=symbol,
        intervals=tuple(
            models.CoveredInterval(
                start_time_ns=_ns(each, "start_time"),
                end_time_ns=_ns(each, "end_time"),
                receive_time_ns=_ns(each, "receive_time"),
                count=each.count,
            )
            for each in message.intervals
        ),
    )


def corporate_action(message: history_pb2.CorporateAction) -> models.CorporateAction:
    """Read a CorporateAction."""
    return models.CorporateAction(
        id=message.id or None,
        type=CORPORATE_ACTION_TYPE.member(message.type),
        symbol=message.symbol,
        new_symbol=_optional(message, "new_symbol"),
        old_rate=_part(message, "old_rate", _number),
        new_rate=_part(message, "new_rate", _number),
        cash_rate=_part(message, "cash_rate", _number),
        ex_date=_part(message, "ex_date", _date),
        record_date=_part(message, "record_date", _date),
        payable_date=_part(message, "payable_date", _date),
        process_date=_part(message, "process_date", _date),
        special=_optional(message, "special"),
        provenance=provenance(_required(message, "provenance")),
    )


def missing(
    message: history_pb2.SeriesUnavailable, symbol: str, count: int, *, newest_first: bool
) -> models.Missing:
    """Read a SeriesUnavailable about *symbol*, of which *count* values have come."""
    return models.Missing(
        symbol=symbol,
        unavailable=unavailable(_required(message, "unavailable"), symbol),
        from_time_ns=_optional_ns(message, "missing_from_time"),
        newest_first=newest_first,
        count=count,
        cursor=message.cursor,
    )


def series_end(message: history_pb2.SeriesEnd, symbol: str, count: int) -> models.SeriesEnd:
    """Read a SeriesEnd of *symbol*, of which *count* values have come."""
    return models.SeriesEnd(
        symbol=symbol,
        count=count,
        refused=message.refused_count,
        clamped_end_time_ns=_optional_ns(message, "clamped_end_time"),
        cursor=message.cursor,
    )


def watchlist(message: admin_service_pb2.Watchlist) -> models.Watchlist:
    """Read a Watchlist."""
    return models.Watchlist(
        name=message.name,
        symbols=tuple(message.symbols),
        record=message.record,
        refresh_timeframes=tuple(message.refresh_timeframes),
        refresh_days=message.refresh_days,
        update_time_ns=_optional_ns(message, "update_time"),
        refresh_time_ns=_optional_ns(message, "refresh_time"),
    )


def backfill(message: admin_service_pb2.Backfill) -> models.Backfill:
    """Read a Backfill."""
    return models.Backfill(
        id=message.id,
        state=BACKFILL_STATE.member(message.state),
        request=_backfill_request(_required(message, "request")),
        symbols_done=message.symbols_done,
        fetched=message.fetched_count,
        progress=message.progress,
        failures=tuple(
            models.BackfillFailure(
                symbol=each.symbol,
                unavailable=unavailable(_required(each, "unavailable"), each.symbol),
            )
            for each in message.failures
        ),
        start_time_ns=_ns(message, "start_time"),
        end_time_ns=_optional_ns(message, "end_time"),
    )


def _backfill_request(message: admin_service_pb2.StartBackfillRequest) -> models.BackfillRequest:
    return models.BackfillRequest(
        symbols=tuple(message.symbols),
        kind=SERIES_KIND.member(message.kind),
        timeframe=message.timeframe or None,
        feed=_part(message, "feed", FEED.member),
        adjustments=tuple(map(ADJUSTMENT.member, message.adjustments)),
        start_time_ns=_ns(message, "start_time"),
        end_time_ns=_ns(message, "end_time"),
    )


# ---------------------------------------------------------------------------------- to messages


def duration(value: float | datetime.timedelta | None) -> Duration | None:
    """Write a length of time: seconds, or a timedelta."""
    if value is None:
        return None
    message = Duration()
    message.FromNanoseconds(nanoseconds(value))
    return message


def instant(value: datetime.datetime | None) -> Timestamp | None:
    """Write an instant, which has a time zone."""
    if value is None:
        return None
    message = Timestamp()
    message.FromDatetime(value)
    return message


def date(value: datetime.date) -> Date:
    """Write a day.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, datetime.date):
        raise TypeError(f"a day is a datetime.date, not {value!r}")
    return Date(year=value.year, month=value.month, day=value.day)


def optional_date(value: datetime.date | None) -> Date | None:
    """Write a day, or leave it out."""
    return None if value is None else date(value)


def amount(value: Decimal | int | None) -> DecimalMessage | None:
    """Write a price or another exact number."""
    # A float counts as the number that it prints as, never as its binary neighbour.
    return None if value is None else DecimalMessage(value=f"{Decimal(str(value)):f}")


def freshness(
    max_age: float | datetime.timedelta | None,
    max_event_age: float | datetime.timedelta | None,
    allowed_tiers: Iterable[Tier] | None,
    *,
    allow_stale: bool,
) -> freshness_pb2.Freshness | None:
    """Write bounds on age and origin. What is None is left to the gateway's defaults.

    Raises:
        InvalidRequest: a length of time is out of bounds.
    """
    check_length("freshness.max_age", max_age)
    check_length("freshness.max_event_age", max_event_age)
    message = freshness_pb2.Freshness(
        max_age=duration(max_age),
        max_event_age=duration(max_event_age),
        allowed_tiers=TIER.numbers(allowed_tiers or ()),
        allow_stale=allow_stale,
    )
    return message if message.ListFields() else None


def optional_number(twin: _Twin[Member], member: Member | None) -> Any:
    """Write an enum, or leave it out."""
    return None if member is None else twin.number(member)
