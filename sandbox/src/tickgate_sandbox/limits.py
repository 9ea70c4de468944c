"""Alpaca's request limit: a bucket that refills evenly over the minute."""

from __future__ import annotations

import time
from collections.abc import Callable

from .timestamps import MINUTE, SECOND


class TokenBucket:
    """Admits *per_minute* requests at once, and one more each time its share has passed."""

    def __init__(
        self, per_minute: int, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Start full.

        Args:
            per_minute: Capacity, and what a minute brings back.
            monotonic_ns: Where elapsed real time is read.
        """
        self.per_minute = per_minute
        self._monotonic_ns = monotonic_ns
        self._level = float(per_minute)
        self._read_at = monotonic_ns()

    def take(self) -> bool:
        """Spend one request; return whether there was one to spend."""
        self._refill()
        if self._level < 1:
            return False
        self._level -= 1
        return True

    @property
    def remaining(self) -> int:
        """Requests that would be admitted right now."""
        return int(self._level)

    @property
    def seconds_until_full(self) -> float:
        """Seconds until the bucket is as full as it gets."""
        return (self.per_minute - self._level) * MINUTE / self.per_minute / SECOND

    def _refill(self) -> None:
        now = self._monotonic_ns()
        gained = (now - self._read_at) * self.per_minute / MINUTE
        self._level = min(float(self.per_minute), self._level + gained)
        self._read_at = now
