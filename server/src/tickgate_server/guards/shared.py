"""The tier that replicas share, as one gateway asks it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from ..market.answer import Held
from ..market.provenance import Feed
from ..observe.counters import CacheCounts, TierCounts
from ..ports import Clock, HotCache, Key
from .boarding import Boarding
from .flights import Flights
from .memory import Newest

V = TypeVar("V")

_TOGETHER = Boarding(window=0.0005, longest=0.002, most=200)
"""Looks at single keys that meet within half a millisecond travel as one; a round trip takes about as long."""

_PATIENCE = 1.0
"""Seconds that a look takes at most, whatever the cache's own limit is."""


class Look(Struct, Generic[V], frozen=True):
    """What the tier said about one symbol."""

    held: Held[V] | None
    """None when it holds nothing, or did not answer."""

    answered: bool
    at: float
    """Seconds of the monotonic clock."""


class SharedTier(Generic[V]):
    """A `HotCache` that is asked once for simultaneous askers, and not again at once for what it did not have."""

    def __init__(
        self,
        cache: HotCache[V],
        counts: TierCounts,
        clock: Clock,
        *,
        believe: float,
        capacity: int,
        kept: CacheCounts | None = None,
    ) -> None:
        """Ask *cache*.

        Args:
            cache: holds the values.
            counts: tell whether it can be asked.
            clock: measures.
            believe: seconds for which it is believed to hold nothing newer than it just did. While the upstream is
                away every question would otherwise cost a round trip that finds nothing.
            capacity: looks remembered at most.
            kept: where hits and misses are counted; *counts* where nobody says.
        """
        self._cache = cache
        self._clock = clock
        self._believe = believe
        self._flights: Flights[Key, Look[V]] = Flights(_PATIENCE, clock.monotonic, _TOGETHER)
        self._looks: Newest[Look[V]] = Newest(capacity)
        self._superseded: Newest[float] = Newest(capacity)
        self.counts = counts
        self.kept = kept or counts

    async def recall(self, keys: Sequence[Key], deadline: float) -> Mapping[Key, Look[V]]:
        """Return what the tier says about each of *keys*, before *deadline* (seconds of the monotonic clock)."""
        since = self._clock.monotonic() - self._believe
        looks = {
            key: look
            for key in keys
            if (look := self._looks.get(key)) is not None and look.at > since
        }
        rest = [key for key in keys if key not in looks]
        if not rest:
            return looks
        if self.counts.state != "up":
            return looks | dict.fromkeys(rest, self._no_answer())
        outcomes = await self._flights.join(rest, self._ask, deadline, line="look")
        return looks | {
            key: outcome if isinstance(outcome, Look) else self._no_answer()
            for key, outcome in outcomes.items()
        }

    def supersede(self, key: Key) -> None:
        """Take what was confirmed before now for nothing: the upstream has since said something that is no value."""
        self.kept.invalidations += 1
        self._superseded.put(key, self._clock.monotonic())
        self._looks.pop(key, None)

    def put(self, values: Mapping[Key, Held[V]]) -> None:
        """Hold *values* for all replicas, soon."""
        for key in values:
            self._looks.pop(key, None)
        self._cache.put(values)

    async def forget(
        self, feeds: Collection[Feed] | None, symbols: Collection[str] | None
    ) -> int | None:
        """Forget values, None standing for all; return how many, or None when the tier cannot be had."""
        self._looks.clear()
        return await self._cache.drop(feeds, symbols)

    async def _ask(self, keys: list[Key], _: float) -> Mapping[Key, Look[V]]:
        held = await self._cache.get(keys)
        if held is None:
            return dict.fromkeys(keys, self._no_answer())
        now = self._clock.monotonic()
        looks = {
            key: Look(self._still_good(key, held.get(key)), answered=True, at=now) for key in keys
        }
        for key, look in looks.items():
            self._looks.put(key, look)
        return looks

    def _still_good(self, key: Key, held: Held[V] | None) -> Held[V] | None:
        if held is None or held.confirmed_at <= self._superseded.get(key, -math.inf):
            return None
        return held

    def _no_answer(self) -> Look[V]:
        return Look(None, answered=False, at=self._clock.monotonic())
