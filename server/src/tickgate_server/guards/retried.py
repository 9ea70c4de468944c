"""Requests that are repeated after a failure that may pass."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final, TypeGuard

from msgspec import Struct
from stamina import AsyncRetryingCaller

from ..errors import (
    BudgetExhausted,
    CircuitOpen,
    RateLimited,
    UnexpectedStatus,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from ..observe.counters import UpstreamCounts
from ..ports import Clock, Group, Reply, Request, Requests, Upstream

_CALLER: Final = AsyncRetryingCaller(attempts=None, timeout=None)
"""Repeats for as long as it is told to: how often and how long is for the policy and the deadline to say."""


class RetryPolicy(Struct, frozen=True):
    """How often and after what pause a request is repeated. Times in seconds."""

    most: int
    """Repetitions for one question, over all of its requests."""

    wait_initial: float
    """Bound of the pause before the first repetition; it doubles each time."""

    wait_most: float
    """Bound of any pause."""

    def pause(self, repeated: int, lot: float) -> float:
        """Return the pause after *repeated* repetitions; *lot*, from 0 up to 1, draws it from all up to its bound.

        From all of them, so that callers who failed together do not come back together.
        """
        return lot * min(self.wait_most, self.wait_initial * 2.0**repeated)


class RetriedRequests:
    """The wrapped `Requests`, asked again after 429, 5xx and broken connections, as long as it makes sense."""

    def __init__(
        self,
        requests: Requests,
        policy: RetryPolicy,
        clock: Clock,
        counts_of: Callable[[str, str], UpstreamCounts],
        may_repeat: Callable[[Upstream, Group], bool],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Wrap *requests*.

        Args:
            requests: what is asked.
            policy: how often and after what pause it is asked again.
            clock: measures deadlines.
            counts_of: gives the counters of an upstream and group.
            may_repeat: whether a group may be asked again now. Not while a circuit holds it back: the try whether it is
                back must remain one request.
            chance: draws the pauses, from 0 up to 1.
        """
        self._requests = requests
        self._policy = policy
        self._clock = clock
        self._counts_of = counts_of
        self._may_repeat = may_repeat
        self._chance = chance

    async def send(self, request: Request) -> Reply:
        """Send *request*, again where that may help and its deadline allows it.

        Raises:
            UpstreamFailure: the last that the upstream itself gave. That a repetition found no budget, an open
                circuit, or no answer in time, does not replace it.
            asyncio.CancelledError: with that failure as its cause, if there is one.
        """
        last: UpstreamFailure | None = None

        def pause_after(error: Exception) -> bool | float:
            nonlocal last
            if not _may_pass(error):
                return False
            last = error
            return self._pause(request, last)

        async def attempt() -> Reply:
            if last is not None:
                self._begin_repetition(request, last)
            return await self._requests.send(request)

        try:
            return await _CALLER(pause_after, attempt)
        except (UpstreamTimeout, BudgetExhausted, CircuitOpen) as unanswered:
            if last is None:
                raise
            raise last from unanswered
        except asyncio.CancelledError as called_back:
            raise called_back from last

    def _pause(self, request: Request, failure: UpstreamFailure) -> bool | float:
        """Return the pause before the next attempt, or False when there is to be none, as stamina wants it."""
        effort = request.effort
        if effort.retries >= self._policy.most:
            return False
        if not self._may_repeat(request.upstream, request.group):
            return False
        pause = (failure.retry_delay or 0.0) + self._policy.pause(effort.retries, self._chance())
        if self._clock.monotonic() + pause >= request.worth_waiting_until:
            return False
        effort.retries += 1
        return pause

    def _begin_repetition(self, request: Request, failure: UpstreamFailure) -> None:
        if not self._may_repeat(request.upstream, request.group):
            # A circuit opened during the pause.
            raise failure
        self._counts_of(request.upstream.value, request.group.value).retries += 1


def _may_pass(error: Exception) -> TypeGuard[UpstreamFailure]:
    return isinstance(error, (RateLimited, UpstreamBroken, UpstreamUnreachable)) and not isinstance(
        error, UnexpectedStatus
    )
