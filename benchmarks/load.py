"""Asks one question many times and says how it went."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Final

from google.protobuf.message import Message

from . import consumer
from .h2load import H2load
from .processes import BrokenMeasurement, on_core

_PATIENCE: Final = 120.0
"""Seconds after which a run that hangs is broken off."""

PREFIX: Final = 5
"""Bytes before a message in gRPC's HTTP/2 body."""

_RATE: Final = re.compile(r"finished in .*?, ([\d.]+) req/s")
_DONE: Final = re.compile(r"requests: (\d+) total, .* (\d+) succeeded")
_DATA: Final = re.compile(r"\((\d+)\) data$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Question:
    """One unary call."""

    path: str
    """`/package.Service/Method`."""

    request: Message
    values: int = 1
    """Values that it asks for."""

    @property
    def body(self) -> bytes:
        """The request as it stands in an HTTP/2 body: not compressed, its length, itself."""
        message = self.request.SerializeToString()
        return b"\0" + len(message).to_bytes(4, "big") + message

    def arguments(self, folder: Path) -> tuple[str, ...]:
        """Return h2load's arguments; the request goes to a file in *folder*."""
        body = folder / "body"
        body.write_bytes(self.body)
        headers = (("content-type", "application/grpc"), ("te", "trailers"), *consumer.metadata())
        return (f"-d{body}", *(part for pair in headers for part in ("-H", ": ".join(pair))))

    def spread(self, pressure: Pressure) -> tuple[int, int]:
        """Return connections, and calls at once on each."""
        return pressure.connections, pressure.streams


@dataclass(frozen=True, slots=True)
class Fetch:
    """One GET by HTTP/1.1."""

    path: str
    values: int = 1
    """Values that it asks for."""

    def arguments(self, folder: Path) -> tuple[str, ...]:
        """Return h2load's arguments."""
        return ("--h1",)

    def spread(self, pressure: Pressure) -> tuple[int, int]:
        """Return a connection for each call that is under way, for HTTP/1.1 has one at a time."""
        return pressure.connections * (1 if pressure.rate else pressure.streams), 1


@dataclass(frozen=True, slots=True)
class Pressure:
    """How many calls are under way at once, and how many are begun in a second."""

    connections: int = 4
    streams: int = 4
    """Calls at once on each connection."""

    rate: int | None = None
    """Calls that each connection begins in a second; None begins one as soon as another ends."""

    @property
    def pace(self) -> tuple[str, ...]:
        """The arguments that keep to the rate, the connections' calls spread evenly over time."""
        if self.rate is None:
            return ()
        apart = max(1, round(1000 / (self.rate * self.connections)))
        return (f"--rps={self.rate}", "-r1", f"--rate-period={apart}ms")

    @property
    def calls_a_second(self) -> int | None:
        """Calls begun in a second over all connections; None where there is no rate."""
        return None if self.rate is None else self.rate * self.connections

    def __str__(self) -> str:
        """Say it as the tables do."""
        if self.rate is None:
            return f"{self.connections * self.streams:,} calls at once over {self.connections} connections"
        return f"{self.calls_a_second:,} calls/s over {self.connections} connections"


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it."""

    calls: int
    rate: float
    """Calls a second."""

    times: tuple[float, ...]
    """Seconds from each request to the end of its answer."""

    answer_bytes: float
    """Bytes of an answer with its gRPC prefix, on average."""

    def percentile(self, percent: int) -> float:
        """Return the seconds within which so many of a hundred calls were answered."""
        return quantiles(self.times, n=100, method="inclusive")[percent - 1]


class Load:
    """Asks with h2load, from a core of its own."""

    def __init__(self, program: H2load, core: int | None, folder: Path) -> None:
        """Run *program* on *core*, with *folder* for its files."""
        self._program = program
        self._core = core
        self._folder = folder

    def run(self, port: int, question: Question | Fetch, calls: int, pressure: Pressure) -> Run:
        """Ask *question* so many times.

        Raises:
            BrokenMeasurement: a call was not answered with HTTP 200 and a message. Whether the message is the right
                one is for the caller to know: a gRPC failure is an HTTP 200, too.
        """
        log = self._folder / "times"
        log.unlink(missing_ok=True)
        connections, streams = question.spread(pressure)
        command = [
            *(self._program.program, "-t1", f"-n{calls}", f"-c{min(calls, connections)}"),
            *(f"-m{streams}", f"--log-file={log}", *question.arguments(self._folder)),
            *pressure.pace,
            f"http://127.0.0.1:{port}{question.path}",
        ]
        with on_core(self._core):
            done = subprocess.run(
                command,
                env=self._program.environment,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
        return _read(done.stdout + done.stderr, log, calls)


def _read(said: str, log: Path, calls: int) -> Run:
    rate, done, data = _RATE.search(said), _DONE.search(said), _DATA.search(said)
    if rate is None or done is None or data is None:
        msg = f"h2load did not say how it went: {said[-1000:]}"
        raise BrokenMeasurement(msg)
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    well = sum(status == "200" for _, status, _ in lines)
    if not calls == int(done[1]) == int(done[2]) == well:
        msg = f"of {calls} calls {done[2]} succeeded and {well} were HTTP 200: {said[-1000:]}"
        raise BrokenMeasurement(msg)
    times = tuple(int(microseconds) / 1e6 for _, _, microseconds in lines)
    return Run(calls, float(rate[1]), times, int(data[1]) / calls)
