"""Single flight: simultaneous identical questions travel together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from ..errors import UpstreamFailure
from ..identity.current import CALLER, PARTY
from ..observe.spans import current
from .boarding import Boarding, Flight, Line

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

Start: TypeAlias = Callable[[list[K], float], Awaitable[Mapping[K, T]]]
"""Begins one call for a list of keys; the second argument is the deadline that it must keep."""

TIME_IS_UP = "time is up"
"""Message of the cancellation of a call whose last asker's deadline has passed, in contrast to one who went away."""

_REPLY_SHARE = 0.1
_REPLY_MOST = 0.05
"""An asker is told that time is up a tenth of its wait before its deadline, at most this many seconds, so that the
reason still reaches it."""


class Flights(Generic[K, T]):
    """Runs one call for all who ask for the same keys at the same time.

    A call is a task of its own. Each asker leaves at its own deadline without disturbing the others; when the last one
    has left, the call is cancelled. No call outlives `cap`.

    With `boarding`, calls for single keys of one line wait a moment for each other and travel as one: behind the call
    that is under way, or for a short window when they come in quick succession. Who comes alone does not wait.
    """

    def __init__(
        self, cap: float, now: Callable[[], float], boarding: Boarding | None = None
    ) -> None:
        """Bound every call.

        Args:
            cap: seconds that a shared call may take at most, whatever its askers would wait.
            now: the monotonic clock, seconds.
            boarding: how single keys wait for each other; None lets every call leave at once.
        """
        self._cap = cap
        self._now = now
        self._boarding = boarding
        self._by_key: dict[K, Flight[K, T]] = {}
        self._lines: dict[Hashable, Line[K, T]] = {}

    async def join(
        self,
        keys: Iterable[K],
        start: Start[K, T],
        deadline: float,
        line: Hashable = None,
    ) -> dict[K, T | UpstreamFailure]:
        """Return what was found for each of *keys*, or why the call that was to find it failed.

        Args:
            keys: what is asked for. Those that are being asked for already are waited for; *start* gets the rest.
            start: begins one call for a list of keys, which must end before the deadline it is given. What travels on
                one line is begun by the *start* of whoever came first, so all of a line must be alike.
            deadline: when this asker leaves, seconds of the monotonic clock. A key whose call is not back by then is an
                `UpstreamTimeout`; the others are not harmed.
            line: single keys of the same line may travel together.
        """
        boarded = self._board(keys, start, line)
        _note_joined(boarded)
        now = self._now()
        wait = max(0.0, deadline - now)
        patience = wait - min(wait * _REPLY_SHARE, _REPLY_MOST)
        caller = CALLER.get().name
        for flight in boarded:
            flight.askers += 1
            flight.party[caller] = None
            flight.wanted_until = max(flight.wanted_until, now + patience)
        in_time = True
        try:
            _, late = await asyncio.wait([flight.task for flight in boarded], timeout=patience)
            in_time = not late
            return {key: flight.landed(key) for flight, held in boarded.items() for key in held}
        finally:
            for flight in boarded:
                self._leave(flight, in_time=in_time)

    def wanted_until(self, key: K) -> float:
        """Return when the last of those who have asked for *key* so far leaves; only while its call is begun."""
        return self._by_key[key].wanted_until

    def _board(
        self, keys: Iterable[K], start: Start[K, T], line: Hashable
    ) -> dict[Flight[K, T], list[K]]:
        boarded: dict[Flight[K, T], list[K]] = {}
        rest: list[K] = []
        for key in keys:
            flight = self._by_key.get(key)
            if flight is None:
                rest.append(key)
            else:
                boarded.setdefault(flight, []).append(key)
        if rest:
            flight = (
                self._wait_for_company(rest[0], start, line, self._boarding)
                if len(rest) == 1 and self._boarding is not None
                else self._leave_at_once(rest, start)
            )
            boarded.setdefault(flight, []).extend(rest)
        return boarded

    def _leave_at_once(self, keys: list[K], start: Start[K, T]) -> Flight[K, T]:
        flight = Flight[K, T](keys)
        return self._take_off(flight, self._fly(flight, None, start))

    def _wait_for_company(
        self, key: K, start: Start[K, T], line_name: Hashable, boarding: Boarding
    ) -> Flight[K, T]:
        line = self._lines.setdefault(line_name, Line(boarding))
        flight = line.waiting
        if flight is None:
            flight = Flight([key])
            line.open(flight, self._now())
            self._take_off(flight, self._fly(flight, line, start))
        else:
            self._by_key[key] = flight
            line.join(flight, key, self._now())
        return flight

    def _take_off(
        self, flight: Flight[K, T], journey: Coroutine[Any, Any, Mapping[K, T]]
    ) -> Flight[K, T]:
        flight.task = asyncio.create_task(journey)
        for key in flight.keys:
            self._by_key[key] = flight

        def land(task: asyncio.Task[Mapping[K, T]]) -> None:
            if not flight.askers:
                self._clear(flight)
            # A failure that nobody waited for any more has been reported to those who did.
            if not task.cancelled():
                task.exception()

        flight.task.add_done_callback(land)
        return flight

    async def _fly(
        self, flight: Flight[K, T], line: Line[K, T] | None, start: Start[K, T]
    ) -> Mapping[K, T]:
        # A task has a context of its own.
        PARTY.set(flight.party)
        if line is None or flight.departure is None:
            return await start(flight.keys, self._now() + self._cap)
        await flight.departure
        line.in_air += 1
        try:
            return await start(flight.keys, self._now() + self._cap)
        finally:
            line.landed()

    def _leave(self, flight: Flight[K, T], *, in_time: bool) -> None:
        flight.askers -= 1
        if flight.task.done():
            # Not when it landed: who asks after that and before the first asker has remembered what it found would
            # begin another.
            self._clear(flight)
        elif flight.askers == 0:
            flight.call_back(None if in_time else TIME_IS_UP)
            # Whoever asks from now on must not board a flight that is being called back.
            self._clear(flight)

    def _clear(self, flight: Flight[K, T]) -> None:
        for key in flight.keys:
            if self._by_key.get(key) is flight:
                del self._by_key[key]


def _note_joined(boarded: Iterable[Flight[K, T]]) -> None:
    """Note in the trace of who asks now that calls are shared which another asker has begun."""
    doing = current()
    if doing is None:
        return
    for flight in boarded:
        if flight.leader is not doing:
            doing.join(flight.leader)
