"""A bucket of what may be had in a time, and how much of it is left."""

from __future__ import annotations

_DUST = 1e-6
"""Requests that rounding may hide: a level this close below what is needed is enough."""


class Bucket:
    """Holds requests up to a limit, and gets back as many in each window, steadily.

    It is the same law as GCRA, which is applied in Redis: that keeps the moment at which the bucket will be full, this
    keeps the level that follows from it. The level may be negative, when more was spent than there was.
    """

    __slots__ = ("_at", "_level", "limit", "rate")

    def __init__(self, limit: float, window: float, now: float) -> None:
        """Start full at *now*: room for *limit* requests, which *window* seconds bring back."""
        self.limit = limit
        self.rate = limit / window
        self._level = limit
        self._at = now

    def level(self, now: float) -> float:
        """Return the requests that are left at *now*, seconds of the monotonic clock."""
        level = self._level + (now - self._at) * self.rate
        # min() would take as long as all the rest, and this is read in every call.
        return level if level < self.limit else self.limit  # noqa: FURB136

    def full(self, now: float) -> bool:
        """Return whether nothing is missing at *now*."""
        return self.level(now) >= self.limit

    def set(self, level: float, now: float) -> None:
        """Hold *level* from *now* on."""
        self._level = level
        self._at = now

    def cap(self, level: float, at: float, now: float) -> None:
        """Hold no more than *level* was at the moment *at*, and what has come back since."""
        seen = level + (now - at) * self.rate
        if seen < self.level(now):
            self.set(seen, now)

    def take(self, cost: float, now: float) -> None:
        """Take *cost* requests out, whether they are there or not."""
        self.set(self.level(now) - cost, now)

    def spend(self, cost: float, now: float) -> float:
        """Take *cost* requests out if they are there, and return 0; else the seconds until they will be."""
        # All in one: every call asks.
        level = self.level(now)
        if cost - level > _DUST:
            return (cost - level) / self.rate
        self._level, self._at = level - cost, now
        return 0.0

    def wait(self, needed: float, now: float) -> float:
        """Return the seconds until *needed* requests are there, if nobody takes any."""
        missing = needed - self.level(now)
        return missing / self.rate if missing > _DUST else 0.0

    def resize(self, limit: float, window: float, now: float) -> None:
        """Take on another limit; the level stays where the new limit has room for it."""
        level = self.level(now)
        self.limit = limit
        self.rate = limit / window
        self.set(min(level, limit), now)
