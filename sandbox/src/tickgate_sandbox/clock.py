"""Market time: the instant that the sandbox says it is, and how fast it passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from .calendar import FIRST_INSTANT, LAST_INSTANT

FASTEST: Final = 1_000_000.0
"""The greatest speed: a year takes half a minute."""


def check_speed(speed: float) -> None:
    """Refuse a *speed* that no clock can run at.

    Raises:
        ValueError: *speed* is negative, greater than `FASTEST`, or no number.
    """
    if not 0 <= speed <= FASTEST:
        raise ValueError(f"speed lies between 0 and {FASTEST:,.0f}, not {speed}")


class Jump(NamedTuple):
    """A move of market time by hand."""

    number: int
    """How many there have been; the start is the first."""
    to: int
    """Where it went, in nanoseconds since the epoch."""


class MarketClock:
    """An instant that advances with a monotonic clock, at a chosen speed.

    A replay lives in the time of its recording, so nothing in the sandbox may ask the wall
    clock what the market shows: everything asks this clock. It stands still at the ends of
    the calendar's years, beyond which there are no sessions to tell of.
    """

    def __init__(
        self,
        instant: int,
        speed: float = 1.0,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Start at *instant* (nanoseconds since the epoch).

        Args:
            instant: The market time now, in nanoseconds since the epoch.
            speed: Market seconds per real second; 0 freezes market time.
            monotonic_ns: Where elapsed real time is read.

        Raises:
            ValueError: no clock can run at *speed*.
        """
        check_speed(speed)
        self._monotonic_ns = monotonic_ns
        self._speed = speed
        self._jump = Jump(1, instant)
        self._start_from(instant)

    def now(self) -> int:
        """Return the market time in nanoseconds since the epoch."""
        elapsed = self._monotonic_ns() - self._read_at
        instant = self._instant + round(elapsed * self._speed)
        return min(max(instant, FIRST_INSTANT), LAST_INSTANT)

    @property
    def speed(self) -> float:
        """Market seconds per real second; 0 while frozen."""
        return self._speed

    def seek(self, instant: int) -> None:
        """Jump to *instant* and go on from there at the same speed."""
        self._jump = Jump(self._jump.number + 1, instant)
        self._start_from(instant)

    @property
    def jump(self) -> Jump:
        """The newest jump: who sends what is due must not send what was jumped over."""
        return self._jump

    def set_speed(self, speed: float) -> None:
        """Go on from the present market time at *speed*.

        Raises:
            ValueError: no clock can run at *speed*.
        """
        check_speed(speed)
        self._start_from(self.now())
        self._speed = speed

    def _start_from(self, instant: int) -> None:
        self._instant = instant
        self._read_at = self._monotonic_ns()
