"""An event loop on which time passes only when everybody waits for it, and then at once.

Timers fire in their order and at their instants, an hour costs nothing, and nothing depends on how busy the machine is.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec

from tickgate_server.market.time import NANOS

from .fakes import NOW

P = ParamSpec("P")

_EPOCH: Final = 1000.0
"""What a monotonic clock says when the loop begins."""


class _Patience(selectors.SelectSelector):
    """Instead of waiting, lets time pass."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if nothing is, *timeout* seconds have passed."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                msg = "everybody waits, and nothing is due"
                raise AssertionError(msg)
            self.now += max(0.0, timeout)
        return ready


class HandTimeLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._patience = _Patience()
        super().__init__(self._patience)

    def time(self) -> float:
        """Return the seconds that have passed since the loop began."""
        return self._patience.now

    def pass_time(self, seconds: float) -> None:
        """Be busy for so long."""
        self._patience.now += seconds


class LoopClock:
    """The gateway's three clocks, by the time of the running loop."""

    def monotonic(self) -> float:
        """Return seconds since some moment long before."""
        return _EPOCH + asyncio.get_running_loop().time()

    def wall(self) -> int:
        """Return nanoseconds of civil time."""
        return NOW + round(asyncio.get_running_loop().time() * NANOS)

    def market(self) -> int:
        """Return the market's time, which here is civil time."""
        return self.wall()


def run_in_hand_time(program: Coroutine[Any, Any, None]) -> None:
    """Run *program* to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=HandTimeLoop) as runner:
        runner.run(program)


def in_hand_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make of *test* one that runs on such a loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_in_hand_time(test(*args, **kwargs))

    return run
