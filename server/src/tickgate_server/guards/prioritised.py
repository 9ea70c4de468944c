"""Requests of one urgency."""

from __future__ import annotations

from msgspec.structs import replace

from ..ports import Priority, Reply, Request, Requests


class PrioritisedRequests:
    """The wrapped `Requests`, for those who ask for themselves and not for somebody who waits."""

    def __init__(self, requests: Requests, priority: Priority) -> None:
        """Wrap *requests*; all that is sent is of class *priority*."""
        self._requests = requests
        self._priority = priority

    async def send(self, request: Request) -> Reply:
        """Send *request* in its class."""
        return await self._requests.send(replace(request, priority=self._priority))
