"""What the gateway answers, as plain values.

All are frozen, hashable and compare by content. Prices are `Decimal`, exactly the number that the
upstream sent, in US dollars a share. Absent is None, never zero. Instants and lengths of time are
integer nanoseconds in fields ending in `_ns`; the same name without it is a datetime or timedelta,
rounded down to the microsecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, final

from ._enums import Reason
from ._time import (
    rounded_instant,
    rounded_length,
    rounded_optional_instant,
    rounded_optional_length,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from ._enums import (
        Adjustment,
        AssetStatus,
        BackfillState,
        Category,
        Channel,
        CircuitState,
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
        QuoteFlag,
        SeriesKind,
        SnapshotPart,
        SymbolState,
        Tier,
        TierOutcome,
        TierState,
        UpdateKind,
        UpstreamState,
    )
    from ._errors import TickgateError

Record_co = TypeVar("Record_co", covariant=True)


class _Lazy:
    """A dataclass whose fields may be read when they are first looked at. Until then their slots are empty.

    Most of a long chain is never looked at, and to make all of it takes longer than to get it.
    """

    __slots__ = ("_own", "_read", "_shared")

    if not TYPE_CHECKING:  # where a field that does not exist would pass for one

        def __getattr__(self, name: str) -> Any:
            # Python asks here for what it has not found.
            if name in self.__dataclass_fields__:
                value = self._read(self._own, name)
            elif name == "_own":
                # A part keeps the whole message in memory, and who keeps one contract means no chain.
                value = type(self._shared)()
                value.CopyFrom(self._shared)
                object.__setattr__(self, "_shared", value)
            else:
                message = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(message, name=name, obj=self)
            object.__setattr__(self, name, value)
            return value


Lazy = TypeVar("Lazy", bound=_Lazy)


def lazy(
    kind: type[Lazy], read: Callable[[Any, str], Any], message: Any, *, shared: bool = False
) -> Lazy:
    """Make a value of which each field is what *read* makes of *message* and of the field's name.

    A message that is *shared*, being a part of one that others look into, is copied at the first look.
    """
    value = object.__new__(kind)
    object.__setattr__(value, "_read", read)
    object.__setattr__(value, "_shared" if shared else "_own", message)
    return value


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance(_Lazy):
    """Who sent a value, over which feed, when, and from where it was served."""

    source: DataSource
    """Provider whose hosts the value was received from."""
    feed: Feed | None
    """Feed the value belongs to. None for values that belong to no feed, such as assets."""
    served_from: Tier | None
    """Tier of the gateway that answered this call. None for reference data, which has no tiers."""
    event_time_ns: int | None
    """When the exchange or the SIP stamped the event; for a bar, the start of its interval. None
    for values that nobody stamps, such as assets and codes."""
    receive_time_ns: int
    """When the gateway received the value from the upstream, by the gateway's wall clock."""
    serve_time_ns: int
    """When this answer left the tier that served it, by the gateway's wall clock."""
    feed_delay_ns: int | None
    """Delay that the feed has by design: zero for real time. None when it is not known."""
    upstream_request_id: str | None
    """The upstream's own id of the response that carried the value. Quote it to their support."""
    stale: bool
    """The value is older than asked for and was served only because `allow_stale` permits it."""
    event_age_ns: int | None
    """Market time at serving minus event time. In a sandbox that replays a recording, market time is
    the recording's. None when there is no event time, and on live records, which do not carry it."""
    receive_age_ns: int
    """Time since the upstream last confirmed this value as the latest."""

    event_time = rounded_optional_instant()
    receive_time = rounded_instant()
    serve_time = rounded_instant()
    feed_delay = rounded_optional_length()
    event_age = rounded_optional_length()
    receive_age = rounded_length()


# ------------------------------------------------------------------------ why there is no value


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A rule that did not let an upstream record become a value."""

    rule: str
    """Name of the rule, such as "crossed"."""
    evidence: str
    """What was seen, such as "bid 182.10 above ask 182.05"."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TierAttempt:
    """One tier's part in an answer."""

    tier: Tier
    """The tier that was asked."""
    outcome: TierOutcome
    """What it answered."""
    time_ns: int
    """When it answered, by the gateway's wall clock."""

    time = rounded_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The exact reason why there is no value; stands where the value would stand.

    `ok` tells it from a value, and a type checker narrows accordingly. It is not false by itself:
    in a field that may be None, `if field:` would then overlook the reason that stands there.
    """

    ok: ClassVar[Literal[False]] = False
    """No value."""
    symbol: str | None
    """Symbol as asked. None where the question was not about a symbol."""
    reason: Reason
    """Why there is no value."""
    category: Category
    """The reason's family."""
    message: str
    """One sentence for people: what happened, to what. Not for parsing."""
    request_id: str | None
    """Id of the call; the gateway's logs hold it."""
    time_ns: int | None
    """When the gateway decided, by its wall clock. None when the whole call failed."""
    suggested_action: str
    """One sentence for people: what to do about it. May be empty."""
    retry_delay_ns: int | None
    """Wait at least this long before asking again. None when waiting does not help or the time is
    not known."""
    last_event_time_ns: int | None
    """Event time of the value refused as too old or invalid, or of the newest one held."""
    tiers: tuple[TierAttempt, ...]
    """Every tier that was asked, in order, with what it answered."""
    refusal: Refusal | None
    """The rule that refused the value. Set for INVALID_DATA and RULE_VIOLATION."""

    time = rounded_optional_instant()
    retry_delay = rounded_optional_length()
    last_event_time = rounded_optional_instant()


# --------------------------------------------------------------------------- quotes and trades


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFlag:
    """What a business rule of the gateway finds odd about a value that is served all the same.

    The value is what the upstream sent: a flag is a hint, never a correction.
    """

    rule: str
    """Name of the rule, such as "price_range"."""
    evidence: str
    """What was seen, such as "bid 18.21 is 90.0 % below the last trade, 182.10"."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trade(_Lazy):
    """One execution reported on a feed."""

    ok: ClassVar[Literal[True]] = True
    """A value, not `Unavailable`."""
    symbol: str
    """Symbol as asked."""
    price: Decimal
    """US dollars a share."""
    size: int | None
    """Shares traded; contracts for an option."""
    exchange: str | None
    """Code of the venue that reported it."""
    conditions: tuple[str, ...]
    """Condition codes as sent; `codes` explains them."""
    id: int | None
    """The upstream's trade id, unique only within symbol, exchange and day."""
    tape: str | None
    """Tape the symbol is reported on."""
    amendment: str | None
    """What became of the trade later, as the upstream words it, such as "canceled"."""
    provenance: Provenance
    """Origin and age."""
    market_session: MarketSession | None
    """Session of the market at serving. None when the gateway cannot tell."""
    rule_flags: tuple[RuleFlag, ...]
    """Business rules that find this value odd. Empty for almost every value."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteSide:
    """One side of a quote."""

    price: Decimal
    """US dollars a share."""
    size: int | None
    """Shares offered at that price; contracts for an option. Zero only when zero was sent."""
    exchange: str | None
    """Code of the venue that holds the side, such as "Q"; `codes` explains it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedQuote:
    """The only numbers that tickgate computes from market values, apart so that nobody errs."""

    spread: Decimal
    """Ask price minus bid price, exact. Zero for a locked market, negative for a crossed one."""
    mid: Decimal
    """(bid + ask) / 2, exact."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteQuality:
    """How much a quote can be leant on."""

    score: int
    """0 to 100; 100 is a fresh, narrow, two-sided quote."""
    flags: tuple[QuoteFlag, ...]
    """What is unusual about the quote."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Quote(_Lazy):
    """The best bid and the best ask of a symbol on one feed at one moment.

    On `Feed.SIP` it is the NBBO; on a single-venue feed it is that venue's own best.
    """

    ok: ClassVar[Literal[True]] = True
    """A value, not `Unavailable`."""
    symbol: str
    """Symbol as asked."""
    bid: QuoteSide | None
    """Best bid. None when there was no order on that side."""
    ask: QuoteSide | None
    """Best ask. None when there was no order on that side."""
    conditions: tuple[str, ...]
    """Condition codes as sent: one for both sides, or bid's then ask's."""
    tape: str | None
    """Tape the symbol is reported on: A New York, B regional and ETFs, C Nasdaq, N overnight, O
    over the counter."""
    provenance: Provenance
    """Origin and age."""
    market_session: MarketSession | None
    """Session of the market at serving. None when the gateway cannot tell."""
    derived: DerivedQuote | None
    """Spread and mid. Only from `View.DERIVED` on, and only when both sides are there."""
    quality: QuoteQuality | None
    """Score and flags. Only from `View.DERIVED` on."""
    latest_trade: Trade | None
    """Newest trade on the same feed, with its own provenance. Only for `View.FULL`."""
    latest_trade_unavailable: Unavailable | None
    """Why `latest_trade` is None although `View.FULL` asked for it."""
    rule_flags: tuple[RuleFlag, ...]
    """Business rules that find this value odd. Empty for almost every value."""


# ------------------------------------------------------------------------------------ snapshots


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The trades of one interval. An interval without an eligible trade has no bar."""

    symbol: str
    """Symbol as asked."""
    start_time_ns: int
    """Start of the interval. For a daily bar this is midnight in New York."""
    open: Decimal
    """First eligible price of the interval, US dollars a share."""
    high: Decimal
    """Highest eligible price."""
    low: Decimal
    """Lowest eligible price."""
    close: Decimal
    """Last eligible price."""
    volume: int | None
    """Shares traded."""
    trade_count: int | None
    """Number of trades."""
    vwap: Decimal | None
    """Volume-weighted average price as the upstream computed it."""
    provenance: Provenance
    """Origin and age; its event time is the start time."""
    rule_flags: tuple[RuleFlag, ...]
    """Business rules that find this value odd. Empty for almost every value."""
    revised: bool = False
    """It replaces the minute bar of the same start, which late trades have changed. Only where bars
    are followed."""

    start_time = rounded_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MissingPart:
    """A part of a snapshot that is None, and why."""

    part: SnapshotPart
    """The part."""
    unavailable: Unavailable
    """Why it is None: not sent, or refused by a rule."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the upstream knows about a symbol at one moment. Each part has its own provenance."""

    ok: ClassVar[Literal[True]] = True
    """A value, not `Unavailable`."""
    symbol: str
    """Symbol as asked."""
    latest_trade: Trade | None
    """Newest trade."""
    latest_quote: Quote | None
    """Newest quote."""
    minute_bar: Bar | None
    """Newest minute bar. It may still change for about 35 s after its minute."""
    daily_bar: Bar | None
    """Bar of the current or last trading day, running while the market is open."""
    previous_daily_bar: Bar | None
    """Bar of the trading day before `daily_bar`."""
    missing_parts: tuple[MissingPart, ...]
    """Every part that is None, and why."""
    market_session: MarketSession | None
    """Session of the market at serving. None when the gateway cannot tell."""


# -------------------------------------------------------------------------------------- options


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionGreeks:
    """Sensitivities by the upstream's model, as it sent them. None is what it did not send."""

    delta: float | None
    """Change of the option's price for a change of a dollar in the underlying's."""
    gamma: float | None
    """Change of delta for a change of a dollar in the underlying's price."""
    theta: float | None
    """Change of the option's price in a day."""
    vega: float | None
    """Change of the option's price for a change of one point of volatility."""
    rho: float | None
    """Change of the option's price for a change of one point of the interest rate."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionBar:
    """The trades in one contract over one interval. None is what was not sent."""

    start_time_ns: int | None
    """Start of the interval; midnight in New York for a daily bar."""
    open: Decimal | None
    """First price, US dollars a share."""
    high: Decimal | None
    """Highest price."""
    low: Decimal | None
    """Lowest price."""
    close: Decimal | None
    """Last price."""
    volume: int | None
    """Contracts traded."""
    trade_count: int | None
    """Number of trades."""
    vwap: Decimal | None
    """Volume-weighted average price as the upstream computed it."""
    provenance: Provenance
    """Origin and age; its event time is the start time."""

    start_time = rounded_optional_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInterest:
    """The number of contracts outstanding."""

    contracts: int
    """Contracts."""
    date: datetime.date | None
    """Day at whose end they were counted: an earlier one, never today. None when not sent."""
    provenance: Provenance
    """Origin and age."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionDeliverable:
    """One thing that changes hands when a contract is exercised. None is what was not sent."""

    type: str
    """Kind as the upstream spells it: "equity" or "cash"."""
    symbol: str | None
    """Symbol of what is delivered."""
    amount: Decimal | None
    """Shares, or US dollars for cash. None also when it is not known yet."""
    allocation_percentage: Decimal | None
    """Share of the contract's value that settles with it, in percent."""
    settlement_type: str | None
    """How it settles, as the upstream spells it, such as "T+1"."""
    settlement_method: str | None
    """Way of settlement, as the upstream spells it, such as "CCC"."""
    delayed_settlement: bool | None
    """Whether settlement is delayed."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionContract:
    """The terms of one listed contract. None is what the upstream did not send."""

    symbol: str
    """OCC symbol."""
    id: str | None
    """The upstream's id."""
    name: str | None
    """Name, such as "SPY Jul 15 2022 380 Call"."""
    underlying_symbol: str
    """Symbol of the underlying."""
    root_symbol: str
    """OCC root. It differs from the underlying's symbol for adjusted series, such as "AAPL1"."""
    expiry_date: datetime.date
    """Expiration date."""
    last_trading_time_ns: int | None
    """Last moment at which it trades. None where the gateway's calendar does not reach."""
    type: OptionType
    """Call or put."""
    style: OptionStyle | None
    """When it may be exercised."""
    strike_price: Decimal
    """US dollars a share."""
    multiplier: Decimal | None
    """What a price is multiplied with to get money, nearly always 100."""
    size: Decimal | None
    """Shares that are delivered for one contract."""
    status: OptionContractStatus | None
    """Whether the upstream counts it as active."""
    tradable: bool | None
    """Whether it can be traded with the upstream."""
    open_interest: OpenInterest | None
    """Contracts outstanding. None where the upstream has none."""
    close_price: Decimal | None
    """Last price of an earlier day, US dollars a share."""
    close_price_date: datetime.date | None
    """Day of `close_price`."""
    deliverables: tuple[OptionDeliverable, ...]
    """What is delivered for one contract. Only where it was asked for."""
    provenance: Provenance | None
    """Origin and age of the list it stands in. None as a part of an option quote."""

    last_trading_time = rounded_optional_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MissingOptionPart:
    """A part of an option quote that is None, and why."""

    part: OptionPart
    """The part."""
    unavailable: Unavailable
    """Why it is None: refused by a rule, or asked for and not to be had."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionQuote(_Lazy):
    """What the upstream knows of one listed contract, in one answer.

    At least one part is there. Each has its own provenance, and they may be days apart. Prices are
    US dollars a share: a contract of 100 shares costs a hundred times that.
    """

    ok: ClassVar[Literal[True]] = True
    """A value, not `Unavailable`."""
    symbol: str
    """OCC symbol as asked, such as "SPY220715C00380000"."""
    underlying_symbol: str
    """Symbol of the underlying; the OCC root without an adjusted series' digit where the terms are
    not known, so "BRKB" for "BRK.B"."""
    root_symbol: str
    """OCC root. It differs from the underlying's symbol for adjusted series, such as "AAPL1"."""
    expiry_date: datetime.date
    """Expiration date, by the OCC symbol."""
    type: OptionType
    """Call or put, by the OCC symbol."""
    strike_price: Decimal
    """US dollars a share, by the OCC symbol."""
    quote: Quote | None
    """Best bid and ask, sizes in contracts. On `Feed.INDICATIVE` it is not a real quote."""
    latest_trade: Trade | None
    """Newest trade, its size in contracts. On `Feed.INDICATIVE` it is 15 minutes late."""
    greeks: OptionGreeks | None
    """Greeks as the upstream sent them. It sends none where its model has no answer."""
    implied_volatility: float | None
    """As the upstream sent it: 0.37 is 37 % a year."""
    model_provenance: Provenance | None
    """Origin of greeks and implied volatility, which nobody stamps. None without either."""
    day_volume: int | None
    """Contracts traded today. None when the newest daily bar is of an earlier day."""
    open_interest: OpenInterest | None
    """Contracts outstanding at the end of an earlier day. Only for `OptionView.FULL`, and None where
    the upstream has none, as for a quarter of all contracts."""
    minute_bar: OptionBar | None
    """Newest minute bar. Only for `OptionView.FULL`."""
    daily_bar: OptionBar | None
    """Newest daily bar, possibly of an earlier day. Only for `OptionView.FULL`."""
    previous_daily_bar: OptionBar | None
    """Daily bar of the session before that. Only for `OptionView.FULL`."""
    contract: OptionContract | None
    """Terms. Only for `OptionView.FULL`."""
    missing_parts: tuple[MissingOptionPart, ...]
    """Parts that were refused, or asked for and not to be had, and why. A part that the upstream
    simply did not send is None and not listed."""
    market_session: MarketSession | None
    """Session of the market at serving. None when the gateway cannot tell."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionPair:
    """The call and the put of one strike, expiry and root."""

    root_symbol: str
    """OCC root."""
    strike_price: Decimal
    """US dollars a share."""
    call: OptionQuote | None
    """The call. None where the chain does not hold it."""
    put: OptionQuote | None
    """The put. None where the chain does not hold it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionChainGaps:
    """How many contracts of a chain lack what."""

    quotes: int
    """Without a quote: none sent, or refused."""
    latest_trades: int
    """Without a latest trade."""
    greeks: int
    """Without greeks."""
    implied_volatilities: int
    """Without implied volatility."""
    open_interests: int
    """Without open interest. Counted only for `OptionView.FULL`."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionChain:
    """The contracts of an underlying that match a filter, all as they stood at one moment.

    From `chain` it holds them all, from `chain_page` a part of them: `next_page_token` tells. What it
    says of a contract is read when it is looked at, and is a `GatewayError` then if it breaks the
    contract of the API.
    """

    underlying_symbol: str
    """Symbol of the underlying as asked."""
    feed: Feed
    """Feed of quotes and trades."""
    option_quotes: tuple[OptionQuote, ...]
    """Contracts by expiration date, strike, type (calls first) and root."""
    next_page_token: str | None
    """What `chain_page` takes for the next page. None where nothing comes any more."""
    total_size: int
    """Contracts that match, over all pages."""
    chain_size: int
    """Contracts in the whole chain that have not expired."""
    missing: OptionChainGaps
    """Of the contracts that match, how many lack what."""
    without_delta: int
    """Contracts that a delta band left out because the upstream sent no delta."""
    expired: int
    """Contracts that the upstream still sends although they have expired. In no other count."""
    refused: int
    """Contracts of which nothing is a market value. In no other count."""
    underlying_price: Trade | None
    """The real price around which strikes were chosen. None where none were chosen so."""
    load_time_ns: int | None
    """When all pages of the chain were last read, by the gateway's wall clock."""
    confirm_time_ns: int
    """When the upstream was last asked what has moved: quotes and trades stood so then."""
    serve_time_ns: int
    """When this answer was made, by the gateway's wall clock."""
    market_time_ns: int
    """Market time at serving."""
    market_session: MarketSession | None
    """Session of the market at serving. None when the gateway cannot tell."""
    served_from: Tier
    """UPSTREAM when this call or a simultaneous one refreshed the chain, otherwise MEMORY."""
    contracts_unavailable: Unavailable | None
    """Why open interest and terms are missing although `OptionView.FULL` asked for them."""

    load_time = rounded_optional_instant()
    confirm_time = rounded_instant()
    serve_time = rounded_instant()
    market_time = rounded_instant()

    @property
    def expiries(self) -> tuple[datetime.date, ...]:
        """Expiration dates of the contracts that it holds, in order."""
        return tuple(dict.fromkeys(each.expiry_date for each in self.option_quotes))

    def at(self, expiry: datetime.date) -> tuple[OptionPair, ...]:
        """Calls and puts of one expiration date side by side, by strike and root. Empty for a date without any."""
        rows: dict[tuple[Decimal, str], dict[str, OptionQuote]] = {}
        for each in self.option_quotes:
            if each.expiry_date == expiry:
                rows.setdefault((each.strike_price, each.root_symbol), {})[each.type] = each
        return tuple(
            OptionPair(
                root_symbol=root, strike_price=strike, call=row.get("CALL"), put=row.get("PUT")
            )
            for (strike, root), row in sorted(rows.items(), key=itemgetter(0))
        )


# --------------------------------------------------------------------------------- live records


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedTrade:
    """A trade before or after its correction."""

    id: int | None
    """The upstream's trade id."""
    price: Decimal
    """US dollars a share."""
    size: int | None
    """Shares."""
    conditions: tuple[str, ...]
    """Condition codes as sent."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TradeCorrection:
    """An earlier trade was reported wrongly, and this is how it is right."""

    symbol: str
    """Symbol as followed."""
    original: CorrectedTrade
    """The trade as it was reported."""
    corrected: CorrectedTrade
    """The trade as it is right."""
    exchange: str | None
    """Code of the venue that reported it."""
    tape: str | None
    """Tape the symbol is reported on."""
    provenance: Provenance
    """Origin; its event time is the correction's own."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TradeCancellation:
    """An earlier trade is void."""

    symbol: str
    """Symbol as followed."""
    id: int | None
    """The upstream's id of the void trade."""
    price: Decimal
    """Its price, US dollars a share."""
    size: int | None
    """Its shares."""
    exchange: str | None
    """Code of the venue that reported it."""
    action: str | None
    """"C" when it was cancelled, "E" when it was an error."""
    tape: str | None
    """Tape the symbol is reported on."""
    provenance: Provenance
    """Origin; its event time is the cancellation's own."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TradingStatus:
    """A halt, a resumption or another change in how a symbol trades."""

    symbol: str
    """Symbol as followed."""
    status_code: str
    """Status code as the exchange sends it, such as "H", halted, or "T", trading resumes."""
    status_message: str | None
    """The status in the upstream's words."""
    reason_code: str | None
    """Reason code, such as "T1" or "LUDP"."""
    reason_message: str | None
    """The reason in the upstream's words."""
    tape: str | None
    """Tape the symbol is reported on."""
    provenance: Provenance
    """Origin."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBands:
    """The prices between which a symbol may trade: limit up, limit down."""

    symbol: str
    """Symbol as followed."""
    limit_up: Decimal | None
    """Highest price at which it may trade, US dollars a share. None when there is none."""
    limit_down: Decimal | None
    """Lowest price at which it may trade. None when there is none."""
    indicator: str | None
    """Indicator code as the exchange sends it, such as "B"."""
    tape: str | None
    """Tape the symbol is reported on."""
    provenance: Provenance
    """Origin."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GapPart:
    """A channel that was missed while a gap lasted."""

    channel: Channel
    """The channel."""
    symbols: tuple[str, ...]
    """Symbols followed on it, in alphabetical order, 1,000 at most."""
    symbol_count: int
    """How many there were."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch of time in which the upstream may have sent what the gateway did not get."""

    id: int
    """Number of the gap, unique within the gateway's session on the feed."""
    feed: Feed
    """Feed that was missed."""
    cause: GapCause
    """Why."""
    message: str
    """The cause in one sentence for people."""
    start_time_ns: int
    """Up to when what the upstream sent was received, by the gateway's wall clock."""
    end_time_ns: int | None
    """When the upstream confirmed the symbols again. None while the gap is open."""
    lost_records: int | None
    """Records that are known to be lost. None where they could not be counted."""
    repair: GapRepair
    """What was done about it."""
    parts: tuple[GapPart, ...]
    """Channels and symbols that were followed while it lasted. Empty in a `SymbolStatus`, which
    names its own."""

    start_time = rounded_instant()
    end_time = rounded_optional_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A range of records that the gateway has received and a follower will not get."""

    cause: LossCause
    """Why."""
    first_sequence: int
    """First number of the range."""
    last_sequence: int
    """Last number of the range, which belongs to it."""
    count: int
    """Valid records in the range that were not delivered."""
    start_time_ns: int
    """Event time of the first of them."""
    end_time_ns: int
    """Event time of the last of them."""

    start_time = rounded_instant()
    end_time = rounded_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalCount:
    """How many upstream records one rule refused."""

    rule: str
    """Name of the rule, such as "crossed"."""
    count: int
    """Records refused."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolStatus:
    """How a symbol is followed, and what was refused or lost since the status before."""

    symbol: str
    """Symbol as followed."""
    channel: Channel
    """Channel it is followed on."""
    state: SymbolState
    """State."""
    change_time_ns: int
    """When it took on its state, by the gateway's wall clock."""
    sequence: int
    """Number of the upstream's newest record, valid or not. The first status of a symbol says where
    counting starts."""
    refusals: tuple[RefusalCount, ...]
    """Records refused since the status before, by rule."""
    losses: tuple[Loss, ...]
    """Records lost to this follower since the status before."""
    unavailable: Unavailable | None
    """Why: always with REJECTED and INVALID, with other states why there is no snapshot."""
    gaps: tuple[Gap, ...]
    """With GAP the gap that is open; behind a gap, the gap and its end; with the first status of a
    resumed subscription every gap since it was left."""

    change_time = rounded_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Update(Generic[Record_co]):
    """A live record, and its place among all that the gateway has received."""

    symbol: str
    """Symbol as followed."""
    sequence: int
    """Number of the record, without a hole for each feed, channel and symbol. For what the gateway
    had to ask for, the number of the last record before it."""
    kind: UpdateKind
    """How it came."""
    conflated: int
    """Records between the update before and this one, which this one supersedes."""
    value: Record_co
    """The record."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The connection to the gateway is lost. The client makes it again by itself."""

    error: TickgateError
    """Why, as it would have been raised."""
    retry_delay_ns: int
    """Time until the next attempt."""

    retry_delay = rounded_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnected:
    """The connection to the gateway is there again."""

    attempts: int
    """Attempts that it took."""
    outage_ns: int
    """Time from the loss to the first message."""
    resumed: bool
    """Queued records go on where they were left; what cannot is a `Loss` in a status that follows.
    Otherwise it is a `Gap` there."""

    outage = rounded_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What has become of the records of one symbol, as far as they were taken."""

    numbered: int
    """Numbers that the gateway has given since counting started."""
    delivered: int
    """Records that were returned."""
    conflated: int
    """Valid records that a newer one has superseded, at the gateway or on the way."""
    refused: int
    """Records that a rule of the gateway refused."""
    lost: int
    """Records that were lost, each in a range that a `Loss` names."""

    @property
    def outstanding(self) -> int:
        """Numbers of which nothing was said yet: those records are on their way."""
        return self.numbered - self.delivered - self.conflated - self.refused - self.lost


# ------------------------------------------------------------------------------------ reference


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A stock in the upstream's list."""

    symbol: str
    """Key of every question to the gateway."""
    name: str | None
    """Name of the security."""
    id: str | None
    """The upstream's id; it does not survive a rename."""
    exchange: str | None
    """Exchange that lists it, as the upstream spells it, such as "NASDAQ"."""
    asset_class: str | None
    """Asset class as the upstream spells it, such as "us_equity"."""
    status: AssetStatus | None
    """Whether the upstream counts it as active."""
    tradable: bool | None
    """Whether it can be traded with the upstream."""
    marginable: bool | None
    """Whether it can be bought on margin."""
    shortable: bool | None
    """Whether it can be sold short."""
    fractionable: bool | None
    """Whether fractions of a share can be traded."""
    attributes: tuple[str, ...]
    """Attributes as the upstream spells them, such as "has_options"."""
    provenance: Provenance
    """Origin and age of the list it stands in."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """An exchange or condition code and its meaning."""

    code: str
    """The code, possibly a blank."""
    name: str
    """What it stands for."""
    provenance: Provenance
    """Origin and age of the table it stands in."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MarketClock:
    """The market's own time. In a sandbox that replays a recording it is the recording's."""

    market_time_ns: int
    """Now, for the market."""
    session: MarketSession | None
    """Phase at `market_time`. None when the calendar is not known."""
    next_open_time_ns: int
    """Next start of core trading."""
    next_close_time_ns: int
    """Next end of core trading."""
    provenance: Provenance
    """Origin of the clock reading that `market_time` is counted on from."""

    market_time = rounded_instant()
    next_open_time = rounded_instant()
    next_close_time = rounded_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TradingDay:
    """One day on which the market trades, with the edges of its sessions."""

    date: datetime.date
    """The day, in New York."""
    pre_market_open_time_ns: int | None
    """Start of pre-market trading."""
    open_time_ns: int
    """Start of core trading."""
    close_time_ns: int
    """End of core trading; earlier than 16:00 New York on a half day."""
    after_hours_close_time_ns: int | None
    """End of after-hours trading."""
    settlement_date: datetime.date | None
    """Day on which trades of this day settle."""
    provenance: Provenance
    """Origin and age of the calendar it stands in."""

    pre_market_open_time = rounded_optional_instant()
    open_time = rounded_instant()
    close_time = rounded_instant()
    after_hours_close_time = rounded_optional_instant()


# --------------------------------------------------------------------------------------- status


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitStatus:
    """The state of a circuit breaker."""

    state: CircuitState
    """State."""
    reason: Reason | None
    """Reason of the failure that opened it. None while it is closed."""
    change_time_ns: int | None
    """When it took on its state. None when it never changed."""
    retry_delay_ns: int | None
    """Time until one request may try whether the upstream is back. Only while it is open."""
    opened: int
    """How often it has opened, reopenings after a failed try included."""
    refused: int
    """Questions that it refused."""

    change_time = rounded_optional_instant()
    retry_delay = rounded_optional_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamWindow:
    """The requests that ended within the last so many minutes, to within ten seconds."""

    length_ns: int
    """Length of the window."""
    requests: int
    """Requests that ended."""
    failures: int
    """Those of them that failed."""
    success_share: float | None
    """Share of them that did not fail, 0 to 1. None without any."""
    mean_latency_ns: int | None
    """Mean time of those that were answered. None without any."""
    max_latency_ns: int | None
    """Longest time of those that were answered. None without any."""

    length = rounded_length()
    mean_latency = rounded_optional_length()
    max_latency = rounded_optional_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamProbe:
    """A cheap question that the gateway asked by itself, because nobody had asked for a while."""

    probe_time_ns: int
    """When it was asked."""
    reason: Reason | None
    """Reason why it failed. None when it was answered."""
    latency_ns: int | None
    """How long the answer took. None when it failed."""
    key_valid: bool | None
    """Whether the upstream accepted the gateway's key. None when the answer does not tell."""
    symbol: str | None
    """Symbol asked about. None where the question names none."""
    quality_score: int | None
    """Quality score of that symbol's quote, 0 to 100. None when no quote came."""

    probe_time = rounded_instant()
    latency = rounded_optional_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatus:
    """What the gateway has seen of one group of upstream endpoints."""

    upstream: str
    """Upstream, such as "alpaca.data"."""
    group: str
    """Group of endpoints that fail together, such as "latest"."""
    state: UpstreamState
    """State, judged by the last answer."""
    requests: int
    """Requests sent."""
    failures: int
    """Requests that failed: no answer, 401, 429 or 5xx."""
    in_flight: int
    """Requests under way."""
    last_success_time_ns: int | None
    """When the last good answer came. None before the first."""
    last_failure_time_ns: int | None
    """When the last failure happened. None before the first."""
    last_failure_reason: Reason | None
    """Reason of the last failure. None before the first."""
    last_latency_ns: int | None
    """How long the last answer took. None before the first."""
    circuit: CircuitStatus
    """The circuit breaker of the group."""
    windows: tuple[UpstreamWindow, ...]
    """The last 1, 5 and 15 minutes."""
    retries: int
    """Requests repeated after a failure that may pass. They are among `requests`."""
    queued: int
    """Requests that wait for one of the places that the gateway allows itself at the upstream."""
    probe: UpstreamProbe | None
    """The last question that the gateway asked by itself. None before the first."""

    last_success_time = rounded_optional_instant()
    last_failure_time = rounded_optional_instant()
    last_latency = rounded_optional_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TierStatus:
    """What a tier has done."""

    tier: Tier
    """The tier."""
    state: TierState
    """Whether it can be used."""
    entries: int
    """Values held by the gateway's process. Zero for a tier that lies outside of it."""
    hits: int
    """Questions it answered; a batch is one for each symbol."""
    misses: int
    """Questions it could not answer."""
    hit_share: float | None
    """Share of the questions put to it that it answered, 0 to 1. None without any."""
    failures: int
    """Times that it could not be asked or written."""
    change_time_ns: int | None
    """When it went down or came back. None when it never did."""

    change_time = rounded_optional_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetFloor:
    """The level of a budget below which a class of requests may not spend."""

    priority: str
    """Class: "interactive", "repair", "history" or "backfill"."""
    floor: int
    """Requests that must remain after one of the class is admitted."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """What the gateway allows itself to ask of one upstream."""

    upstream: str
    """Upstream, such as "alpaca.data"."""
    limit: int
    """Requests that the budget holds when full, and that a window brings back; the gateway process's
    part where it is not shared."""
    window_ns: int
    """Length of the window."""
    remaining: int
    """Requests that would be admitted now, as far as the gateway's process knows; 0 while the
    upstream has asked for a pause."""
    shared: bool
    """All replicas spend from it together. False without Redis, and while Redis is down."""
    spent: int
    """Requests admitted."""
    refused: int
    """Requests refused."""
    waiting: int
    """Requests that wait for budget."""
    corrections: int
    """Times that an answer of the upstream lowered it."""
    floors: tuple[BudgetFloor, ...]
    """What each class of requests must leave for the others, most urgent first."""

    window = rounded_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorLogStatus:
    """The state of the gateway's log of refusals and failures, which `errors` reads."""

    store: TierState
    """State of PostgreSQL, which keeps them; OFF keeps the newest in a ring in memory."""
    written: int
    """Records written to where they are kept."""
    dropped: int
    """Records lost because they came faster than they could be written."""
    schema_version: str | None
    """Version of the database's schema. None without a database."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFlagCount:
    """How many records one rule flagged."""

    rule: str
    """Name of the rule, such as "price_range"."""
    count: int
    """Records flagged."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FeedChannelStatus:
    """How many symbols of a live feed are followed on one channel."""

    channel: Channel
    """The channel."""
    wanted: int
    """Symbols that somebody follows, those that linger after the last follower included."""
    confirmed: int
    """Symbols that the upstream has confirmed."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatus:
    """The state of one live feed."""

    feed: Feed
    """The feed."""
    state: FeedState
    """State of its connection."""
    message: str
    """Why it is in a state that is not LIVE. Empty otherwise."""
    change_time_ns: int | None
    """When it took on its state. None when it never changed."""
    epoch: str | None
    """Name of the gateway's session on the feed. None before the first subscription."""
    channels: tuple[FeedChannelStatus, ...]
    """Symbols asked for and confirmed, by channel."""
    symbol_limit: int | None
    """Symbols that the plan allows on quotes and trades together; on quotes alone for an option feed.
    None where there is no limit."""
    symbols: int
    """Symbols on quotes and trades together."""
    last_record_time_ns: int | None
    """When a record last arrived. None before the first."""
    frames: int
    """Frames received."""
    records: int
    """Records received."""
    dropped: int
    """Records dropped because the gateway could not keep up; each is in a gap."""
    connections: int
    """Connections that were made."""
    gaps: int
    """Gaps since the start, which `gaps` lists."""
    lag_ns: int | None
    """Market time at receipt minus event time of the newest record. None before the first."""
    max_lag_ns: int | None
    """The largest lag of the last minute. None without a record."""

    change_time = rounded_optional_instant()
    last_record_time = rounded_optional_instant()
    lag = rounded_optional_length()
    max_lag = rounded_optional_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsStatus:
    """The streams of one gateway process."""

    streams: int
    """Streams that are open."""
    stream_limit: int
    """Most streams that may be."""
    subscriptions: int
    """Subscriptions that are open."""
    followed: int
    """Symbols and channels that are followed, each counted for every follower."""
    delivered: int
    """Updates delivered."""
    conflated: int
    """Updates superseded before they were delivered."""
    lost: int
    """Updates lost to slow followers."""
    messages: int
    """Messages sent."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionChainsStatus:
    """What the option chains that all callers share have cost and saved. Counts are since the start."""

    chains: int
    """Chains held, one for each underlying and feed."""
    contracts: int
    """Contracts in them."""
    capacity: int
    """Contracts that fit; the chain that nobody has asked for longest makes room."""
    hits: int
    """Answers from a chain that was fresh enough."""
    loads: int
    """Times that a chain was read page by page."""
    refreshes: int
    """Times that a chain was asked what has moved since."""
    failures: int
    """Loads and refreshes that failed."""
    evictions: int
    """Chains dropped to make room."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """The store of history, in PostgreSQL. Counts are since the gateway's start."""

    state: TierState
    """Whether it can be had."""
    rows_written: int
    """Rows written."""
    rows_superseded: int
    """Rows that a newer answer of the upstream superseded."""
    intervals_written: int
    """Intervals written."""
    write_failures: int
    """Writes that failed; what they held was served all the same."""
    rows_read: int
    """Rows read."""
    last_write_failure: str | None
    """Why the last write failed. None when none has."""
    last_write_time_ns: int | None
    """When the last write ended well. None when none has."""
    size_bytes: int | None
    """Bytes that the tables of history take, with their indexes. None when not known."""

    last_write_time = rounded_optional_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionStatus:
    """The live recording of the gateway's process. Counts are since its start."""

    state: IngestionState
    """Whether it goes on."""
    message: str
    """Why it does not. Empty otherwise."""
    heartbeat_time_ns: int | None
    """When it last looked whether there is something to write. None when it never has."""
    last_ingestion_time_ns: int | None
    """When it last wrote. None when it never has."""
    symbols: int
    """Symbols that are recorded."""
    trades: int
    """Trades recorded."""
    bars: int
    """Bars recorded."""
    revisions: int
    """Revised bars, corrections and cancellations applied."""
    waiting: int
    """Records that wait to be written."""
    dropped: int
    """Records that were dropped since too many waited; their range is not held to be complete."""
    lag_ns: int | None
    """How long after its event the newest record was written. None when there was none."""

    heartbeat_time = rounded_optional_instant()
    last_ingestion_time = rounded_optional_instant()
    lag = rounded_optional_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """What the gateway itself is doing. Counts are since `start_time`."""

    version: str
    """Version of the gateway."""
    environment: str
    """Environment it was started for: "sandbox", "paper" or "live"."""
    source: DataSource
    """Provider that its values come from, by the connected hosts."""
    default_stock_feed: Feed
    """Feed used for stocks when a request names none."""
    start_time_ns: int
    """When the gateway started."""
    serve_time_ns: int
    """When this answer was made."""
    market_time_ns: int
    """Time of the market: the wall clock, or the recording's in a replay."""
    market_session: MarketSession | None
    """Session of the market. None when not known."""
    upstreams: tuple[UpstreamStatus, ...]
    """State of each group of upstream endpoints."""
    tiers: tuple[TierStatus, ...]
    """State of each tier, nearest first."""
    refusals: tuple[RefusalCount, ...]
    """Upstream records refused, by rule."""
    calls_in_flight: int
    """Calls in flight, the one that asked included."""
    budgets: tuple[BudgetStatus, ...]
    """Budget of requests to each upstream."""
    rule_flags: tuple[RuleFlagCount, ...]
    """Records served with a flag, by rule."""
    error_log: ErrorLogStatus
    """The log of refusals and failures."""
    feeds: tuple[FeedStatus, ...]
    """Live feeds that have been asked for."""
    streams: StreamsStatus | None
    """The streams of the gateway's process. None where it serves none."""
    default_option_feed: Feed | None
    """Feed used for options when a request names none. None from a gateway without options."""
    option_chains: OptionChainsStatus | None
    """The option chains of the gateway's process. None where it keeps none."""
    store: StoreStatus | None
    """The store of history. None from a gateway that says nothing about it."""
    ingestion: IngestionStatus | None
    """What is recorded live of the symbols on watchlists. None likewise."""

    start_time = rounded_instant()
    serve_time = rounded_instant()
    market_time = rounded_instant()

    def tier(self, tier: Tier) -> TierStatus:
        """The state of one tier.

        Raises:
            KeyError: the gateway has no such tier for live values.
        """
        return {each.tier: each for each in self.tiers}[tier]

    def upstream(self, upstream: str, group: str) -> UpstreamStatus:
        """The state of one group of upstream endpoints, such as "alpaca.data" and "latest".

        Raises:
            KeyError: the gateway knows no such group.
        """
        return {(each.upstream, each.group): each for each in self.upstreams}[upstream, group]

    def feed(self, feed: Feed) -> FeedStatus:
        """The state of one live feed.

        Raises:
            KeyError: nobody has followed anything on it.
        """
        return {each.feed: each for each in self.feeds}[feed]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEntitlement:
    """Whether the account behind the gateway may read a feed."""

    feed: Feed
    """The feed."""
    state: EntitlementState
    """Whether it may be read."""
    delay_ns: int | None
    """Delay that the feed has by design. None when not known."""
    learn_time_ns: int | None
    """When the upstream last said so. None while unknown."""
    message: str
    """What the upstream said when it denied the feed. Empty otherwise."""

    delay = rounded_optional_length()
    learn_time = rounded_optional_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What the gateway allows this caller, by the trailer `ratelimit` of an answer."""

    limit: float
    """Calls a second."""
    remaining: int
    """Calls that would be taken now."""
    reset_ns: int
    """Time until all of them would be."""

    reset = rounded_length()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimit:
    """A limit on requests to an upstream."""

    upstream: str
    """Upstream, such as "alpaca.data"."""
    requests_per_minute: int
    """What the upstream admits: by its own answers, or by the gateway's settings before the first."""
    confirmed: bool
    """The upstream itself has said so."""
    budget_per_minute: int
    """Requests a minute that the gateway allows itself."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlements:
    """What the account behind the gateway may read, and how often."""

    plan: str
    """Plan that the gateway's settings name: "basic" or "plus"."""
    feeds: tuple[FeedEntitlement, ...]
    """One entry for each stock feed and each option feed."""
    limits: tuple[RequestLimit, ...]
    """One entry for each upstream."""
    serve_time_ns: int
    """When this answer was made."""

    serve_time = rounded_instant()


# ------------------------------------------------------------------------------------ operators


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRecord:
    """One refusal or failure, as the gateway noted it."""

    id: int
    """Number of the record, unique in its place."""
    request_id: str | None
    """Id of the call; for a refused record of the upstream, the upstream's id of the answer that
    held it."""
    reason: Reason
    """Why."""
    message: str
    """What the caller was told."""
    context: Mapping[str, Any] = field(hash=False)
    """What else is known, as JSON has it: such as `endpoint`, `symbols`, `feed`, `rule`."""
    time_ns: int
    """When it happened, by the gateway's wall clock."""
    place: ErrorLogPlace
    """Where it was read."""

    time = rounded_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidation:
    """How much was dropped from the gateway's tiers."""

    memory_entries: int
    """Entries dropped from the gateway process's memory, remembered lacks of data among them."""
    redis_entries: int | None
    """Entries dropped from Redis. None when there is no Redis, or when it could not be reached:
    what it holds then stays until its time is up."""
    serve_time_ns: int
    """When it was done."""

    serve_time = rounded_instant()


# ------------------------------------------------------------------------------------- the past


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A series of the past that cannot be had now, or the rest of it. What came before it stands."""

    symbol: str
    """Symbol as asked."""
    unavailable: Unavailable
    """Why. `Reason.NO_DATA` means that the upstream has confirmed that the range is empty, `Reason.NOT_HELD` that it
    was not asked."""
    from_time_ns: int | None
    """First instant of which not everything came, or may not have come; if `newest_first`, the end of what is
    missing, from which on all came. None where the gateway does not say."""
    newest_first: bool
    """Whether the newest values were to come first."""
    count: int
    """Values of the symbol that came."""
    cursor: str
    """Ask with it as `cursor`, and with everything else unchanged, to try again from there."""

    from_time = rounded_optional_instant()

    @property
    def nothing_happened(self) -> bool:
        """Whether the range is empty, so that nothing is missing after all."""
        return self.unavailable.reason is Reason.NO_DATA and not self.count

    @property
    def part(self) -> str:
        """What is missing of the range, in words."""
        if self.from_time is None:
            return "all that did not come"
        moment = f"{self.from_time:%Y-%m-%d %H:%M:%S} UTC"
        return f"all before {moment}" if self.newest_first else f"all from {moment} on"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesEnd:
    """The word that all of a series has come."""

    symbol: str
    """Symbol as asked."""
    count: int
    """Values of the symbol that came."""
    refused: int
    """Records of the range that are no market values and were left out; `errors` shows them."""
    clamped_end_time_ns: int | None
    """End of what was answered, where the account may not read up to the end that was asked for and
    `clamp_to_entitlement` was given. None where the answer is about the whole range."""
    cursor: str
    """Where the series ends: asked with it as `cursor`, the next symbol comes."""

    clamped_end_time = rounded_optional_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PriceAt:
    """What a symbol traded at, at some moment of the past."""

    trade: Trade
    """The last trade at or before that moment."""
    age_ns: int
    """How long before the moment it happened."""

    age = rounded_length()

    @property
    def price(self) -> Decimal:
        """Price of the trade, US dollars a share."""
        return self.trade.price

    @property
    def time(self) -> datetime.datetime | None:
        """When it traded: aware, in UTC, rounded down to the microsecond."""
        return self.trade.provenance.event_time


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CoveredInterval:
    """A stretch of time of which the store holds everything that the upstream had."""

    start_time_ns: int
    """First instant."""
    end_time_ns: int
    """End, which is not covered."""
    receive_time_ns: int
    """When the oldest part of it was received."""
    count: int
    """Values held in it."""

    start_time = rounded_instant()
    end_time = rounded_instant()
    receive_time = rounded_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the gateway's store holds of one series."""

    ok: ClassVar[Literal[True]] = True
    """A value, not `Unavailable`."""
    symbol: str
    """Symbol as asked."""
    intervals: tuple[CoveredInterval, ...]
    """Stretches without holes between them, oldest first. Empty where nothing is held."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CorporateAction:
    """One event in the life of a company that changes its shares. What was not sent is None."""

    id: str | None
    """The upstream's id."""
    type: CorporateActionType
    """What happened."""
    symbol: str
    """Symbol of the shares that it happened to."""
    new_symbol: str | None
    """Symbol that came of it: of a new name, a spin-off, an acquirer."""
    old_rate: Decimal | None
    """Shares held before, in the ratio of a split, stock dividend, spin-off or merger."""
    new_rate: Decimal | None
    """Shares held afterwards, in the same ratio: 4 to an `old_rate` of 1 in a 4:1 split."""
    cash_rate: Decimal | None
    """Cash a share, US dollars."""
    ex_date: datetime.date | None
    """First day on which shares trade without it."""
    record_date: datetime.date | None
    """Whoever holds shares at its end has a claim."""
    payable_date: datetime.date | None
    """When it is paid or becomes effective."""
    process_date: datetime.date | None
    """When it is carried out in accounts."""
    special: bool | None
    """True for a special dividend."""
    provenance: Provenance
    """Origin. It belongs to no feed and has no event time."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Watchlist:
    """Symbols that the gateway keeps the history of by itself."""

    name: str
    """Name: 1 to 64 of a to z, 0 to 9, dot, dash and underscore."""
    symbols: tuple[str, ...]
    """Stock symbols."""
    record: bool
    """Whether trades and bars are recorded live, as they arrive, into the store."""
    refresh_timeframes: tuple[str, ...]
    """Timeframes of the bars that the daily refresh fetches, such as "1Day"."""
    refresh_days: int
    """How far back the refresh reaches, in days."""
    update_time_ns: int | None
    """When it was last changed. None when not known."""
    refresh_time_ns: int | None
    """When its last refresh ended. None when there was none."""

    update_time = rounded_optional_instant()
    refresh_time = rounded_optional_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillRequest:
    """What a backfill was asked to fetch."""

    symbols: tuple[str, ...]
    """Symbols: all of stocks, or all OCC symbols."""
    kind: SeriesKind
    """What the series are made of."""
    timeframe: str | None
    """Timeframe of bars. None for trades and quotes."""
    feed: Feed | None
    """Stock feed. None where none was named."""
    adjustments: tuple[Adjustment, ...]
    """What prices and volumes of bars are adjusted for. Empty takes them as they were."""
    start_time_ns: int
    """First instant of the range, which belongs to it."""
    end_time_ns: int
    """End of the range, which does not."""

    start_time = rounded_instant()
    end_time = rounded_instant()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillFailure:
    """A symbol that could not be fetched, and why."""

    symbol: str
    """The symbol."""
    unavailable: Unavailable
    """Why."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """History that the gateway fetches into its store."""

    id: str
    """Its id."""
    state: BackfillState
    """How it stands."""
    request: BackfillRequest
    """What was asked for."""
    symbols_done: int
    """Symbols that are finished, with or without success."""
    fetched: int
    """Values that were fetched; those that were held already are not counted."""
    progress: float
    """Share of the work that is done, 0 to 1."""
    failures: tuple[BackfillFailure, ...]
    """Symbols that could not be fetched, and why."""
    start_time_ns: int
    """When it was started."""
    end_time_ns: int | None
    """When it ended. None while it runs."""

    start_time = rounded_instant()
    end_time = rounded_optional_instant()
