"""What may be turned about the reading of the past."""

from __future__ import annotations

from msgspec import Struct

from ..market.time import NANOS


class HistoryPolicy(Struct, frozen=True):
    """How the past is read. Durations are in seconds, ages in nanoseconds."""

    settle: int = 35 * NANOS
    """After which a value no longer changes: of a bar, since the end of its interval."""

    page: int = 10_000
    """Records of an upstream's page at most."""

    least_page: int = 50
    """Records of the page that is asked for when only some values are wanted. Some may be no values."""

    spool: int = 4
    """Pages of one fetch that are held for those who read along."""

    walk_symbols: int = 100
    """Symbols that travel together at most."""

    page_patience: float = 30.0
    """For one page, with all its attempts."""

    progress_patience: float = 60.0
    """For anything to come, where a question has no deadline."""

    hold: float = 5.0
    """For which one who stopped reading keeps others waiting, where nothing but memory holds what he has not read."""

    recent: int = 16 * 60 * NANOS
    """Newest age of what every account may read: fifteen minutes, and one for the way and for clocks that differ."""

    slot_rows: int = 20_000
    """Values of a slot of the shared cache at most: more would not fit into it."""

    replayed: bool = False
    """Whether the market's time is a recording's, which somebody may set."""
