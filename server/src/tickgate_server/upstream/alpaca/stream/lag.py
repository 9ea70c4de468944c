"""How late records come, now and at worst in the last minute."""

from __future__ import annotations

from typing import Final

from ....observe.counters import FeedCounts

_SLOT: Final = 10.0
_SLOTS: Final = 6
"""Six slots of ten seconds are the last minute."""


class Lag:
    """Keeps the counters of a feed's lag."""

    def __init__(self, counts: FeedCounts) -> None:
        """Write to *counts*."""
        self._counts = counts
        self._worst: dict[int, int] = {}

    def note(self, lag: int, now: float) -> None:
        """Take notice of a *lag* in nanoseconds; *now* is of the monotonic clock."""
        slot = int(now // _SLOT)
        worst = self._worst
        if slot not in worst:
            self._worst = worst = {
                number: most for number, most in worst.items() if slot - _SLOTS < number < slot
            }
            worst[slot] = lag
        elif lag > worst[slot]:
            worst[slot] = lag
        self._counts.lag = lag
        self._counts.max_lag = max(worst.values())
