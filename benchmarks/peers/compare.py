"""The gateway beside the design that it replaces (design, section 6)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from tools.embedded import RedisServer

from ..evidence import expect_quotes
from ..load import Fetch, Load, Pressure
from ..processes import BrokenMeasurement, Process, running, wait_for
from ..report import Table, count, micros, millis, spread
from ..rounds import Contestant, Effort, Score, cpu_of, percentile_of, rate_of, take_turns
from ..sandbox import SYMBOLS, Sandbox
from ..stage import KEPT, Round, Stage
from ..tiers import running_redis
from ..unary import BUSY, ONE, UNHURRIED, cached

_ASKED: Final = Fetch(f"/stocks/{SYMBOLS[0]}/quote")
_GATEWAY: Final = "gateway, everything on"
_FORMS: Final = {
    "full": "FastAPI, metrics and logs",
    "lean": "FastAPI, the same made lean",
    "stripped": "FastAPI, stripped",
}
_PATIENCE: Final = 5.0

_ASKED_UPSTREAM: Final = 0.01
"""Share of calls for which the peer may ask upstream: each time its 30 s are over, all who ask at that moment do."""

_NOTES: Final = (
    (
        "The peer is `benchmarks/peers/rest.py`, the design that was replaced in its best form: FastAPI, Pydantic v2,"
        " redis.asyncio with hiredis, one uvicorn worker on uvloop with httptools, quotes kept in Redis for 30 s, the"
        " same sandbox and the same Redis as the gateway's. It has no keys and no limits."
    ),
    (
        "Metrics and logs: counters and a histogram of prometheus_client and a line of JSON by structlog for each call,"
        " in the middleware that FastAPI's manual teaches. Made lean: the same in plain ASGI, and what was there at the"
        " start frozen out of the collector's sight, which otherwise stops the peer for 40 ms three times a second: few"
        " write it so. Stripped: that without metrics and logs."
        " A round counts only if the peer's own counter has counted each call."
    ),
    (
        "h2load speaks HTTP/1.1 to the peer, each call under way on a connection of its own, as such clients do, and"
        " HTTP/2 to the gateway, as many calls at once over 4 connections."
    ),
    "Target: 1.5 × the calls/s and 0.5 × the p99 of the peer with its metrics and logs.",
)


@dataclass(frozen=True, slots=True)
class _Peer:
    """The replaced design, running."""

    process: Process
    load: Load
    sandbox: Sandbox
    form: str

    def ask(self, calls: int, pressure: Pressure) -> Round:
        """Ask it, and see that it kept what it was to keep, and counted each call.

        Raises:
            BrokenMeasurement: it did not.
        """
        asked, counted = self.sandbox.requests(), self._counted()
        cpu = self.process.cpu_seconds()
        run = self.load.run(self.process.port, _ASKED, calls, pressure)
        cpu = self.process.cpu_seconds() - cpu
        asked = self.sandbox.requests() - asked
        if asked > max(_ASKED_UPSTREAM * calls, pressure.connections * pressure.streams):
            raise BrokenMeasurement(f"the peer asked upstream {asked} times for {calls} calls")
        if self.form != "stripped" and self._counted() - counted != calls:
            raise BrokenMeasurement(
                f"of {calls} calls the peer counted {self._counted() - counted}"
            )
        return Round(run, cpu / calls, asked)

    def expect_quote(self) -> None:
        """See that it answers with the quote that the sandbox serves.

        Raises:
            BrokenMeasurement: it does not.
        """
        said = json.loads(self._get(_ASKED.path))
        if (said["symbol"], said["bid_price"], said["ask_price"]) != (SYMBOLS[0], 10.0, 10.25):
            raise BrokenMeasurement(f"the peer answers with {said}")

    def _counted(self) -> int:
        found = re.search(
            r"^real_data_success_total\{.*\} (\S+)$", self._get("/metrics"), re.MULTILINE
        )
        return int(float(found[1])) if found else 0

    def _get(self, path: str) -> str:
        connection = HTTPConnection("127.0.0.1", self.process.port, timeout=_PATIENCE)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def peers(stage: Stage, effort: Effort) -> Table:
    """Compare a cached quote of the gateway with one of the design that it replaces."""
    rows: list[tuple[str, ...]] = []
    with running_redis(stage.cores) as redis, ExitStack() as parts:
        settings = {**KEPT, "TICKGATE_REDIS_URL": redis.url}
        gateway = parts.enter_context(stage.beside("gateway-peers", settings))
        expect_quotes(gateway.gateway, ONE)
        contestants: dict[str, Contestant] = {_GATEWAY: partial(cached, gateway, ONE)}
        for form, name in _FORMS.items():
            contestants[name] = parts.enter_context(_running_peer(stage, redis, form)).ask
        busy = take_turns(contestants, effort, BUSY)
        rows += _rows(busy, "")
        calm = take_turns(contestants, replace(effort, rounds=min(3, effort.rounds)), UNHURRIED)
        rows += _rows(calm, f"at {UNHURRIED.calls_a_second:,}/s: ")
    return Table(
        title="Cached GetQuote against the replaced design: FastAPI, uvicorn, Pydantic, Redis",
        head=("", "calls/s", "p50 ms", "p99 ms", "server CPU µs/call", "bytes an answer"),
        rows=rows,
        notes=[f"First: {BUSY}. Then: {UNHURRIED}.", *_NOTES],
    )


def _rows(scores: Mapping[str, Score], title: str) -> Iterator[tuple[str, ...]]:
    for name, score in scores.items():
        yield (
            f"{title}{name}",
            count(score.rate),
            millis(score.percentile(50)),
            millis(score.percentile(99)),
            micros(score.cpu),
            count(score.answer_bytes),
        )
    gateway = scores[_GATEWAY]
    reads = (rate_of, percentile_of(50), percentile_of(99), cpu_of)
    for name, score in scores.items():
        if score is not gateway:
            ratios = (spread(gateway.pairs(score, read)) for read in reads)
            yield (f"{title}gateway / {name}", *ratios, "")


@contextmanager
def _running_peer(stage: Stage, redis: RedisServer, form: str) -> Iterator[_Peer]:
    with running(
        f"peer-{form}",
        ["-m", "benchmarks.peers.rest", stage.sandbox.url, redis.url, form],
        ready=r"listening on (\d+)",
        folder=stage.folder,
        core=stage.cores.server,
    ) as process:
        peer = _Peer(process, stage.load, stage.sandbox, form)
        peer.expect_quote()
        yield peer
        peer.expect_quote()
        if form != "stripped":
            _expect_lines(process.log)


def _expect_lines(log: Path) -> None:
    """See that calls stand in the peer's log.

    Raises:
        BrokenMeasurement: they do not.
    """
    wait_for(
        lambda: '"event": "request"' in log.read_text() or None, _PATIENCE, "the peer logs no calls"
    )
