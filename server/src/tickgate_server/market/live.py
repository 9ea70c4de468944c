"""What arrives on a live feed, and how a symbol on it stands."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum, StrEnum, auto
from typing import TypeAlias

from msgspec import Struct

from .bar import Bar
from .provenance import Feed, Provenance
from .quote import Quote
from .trade import Trade


class Channel(StrEnum):
    """One kind of live record of a symbol. The names are those of the contract."""

    QUOTES = "quotes"
    TRADES = "trades"
    BARS = "bars"
    DAILY_BARS = "daily_bars"
    TRADING_STATUSES = "trading_statuses"
    PRICE_BANDS = "price_bands"


CONFLATED: frozenset[Channel] = frozenset({Channel.QUOTES, Channel.DAILY_BARS})
"""Channels whose newest record supersedes those before it; the records of the others all count."""


class RecordKind(StrEnum):
    """What a live record is. The value is the field of the contract's `Update` that holds it."""

    QUOTE = "quote"
    TRADE = "trade"
    TRADE_CORRECTION = "trade_correction"
    TRADE_CANCELLATION = "trade_cancellation"
    BAR = "bar"
    REVISED_BAR = "revised_bar"
    DAILY_BAR = "daily_bar"
    TRADING_STATUS = "trading_status"
    PRICE_BANDS = "price_bands"


CHANNEL_OF: dict[RecordKind, Channel] = {
    RecordKind.QUOTE: Channel.QUOTES,
    RecordKind.TRADE: Channel.TRADES,
    RecordKind.TRADE_CORRECTION: Channel.TRADES,
    RecordKind.TRADE_CANCELLATION: Channel.TRADES,
    RecordKind.BAR: Channel.BARS,
    RecordKind.REVISED_BAR: Channel.BARS,
    RecordKind.DAILY_BAR: Channel.DAILY_BARS,
    RecordKind.TRADING_STATUS: Channel.TRADING_STATUSES,
    RecordKind.PRICE_BANDS: Channel.PRICE_BANDS,
}
"""The channel that each kind of record belongs to."""


class CorrectedTrade(Struct, frozen=True, gc=False):
    """A trade before or after its correction."""

    id: int | None
    price: Decimal
    """US dollars a share, above zero."""

    size: int | None
    """Shares."""

    conditions: tuple[str, ...]


class TradeCorrection(Struct, frozen=True, gc=False):
    """An earlier trade was reported wrongly."""

    symbol: str
    original: CorrectedTrade
    corrected: CorrectedTrade
    exchange: str | None
    tape: str | None
    provenance: Provenance


class TradeCancellation(Struct, frozen=True, gc=False):
    """An earlier trade is void."""

    symbol: str
    id: int | None
    price: Decimal
    size: int | None
    """Shares."""

    exchange: str | None
    action: str
    """"C" cancelled, "E" error; empty when not sent."""

    tape: str | None
    provenance: Provenance


class TradingStatus(Struct, frozen=True, gc=False):
    """A halt, a resumption or another change in how a symbol trades. Texts are empty when not sent."""

    symbol: str
    status_code: str
    status_message: str
    reason_code: str
    reason_message: str
    tape: str | None
    provenance: Provenance


class PriceBands(Struct, frozen=True, gc=False):
    """The prices between which a symbol may trade."""

    symbol: str
    limit_up: Decimal | None
    """US dollars a share; None when there is no limit."""

    limit_down: Decimal | None
    indicator: str
    """Empty when not sent."""

    tape: str | None
    provenance: Provenance


LiveValue: TypeAlias = (
    Quote | Trade | TradeCorrection | TradeCancellation | Bar | TradingStatus | PriceBands
)
"""A valid record of a live feed."""


class UpdateKind(StrEnum):
    """How a record came to a follower. The names are those of the contract."""

    LIVE = auto()
    SNAPSHOT = auto()
    RESYNC = auto()
    REPLAY = auto()


class SymbolState(StrEnum):
    """How a symbol is followed on a channel. The names are those of the contract."""

    PENDING = auto()
    LIVE = auto()
    STALE = auto()
    QUIET = auto()
    INVALID = auto()
    GAP = auto()
    REJECTED = auto()
    REMOVED = auto()


class FeedState(StrEnum):
    """State of the connection to a live feed. The names are those of the contract."""

    IDLE = "idle"
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    WAITING_FOR_SLOT = "waiting_for_slot"
    LIVE = "live"
    BACKING_OFF = "backing_off"
    AUTH_FAILED = "auth_failed"
    NOT_ENTITLED = "not_entitled"
    CLOSED = "closed"


class GapCause(Enum):
    """Why records were missed. The names are those of the contract."""

    DISCONNECTED = auto()
    SILENT = auto()
    OVERFLOW = auto()
    SLOW_READER = auto()
    UNREADABLE = auto()
    RESUME = auto()


class GapRepair(Enum):
    """What was done about a gap. The names are those of the contract."""

    PENDING = auto()
    CURRENT = auto()
    PARTIAL = auto()
    NONE = auto()


class Gap(Struct):
    """A stretch of time in which the upstream may have sent records that did not arrive."""

    id: int
    feed: Feed
    cause: GapCause
    message: str
    start: int
    """When the last record before it arrived, nanoseconds of the wall clock."""

    end: int | None = None
    """When the upstream confirmed the symbols again; None while it is open."""

    lost_records: int | None = None
    """Where they were counted."""

    repair: GapRepair = GapRepair.PENDING
    parts: dict[Channel, tuple[str, ...]] = {}
    """Symbols that were followed, in alphabetical order."""


class LossCause(Enum):
    """Why a follower does not get records. The names are those of the contract."""

    SLOW_FOLLOWER = auto()
    NOT_KEPT = auto()


class Loss(Struct, frozen=True, gc=False):
    """A range of records that a follower will not get."""

    cause: LossCause
    first_sequence: int
    last_sequence: int
    """Belongs to the range."""

    count: int
    """Valid records in the range."""

    start: int | None
    """Event time of the first, nanoseconds."""

    end: int | None
    """Event time of the last, nanoseconds."""
