"""Proof that what was fast was also right: the answers themselves, and what the gateway logged of every call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import grpc
import msgspec

from tickgate.v1 import provenance_pb2, status_service_pb2
from tickgate.v1 import quote_service_pb2 as pb

from . import consumer
from .load import Question
from .processes import BrokenMeasurement, Process

_CALL_PATIENCE: Final = 5.0
"""Seconds that one call may take."""

_LINE_PATIENCE: Final = 5.0
"""Seconds within which the lines of finished calls must stand in the log."""

_WRITTEN_WITHIN: Final = 0.25
"""Seconds after a call in which its line is written while the gateway is idle: it writes ten times a second."""


_STATUS: Final = Question(
    "/tickgate.v1.StatusService/GetStatus", status_service_pb2.GetStatusRequest()
)


def ask(server: Process, question: Question) -> bytes:
    """Ask once with a real gRPC client and return the answer's bytes.

    Raises:
        BrokenMeasurement: the call failed.
    """
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call: Callable[..., bytes] = channel.unary_unary(question.path)
        try:
            return call(
                question.request.SerializeToString(),
                timeout=_CALL_PATIENCE,
                metadata=consumer.metadata(),
            )
        except grpc.RpcError as error:
            msg = f"{server.name} does not answer {question.path}: {error}"
            raise BrokenMeasurement(msg) from error


def expect_quotes(server: Process, question: Question) -> None:
    """See that *server* answers *question* with a quote for every value asked for.

    Raises:
        BrokenMeasurement: it does not.
    """
    # One result and several look alike on the wire: both are field 1.
    results = pb.GetQuotesResponse.FromString(ask(server, question)).results
    given = sum(result.HasField("quote") for result in results)
    if not question.values == len(results) == given:
        msg = f"{server.name} answered {question.path} with {given} of {question.values} quotes"
        raise BrokenMeasurement(msg)


def status_of(gateway: Process) -> status_service_pb2.GetStatusResponse:
    """Return what *gateway* says of itself."""
    return status_service_pb2.GetStatusResponse.FromString(ask(gateway, _STATUS))


def tier_hits(gateway: Process, tier: provenance_pb2.Tier.ValueType) -> int:
    """Return how many questions *gateway* says that *tier* has answered."""
    return next((counts.hits for counts in status_of(gateway).tiers if counts.tier == tier), 0)


def circuit_of_latest(gateway: Process) -> status_service_pb2.CircuitStatus:
    """Return the circuit before the endpoints of latest values."""
    return _latest(gateway).circuit


def retries_of_latest(gateway: Process) -> int:
    """Return how many requests for latest values *gateway* says it has repeated."""
    return _latest(gateway).retries


def _latest(gateway: Process) -> status_service_pb2.UpstreamStatus:
    return next(one for one in status_of(gateway).upstreams if one.group == "latest")


class CallLine(msgspec.Struct):
    """What matters here of a call's line in the log."""

    endpoint: str = ""
    code: str = ""
    reason: str = ""
    response_time_ms: float = 0.0
    real_data_available: bool = False
    cache_hit: bool = False


class CallLog:
    """What the gateway logs of calls from here on."""

    def __init__(self, log: Path) -> None:
        """Start at the end of *log*, when the lines of earlier calls stand in it."""
        # Another process writes the file, in batches, and gives no sign; no time is measured here.
        time.sleep(_WRITTEN_WITHIN)
        self._log = log
        self._start = log.stat().st_size

    def expect(self, question: Question, calls: int, *, cached: bool) -> None:
        """Wait for the lines of so many calls of *question*, every one of them answered in full.

        Raises:
            BrokenMeasurement: they do not come, or say otherwise.
        """
        well = sum(
            line.code == "OK" and line.real_data_available and (line.cache_hit or not cached)
            for line in self.wait_for(question, calls)
        )
        if well != calls:
            msg = f"of {calls} calls of {question.path} the gateway logged {well} as it should"
            raise BrokenMeasurement(msg)

    def wait_for(self, question: Question, calls: int) -> list[CallLine]:
        """Return the lines of so many calls of *question*, whatever became of them.

        Raises:
            BrokenMeasurement: they do not come, or more do.
        """
        endpoint = question.path.rpartition(".")[2]
        give_up = time.monotonic() + _LINE_PATIENCE
        lines: list[CallLine] = []
        while len(lines) < calls and time.monotonic() < give_up:
            # As above: the round is over, and its numbers are taken.
            time.sleep(_WRITTEN_WITHIN)
            lines = [line for line in self._lines() if line.endpoint == endpoint]
        if len(lines) != calls:
            msg = f"of {calls} calls of {endpoint} the gateway logged {len(lines)}"
            raise BrokenMeasurement(msg)
        return lines

    def _lines(self) -> Iterator[CallLine]:
        with self._log.open("rb") as log:
            log.seek(self._start)
            for line in log:
                if line.endswith(b"\n"):
                    yield msgspec.json.decode(line, type=CallLine)
