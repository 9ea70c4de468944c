"""The project's programs as child processes: started on free ports, ready when they say so, stopped by their own id."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

START_PATIENCE: Final = 60.0
"""Seconds within which a program must say that it is ready."""

STOP_PATIENCE: Final = 20.0
"""Seconds that a program may take to end once it is asked to."""

_LISTENING: Final = r"(?:http://|\"listen\":\")(127\.0\.0\.1:\d+)"
"""What both programs write when they take requests: the sandbox its URL, the gateway a log line."""


_SETTINGS: Final = ("TICKGATE_", "APCA_")
"""How variables begin that change what our programs do, in either case."""


def environment_without_settings() -> dict[str, str]:
    """Return this process's variables but for the settings: what they are is for whoever starts a program to say."""
    return {
        name: value for name, value in os.environ.items() if not name.upper().startswith(_SETTINGS)
    }


class ProgramFailed(Exception):
    """A program did not start, or did not end as it should; the message holds what it wrote."""


class Program:
    """A running program."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        """Read what *process* writes, from a thread, as long as it lives."""
        self.name = name
        self.process = process
        self.lines: list[str] = []
        """What it has written so far."""

        self._address: str | None = None
        self._settled = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def address(self) -> str:
        """Host and port that it listens on.

        Raises:
            ProgramFailed: it ended, or did not say so in time.
        """
        self._settled.wait(START_PATIENCE)
        if self._address is None:
            msg = f"{self.name} did not start:\n" + "".join(self.lines[-20:])
            raise ProgramFailed(msg)
        return self._address

    def stop(self) -> int:
        """Ask it to end (SIGTERM), wait for that, and return its exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line)
            found = re.search(_LISTENING, line)
            if found and self._address is None:
                self._address = found[1]
                self._settled.set()
        self._settled.set()


@contextmanager
def program(
    name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run a program of this environment for as long as the block does.

    Args:
        name: what messages call it.
        command: arguments of this Python interpreter.
        environment: settings that it gets; those of this process it does not inherit.
    """
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment_without_settings() | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Program(name, process)
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def sandbox_program(*arguments: str, listen: str = "127.0.0.1:0") -> Iterator[Program]:
    """Run `tickgate-sandbox serve` with *arguments*, on a free port unless told otherwise."""
    command = ["-m", "tickgate_sandbox", "serve", "--listen", listen, *arguments]
    with program("tickgate-sandbox", command) as running:
        yield running


@contextmanager
def gateway_program(
    upstream: str,
    environment: Mapping[str, str] | None = None,
    listen: str = "127.0.0.1:0",
    *,
    redis_url: str = "",
    postgres_url: str = "",
) -> Iterator[Program]:
    """Run `tickgate-server serve` before *upstream*, on a free port unless told otherwise, its side port too.

    Without *redis_url* or *postgres_url* it runs without Redis or PostgreSQL.
    """
    settings = {
        "TICKGATE_LISTEN": listen,
        "TICKGATE_HTTP_LISTEN": "127.0.0.1:0",
        "TICKGATE_ALPACA__DATA_URL": f"http://{upstream}",
        "TICKGATE_ALPACA__TRADING_URL": f"http://{upstream}",
        "TICKGATE_ALPACA__STREAM_URL": f"ws://{upstream}",
        "TICKGATE_REDIS_URL": redis_url,
        "TICKGATE_POSTGRES_URL": postgres_url,
        "TICKGATE_LOG__FORMAT": "json",
    }
    command = ["-m", "tickgate_server", "serve"]
    with program("tickgate-server", command, settings | dict(environment or {})) as running:
        yield running
