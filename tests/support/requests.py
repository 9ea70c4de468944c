"""Requests whose outcomes are staged: by a script, or by hand while they are held."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tickgate_server.errors import UpstreamFailure
from tickgate_server.ports import Group, Priority, Reply, Request, Upstream

from .fakes import NOW, HandClock

Step = UpstreamFailure | None
"""What becomes of a request: a failure, or an answer."""


class StagedRequests:
    """An upstream as seen over `Requests`: each request takes some time and ends as its step of the script says.

    Beyond its script it answers. While it is held, a request ends when the test says so.
    """

    def __init__(self, clock: HandClock, script: Iterable[Step] = ()) -> None:
        self._clock = clock
        self.script = list(script)
        self.seconds = 0.0
        """How long each request takes."""

        self.held = False
        self.sent: list[Request] = []
        self.under_way: list[asyncio.Future[Step]] = []
        """Requests that are held, in the order of their arrival; those that have ended among them."""

        self.most_at_once = 0

    async def send(self, request: Request) -> Reply:
        """End as staged."""
        self.sent.append(request)
        step = await self._hold() if self.held else self._next()
        self._clock.advance(self.seconds)
        if step is not None:
            raise step
        return Reply(b"{}", f"up-{len(self.sent)}", NOW, self._clock.monotonic())

    def end(self, number: int, step: Step = None) -> None:
        """Let the held request of this *number*, from 0, end."""
        self.under_way[number].set_result(step)

    def _next(self) -> Step:
        return self.script.pop(0) if self.script else None

    async def _hold(self) -> Step:
        end: asyncio.Future[Step] = asyncio.get_running_loop().create_future()
        self.under_way.append(end)
        self.most_at_once = max(self.most_at_once, sum(not end.done() for end in self.under_way))
        return await end


def request(
    path: str = "/path",
    *,
    upstream: Upstream = Upstream.DATA,
    group: Group = Group.LATEST,
    deadline: float = 1010.0,
    priority: Priority = Priority.INTERACTIVE,
) -> Request:
    """A request that a `HandClock` at its start leaves ten seconds for."""
    return Request(upstream, group, path, {"symbols": "AAPL"}, deadline, priority)
