"""What was missed of live feeds."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Mapping
from typing import Final

from ..market.live import Channel, Gap, GapCause
from ..market.provenance import Feed

_MOST: Final = 1000
"""Gaps that are remembered."""


class Gaps:
    """The gaps of all feeds, newest last."""

    def __init__(self, most: int = _MOST) -> None:
        """Remember *most*."""
        self._gaps: deque[Gap] = deque(maxlen=most)
        self._count = 0

    def __len__(self) -> int:
        return len(self._gaps)

    def add(
        self,
        feed: Feed,
        cause: GapCause,
        message: str,
        start: int,
        followed: Mapping[Channel, Collection[str]],
    ) -> Gap:
        """Remember a gap that has begun at *start*, nanoseconds of the wall clock, for what was *followed*."""
        self._count += 1
        parts = {channel: tuple(sorted(symbols)) for channel, symbols in followed.items()}
        if self._gaps and self._gaps[-1].parts == parts:
            # A connection that flaps must not fill the memory with the same ten thousand names.
            parts = self._gaps[-1].parts
        gap = Gap(self._count, feed, cause, message, start, parts=parts)
        self._gaps.append(gap)
        return gap

    def newest_first(self) -> tuple[Gap, ...]:
        """Return all of them."""
        return tuple(reversed(self._gaps))

    def since(self, feed: Feed, time: int) -> list[Gap]:
        """Return the gaps of *feed* that were not over at *time*, nanoseconds of the wall clock, oldest first."""
        return [
            gap for gap in self._gaps if gap.feed is feed and (gap.end is None or gap.end > time)
        ]

    def forgot(self, time: int) -> bool:
        """Tell whether gaps that were not over at *time* may be remembered no longer."""
        return self._count > len(self._gaps) and self._gaps[0].start > time


def was_missed(gap: Gap, channel: Channel, symbol: str) -> bool:
    """Tell whether *symbol* was followed on *channel* in *gap*."""
    # A crowd that comes back after a gap asks this for each of its symbols, of ten thousand.
    symbols = gap.parts.get(channel, ())
    place = bisect_left(symbols, symbol)
    return place < len(symbols) and symbols[place] == symbol
