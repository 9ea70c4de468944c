"""What embedded servers share: a folder of their user's own, a port that stays theirs, an end that leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

import psutil  # type: ignore[import-untyped]  # it ships no types

HOST: Final = "127.0.0.1"

PATIENCE: Final = 20.0
"""Seconds that a server may take to answer, or to end once it is asked to."""

_LONGEST_SOCKET_PATH: Final = 100
"""Bytes, a little below what the kernels allow."""

_LAST_WILL: Final = """
while read -r pids; do running=$pids; done
if [ -n "$running" ]; then
    server=${running%% *}
    kill -INT $server
    kill -CONT $running
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $server || break; sleep 0.2; done
    kill -KILL $running
fi
rm -rf -- "$1"
"""
"""Each line that is read names the processes to end, the server first; the input ends with whoever wrote it."""


class ServerFailed(Exception):
    """An embedded server could not be started; the message says why, in its own words where it had any."""


def home() -> Path:
    """Return the folder in which this user's servers live, making it when it is missing.

    Raises:
        ServerFailed: it belongs to somebody else, or is no folder.
    """
    ours = os.geteuid()
    chosen = os.environ.get("TICKGATE_EMBEDDED_DIR")
    folder = Path(chosen or f"{tempfile.gettempdir()}/tickgate-{ours}").absolute()
    # Below root's folder live servers without root's rights: they may pass through it and not look around.
    mode = 0o700 if ours else 0o711
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != ours:
        msg = f"{folder} is no folder of this user's; name another one in TICKGATE_EMBEDDED_DIR"
        raise ServerFailed(msg)
    if stat.S_IMODE(found.st_mode) != mode:
        folder.chmod(mode)
    return folder


class Port:
    """A free port of the loopback that nobody else is given, also while its server is down.

    Linux lets a listener share a port with a socket that is bound and does not listen. Without that socket the system
    could give the port of a killed server to any connection on its way out, even to one that looks for the server: it
    would reach itself.
    """

    def __init__(self, wanted: int | None = None) -> None:
        """Take port *wanted*, or any that is free."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, wanted or 0))
        self.number: Final[int] = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self._socket.close()

    def close(self) -> None:
        """Let others have it."""
        self._socket.close()


class Place:
    """Where one server lives: a folder and a port, given back when the block ends.

    A shell watches over it. Once we are gone, however we went, it ends the server and removes the folder.
    """

    def __init__(self, name: str, port: int | None = None) -> None:
        """Make a folder whose name begins with *name*, and take *port* or any that is free."""
        self.port = Port(port)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=home()))
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _LAST_WILL, "watchdog", str(self.folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Whoever ends our whole group of processes must not end this one with it.
            start_new_session=True,
        )

    def watch(self, *pids: int) -> None:
        """Have *pids*, and no others, ended when we are gone; the first is the server."""
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(f"{' '.join(map(str, pids))}\n")
        self._watchdog.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.watch()
        self._watchdog.communicate()
        self.port.close()


class ServerProcess(ABC):
    """A server that can be killed, started again, and made to hold its breath."""

    name: ClassVar[str]
    """What messages call it."""

    user: int | None = None
    """Numeric user that it runs as; None is ours."""

    def __init__(self, place: Place) -> None:
        """Live in *place*; nothing runs yet."""
        self.folder: Final = place.folder
        self.port: Final = place.port.number
        """Where it listens on 127.0.0.1, the same after every start."""
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def socket(self) -> Path:
        """Unix socket that it listens on as well."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """Return what starts it in the foreground."""

    @abstractmethod
    def _takes_commands(self) -> bool:
        """Look whether it has come up."""

    @property
    def pid(self) -> int:
        """Id of its process."""
        return self._started.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until it takes commands.

        Raises:
            ServerFailed: it ended, or took too long.
        """
        assert not self._runs(), f"{self.name} runs already"
        if len(os.fsencode(self.socket)) > _LONGEST_SOCKET_PATH:
            msg = f"{self.socket} is too long for a socket; name a shorter TICKGATE_EMBEDDED_DIR"
            raise ServerFailed(msg)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                # Ctrl-C in a terminal is meant for us: we end it in order.
                start_new_session=True,
            )
        self._place.watch(self.pid)
        deadline = time.monotonic() + PATIENCE
        while not self._takes_commands():
            if not self._runs() or time.monotonic() > deadline:
                self.kill()
                msg = f"{self.name} did not start:\n{self.log[-2000:]}"
                raise ServerFailed(msg)
            time.sleep(0.005)

    def stop(self) -> None:
        """Ask it to end in order, as an administrator would, and wait for that."""
        if not self._runs():
            return
        self.resume()
        # PostgreSQL waits for its clients on SIGTERM; on SIGINT it sends them away.
        self._started.send_signal(signal.SIGINT)
        try:
            self._started.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would, and wait until it is gone."""
        if self._runs():
            _, *children = self._signal_all(signal.SIGKILL)
            self._started.wait()
            # Until the last has let go of what they share, it could not be started again.
            for child in children:
                _wait_for_end(child)

    def pause(self) -> None:
        """Stop it in its tracks: the system still accepts connections for it, and nobody answers."""
        family = self._signal_all(signal.SIGSTOP)
        self._place.watch(*(process.pid for process in family))

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal_all(signal.SIGCONT)
        self._place.watch(self.pid)

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _signal_all(self, number: signal.Signals) -> Sequence[psutil.Process]:
        """Send *number* to the server and to all that it started; return them, the server first."""
        assert self._runs(), f"{self.name} does not run"
        server = psutil.Process(self.pid)
        # One that stands still starts no more while the others are counted, and does not notice what befalls them.
        server.suspend()
        family = [server, *server.children(recursive=True)]
        for process in reversed(family):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return family


def _wait_for_end(process: psutil.Process) -> None:
    """Wait until *process*, which need not be a child of ours, runs no more."""
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.001)
