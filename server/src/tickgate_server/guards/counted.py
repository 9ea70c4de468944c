"""Requests that are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import (
    KeyRefused,
    NotEntitled,
    UpstreamFailure,
    UpstreamRejected,
    UpstreamTimeout,
)
from ..market.unavailable import Reason
from ..observe.counters import UpstreamCounts, UpstreamState
from ..ports import Clock, Reply, Request, Requests
from .flights import TIME_IS_UP

FAIR_WAIT = 0.2
"""Seconds on the wire that an upstream should need at most: a caller with less patience says nothing about it.

It is what remains of a deadline of 250 ms, which counts, when a tenth is kept for the reply (`flights`) and 25 ms were
spent on waiting for others to travel with."""

ANSWERED = "answered"
"""Outcome of a request that was answered well."""

_ABANDONED = "abandoned"
"""Outcome of a request for whose answer nobody waited as long as an upstream may take."""

_FAULT = "INTERNAL"
"""Outcome of a request that failed by a fault of ours."""


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
        """Send *request*, count its outcome, and add the seconds it was waited for to the question's effort.

        A request whose deadline passes, or that is called back, is neither good nor bad, unless it was waited for in
        vain for so long that it should have been answered.
        """
        counts = self._counts_of(request.upstream.value, request.group.value)
        started = self._clock.monotonic()
        outcome = _FAULT
        counts.requests += 1
        counts.in_flight += 1
        counts.last_request_at = started
        try:
            reply = await self._requests.send(request)
        except (UpstreamRejected, NotEntitled) as failure:
            # The upstream works: it said no to this question.
            outcome = failure.reason.name
            self._succeed(counts, started)
            raise
        except UpstreamTimeout as failure:
            outcome = _ABANDONED
            if self._fairly_waited(started):
                outcome = failure.reason.name
                self._fail(counts, failure.reason, "failing")
            raise
        except UpstreamFailure as failure:
            outcome = failure.reason.name
            state: UpstreamState = (
                "unauthenticated" if isinstance(failure, KeyRefused) else "failing"
            )
            self._fail(counts, failure.reason, state)
            raise
        except asyncio.CancelledError as called_back:
            outcome = _ABANDONED
            if called_back.args == (TIME_IS_UP,) and self._fairly_waited(started):
                outcome = Reason.UPSTREAM_TIMEOUT.name
                self._fail(counts, Reason.UPSTREAM_TIMEOUT, "failing")
            raise
        else:
            outcome = ANSWERED
            self._succeed(counts, started)
            return reply
        finally:
            counts.in_flight -= 1
            took = self._clock.monotonic() - started
            counts.took(outcome, took)
            request.effort.on_wire += took

    def _fairly_waited(self, started: float) -> bool:
        return self._clock.monotonic() - started >= FAIR_WAIT

    def _fail(self, counts: UpstreamCounts, reason: Reason, state: UpstreamState) -> None:
        counts.failures += 1
        counts.last_failure_time = self._clock.wall()
        counts.last_failure_reason = reason.name
        counts.recent.failed(self._clock.monotonic())
        counts.state = state

    def _succeed(self, counts: UpstreamCounts, started: float) -> None:
        now = self._clock.monotonic()
        counts.state = "up"
        counts.last_success_time = self._clock.wall()
        counts.last_latency = now - started
        counts.recent.succeeded(now, counts.last_latency)
