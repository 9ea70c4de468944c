"""The processes that a benchmark is made of: started on their core, measured from outside, stopped by their own id."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.programs import environment_without_settings

_START_PATIENCE: Final = 30.0
"""Seconds within which a process must say that it is ready."""

_STOP_PATIENCE: Final = 15.0
"""Seconds that a process may take to end before it is killed."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE") / 1e6
"""Megabytes of a page of memory."""


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


def _wait_for_port(name: str, child: subprocess.Popen[bytes], log: Path, ready: str) -> int:
    give_up = time.monotonic() + _START_PATIENCE
    while time.monotonic() < give_up:
        written = log.read_text(errors="replace")
        if found := re.search(ready, written):
            return int(found[1])
        if child.poll() is not None:
            msg = f"{name} ended with {child.returncode} before it was ready: {written[-2000:]}"
            raise BrokenMeasurement(msg)
        # The log is a file, so that nobody of ours has to read a pipe while something is measured; files give no sign.
        time.sleep(0.02)
    msg = f"{name} was not ready after {_START_PATIENCE:g} s"
    raise BrokenMeasurement(msg)


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
