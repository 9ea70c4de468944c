"""The processes that a benchmark is made of: started on their core, measured from outside, stopped by their own id."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from tools.programs import environment_without_settings

_START_PATIENCE: Final = 60.0
"""Seconds within which a process must say that it is ready."""

_STOP_PATIENCE: Final = 15.0
"""Seconds that a process may take to end before it is killed."""

_LOOK_EVERY: Final = 0.02
"""Seconds between two looks at what another process does."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE") / 1e6
"""Megabytes of a page of memory."""


T = TypeVar("T")


class BrokenMeasurement(Exception):
    """What was measured is not what the table would say. The message says why."""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that all threads of a process have used so far, in the kernel too."""
    # The clock that clock_getcpuclockid(3) returns, which Python does not offer. /proc counts in steps of 10 ms.
    return time.clock_gettime((~pid << 3) | 2)


@dataclass(frozen=True, slots=True)
class Process:
    """A server that runs and takes calls."""

    name: str
    pid: int
    port: int
    log: Path
    """Everything that it writes."""

    def cpu_seconds(self) -> float:
        """Return the CPU time that all its threads have used so far, in the kernel too."""
        return cpu_seconds(self.pid)

    def resident(self) -> float:
        """Return the megabytes of memory that it holds."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * _PAGE


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core does what. With one core there is nothing to divide."""

    server: int | None
    """Core of the server that is being measured; None leaves it to the kernel."""

    others: int | None
    """Core of the load and of whatever stands behind the server."""

    @classmethod
    def divide(cls) -> Cores:
        """Give the first core that this process may use to servers and the second to the rest."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    *,
    ready: str,
    folder: Path,
    core: int | None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """Run a server for as long as the block does.

    Args:
        name: what messages call it.
        command: arguments of the Python interpreter that runs this.
        ready: pattern of what it writes when it takes calls; its group is the port.
        folder: where its log goes.
        core: the core that it is kept on.
        environment: settings that it gets.

    Raises:
        BrokenMeasurement: it does not start.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as output, on_core(core):
        child = subprocess.Popen(
            [sys.executable, *command],
            # The caller's own settings would change what is measured.
            env=environment_without_settings() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Process(name, child.pid, _wait_for_port(name, child, log, ready), log)
    finally:
        _stop(child)


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Keep what is started inside the block on *core*."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def wait_for(look: Callable[[], T | None], patience: float, complaint: str) -> T:
    """Return what *look* finds, as soon as it finds anything.

    For what other processes write into files and stores, which give no sign. Nothing is measured meanwhile.

    Raises:
        BrokenMeasurement: nothing was found for *patience* seconds; with *complaint*.
    """
    give_up = time.monotonic() + patience
    while (found := look()) is None:
        if time.monotonic() > give_up:
            raise BrokenMeasurement(complaint)
        time.sleep(_LOOK_EVERY)
    return found


def _wait_for_port(name: str, child: subprocess.Popen[bytes], log: Path, ready: str) -> int:
    # The log is a file, so that nobody of ours has to read a pipe while something is measured.
    def port() -> int | None:
        written = log.read_text(errors="replace")
        if found := re.search(ready, written):
            return int(found[1])
        if child.poll() is not None:
            msg = f"{name} ended with {child.returncode} before it was ready: {written[-2000:]}"
            raise BrokenMeasurement(msg)
        return None

    return wait_for(port, _START_PATIENCE, f"{name} was not ready after {_START_PATIENCE:g} s")


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
