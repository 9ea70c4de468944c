"""How much each consumer has had of this process."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from ..errors import LimitExceeded
from ..identity.consumer import Consumer
from .bucket import Bucket

Trailers: TypeAlias = tuple[tuple[str, str], ...]


class Meters:
    """Counts what consumers use, and refuses what is beyond their limits.

    All is counted by name: a consumer has no more for having two keys. Each process counts for itself.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Count from nothing; *now* is the monotonic clock, seconds."""
        self._now = now
        self._calls: dict[str, Bucket] = {}

    def admit(self, consumer: Consumer) -> None:
        """Count one call of *consumer*.

        Raises:
            LimitExceeded: it is one too many.
        """
        limit = consumer.limits.calls_per_second
        if limit is None:
            return
        now = self._now()
        bucket = self._bucket(consumer.name, limit, now)
        wait = bucket.wait(1, now)
        if wait:
            msg = f"{consumer.name} may make {limit:g} calls a second here"
            raise LimitExceeded("calls_per_second", msg, wait)
        bucket.take(1, now)

    def trailers(self, consumer: Consumer) -> Trailers:
        """Return what an answer to *consumer* says of its calls; nothing to somebody who is not limited.

        That is how many it may make a second, how many at once now, and the seconds until it may make the most again.
        """
        limit = consumer.limits.calls_per_second
        if limit is None:
            return ()
        now = self._now()
        bucket = self._bucket(consumer.name, limit, now)
        return (
            ("x-ratelimit-limit", f"{limit:g}"),
            ("x-ratelimit-remaining", str(max(0, math.floor(bucket.level(now))))),
            ("x-ratelimit-reset", f"{bucket.wait(bucket.limit, now):.3f}"),
        )

    def _bucket(self, name: str, limit: float, now: float) -> Bucket:
        # One second's worth at once, and at least one call.
        bucket = self._calls.get(name)
        most = max(1.0, limit)
        if bucket is None:
            bucket = self._calls[name] = Bucket(most, most / limit, now)
        elif bucket.rate != limit:
            bucket.resize(most, most / limit, now)
        return bucket
