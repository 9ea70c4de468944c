"""Requests that are paid for before they are sent."""

from __future__ import annotations

from ..errors import RateLimited
from ..identity.current import payers
from ..observe.spans import span
from ..ports import Budget, Quota, Reply, Request, Requests


class BudgetedRequests:
    """The wrapped `Requests`, each of which takes its cost out of a budget, and corrects it by what comes back."""

    def __init__(self, requests: Requests, budget: Budget) -> None:
        """Wrap *requests*, which are paid for out of *budget*."""
        self._requests = requests
        self._budget = budget

    async def send(self, request: Request) -> Reply:
        """Send *request* once the budget admits it.

        Raises:
            UpstreamFailure: BudgetExhausted when that would be too late, or what the wrapped requests raise.
        """
        with span("budget"):
            left = await self._budget.spend(
                request.upstream,
                request.priority,
                request.cost,
                request.worth_waiting_until,
                payers(),
            )
        try:
            reply = await self._requests.send(request)
        except RateLimited as limited:
            await self._budget.correct(request.upstream, 0, limited.retry_delay or 0.0)
            raise
        if reply.quota is not None:
            await self._heed(request, reply.quota, left)
        return reply

    async def _heed(self, request: Request, quota: Quota, left: int) -> None:
        self._budget.learn(request.upstream, quota.limit)
        if quota.remaining < left:
            await self._budget.correct(request.upstream, quota.remaining)
