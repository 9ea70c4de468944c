"""Requests that are counted."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import (
    KeyRefused,
    NotEntitled,
    UpstreamFailure,
    UpstreamRejected,
)
from ..observe.counters import UpstreamCounts
from ..ports import Clock, Reply, Request, Requests


class CountedRequests:
    """The wrapped `Requests`, leaving in counters what became of each."""

    def __init__(
        self, requests: Requests, counts_of: Callable[[str, str], UpstreamCounts], clock: Clock
    ) -> None:
        """Wrap *requests*; *counts_of* gives the counters of an upstream and group."""
        self._requests = requests
        self._counts_of = counts_of
        self._clock = clock

    async def send(self, request: Request) -> Reply:
        """Send *request* and count its outcome. A cancelled request is neither good nor bad."""
        counts = self._counts_of(request.upstream.value, request.group.value)
        counts.requests += 1
        counts.in_flight += 1
        started = self._clock.monotonic()
        try:
            reply = await self._requests.send(request)
        except (UpstreamRejected, NotEntitled):
            # The upstream works: it said no to this question.
            self._succeed(counts, started)
            raise
        except UpstreamFailure as failure:
            counts.failures += 1
            counts.last_failure_time = self._clock.wall()
            counts.last_failure_reason = failure.reason.name
            counts.state = "unauthenticated" if isinstance(failure, KeyRefused) else "failing"
            raise
        else:
            self._succeed(counts, started)
            return reply
        finally:
            counts.in_flight -= 1

    def _succeed(self, counts: UpstreamCounts, started: float) -> None:
        counts.state = "up"
        counts.last_success_time = self._clock.wall()
        counts.last_latency = self._clock.monotonic() - started
