"""History that is fetched into the store."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from .interval import Interval
from .series import SeriesKey
from .unavailable import Unavailable


class BackfillState(StrEnum):
    """How a backfill stands. The names are those of the contract."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


class BackfillFailure(Struct, frozen=True):
    """A symbol that could not be fetched."""

    symbol: str
    why: Unavailable


class Backfill(Struct, frozen=True):
    """What is to be fetched into the store, and how far that is."""

    id: str
    key: SeriesKey
    """Of the first symbol; the others are alike."""

    symbols: tuple[str, ...]
    interval: Interval
    state: BackfillState
    start_time: int
    """When it was started, nanoseconds of the wall clock."""

    end_time: int | None = None
    """When it ended, nanoseconds of the wall clock; None while it runs."""

    symbols_done: int = 0
    fetched: int = 0
    """Values that were fetched; those that were held already do not count."""

    progress: float = 0.0
    """Share of the work that is done, 0 to 1."""

    failures: tuple[BackfillFailure, ...] = ()
