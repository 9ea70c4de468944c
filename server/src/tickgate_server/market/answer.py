"""Questions for latest values and their answers, as tiers hand them to each other."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from .provenance import Feed, Tier
from .time import NANOS

V = TypeVar("V")


ANY_AGE: Final = 10 * 366 * 24 * 3600 * NANOS
"""Nanoseconds of an age that bounds nothing: a symbol that has not moved for years stands where it stands."""


class Freshness(Struct, frozen=True, gc=False):
    """How old an answer may be and where it may come from; None means the gateway's default."""

    max_age: int | None = None
    """Nanoseconds since the upstream last confirmed the value."""

    max_event_age: int | None = None
    """Nanoseconds since the exchange stamped the value."""

    allowed_tiers: frozenset[Tier] | None = None
    allow_stale: bool = False


class Question(Struct, frozen=True, gc=False):
    """What one caller wants to know: the latest value of each of some symbols on one feed."""

    symbols: tuple[str, ...]
    feed: Feed
    deadline: float
    """When the caller stops waiting, seconds of the monotonic clock."""

    freshness: Freshness = Freshness()
    min_quality: int = 0
    """Lowest quality score of a quote that is good enough; 0 takes any."""

    wanted_until: float | None = None
    """When the last of those for whom it is asked has gone, as far as is known when it is asked; None is `deadline`. A
    shared question may go on after that for somebody who joins later."""

    def about(self, symbols: tuple[str, ...]) -> Question:
        """Return the same question about *symbols*."""
        return replace(self, symbols=symbols)


class Held(Struct, Generic[V]):
    """A value that a tier holds.

    `encoded` belongs to whoever sends values out: the immutable part is encoded once, when it is first served, and kept
    here. Nobody else looks inside.
    """

    value: V
    confirmed_at: float
    """When the upstream last confirmed it, seconds of the monotonic clock."""

    encoded: Any = None


class Answer(Struct, Generic[V], frozen=True, gc=False):
    """A value, and how it came to be the answer."""

    held: Held[V]
    served_from: Tier
    stale: bool = False

    @property
    def value(self) -> V:
        """The value itself."""
        return self.held.value
