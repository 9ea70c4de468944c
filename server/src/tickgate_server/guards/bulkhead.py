"""Requests of which only so many are under way at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from ..errors import Crowded
from ..observe.counters import UpstreamCounts
from ..observe.spans import span
from ..ports import Clock, Priority, Reply, Request, Requests


class BulkheadRequests:
    """The wrapped `Requests`, with so many places. Who finds none waits: the most urgent first, in order of arrival."""

    def __init__(
        self,
        requests: Requests,
        places: int,
        counts_of: Callable[[str, str], UpstreamCounts],
        clock: Clock,
    ) -> None:
        """Wrap *requests*; *counts_of* gives the counters of an upstream and group."""
        self._requests = requests
        self._free = places
        self._counts_of = counts_of
        self._clock = clock
        # Ordered, so that leaving from the middle costs as little as from the front.
        self._lines: dict[Priority, OrderedDict[asyncio.Future[None], None]] = {
            priority: OrderedDict() for priority in Priority
        }

    async def send(self, request: Request) -> Reply:
        """Send *request* when there is a place for it.

        Raises:
            Crowded: there was none before its deadline.
            UpstreamFailure: what sending it raises.
        """
        if self._free:
            self._free -= 1
        else:
            with span("place"):
                await self._wait(request)
        try:
            return await self._requests.send(request)
        finally:
            self._pass_on()

    async def _wait(self, request: Request) -> None:
        counts = self._counts_of(request.upstream.value, request.group.value)
        line = self._lines[request.priority]
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        patience = max(0.0, request.deadline - self._clock.monotonic())
        line[turn] = None
        counts.queued += 1
        try:
            await asyncio.wait([turn], timeout=patience)
        except asyncio.CancelledError:
            if turn.done():
                self._pass_on()
            raise
        finally:
            counts.queued -= 1
            line.pop(turn, None)
        if not turn.done():
            msg = f"too many requests are waiting to reach {request.upstream.value}"
            raise Crowded(msg)

    def _pass_on(self) -> None:
        # A place goes from hand to hand, so that nobody who comes just now overtakes those who wait.
        for line in self._lines.values():
            if line:
                turn, _ = line.popitem(last=False)
                turn.set_result(None)
                return
        self._free += 1
