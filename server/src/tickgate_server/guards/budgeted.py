"""Requests that are paid for before they are sent."""

from __future__ import annotations

from contextlib import suppress

from ..errors import BudgetExhausted, RateLimited
from ..ports import Budget, Clock, Priority, Quota, Reply, Request, Requests


class BudgetedRequests:
    """The wrapped `Requests`, each of which takes its cost out of a budget, and corrects it by what comes back."""

    def __init__(self, requests: Requests, budget: Budget, clock: Clock) -> None:
        """Wrap *requests*; deadlines are of *clock*."""
        self._requests = requests
        self._budget = budget
        self._clock = clock

    async def send(self, request: Request) -> Reply:
        """Send *request* once the budget admits it.

        Raises:
            UpstreamFailure: BudgetExhausted when that would be too late, or what the wrapped requests raise.
        """
        left = await self._budget.spend(
            request.upstream, request.priority, request.cost, request.worth_waiting_until
        )
        try:
            reply = await self._requests.send(request)
        except RateLimited as limited:
            await self._budget.correct(request.upstream, 0, limited.retry_delay or 0.0)
            raise
        finally:
            await self._pay_for_resent(request)
        if reply.quota is not None:
            await self._heed(request, reply.quota, left)
        return reply

    async def _heed(self, request: Request, quota: Quota, left: int) -> None:
        self._budget.learn(request.upstream, quota.limit)
        if quota.remaining < left:
            await self._budget.correct(request.upstream, quota.remaining)

    async def _pay_for_resent(self, request: Request) -> None:
        """Count what the connection pool sent once more by itself, as far as there is budget left for it."""
        resent, request.effort.resent = request.effort.resent, 0
        if resent:
            with suppress(BudgetExhausted):
                await self._budget.spend(
                    request.upstream, Priority.INTERACTIVE, resent, self._clock.monotonic()
                )
