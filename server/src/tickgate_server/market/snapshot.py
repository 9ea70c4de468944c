"""Snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from .bar import Bar
from .quote import Quote
from .trade import Trade
from .unavailable import Unavailable


class SnapshotPart(Enum):
    """A part of a snapshot; the value is the field that holds it."""

    LATEST_TRADE = "latest_trade"
    LATEST_QUOTE = "latest_quote"
    MINUTE_BAR = "minute_bar"
    DAILY_BAR = "daily_bar"
    PREVIOUS_DAILY_BAR = "previous_daily_bar"


class Snapshot(Struct, frozen=True):
    """What the upstream knows about a symbol, in one answer. At least one part is there."""

    symbol: str
    latest_trade: Trade | None
    latest_quote: Quote | None
    minute_bar: Bar | None
    daily_bar: Bar | None
    previous_daily_bar: Bar | None
    missing: Mapping[SnapshotPart, Unavailable]
    """Why each part that is None is None."""

    @property
    def event_time(self) -> int | None:
        """Stamp of the newer of latest trade and latest quote, nanoseconds; None without either."""
        stamps = [
            part.event_time
            for part in (self.latest_trade, self.latest_quote)
            if part is not None and part.event_time is not None
        ]
        return max(stamps, default=None)
