"""How much each consumer has had of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from ..errors import LimitExceeded
from ..identity.consumer import Consumer
from .bucket import Bucket

RATE_LIMIT: Final = "ratelimit"
"""Trailer that tells how a consumer's limit of calls stands: one for all of it, since each takes gRPC some 3 µs."""

_DAY: Final = 24 * 3600.0

_FEW: Final = 256
"""Buckets that are kept without a look at who still needs his."""


@lru_cache(maxsize=256)
def _stated(limit: float) -> str:
    return f"limit={limit:.15g}, remaining="


class Meters:
    """Counts what consumers use, and refuses what is beyond their limits.

    All is counted by name: a consumer has no more for having two keys. Each process counts for itself. Calls and
    points of whoever has no limit are not counted, and a bucket that is full again is forgotten: a new one is the same.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Count from nothing; *now* is the monotonic clock, seconds."""
        self._now = now
        self._calls: dict[str, Bucket] = {}
        self._points: dict[str, Bucket] = {}
        self._streams: dict[str, int] = {}
        self._many = _FEW

    # ---------------------------------------------------------------------------------------- calls

    def admit(self, consumer: Consumer) -> None:
        """Count one call of *consumer*.

        Raises:
            LimitExceeded: it is one too many.
        """
        limit = consumer.limits.calls_per_second
        if limit is None:
            return
        now = self._now()
        wait = self._calls_of(consumer.name, limit, now).spend(1, now)
        if wait:
            msg = f"calls a second: {consumer.name} may make {limit:.15g} here"
            raise LimitExceeded("calls_per_second", msg, wait)

    def trailer(self, consumer: Consumer) -> tuple[str, str] | None:
        """Return what an answer to *consumer* says of its calls; None to somebody who is not limited.

        That is how many it may make a second, how many at once now, and the seconds until it may make the most again.
        """
        limit = consumer.limits.calls_per_second
        if limit is None:
            return None
        now = self._now()
        bucket = self._calls_of(consumer.name, limit, now)
        level = bucket.level(now)
        reset = (bucket.limit - level) / limit
        return RATE_LIMIT, f"{_stated(limit)}{int(level)}, reset={reset:.3f}"

    def _calls_of(self, name: str, limit: float, now: float) -> Bucket:
        bucket = self._calls.get(name)
        if bucket is not None and bucket.rate == limit:
            return bucket
        # One second's worth at once, and at least one call.
        most = max(1.0, limit)
        return self._bucket(self._calls, name, most, most / limit, now)

    # -------------------------------------------------------------------------------------- streams

    @contextmanager
    def stream(self, consumer: Consumer) -> Iterator[None]:
        """Count one stream of *consumer* for the length of the block.

        Raises:
            LimitExceeded: it is one too many.
        """
        name, limit = consumer.name, consumer.limits.streams
        if not name:
            yield
            return
        # Also without a limit: there may be one tomorrow, and then these count.
        there = self._streams.get(name, 0)
        if limit is not None and there >= limit:
            msg = f"streams at once: {name} may have {limit} here, and has them; end one first"
            raise LimitExceeded("streams", msg)
        self._streams[name] = there + 1
        try:
            yield
        finally:
            left = self._streams[name] - 1
            if left:
                self._streams[name] = left
            else:
                del self._streams[name]

    # ------------------------------------------------------------------------------- points of the past

    def points_refusal(self, consumer: Consumer) -> LimitExceeded | None:
        """Return why *consumer* gets nothing of the past now; None where it does.

        What is delivered is counted afterwards, so one answer may take more than there was; the next then waits until
        that has come back.
        """
        limit = consumer.limits.history_points_per_day
        if limit is None:
            return None
        now = self._now()
        wait = self._points_of(consumer.name, limit, now).wait(1, now)
        if not wait:
            return None
        msg = f"points of the past within 24 hours: {consumer.name} may have {limit} here, and has had them"
        return LimitExceeded("history_points_per_day", msg, wait)

    def charge_points(self, consumer: Consumer, points: int) -> None:
        """Count *points* of the past that *consumer* was given: bars, trades and quotes, one each."""
        limit = consumer.limits.history_points_per_day
        if limit is not None and points:
            now = self._now()
            self._points_of(consumer.name, limit, now).take(points, now)

    def _points_of(self, name: str, limit: int, now: float) -> Bucket:
        bucket = self._points.get(name)
        if bucket is not None and bucket.limit == limit:
            return bucket
        return self._bucket(self._points, name, limit, _DAY, now)

    # -------------------------------------------------------------------------------------- buckets

    @property
    def known(self) -> int:
        """How many buckets are kept."""
        return len(self._calls) + len(self._points)

    def _bucket(
        self, buckets: dict[str, Bucket], name: str, limit: float, window: float, now: float
    ) -> Bucket:
        """Return the bucket of *name*, which may be new, or have had another limit until its key was changed."""
        bucket = buckets.get(name)
        if bucket is not None:
            bucket.resize(limit, window, now)
            return bucket
        if self.known >= self._many:
            self._forget(now)
        bucket = buckets[name] = Bucket(limit, window, now)
        return bucket

    def _forget(self, now: float) -> None:
        for buckets in (self._calls, self._points):
            for name in [one for one, bucket in buckets.items() if bucket.full(now)]:
                del buckets[name]
        # As many again may come before the next look, so that each costs its share of one.
        self._many = max(_FEW, 2 * self.known)
