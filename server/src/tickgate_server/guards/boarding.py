"""How calls for single keys wait for each other, so that they travel as one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from msgspec import Struct

from ..errors import UpstreamFailure, UpstreamTimeout
from ..observe.spans import current

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Boarding(Struct, frozen=True):
    """How calls for single keys wait for each other, so that they travel as one."""

    window: float
    """A call leaves once nobody has joined it for so many seconds; zero lets each leave by itself."""

    longest: float
    """Seconds that anybody waits at most, also behind a call that is under way. Only an event loop that cannot keep up
    with those who arrive takes longer, ten times as long at most."""

    most: int
    """Keys of one call; with so many it leaves at once."""


_QUIET = 1.0
"""Seconds without another call on a line after which one counts as alone and does not wait: at one call a second there
is no company to wait for."""

_LAST_CALL = 10
"""Turns of the event loop for which a call looks around before it leaves, a tenth of a millisecond: whoever has arrived
already and only waits for the loop's attention gets it within them."""

_LAGGING = 9
"""How many times `longest` a call may wait on top of it, while somebody joins in each look around: in a burst the loop
hears of new callers late, and answers of earlier ones would be no sooner if it left without them."""


class Flight(Generic[K, T]):
    """One call, waiting to leave or under way, and how many wait for it."""

    def __init__(self, keys: list[K]) -> None:
        self.keys = keys
        self.leader = current()
        """What the first asker was doing, where that is traced: the call is a part of it."""

        self.party: dict[str, None] = {}
        """Names of those who have asked so far, in the order in which they came."""

        self.askers = 0
        self.wanted_until = -math.inf
        """When the last of those who have asked so far will have left, seconds of the monotonic clock."""

        self.departure: asyncio.Future[None] | None = None
        """Done when it leaves; None when it does not wait."""

        self.task: asyncio.Task[Mapping[K, T]]

    def depart(self) -> None:
        """Leave now, if it still waits."""
        if self.departure is not None and self.waits:
            self.departure.set_result(None)

    @property
    def waits(self) -> bool:
        """Whether it takes whoever comes."""
        return self.departure is not None and not self.departure.done()

    def call_back(self, message: str | None) -> None:
        """Cancel it, with *message*."""
        self.task.cancel(message)
        if self.departure is not None:
            # A task that has not begun would never look at it.
            self.departure.cancel()

    def landed(self, key: K) -> T | UpstreamFailure:
        """Return what it found for *key*, or why it found nothing; while it is away, that it is late."""
        if not self.task.done():
            return UpstreamTimeout("there was no answer before the deadline")
        try:
            return self.task.result()[key]
        except UpstreamFailure as failure:
            return failure


class Line(Generic[K, T]):
    """Calls for single keys that may travel together."""

    def __init__(self, boarding: Boarding) -> None:
        self._boarding = boarding
        self._last_call_at = -math.inf
        self._joined_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._leave_by = 0.0
        self._waiting: Flight[K, T] | None = None
        self.in_air = 0

    @property
    def waiting(self) -> Flight[K, T] | None:
        """The flight that takes whoever comes, if there is one."""
        flight = self._waiting
        return flight if flight is not None and flight.waits else None

    def open(self, flight: Flight[K, T], now: float) -> None:
        """Let *flight* take whoever comes until it leaves; *now* is of the monotonic clock, as for `join`."""
        loop = asyncio.get_running_loop()
        flight.departure = loop.create_future()
        flight.departure.add_done_callback(lambda _: self._close(flight))
        self._waiting = flight
        self._joined_at = loop.time()
        self._leave_by = self._joined_at + self._boarding.longest
        alone = now - self._last_call_at >= _QUIET and self.in_air == 0
        self._last_call_at = now
        if self._boarding.window == 0:
            flight.depart()
        elif alone:
            self._last_call(flight, 1, _LAST_CALL)
        else:
            self._wait(flight)

    def join(self, flight: Flight[K, T], key: K, now: float) -> None:
        """Let *key* travel with *flight*, which is waiting."""
        flight.keys.append(key)
        self._last_call_at = now
        self._joined_at = asyncio.get_running_loop().time()
        if len(flight.keys) >= self._boarding.most:
            flight.depart()
        else:
            self._wait(flight)

    def landed(self) -> None:
        """Note that a call of this line is back."""
        self.in_air -= 1
        flight = self.waiting
        if flight is not None:
            self._wait(flight)

    def _wait(self, flight: Flight[K, T]) -> None:
        """Set the time at which *flight* leaves. Who joins puts it off, for no longer than anybody may wait."""
        if self._timer is not None:
            self._timer.cancel()
        # Behind a call that is under way there is no hurry: its landing sets the time anew.
        nobody_comes = math.inf if self.in_air else self._joined_at + self._boarding.window
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(min(self._leave_by, nobody_comes), self._due, flight)

    def _due(self, flight: Flight[K, T]) -> None:
        # A loop that does not keep up has not heard everybody yet.
        if asyncio.get_running_loop().time() >= self._leave_by + _LAGGING * self._boarding.longest:
            flight.depart()
        else:
            self._last_call(flight, len(flight.keys), _LAST_CALL)

    def _last_call(self, flight: Flight[K, T], size: int, turns: int) -> None:
        if len(flight.keys) > size:
            # Who joined has set a new time.
            return
        if turns == 0 or not flight.waits:
            flight.depart()
        else:
            asyncio.get_running_loop().call_soon(self._last_call, flight, size, turns - 1)

    def _close(self, flight: Flight[K, T]) -> None:
        if self._waiting is flight:
            self._waiting = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
