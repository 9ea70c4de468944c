"""What a series of the past is, and what is asked of it."""

from __future__ import annotations

import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from .interval import Interval
from .occ import is_occ_symbol
from .provenance import Feed, Tier
from .timeframe import Timeframe


class SeriesKind(StrEnum):
    """What a series is made of. The names are those of the contract."""

    BARS = "bars"
    TRADES = "trades"
    QUOTES = "quotes"


class Adjustment(StrEnum):
    """What bars are corrected for. The value is Alpaca's word."""

    SPLIT = "split"
    DIVIDEND = "dividend"
    SPIN_OFF = "spin-off"


class SeriesKey(Struct, frozen=True):
    """Names one series: two of one key hold the same values."""

    kind: SeriesKind
    symbol: str
    feed: Feed | None
    """None for options, of whose past the upstream keeps no feeds apart."""

    timeframe: Timeframe | None = None
    """Of bars; None otherwise."""

    adjustments: frozenset[Adjustment] = frozenset()
    """Of bars; none for prices as they were."""

    symbol_date: datetime.date | None = None
    """The day whose symbols are meant; None means today's."""

    exact_symbol: bool = False
    """Whether only what traded under the very symbol is meant."""

    @property
    def of_option(self) -> bool:
        """Whether it is a contract's."""
        return is_occ_symbol(self.symbol)

    @property
    def adjusted(self) -> bool:
        """Whether values change when something happens to the company."""
        return bool(self.adjustments)

    def settled_before(self, instant: int) -> int:
        """Return the first time of which a value may still change at *instant*; both nanoseconds.

        A trade or a quote is what it is once it has happened, a bar once its interval has ended.
        """
        return instant if self.timeframe is None else self.timeframe.unfinished_from(instant)

    def about(self, symbol: str) -> SeriesKey:
        """Return the same of another *symbol*."""
        return replace(self, symbol=symbol)


class HistoryQuestion(Struct, frozen=True):
    """What one caller wants to know: some series of the same shape over one range."""

    key: SeriesKey
    """Of the first symbol; the others are alike."""

    symbols: tuple[str, ...]
    interval: Interval
    newest_first: bool = False
    limit: int = 0
    """Most values of each symbol; 0 sets no limit."""

    as_of: int | None = None
    """Only what had been received by then, nanoseconds of the wall clock; None takes what is known now."""

    allowed_tiers: frozenset[Tier] | None = None
    """None allows all."""

    clamp: bool = False
    """Whether an end that the account may not read gives way."""


class SeriesPosition(Struct, frozen=True):
    """Where a reader of several series stands: behind so many values at one instant."""

    symbol: str
    time: int | None = None
    """Time of the last value that was taken, nanoseconds; None stands before the first."""

    taken: int = 0
    """Values at that very time that were taken."""

    count: int = 0
    """Values of the symbol that were taken, against `HistoryQuestion.limit`."""

    done: bool = False
    """Whether the symbol is finished."""
