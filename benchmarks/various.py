"""Load whose calls ask different questions, and what their answers say."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from google.protobuf.message import Message

from tickgate.v1 import provenance_pb2, quote_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tools.programs import environment_without_settings

from .asker import Heard, Plan
from .load import PREFIX, Pressure, Run
from .processes import BrokenMeasurement, Process, on_core

_PATIENCE: Final = 180.0
"""Seconds after which a run that hangs is broken off."""

MEMORY: Final = provenance_pb2.TIER_MEMORY
REDIS: Final = provenance_pb2.TIER_REDIS
UPSTREAM: Final = provenance_pb2.TIER_UPSTREAM


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions of one method, asked in turn."""

    path: str
    """`/package.Service/Method`."""

    requests: Sequence[Message]
    values: int = 1
    """Values that each asks for."""

    streamed: bool = False
    """Whether it answers with a stream of messages."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A run, what it cost the server, and its answers."""

    run: Run
    cpu: float
    """Seconds of the server's CPU for a call."""

    answers: Sequence[bytes] = field(repr=False)
    """In the order of `run.times`."""

    def results(self) -> list[Sequence[quote_pb2.QuoteResult]]:
        """Return the results of each answer."""
        # One result and several look alike on the wire: both are field 1.
        return [pb.GetQuotesResponse.FromString(answer).results for answer in self.answers]

    def expect(self, tier: provenance_pb2.Tier.ValueType, values: int) -> None:
        """See that each answer holds so many quotes, every one of them served from *tier*.

        Raises:
            BrokenMeasurement: one does not.
        """
        found = Counter(map(served_from, self.results()))
        if found != {(tier,) * values: len(self.answers)}:
            named = {" ".join(sorted(map(name_of, set(tiers)))): n for tiers, n in found.items()}
            msg = f"every quote was to come from {name_of(tier)}, and answers came from {named}"
            raise BrokenMeasurement(msg)


def served_from(
    results: Sequence[quote_pb2.QuoteResult],
) -> tuple[provenance_pb2.Tier.ValueType, ...]:
    """Return the tier of each quote; TIER_UNSPECIFIED where there is none."""
    return tuple(result.quote.provenance.served_from for result in results)


def name_of(tier: provenance_pb2.Tier.ValueType) -> str:
    """Return the name of *tier* for people."""
    return provenance_pb2.Tier.Name(tier).removeprefix("TIER_").lower()


class VariousLoad:
    """Asks with `benchmarks.asker`, from a core of its own."""

    def __init__(self, core: int | None, folder: Path) -> None:
        """Run the asker on *core*, with *folder* for its files."""
        self._core = core
        self._folder = folder

    def run(
        self,
        server: Process,
        questions: Questions,
        pressure: Pressure,
        *,
        calls: int = 0,
        order: Sequence[int] = (),
    ) -> Reply:
        """Ask *calls* of *questions* in turn, or in the given *order*.

        Raises:
            BrokenMeasurement: a call was not answered with OK.
        """
        order = order or [number % len(questions.requests) for number in range(calls)]
        plan, heard = self._folder / "plan", self._folder / "heard"
        told = Plan(
            pid=server.pid,
            port=server.port,
            path=questions.path,
            bodies=[request.SerializeToString() for request in questions.requests],
            order=list(order),
            connections=pressure.connections,
            at_once=pressure.connections * pressure.streams,
            rate=None if pressure.rate is None else pressure.rate * pressure.connections,
            streamed=questions.streamed,
        )
        plan.write_bytes(msgspec.msgpack.encode(told))
        with on_core(self._core):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.asker", str(plan), str(heard)],
                env=environment_without_settings(),
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
        if done.returncode:
            msg = f"{server.name} did not answer all of {questions.path}: {done.stderr[-1000:]}"
            raise BrokenMeasurement(msg)
        return _reply(msgspec.msgpack.decode(heard.read_bytes(), type=Heard))


def _reply(heard: Heard) -> Reply:
    calls = len(heard.times)
    sent = sum(map(len, heard.answers)) / calls + PREFIX
    run = Run(calls, calls / heard.seconds, tuple(heard.times), sent)
    return Reply(run, heard.cpu / calls, heard.answers)
