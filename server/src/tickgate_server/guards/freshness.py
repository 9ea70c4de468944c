"""How old an answer may be and who may give it: what a request asks for, and what holds where it says nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from msgspec import Struct

from ..market.answer import Freshness
from ..market.provenance import FEED_DELAY, Feed, Tier
from ..market.time import NANOS


class FreshnessPolicy(Struct, frozen=True):
    """What holds when a request says nothing, and what holds whatever it says."""

    max_age: int
    """Nanoseconds since the upstream confirmed a value."""

    max_event_age_open: int | None
    """Nanoseconds since a value was stamped, beyond the delay that its feed has by design, while the market is open or
    its session unknown; None is no bound."""

    keep_open: float
    """Seconds that a tier answers from a value while the market is open or its session unknown."""

    keep_otherwise: float
    """Seconds that a tier answers from a value at other times."""

    keep_unknown: float
    """Seconds that a symbol is remembered as unknown. A lack of data is remembered as long as a value."""

    stale_cap: float
    """Longest receive age, in seconds, of a value that bridges an outage."""


class Bounds(Struct, frozen=True, gc=False):
    """One question's freshness with every default filled in."""

    max_age: float
    """Seconds since confirmation."""

    max_event_age: int | None
    """Nanoseconds since the event."""

    keep: float
    """Seconds since confirmation that a tier answers without the upstream being asked."""

    keep_unknown: float
    """Seconds that memory answers that a symbol is unknown."""

    stale_cap: float
    """Seconds since confirmation of a value that may bridge an outage for somebody who allows it."""

    book: bool
    memory: bool
    redis: bool
    upstream: bool
    allow_stale: bool


WorkOut = Callable[[Freshness, Feed, bool], Bounds]
"""Fills in the defaults for a feed; the third argument tells whether the market is open, or its session unknown."""


def bounds_by(policy: FreshnessPolicy) -> WorkOut:
    """Return what fills in the defaults of *policy*."""

    # Most questions name no bounds of their own, and the others repeat theirs.
    @lru_cache(maxsize=256)
    def work_out(asked: Freshness, feed: Feed, strict: bool) -> Bounds:  # noqa: FBT001 - lru_cache's keys
        default_event_age = policy.max_event_age_open if strict else None
        if default_event_age is not None:
            # What a feed is late by design is no fault of the value; an age that is asked for is meant literally.
            default_event_age += FEED_DELAY.get(feed, 0)
        max_age = (policy.max_age if asked.max_age is None else asked.max_age) / NANOS
        keep = policy.keep_open if strict else policy.keep_otherwise
        if asked.max_event_age is not None:
            # What was confirmed longer ago cannot be young enough; what the upstream holds by now may be.
            keep = min(keep, asked.max_event_age / NANOS)
        allowed = frozenset(Tier) if asked.allowed_tiers is None else asked.allowed_tiers
        upstream = Tier.UPSTREAM in allowed
        return Bounds(
            max_age=max_age,
            max_event_age=(
                default_event_age if asked.max_event_age is None else asked.max_event_age
            ),
            # Where nobody else may be asked there is nothing to gain from passing over what is fresh enough.
            keep=min(max_age, keep) if upstream else max_age,
            keep_unknown=min(max_age, policy.keep_unknown),
            stale_cap=policy.stale_cap,
            book=Tier.BOOK in allowed,
            memory=Tier.MEMORY in allowed,
            redis=Tier.REDIS in allowed,
            upstream=upstream,
            allow_stale=asked.allow_stale,
        )

    return work_out
