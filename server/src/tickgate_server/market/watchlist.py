"""Symbols that the gateway keeps the history of by itself."""

from __future__ import annotations

from msgspec import Struct

from .timeframe import Timeframe


class Watchlist(Struct, frozen=True):
    """Symbols whose history is refreshed every day, and recorded live if wanted."""

    name: str
    symbols: tuple[str, ...]
    record: bool
    """Whether their trades and bars are recorded as they arrive."""

    refresh_timeframes: tuple[Timeframe, ...]
    """Of the bars that a refresh fetches."""

    refresh_days: int
    """How far back a refresh reaches."""

    update_time: int
    """When it was last changed, nanoseconds of the wall clock."""

    refresh_time: int | None = None
    """When its last refresh ended, nanoseconds of the wall clock; None when there was none."""
