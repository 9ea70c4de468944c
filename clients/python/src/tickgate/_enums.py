"""The words of the contract as enums.

Each member is a string, its own name: ``Feed.IEX == "IEX"``, and an f-string or a log line shows
it as ``IEX``. Enums that the gateway sends are open. A number that this client does not know, which
only a newer gateway can send, reads as ``UNRECOGNIZED`` instead of failing the answer it stands in;
upgrade the client to learn its name.
"""

from __future__ import annotations

from enum import StrEnum


class DataSource(StrEnum):
    """The provider that a value was received from, decided by the host the gateway is connected to.

    The list will grow: ``UNRECOGNIZED`` is a real provider that this client has no name for.
    """

    ALPACA = "ALPACA"
    """Alpaca's production hosts."""
    SANDBOX = "SANDBOX"
    """A stand-in: tickgate's sandbox, Alpaca's own, or its test stream. Not a market value."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A provider that this client does not know."""


class Feed(StrEnum):
    """The upstream product that a value belongs to. One answer never mixes feeds."""

    SIP = "SIP"
    """All US stock exchanges, consolidated: the NBBO."""
    IEX = "IEX"
    """The IEX exchange alone: real prices of one venue, not the NBBO."""
    DELAYED_SIP = "DELAYED_SIP"
    """The consolidated feed, 15 minutes late."""
    BOATS = "BOATS"
    """Blue Ocean ATS: overnight trading of US stocks."""
    OVERNIGHT = "OVERNIGHT"
    """Alpaca's overnight feed, derived from Blue Ocean."""
    OTC = "OTC"
    """Over-the-counter stocks."""
    OPRA = "OPRA"
    """OPRA: consolidated US options. Options only."""
    INDICATIVE = "INDICATIVE"
    """Alpaca's free option feed. Options only, and not real quotes: they are modified, and trades
    come 15 minutes late."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A feed that this client does not know. Cannot be asked for."""


class Tier(StrEnum):
    """A place that a value can be served from, nearest first."""

    BOOK = "BOOK"
    """The newest value of the live stream."""
    MEMORY = "MEMORY"
    """The gateway process's memory of recent answers."""
    REDIS = "REDIS"
    """The cache shared by all replicas."""
    STORE = "STORE"
    """The history store."""
    UPSTREAM = "UPSTREAM"
    """A request to the upstream, made for this call or shared with simultaneous ones."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A tier that this client does not know. Cannot be asked for."""


class View(StrEnum):
    """How much of a quote to return. Each view holds everything of the one before."""

    BASIC = "BASIC"
    """Both sides, provenance and market session."""
    DERIVED = "DERIVED"
    """Also spread, mid and quality."""
    FULL = "FULL"
    """Also the latest trade, which may cost one more upstream request."""


class MarketSession(StrEnum):
    """The phase of the US stock market, by the upstream's clock and calendar."""

    OPEN = "OPEN"
    """Core trading, 09:30 to 16:00 New York on a full day."""
    CLOSED = "CLOSED"
    """No trading."""
    PRE_MARKET = "PRE_MARKET"
    """Before core trading on a trading day."""
    AFTER_HOURS = "AFTER_HOURS"
    """After core trading on a trading day."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A phase that this client does not know."""


class QuoteFlag(StrEnum):
    """Something unusual about a quote."""

    ONE_SIDED = "ONE_SIDED"
    """Only one side has an order."""
    WIDE = "WIDE"
    """The spread is above 5 % of the ask."""
    LOCKED = "LOCKED"
    """Bid equals ask."""
    CROSSED = "CROSSED"
    """Bid is above ask; passed only where the gateway is set to flag such quotes."""
    AGED = "AGED"
    """Event age is above 30 s while the market is open."""
    ZERO_SIZE = "ZERO_SIZE"
    """A side has size zero, or no size."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A flag that this client does not know."""


class SnapshotPart(StrEnum):
    """A part of a snapshot, by the name of its field."""

    LATEST_TRADE = "LATEST_TRADE"
    LATEST_QUOTE = "LATEST_QUOTE"
    MINUTE_BAR = "MINUTE_BAR"
    DAILY_BAR = "DAILY_BAR"
    PREVIOUS_DAILY_BAR = "PREVIOUS_DAILY_BAR"
    UNRECOGNIZED = "UNRECOGNIZED"
    """A part that this client does not know."""


class AssetStatus(StrEnum):
    """The upstream's status of an asset. Inactive does not mean delisted; tickers are reused."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    UNRECOGNIZED = "UNRECOGNIZED"
    """A status that this client does not know. Cannot be asked for."""


class OptionType(StrEnum):
    """The right that an option contract gives."""

    CALL = "CALL"
    """The right to buy."""
    PUT = "PUT"
    """The right to sell."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A right that this client does not know. Cannot be asked for."""


class OptionStyle(StrEnum):
    """When an option contract may be exercised."""

    AMERICAN = "AMERICAN"
    """Until it expires."""
    EUROPEAN = "EUROPEAN"
    """Only when it expires."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A style that this client does not know."""


class OptionContractStatus(StrEnum):
    """The upstream's status of an option contract."""

    ACTIVE = "ACTIVE"
    """Active. The upstream may still say so on the evening of a contract's last day."""
    INACTIVE = "INACTIVE"
    """Expired, or delisted."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A status that this client does not know. Cannot be asked for."""


class OptionPart(StrEnum):
    """A part of an option quote, by the name of its field."""

    QUOTE = "QUOTE"
    LATEST_TRADE = "LATEST_TRADE"
    GREEKS = "GREEKS"
    IMPLIED_VOLATILITY = "IMPLIED_VOLATILITY"
    MINUTE_BAR = "MINUTE_BAR"
    DAILY_BAR = "DAILY_BAR"
    """The daily bar, and with it `day_volume`."""
    PREVIOUS_DAILY_BAR = "PREVIOUS_DAILY_BAR"
    CONTRACT = "CONTRACT"
    """The terms, and with them `open_interest`."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A part that this client does not know."""


class OptionView(StrEnum):
    """How much of an option quote to return."""

    BASIC = "BASIC"
    """Quote, latest trade, greeks, implied volatility and day volume."""
    FULL = "FULL"
    """Also bars, open interest and terms, for which the upstream's list of contracts is asked."""


class CodeKind(StrEnum):
    """A table of codes."""

    EXCHANGE = "EXCHANGE"
    """Exchange codes, as in `QuoteSide.exchange` and `Trade.exchange`."""
    TRADE_CONDITION = "TRADE_CONDITION"
    """Trade condition codes of one tape, as in `Trade.conditions`."""
    QUOTE_CONDITION = "QUOTE_CONDITION"
    """Quote condition codes of one tape, as in `Quote.conditions`."""
    OPTION_EXCHANGE = "OPTION_EXCHANGE"
    """Codes of option exchanges, which are others than those of stocks."""
    OPTION_TRADE_CONDITION = "OPTION_TRADE_CONDITION"
    """Condition codes of option trades."""
    OPTION_QUOTE_CONDITION = "OPTION_QUOTE_CONDITION"
    """Condition codes of option quotes."""


class Reason(StrEnum):
    """Why there is no value. `tickgate/v1/error_reason.proto` says for each what to do about it."""

    INVALID_REQUEST = "INVALID_REQUEST"
    """The request breaks a rule of the API."""
    SYMBOL_UNKNOWN = "SYMBOL_UNKNOWN"
    """No asset of this symbol exists, by the upstream's own list."""
    CONTRACT_UNKNOWN = "CONTRACT_UNKNOWN"
    """A well-formed option symbol that the upstream does not list."""
    CONTRACT_EXPIRED = "CONTRACT_EXPIRED"
    """The option contract's last trading moment has passed."""
    NO_DATA = "NO_DATA"
    """The question is right and the upstream has no value for it."""
    TOO_STALE = "TOO_STALE"
    """A value exists and is older than the freshness asked for."""
    LOW_QUALITY = "LOW_QUALITY"
    """The quote's quality score is below `min_quality`."""
    RULE_VIOLATION = "RULE_VIOLATION"
    """A business rule of the gateway refuses the value."""
    INVALID_DATA = "INVALID_DATA"
    """The upstream sent something that cannot be a market value."""
    NOT_ENTITLED = "NOT_ENTITLED"
    """The account behind the gateway may not read this feed."""
    UPSTREAM_RATE_LIMITED = "UPSTREAM_RATE_LIMITED"
    """The upstream answered 429."""
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    """The gateway's own count of upstream requests is spent."""
    NOT_SUPPORTED = "NOT_SUPPORTED"
    """The upstream does not offer this."""
    UPSTREAM_ERROR = "UPSTREAM_ERROR"
    """The upstream failed."""
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    """The upstream did not answer before the deadline."""
    UPSTREAM_UNAUTHENTICATED = "UPSTREAM_UNAUTHENTICATED"
    """The upstream refuses the gateway's credentials."""
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    """The upstream has failed repeatedly and is not being asked for now."""
    SHUTTING_DOWN = "SHUTTING_DOWN"
    """The gateway is stopping."""
    INTERNAL = "INTERNAL"
    """A fault of tickgate itself."""
    PERMISSION_DENIED = "PERMISSION_DENIED"
    """The caller may not use this method."""
    SUBSCRIPTION_LIMIT = "SUBSCRIPTION_LIMIT"
    """A limit on what may be followed at once is reached."""
    NOT_FEED_HOLDER = "NOT_FEED_HOLDER"
    """This replica does not hold the live feed."""
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    """The gateway's store cannot be had now, and only the store could answer."""
    NOT_HELD = "NOT_HELD"
    """What the request allows to answer does not hold it; the upstream was not asked."""
    OUT_OF_TIME = "OUT_OF_TIME"
    """The call's deadline came before all of a series of the past was told."""
    NOT_FOUND = "NOT_FOUND"
    """What the request names does not exist here: a watchlist, a backfill."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """The gateway does not know who calls."""
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    """A limit of the gateway's own is reached, for this caller or for all together."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A reason that this client does not know; the message still says what happened."""


class Category(StrEnum):
    """The family of a reason, for callers that treat families alike."""

    DATA_UNAVAILABLE = "DATA_UNAVAILABLE"
    """There is no such value, or none that satisfies the request."""
    RATE_LIMITED = "RATE_LIMITED"
    """Too many requests, by the upstream's count or the gateway's."""
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    """The upstream cannot be had, or does not offer this."""
    INVALID_DATA = "INVALID_DATA"
    """The upstream's answer is not a market value, or a rule refuses it."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A family that this client does not know."""


class TierOutcome(StrEnum):
    """What a tier answered when it gave no value."""

    EMPTY = "EMPTY"
    """It holds nothing for the symbol."""
    TOO_OLD = "TOO_OLD"
    """It holds a value, older than asked for."""
    REFUSED = "REFUSED"
    """It answered, and the answer was refused by a rule."""
    FAILED = "FAILED"
    """It could not be asked or did not answer."""
    NOT_ALLOWED = "NOT_ALLOWED"
    """The request did not allow it."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """An outcome that this client does not know."""


class UpstreamState(StrEnum):
    """The state of a group of upstream endpoints, judged by its last answer."""

    IDLE = "IDLE"
    """Nothing has been asked yet."""
    UP = "UP"
    """The last request was answered."""
    FAILING = "FAILING"
    """The last request failed."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """The last request was refused for its credentials."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A state that this client does not know."""


class TierState(StrEnum):
    """Whether a tier can be used."""

    UP = "UP"
    """In use."""
    DOWN = "DOWN"
    """Configured, and not reachable."""
    OFF = "OFF"
    """Not configured."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A state that this client does not know."""


class CircuitState(StrEnum):
    """The state of a circuit breaker, which leaves a failing upstream alone for a while."""

    CLOSED = "CLOSED"
    """Requests pass."""
    OPEN = "OPEN"
    """Every request is refused at once until the cool-down has passed."""
    HALF_OPEN = "HALF_OPEN"
    """One request is trying whether the upstream is back; all others are refused at once."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A state that this client does not know."""


class EntitlementState(StrEnum):
    """Whether the account behind the gateway may read a feed."""

    UNKNOWN = "UNKNOWN"
    """It could not be asked yet."""
    GRANTED = "GRANTED"
    """The upstream has answered on it."""
    DENIED = "DENIED"
    """The upstream has refused it."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A state that this client does not know."""


class ErrorLogPlace(StrEnum):
    """A place where the gateway keeps refusals and failures."""

    RING = "RING"
    """A ring in the gateway process's memory: the newest only, gone with the process."""
    POSTGRES = "POSTGRES"
    """PostgreSQL, shared by all replicas."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A place that this client does not know."""


class ValueKind(StrEnum):
    """A kind of value that tiers hold."""

    QUOTE = "QUOTE"
    """Latest quotes."""
    TRADE = "TRADE"
    """Latest trades."""
    SNAPSHOT = "SNAPSHOT"
    """Snapshots."""
    OPTION_QUOTE = "OPTION_QUOTE"
    """Option quotes."""
    OPTION_CHAIN = "OPTION_CHAIN"
    """Option chains, by their underlying, and lists of contracts with them."""


class Channel(StrEnum):
    """One kind of live record of a symbol."""

    QUOTES = "QUOTES"
    """Quotes. Conflated: whoever is slower than the market gets the newest."""
    TRADES = "TRADES"
    """Trades, their corrections and their cancellations. Queued."""
    BARS = "BARS"
    """Minute bars as they close, and their revisions half a minute later. Queued."""
    DAILY_BARS = "DAILY_BARS"
    """The running bar of the day, sent anew each minute. Conflated."""
    TRADING_STATUSES = "TRADING_STATUSES"
    """Halts and resumptions. Queued."""
    PRICE_BANDS = "PRICE_BANDS"
    """Limit up and limit down bands. Queued."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A channel that this client does not know. Cannot be asked for."""


class UpdateKind(StrEnum):
    """How a live record came."""

    LIVE = "LIVE"
    """It has just arrived."""
    SNAPSHOT = "SNAPSHOT"
    """It is what stood when the symbol was added."""
    RESYNC = "RESYNC"
    """It is what stood when a gap ended."""
    REPLAY = "REPLAY"
    """It was kept while the connection was lost, and is sent now."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A way that this client does not know."""


class SymbolState(StrEnum):
    """How a symbol is followed on a channel."""

    PENDING = "PENDING"
    """The upstream has not confirmed it yet, or the gateway's connection is being made."""
    LIVE = "LIVE"
    """The newest value that was delivered is current."""
    STALE = "STALE"
    """It should move and does not: the market is open and nothing has come for `stale_after`."""
    QUIET = "QUIET"
    """It need not move: the market is closed, or trading in the symbol is halted."""
    INVALID = "INVALID"
    """The last record was refused, so there is no current value until the next valid one."""
    GAP = "GAP"
    """The gateway has lost the upstream. Values may be superseded already."""
    REJECTED = "REJECTED"
    """It is not followed, and `SymbolStatus.unavailable` says why. It may be added again."""
    REMOVED = "REMOVED"
    """It is no longer followed, as asked."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A state that this client does not know."""


class LossCause(StrEnum):
    """Why a follower does not get records."""

    SLOW_FOLLOWER = "SLOW_FOLLOWER"
    """He read too slowly, and his queue at the gateway was full."""
    NOT_KEPT = "NOT_KEPT"
    """They were sent while he was away, and the gateway no longer keeps them."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A cause that this client does not know."""


class GapCause(StrEnum):
    """Why the gateway missed records of the upstream."""

    DISCONNECTED = "DISCONNECTED"
    """The connection was lost, or the upstream closed it."""
    SILENT = "SILENT"
    """The connection was open and mute while the market moved."""
    OVERFLOW = "OVERFLOW"
    """The gateway received faster than it could serve."""
    SLOW_READER = "SLOW_READER"
    """The upstream said that it dropped the gateway as too slow a reader."""
    UNREADABLE = "UNREADABLE"
    """The upstream sent a frame that could not be read."""
    RESUME = "RESUME"
    """A follower came back, and what was sent while he was away is not known."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A cause that this client does not know."""


class GapRepair(StrEnum):
    """What the gateway did about a gap."""

    PENDING = "PENDING"
    """Nothing yet: the gap is open, or being repaired."""
    CURRENT = "CURRENT"
    """Every followed quote is current again. Records of queued channels stay missing."""
    PARTIAL = "PARTIAL"
    """Some quotes could not be asked for again, and wait for their next update."""
    NONE = "NONE"
    """Only queued channels were followed: their records stay missing."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """An answer that this client does not know."""


class FeedState(StrEnum):
    """The state of a live feed's connection to the upstream."""

    IDLE = "IDLE"
    """Nobody follows anything, and no connection is made."""
    CONNECTING = "CONNECTING"
    """A connection is being made, or made again after a pause."""
    AUTHENTICATING = "AUTHENTICATING"
    """The credentials are being checked."""
    WAITING_FOR_SLOT = "WAITING_FOR_SLOT"
    """Another connection of the account holds the only place; the gateway waits for it."""
    LIVE = "LIVE"
    """Records may flow."""
    BACKING_OFF = "BACKING_OFF"
    """The connection was lost or could not be made; a pause before the next try."""
    AUTH_FAILED = "AUTH_FAILED"
    """The upstream refused the credentials."""
    NOT_ENTITLED = "NOT_ENTITLED"
    """The account's plan does not cover the feed."""
    CLOSED = "CLOSED"
    """The gateway is stopping."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A state that this client does not know."""


class SeriesKind(StrEnum):
    """What a series of the past is made of."""

    BARS = "BARS"
    """Bars of one timeframe."""
    TRADES = "TRADES"
    """Trades."""
    QUOTES = "QUOTES"
    """Quotes."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A kind that this client does not know. Cannot be asked for."""


class Adjustment(StrEnum):
    """A kind of corporate action for which the upstream corrects the prices and volumes of bars."""

    SPLIT = "SPLIT"
    """Forward and reverse splits."""
    DIVIDEND = "DIVIDEND"
    """Cash dividends."""
    SPIN_OFF = "SPIN_OFF"
    """Spin-offs."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A kind that this client does not know. Cannot be asked for."""


class Sort(StrEnum):
    """The order of a series in time. Symbols stay in the order in which they were asked for."""

    OLDEST_FIRST = "OLDEST_FIRST"
    """Oldest first."""
    NEWEST_FIRST = "NEWEST_FIRST"
    """Newest first. With a limit these are the newest values of the range."""


class CorporateActionType(StrEnum):
    """A kind of corporate action."""

    FORWARD_SPLIT = "FORWARD_SPLIT"
    """A split into more shares."""
    REVERSE_SPLIT = "REVERSE_SPLIT"
    """A split into fewer shares."""
    UNIT_SPLIT = "UNIT_SPLIT"
    """Shares of a unit are taken apart."""
    STOCK_DIVIDEND = "STOCK_DIVIDEND"
    """A dividend in shares."""
    CASH_DIVIDEND = "CASH_DIVIDEND"
    """A dividend in cash."""
    SPIN_OFF = "SPIN_OFF"
    """A part of the company becomes one of its own."""
    CASH_MERGER = "CASH_MERGER"
    """The company is bought for cash."""
    STOCK_MERGER = "STOCK_MERGER"
    """The company is bought for shares."""
    STOCK_AND_CASH_MERGER = "STOCK_AND_CASH_MERGER"
    """The company is bought for shares and cash."""
    REDEMPTION = "REDEMPTION"
    """The issuer takes shares back."""
    NAME_CHANGE = "NAME_CHANGE"
    """A new name or symbol."""
    WORTHLESS_REMOVAL = "WORTHLESS_REMOVAL"
    """Shares that are removed as worthless."""
    RIGHTS_DISTRIBUTION = "RIGHTS_DISTRIBUTION"
    """Rights are handed out."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A kind that this client does not know. Cannot be asked for."""


class BackfillState(StrEnum):
    """How a backfill stands."""

    RUNNING = "RUNNING"
    """It is being worked on, or waits for its turn."""
    DONE = "DONE"
    """Everything that could be had is held; `Backfill.failures` names what could not."""
    CANCELLED = "CANCELLED"
    """Somebody stopped it."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A state that this client does not know."""


class IngestionState(StrEnum):
    """Whether the live recording of symbols on watchlists goes on."""

    OFF = "OFF"
    """It is switched off, or there is no store."""
    IDLE = "IDLE"
    """No watchlist asks for it."""
    RUNNING = "RUNNING"
    """It records."""
    FAILING = "FAILING"
    """It cannot: `IngestionStatus.message` says why."""
    UNRECOGNIZED = "UNRECOGNIZED"
    """A state that this client does not know."""
