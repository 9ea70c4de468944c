"""The beat at which mail is handed out: at once while there is little to do, rarer as the work grows."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

_QUICKEST: Final = 0.001
_SLOWEST: Final = 0.02
"""Seconds between two beats. A message costs as much as dozens of updates in it, so under load fewer and fuller ones
serve everybody sooner."""

_LATE: Final = 0.5
"""Share of its length by which a beat may come late before the next ones are made longer."""

_LONGER: Final = 1.5
_SHORTER: Final = 0.9


class Waiting(Protocol):
    """Somebody who waits for mail."""

    def wake_for_mail(self) -> None:
        """Wake up if there is mail that may be sent now."""
        ...


class Beat:
    """Wakes everybody who has mail, all together: at once, but some time after the beat before.

    How late the event loop is tells how much it has to do. A loop that keeps up is asked for a beat each millisecond,
    one that does not every twenty.
    """

    def __init__(self) -> None:
        """Begin quick."""
        self._length = _QUICKEST
        self._due: float | None = None
        self._next_at = 0.0
        self._waiting: set[Waiting] = set()

    @property
    def length(self) -> float:
        """Seconds between beats, as things stand."""
        return self._length

    def wait(self, somebody: Waiting) -> None:
        """Wake *somebody* at each beat from now on."""
        self._waiting.add(somebody)

    def leave(self, somebody: Waiting) -> None:
        """Wake *somebody* no more."""
        self._waiting.discard(somebody)

    def strike(self) -> None:
        """Take notice that there is mail."""
        if self._due is None:
            loop = asyncio.get_running_loop()
            self._due = max(loop.time(), self._next_at)
            loop.call_at(self._due, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        late, self._due = now - (self._due or now), None
        factor = _LONGER if late > self._length * _LATE else _SHORTER
        self._length = min(max(self._length * factor, _QUICKEST), _SLOWEST)
        self._next_at = now + self._length
        for somebody in tuple(self._waiting):
            somebody.wake_for_mail()
