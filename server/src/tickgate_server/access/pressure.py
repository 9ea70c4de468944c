"""What this process takes on while it has enough to do already, or its memory fills."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Final

import structlog

from ..errors import LimitExceeded
from ..observe.counters import Counters

_log = structlog.get_logger(__name__)

_MIB: Final = 1 << 20

_TIGHT: Final = 0.9
"""Share of the memory from which nothing large is begun."""

_EASE: Final = 0.05
"""Share of the memory by which it must fall below the mark that it has passed: at the mark itself it would change its
mind with every look."""

_LOOK_EVERY: Final = 0.5
"""Seconds."""

_LOOKS: Final = 10
"""Looks between the times at which memory that nobody uses is given back, while it is short."""

_STATM: Final = Path("/proc/self/statm")


class Load(IntEnum):
    """What answering a call may take of this process."""

    ESSENTIAL = 0
    """Next to nothing, and it tells operators what goes on: answered always."""

    LIGHT = 1
    """Little: a few values."""

    HEAVY = 2
    """Much, or for long: streams, chains, the past."""


class Level(IntEnum):
    """How full the memory is."""

    CALM = 0
    TIGHT = 1
    """Nothing heavy is begun."""

    FULL = 2
    """Only what is essential is answered."""


_SAID: Final = {
    Level.TIGHT: (
        "this gateway's memory is nearly full (limits.memory_mib): it begins no stream, no chain and nothing of the"
        " past for now"
    ),
    Level.FULL: "this gateway's memory is full (limits.memory_mib): it answers only questions about itself for now",
}


def resident_memory() -> int | None:
    """Return the bytes of this process that are in memory; None where the system does not tell."""
    try:
        pages = int(_STATM.read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Give memory that nobody uses back to the system: glibc keeps it for itself otherwise, and it counts as ours."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    # Other allocators have no such thing, and need none.
    if trim is not None:
        trim(0)


class Pressure:
    """Refuses what this process should not take on now.

    Memory is looked at by `run`; calls ask `check`, which only compares.
    """

    def __init__(
        self,
        calls: int,
        memory_mib: int,
        counters: Counters,
        *,
        resident: Callable[[], int | None] = resident_memory,
        give_back: Callable[[], None] = give_back,
        chance: Callable[[], float] = random.random,
        every: float = _LOOK_EVERY,
    ) -> None:
        """Take on so much.

        Args:
            calls: calls under way at once; 0 is no limit.
            memory_mib: MiB in memory; 0 is no limit.
            counters: tell how many calls are under way, and get what the memory is like.
            resident: tells the bytes in memory, or None where nobody knows.
            give_back: gives memory that nobody uses back to the system; called in a thread.
            chance: 0 up to 1, by lot: those who are refused together do not come back together.
            every: seconds between looks at the memory.
        """
        self._calls = calls
        self._memory = memory_mib * _MIB
        self._counters = counters
        self._resident = resident
        self._give_back = give_back
        self._chance = chance
        self._every = every
        self._level = Level.CALM
        self._idle = calls == 0 and memory_mib == 0

    def check(self, load: Load) -> None:
        """Refuse a call, which is counted as under way already, if it is too much now.

        Raises:
            LimitExceeded: it is.
        """
        if self._idle or load is Load.ESSENTIAL:
            return
        if self._calls and self._counters.calls_in_flight > self._calls:
            msg = (
                f"this gateway answers {self._calls} calls at once (limits.calls), and has as many"
            )
            raise LimitExceeded("calls", msg, 0.05 + 0.95 * self._chance())
        if self._level and (load is Load.HEAVY or self._level is Level.FULL):
            raise LimitExceeded("memory", _SAID[self._level], 1 + 4 * self._chance())

    def look(self) -> None:
        """Look how full the memory is."""
        resident = self._resident()
        if resident is None or not self._memory:
            return
        share = resident / self._memory
        level = self._judged(share)
        if level is self._level:
            return
        self._counters.memory_alarms += level > self._level
        self._level = self._counters.memory_level = level
        log = _log.warning if level else _log.info
        log(
            "memory_pressure",
            level=level.name.lower(),
            resident_mib=resident // _MIB,
            limit_mib=self._memory // _MIB,
        )

    def _judged(self, share: float) -> Level:
        for level, mark in ((Level.FULL, 1.0), (Level.TIGHT, _TIGHT)):
            # What is reached already is left only well below its mark.
            if share >= mark - (_EASE if self._level >= level else 0.0):
                return level
        return Level.CALM

    async def run(self) -> None:
        """Look at the memory again and again, until cancelled."""
        if not self._memory:
            return
        if self._resident() is None:
            _log.warning("memory_not_measured", message="limits.memory_mib has no effect here")
            return
        looks = 0
        while True:
            self.look()
            if self._level and not looks % _LOOKS:
                # Beside the loop: it may take a while, and asks nobody.
                await asyncio.to_thread(self._give_back)
            looks += 1
            await asyncio.sleep(self._every)
