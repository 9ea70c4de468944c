"""What is measured and what stands behind it: a sandbox, a gateway before it, and bare servers to compare with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from . import consumer
from .evidence import CallLog, ask
from .load import PREFIX, Load, Pressure, Question, Run
from .processes import BrokenMeasurement, Cores, Process, running
from .sandbox import MARKET_TIME, Sandbox

KEPT: Final[Mapping[str, str]] = {
    "TICKGATE_MEMORY__KEEP_OPEN": "3600",
    "TICKGATE_MEMORY__KEEP_OTHERWISE": "3600",
    "TICKGATE_FRESHNESS__MAX_AGE": "3600",
}
"""Settings that keep a value in memory for a whole run, so that no row mixes hits and misses."""

UNBOUND: Final[Mapping[str, str]] = {
    "TICKGATE_ALPACA__BUDGET__DATA_PER_MINUTE": "1000000",
    "TICKGATE_PROBE__IDLE": "0",
}
"""Settings of every gateway here: no plan's budget slows the asking, and nothing goes upstream that nobody has asked.
All others are the defaults."""

GATEWAY: Final = ("-m", "tickgate_server", "serve")
"""Arguments of the interpreter that runs the gateway."""


@dataclass(frozen=True, slots=True)
class Round:
    """One run of one server, and what it cost."""

    run: Run
    cpu: float
    """Seconds of the server's CPU for a call."""

    upstream: int = 0
    """Upstream requests."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a benchmark of unary calls needs."""

    sandbox: Sandbox
    gateway: Process
    load: Load
    folder: Path
    cores: Cores

    def ask_gateway(
        self, question: Question, calls: int, pressure: Pressure, *, cached: bool = True
    ) -> Round:
        """Ask the gateway, and see that every call was given every value it asked for.

        Raises:
            BrokenMeasurement: one was not, or memory did not answer although it should.
        """
        log = CallLog(self.gateway.log)
        before = self.sandbox.requests()
        done = self.press(question, calls, pressure)
        log.expect(question, calls, cached=cached)
        return replace(done, upstream=self.sandbox.requests() - before)

    def press(self, question: Question, calls: int, pressure: Pressure) -> Round:
        """Ask the gateway, whatever it answers."""
        return _ask(self.load, self.gateway, question, calls, pressure)

    @contextmanager
    def beside(
        self, name: str, settings: Mapping[str, str], *, everything: bool = True
    ) -> Iterator[Stage]:
        """Run another gateway before the same sandbox, and stand on its stage. It has *settings* instead of `KEPT`."""
        with running_gateway(
            *(name, self.sandbox, self.folder, self.cores),
            settings=settings,
            everything=everything,
        ) as gateway:
            yield replace(self, gateway=gateway)

    @contextmanager
    def bare(self, question: Question) -> Iterator[Bare]:
        """Run a bare server that gives the gateway's own answer to *question*."""
        service, _, method = question.path[1:].partition("/")
        answer = ask(self.gateway, question)
        folder = self.folder / method
        folder.mkdir(exist_ok=True)
        (folder / method).write_bytes(answer)
        with running(
            f"echo-{method}",
            ["-m", "benchmarks.echo", service, str(folder)],
            ready=r"listening on (\d+)",
            folder=self.folder,
            core=self.cores.server,
        ) as process:
            yield Bare(process, self.load, question, answer)


@dataclass(frozen=True, slots=True)
class Bare:
    """A bare server that runs."""

    process: Process
    load: Load
    question: Question
    answer: bytes

    def ask(self, calls: int, pressure: Pressure) -> Round:
        """Ask it, and see that it sends the gateway's bytes and no others.

        Raises:
            BrokenMeasurement: it does not.
        """
        done = _ask(self.load, self.process, self.question, calls, pressure)
        if done.run.answer_bytes != len(self.answer) + PREFIX:
            msg = f"the bare server sent {done.run.answer_bytes} bytes for an answer of {len(self.answer)}"
            raise BrokenMeasurement(msg)
        return done


def _ask(load: Load, server: Process, question: Question, calls: int, pressure: Pressure) -> Round:
    before = server.cpu_seconds()
    run = load.run(server.port, question, calls, pressure)
    return Round(run, (server.cpu_seconds() - before) / calls)


@contextmanager
def stage(load: Load, folder: Path, cores: Cores) -> Iterator[Stage]:
    """Run a sandbox and a gateway before it for as long as the block does."""
    with (
        running_sandbox(folder, cores) as sandbox,
        running_gateway("gateway", sandbox, folder, cores) as gateway,
    ):
        yield Stage(sandbox, gateway, load, folder, cores)


@contextmanager
def running_sandbox(folder: Path, cores: Cores) -> Iterator[Sandbox]:
    """Run a sandbox whose market stands still."""
    with running(
        "sandbox",
        [
            *("-m", "tickgate_sandbox", "serve", "--listen=127.0.0.1:0"),
            *(f"--at={MARKET_TIME}", "--speed=0"),
        ],
        ready=r"http://127\.0\.0\.1:(\d+)",
        folder=folder,
        core=cores.others,
    ) as process:
        sandbox = Sandbox(process.port)
        sandbox.pin_quotes()
        yield sandbox


@contextmanager
def running_gateway(
    name: str,
    sandbox: Sandbox,
    folder: Path,
    cores: Cores,
    *,
    command: Sequence[str] = GATEWAY,
    settings: Mapping[str, str] = KEPT,
    everything: bool = True,
) -> Iterator[Process]:
    """Run a gateway before *sandbox*, its settings the defaults but for `UNBOUND` and *settings*.

    Inside `consumer.everything_on` it has *everything* on: keys, limits, metrics, traces, logs and an audit log.
    """
    on = consumer.settings_of(name, folder) if everything else {}
    places = {
        "TICKGATE_LISTEN": "127.0.0.1:0",
        "TICKGATE_HTTP_LISTEN": "127.0.0.1:0",
        "TICKGATE_ALPACA__DATA_URL": sandbox.url,
        "TICKGATE_ALPACA__TRADING_URL": sandbox.url,
    }
    with running(
        name,
        command,
        ready=r'"listen":"127\.0\.0\.1:(\d+)"',
        folder=folder,
        core=cores.server,
        environment={**places, **UNBOUND, **on, **settings},
    ) as process:
        yield process
