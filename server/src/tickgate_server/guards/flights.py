"""Single flight: simultaneous identical questions travel together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from ..errors import UpstreamFailure, UpstreamTimeout

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

TIME_IS_UP = "time is up"
"""Message of the cancellation of a call whose last asker's deadline has passed, in contrast to one who went away."""

_REPLY_SHARE = 0.1
_REPLY_MOST = 0.05
"""An asker is told that time is up a tenth of its wait before its deadline, at most this many seconds, so that the
reason still reaches it."""


class _Flight(Generic[K, T]):
    """One call under way and how many wait for it."""

    def __init__(self, task: asyncio.Task[Mapping[K, T]], keys: list[K]) -> None:
        self.task = task
        self.keys = keys
        self.askers = 0

    def landed(self, key: K) -> T | UpstreamFailure:
        if not self.task.done():
            return UpstreamTimeout("the upstream did not answer before the deadline")
        try:
            return self.task.result()[key]
        except UpstreamFailure as failure:
            return failure


class Flights(Generic[K, T]):
    """Runs one call for all who ask for the same keys at the same time.

    A call is a task of its own. Each asker leaves at its own deadline without disturbing the others; when the last one
    has left, the call is cancelled. No call outlives `cap`.
    """

    def __init__(self, cap: float, now: Callable[[], float]) -> None:
        """Bound every call.

        Args:
            cap: seconds that a shared call may take at most, whatever its askers would wait.
            now: the monotonic clock, seconds.
        """
        self._cap = cap
        self._now = now
        self._by_key: dict[K, _Flight[K, T]] = {}

    async def join(
        self,
        keys: Iterable[K],
        start: Callable[[list[K], float], Awaitable[Mapping[K, T]]],
        deadline: float,
    ) -> dict[K, T | UpstreamFailure]:
        """Return what was found for each of *keys*, or why the call that was to find it failed.

        Args:
            keys: what is asked for. Those that are being asked for already are waited for; *start* gets the rest.
            start: begins one call for a list of keys, which must end before the deadline it is given.
            deadline: when this asker leaves, seconds of the monotonic clock. A key whose call is not back by then is an
                `UpstreamTimeout`; the others are not harmed.
        """
        boarded = self._board(keys, start)
        for flight in boarded:
            flight.askers += 1
        wait = max(0.0, deadline - self._now())
        patience = wait - min(wait * _REPLY_SHARE, _REPLY_MOST)
        in_time = True
        try:
            _, late = await asyncio.wait([flight.task for flight in boarded], timeout=patience)
            in_time = not late
            return {key: flight.landed(key) for flight, held in boarded.items() for key in held}
        finally:
            for flight in boarded:
                self._leave(flight, in_time=in_time)

    def _board(
        self,
        keys: Iterable[K],
        start: Callable[[list[K], float], Awaitable[Mapping[K, T]]],
    ) -> dict[_Flight[K, T], list[K]]:
        boarded: dict[_Flight[K, T], list[K]] = {}
        rest: list[K] = []
        for key in keys:
            flight = self._by_key.get(key)
            if flight is None:
                rest.append(key)
            else:
                boarded.setdefault(flight, []).append(key)
        if rest:
            boarded[self._take_off(rest, start)] = rest
        return boarded

    def _take_off(
        self, keys: list[K], start: Callable[[list[K], float], Awaitable[Mapping[K, T]]]
    ) -> _Flight[K, T]:
        async def fly() -> Mapping[K, T]:
            return await start(keys, self._now() + self._cap)

        task = asyncio.create_task(fly())
        flight = _Flight(task, keys)
        for key in keys:
            self._by_key[key] = flight

        def land(_: asyncio.Task[Mapping[K, T]]) -> None:
            self._clear(flight)
            # A failure that nobody waited for any more has been reported to those who did.
            if not task.cancelled():
                task.exception()

        task.add_done_callback(land)
        return flight

    def _leave(self, flight: _Flight[K, T], *, in_time: bool) -> None:
        flight.askers -= 1
        if flight.askers == 0 and not flight.task.done():
            flight.task.cancel(None if in_time else TIME_IS_UP)
            # Whoever asks from now on must not board a flight that is being called back.
            self._clear(flight)

    def _clear(self, flight: _Flight[K, T]) -> None:
        for key in flight.keys:
            if self._by_key.get(key) is flight:
                del self._by_key[key]
