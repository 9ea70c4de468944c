"""What the gateway answers, as plain values.

All are frozen, hashable and compare by content. Prices are `Decimal`, exactly the number that the
upstream sent, in US dollars a share. Absent is None, never zero. Instants and lengths of time are
integer nanoseconds in fields ending in `_ns`; the same name without it is a datetime or timedelta,
rounded down to the microsecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from ._time import (
    rounded_instant,
    rounded_length,
    rounded_optional_instant,
    rounded_optional_length,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping
    from decimal import Decimal

    from ._enums import (
        AssetStatus,
        Category,
        CircuitState,
        DataSource,
        EntitlementState,
        ErrorLogPlace,
        Feed,
        MarketSession,
        QuoteFlag,
        Reason,
        SnapshotPart,
        Tier,
        TierOutcome,
        TierState,
        UpstreamState,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Who sent a value, over which feed, when, and from where it was served."""

    source: DataSource
    """Provider whose hosts the value was received from."""
    feed: Feed | None
    """Feed the value belongs to. None for values that belong to no feed, such as assets."""
    served_from: Tier
    """Tier of the gateway that answered this call."""
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
    """Market time at serving minus event time. None when there is no event time. In a sandbox that
    replays a recording, market time is the recording's."""
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
class Trade:
    """One execution reported on a feed."""

    ok: ClassVar[Literal[True]] = True
    """A value, not `Unavailable`."""
    symbol: str
    """Symbol as asked."""
    price: Decimal
    """US dollars a share."""
    size: int | None
    """Shares traded."""
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
    """Shares offered at that price. Zero only when zero was sent."""
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
class Quote:
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
class RefusalCount:
    """How many upstream records one rule refused."""

    rule: str
    """Name of the rule, such as "crossed"."""
    count: int
    """Records refused."""


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
    """One entry for each stock feed."""
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
