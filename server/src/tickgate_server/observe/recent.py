"""What happened in the last minutes, in slots that are used over again."""

from __future__ import annotations

from msgspec import Struct

SLOT = 10.0
"""Seconds of one slot."""

_SLOTS = 90
"""Fifteen minutes, the slot that is being filled among them."""


class Sum(Struct):
    """Requests that ended within some time."""

    requests: int = 0
    failures: int = 0
    seconds: float = 0.0
    """Time taken by those that were answered."""

    longest: float = 0.0
    """Longest of these times."""

    @property
    def answered(self) -> int:
        """Requests that were answered."""
        return self.requests - self.failures


class Recent:
    """Counts what ended, and forgets it after fifteen minutes."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._slots = [Sum() for _ in range(_SLOTS)]
        self._numbers = [-1] * _SLOTS

    def succeeded(self, now: float, seconds: float) -> None:
        """Count an answer that took *seconds*; *now* is of the monotonic clock."""
        slot = self._slot(now)
        slot.requests += 1
        slot.seconds += seconds
        slot.longest = max(slot.longest, seconds)

    def failed(self, now: float) -> None:
        """Count a failure; *now* is of the monotonic clock."""
        slot = self._slot(now)
        slot.requests += 1
        slot.failures += 1

    def within(self, now: float, seconds: float) -> Sum:
        """Return the sum of the last *seconds*, at most 900, to within one slot."""
        last = int(now // SLOT)
        first = last - int(seconds // SLOT)
        total = Sum()
        for number, slot in zip(self._numbers, self._slots, strict=True):
            if first < number <= last:
                total.requests += slot.requests
                total.failures += slot.failures
                total.seconds += slot.seconds
                total.longest = max(total.longest, slot.longest)
        return total

    def _slot(self, now: float) -> Sum:
        number = int(now // SLOT)
        place = number % _SLOTS
        if self._numbers[place] != number:
            self._numbers[place] = number
            self._slots[place] = Sum()
        return self._slots[place]
