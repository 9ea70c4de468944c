"""What a benchmark of streams stands on: an upstream, a gateway that follows it, readers, and a bare writer."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import msgspec

from tickgate.v1 import status_service_pb2
from tickgate.v1 import stream_service_pb2 as pb
from tickgate_server.market.time import parse_rfc3339
from tools.programs import environment_without_settings

from .evidence import status_of
from .feeder import Play, Played
from .processes import BrokenMeasurement, Cores, Process, on_core, running, wait_for
from .reader import Heard, Plan
from .sandbox import MARKET_TIME, Sandbox
from .stage import GATEWAY, running_gateway

PATIENCE: Final = 120.0
"""Seconds after which a step that hangs is broken off."""

SETTLED: Final = 0.5
"""Seconds without a delivery after which everything counts as delivered and read."""

_FOLLOWING: Final[Mapping[str, str]] = {
    "TICKGATE_ALPACA__PLAN": "plus",
    "TICKGATE_ALPACA__STOCK_FEED": "sip",
}
"""Settings of a gateway that follows: the sip feed, and a plan without a limit of symbols."""


@dataclass(frozen=True, slots=True)
class Readers:
    """Streams that are open and read."""

    process: subprocess.Popen[str]
    heard: Path

    def go(self) -> None:
        """Count from now on.

        Raises:
            BrokenMeasurement: the readers have failed.
        """
        self._say("go")
        if self.process.stdout is None or self.process.stdout.readline() != "going\n":
            raise BrokenMeasurement("the readers failed; what they said is above")

    def end(self, shift: int = 0) -> Heard:
        """Hang up, and return what came since `go`; *shift* says when messages were due (see `benchmarks.reader`).

        Raises:
            BrokenMeasurement: something was not as it should be.
        """
        self._say(f"end {shift}")
        if self.process.wait(PATIENCE):
            raise BrokenMeasurement("the readers failed; what they said is above")
        heard = msgspec.msgpack.decode(self.heard.read_bytes(), type=Heard)
        if heard.problems:
            raise BrokenMeasurement(f"the readers complain: {'; '.join(heard.problems)}")
        return heard

    def _say(self, word: str) -> None:
        if self.process.stdin is None:
            raise BrokenMeasurement("the readers do not listen")
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()


@contextmanager
def reading(plan: Plan, cores: Cores, folder: Path) -> Iterator[Readers]:
    """Open and read the streams of *plan* for as long as the block does.

    Raises:
        BrokenMeasurement: they do not come to stand.
    """
    told, heard = folder / "reading", folder / "read"
    told.write_bytes(msgspec.msgpack.encode(plan))
    with on_core(cores.others):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.reader", str(told), str(heard)],
            env=environment_without_settings(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise BrokenMeasurement("the streams did not come to stand")
        yield Readers(process, heard)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass(frozen=True, slots=True)
class LiveStage:
    """Everything that a benchmark of streams needs."""

    gateway: Process
    feeder: Process
    folder: Path
    cores: Cores
    market_ahead: int
    """Nanoseconds by which the market's time is ahead of the wall clock's."""

    def plan(
        self,
        followed: Sequence[Sequence[str]],
        *,
        keep: bool = True,
        schedule: str = "",
    ) -> Plan:
        """Return the plan to read one stream for each list of symbols."""
        return Plan(
            port=self.gateway.port,
            subscriptions=[_subscription(symbols) for symbols in followed],
            symbols=[len(symbols) for symbols in followed],
            market_ahead=self.market_ahead,
            keep=keep,
            schedule=schedule,
        )

    def play(self, symbols: Sequence[str], rate: float, in_frame: int, seconds: float) -> Played:
        """Let the upstream send quotes, and return when they are sent."""
        told = Play(list(symbols), rate, in_frame, seconds, self.market_ahead)
        with closing(
            HTTPConnection("127.0.0.1", self.feeder.port, timeout=seconds + PATIENCE)
        ) as connection:
            connection.request("POST", "/play", msgspec.json.encode(told))
            answer = connection.getresponse().read()
        return msgspec.json.decode(answer, type=Played)

    def counts(self) -> status_service_pb2.StreamsStatus:
        """Return what the gateway counts of its streams.

        Raises:
            BrokenMeasurement: there was a gap, or something was dropped or lost.
        """
        status = status_of(self.gateway)
        if any(feed.gaps or feed.dropped for feed in status.feeds) or status.streams.lost:
            raise BrokenMeasurement(f"something was missed: {status.feeds} {status.streams}")
        return status.streams

    def settle(self) -> None:
        """Wait until everything that was sent has been delivered or conflated, and read."""
        before, now = -1, 0
        while before != now:
            # The gateway does not say when it has nothing more to do.
            time.sleep(SETTLED)
            counts = self.counts()
            before, now = now, counts.delivered + counts.conflated


def expect_all(followed: Sequence[Sequence[str]], played: Played, heard: Heard) -> None:
    """See that each stream got, or had conflated, each quote that was sent of its symbols.

    Raises:
        BrokenMeasurement: one did not.
    """
    for number, (symbols, stream) in enumerate(zip(followed, heard.streams, strict=True)):
        sent = {symbol: n for symbol in symbols if (n := played.records.get(symbol))}
        if stream.records != sent:
            wrong = [
                f"{symbol}: {stream.records.get(symbol)} of {n}"
                for symbol, n in sent.items()
                if stream.records.get(symbol) != n
            ]
            msg = f"stream {number} was given or spared {len(wrong)} symbols wrongly: {wrong[:5]}"
            raise BrokenMeasurement(msg)


@contextmanager
def live_stage(
    name: str,
    symbols: Sequence[str],
    folder: Path,
    cores: Cores,
    *,
    command: Sequence[str] = GATEWAY,
    settings: Mapping[str, str] | None = None,
    everything: bool = True,
) -> Iterator[LiveStage]:
    """Run an upstream of *symbols* and a gateway before it, called *name*, for as long as the block does."""
    with (
        _market(name, symbols, folder, cores) as sandbox,
        running(
            f"feeder-{name}",
            ["-m", "benchmarks.feeder"],
            ready=r"listening on (\d+)",
            folder=folder,
            core=cores.others,
        ) as feeder,
        running_gateway(
            name,
            sandbox,
            folder,
            cores,
            command=command,
            settings={
                **_FOLLOWING,
                "TICKGATE_ALPACA__STREAM_URL": f"ws://127.0.0.1:{feeder.port}",
                **(settings or {}),
            },
            everything=everything,
        ) as gateway,
    ):
        ahead = parse_rfc3339(sandbox.market_time()) - time.time_ns()
        yield LiveStage(gateway, feeder, folder, cores, ahead)


@contextmanager
def _market(name: str, symbols: Sequence[str], folder: Path, cores: Cores) -> Iterator[Sandbox]:
    """Run a sandbox that lists *symbols*, and whose market is open and goes on."""
    with running(
        f"sandbox-{name}",
        [
            *("-m", "tickgate_sandbox", "serve", "--listen=127.0.0.1:0", "--plan=plus"),
            f"--at={MARKET_TIME}",
        ],
        ready=r"http://127\.0\.0\.1:(\d+)",
        folder=folder,
        core=cores.others,
    ) as process:
        sandbox = Sandbox(process.port)
        sandbox.list_assets(symbols)
        yield sandbox


@contextmanager
def bare_writer(schedule: Path, folder: Path, cores: Cores) -> Iterator[Bare]:
    """Run a bare server that writes *schedule*."""
    with running(
        "writer",
        ["-m", "benchmarks.writer", str(schedule)],
        ready=r"listening on (\d+)",
        folder=folder,
        core=cores.server,
    ) as process:
        yield Bare(process)


@dataclass(frozen=True, slots=True)
class Bare:
    """A bare writer that runs."""

    process: Process

    def wait_for(self, word: str) -> str:
        """Return what it says behind *word*, when it says so."""
        said = wait_for(
            lambda: re.search(rf"^{word}(.*)$", self.process.log.read_text(), re.MULTILINE),
            PATIENCE,
            f"the bare writer did not say {word!r}",
        )
        return said[1].strip()


def _subscription(symbols: Sequence[str]) -> bytes:
    subscription = pb.Subscription(id="bench", symbols=symbols)
    # In the silence between two rounds nothing is to turn stale.
    subscription.stale_after.FromSeconds(3600)
    return pb.SubscribeRequest(subscribe=subscription).SerializeToString()
