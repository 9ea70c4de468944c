"""What the gateway's memory does while millions of trades pass through it (issue 6)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Final

from .history_market import FROM, TO, HistoryStage, expect, history_stage
from .history_reader import CHUNKS, Ask, Fetched
from .history_tape import SESSION, Taped, write_trades
from .processes import BrokenMeasurement, Process
from .report import Table, count, micros
from .rounds import Effort
from .sandbox import LISTED
from .stage import Stage

_SYMBOLS: Final = LISTED[:10]
_EACH: Final = 500_000

_SLOW: Final = 30_000.0
"""Trades a second that the slow reader takes."""

_LOOK_EVERY: Final = 0.25
_SETTLED: Final = 1 / 3
"""Share of the time after which memory is to be flat."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """Who reads from where."""

    name: str
    tier: str
    paces: tuple[float | None, ...]
    stored: bool = True
    forgets: bool = False


_SCENES: Final = (
    _Scene("cold, a quick reader and a slow one", "UPSTREAM", (None, _SLOW), forgets=True),
    _Scene("from the store, a quick reader and a slow one", "STORE", (None, _SLOW)),
    _Scene("cold, no store, a slow reader", "UPSTREAM", (_SLOW,), stored=False),
)


@dataclass(frozen=True, slots=True)
class _Looks:
    """How much memory a gateway held, and what it did meanwhile."""

    idle: float
    """Megabytes before anybody asked."""

    looks: Sequence[tuple[float, float]]
    """Seconds and megabytes."""

    after: float
    """Megabytes when all had been read."""

    fetched: Sequence[Fetched]
    server: float
    """Seconds of the gateway's CPU."""

    requests: int
    """Pages that the upstream was asked for."""

    sandbox: float
    """Megabytes of the sandbox."""

    def steady(self) -> list[tuple[float, float]]:
        """Return the looks from when on it should be flat."""
        last = self.looks[-1][0]
        return [(at, used) for at, used in self.looks if at >= last * _SETTLED]

    def cells(self) -> tuple[str, ...]:
        """Return the numbers of a row."""
        steady = self.steady()
        third = max(1, len(steady) // 3)
        first, last = (
            median(used for _, used in some) for some in (steady[:third], steady[-third:])
        )
        slope = linear_regression(*zip(*steady, strict=True)).slope * 60
        peak = max(used for _, used in self.looks)
        return (
            f"{self.idle:.1f}",
            f"{peak:.1f}",
            f"{peak - self.idle:.1f}",
            f"{first:.1f}",
            f"{last:.1f}",
            f"{slope:+.2f}",
            f"{self.after:.1f}",
            " and ".join(count(one.rows / one.seconds) for one in self.fetched),
            micros(self.server / sum(one.rows for one in self.fetched)),
            count(self.requests),
        )


def five_million(stage: Stage, effort: Effort) -> Table:
    """Watch the gateway's memory while five million trades are streamed."""
    del effort
    tape = stage.folder / "tape-trades"
    taped = write_trades(tape, _SYMBOLS, _EACH)
    with history_stage(tape, stage.folder, stage.cores) as history:
        history.load(_SYMBOLS, "/v2/stocks/trades?")
        with history.gateway("trades-first"):
            # It brings the schema up to date, for which it loads what others never need.
            pass
        looks = [_watch(history, scene, taped) for scene in _SCENES]
    return Table(
        title=f"Memory of the server: {taped.rows:,} trades in a stream",
        head=(
            *("", "idle MB", "largest MB", "above idle MB", "second third MB", "last third MB"),
            *(
                "slope MB/min",
                "afterwards MB",
                "trades/s",
                "server CPU µs/trade",
                "upstream requests",
            ),
        ),
        rows=[(scene.name, *one.cells()) for scene, one in zip(_SCENES, looks, strict=True)],
        notes=[
            (
                f"One StreamTrades of {len(_SYMBOLS)} symbols, of each the {_EACH:,} made-up trades of the session of"
                f" {SESSION}, all different; read in chunks, each of which our client makes a polars DataFrame of. The"
                f" slow reader takes {_SLOW:,.0f} trades a second and has a call of its own, at the same time. A row"
                " counts only if each reader was given what was taped, to the last digit and nanosecond, in order."
                f" The sandbox holds all trades in memory, {looks[0].sandbox:,.0f} MB."
            ),
            (
                f"Each row has a gateway that has just started. Its resident memory is looked at every"
                f" {_LOOK_EVERY:g} s. Second and last third: medians of the looks; slope: of a line through both."
                " Trades/s: of each reader. Cold: what comes is written into the store meanwhile, and the slow reader"
                " reads there what has been let go."
            ),
            "Targets: at most 150 MB above idle, and flat.",
        ],
    )


def _watch(history: HistoryStage, scene: _Scene, taped: Taped) -> _Looks:
    """Let readers read all of it, and look at the gateway.

    Raises:
        BrokenMeasurement: one was not given all of it, or it came from elsewhere.
    """
    if scene.stored and not scene.forgets:
        history.held(taped)
        history.tidy()
    with ExitStack() as open_:
        gateway = open_.enter_context(
            history.gateway(f"trades-{_SCENES.index(scene)}", stored=scene.stored)
        )
        if scene.forgets:
            history.forget()
        readers = [
            open_.enter_context(history.reading(CHUNKS, gateway.port, taped, "trades", FROM, TO))
            for _ in scene.paces
        ]
        beside = open_.enter_context(ThreadPoolExecutor())
        idle, server, requests = gateway.resident(), gateway.cpu_seconds(), history.requests()
        reading = [
            beside.submit(reader.ask, Ask(pace), Fetched)
            for reader, pace in zip(readers, scene.paces, strict=True)
        ]
        looks = list(_looks(gateway, reading))
        server = gateway.cpu_seconds() - server
        fetched = [one.result() for one in reading]
        found = _Looks(
            idle,
            looks,
            gateway.resident(),
            fetched,
            server,
            history.requests() - requests,
            history.replaying.resident(),
        )
    for one in fetched:
        expect(one, taped)
    # What is fetched for the quick one may be read from the store already when it gets there.
    if fetched[0].tiers[0] != scene.tier or bool(found.requests) != (scene.tier == "UPSTREAM"):
        msg = f"{scene.name}: {found.requests} requests, and it came from {fetched[0].tiers}"
        raise BrokenMeasurement(msg)
    return found


def _looks(gateway: Process, reading: Sequence[Future[Fetched]]) -> Iterator[tuple[float, float]]:
    """Yield seconds and resident megabytes until all have read everything."""
    begun, left = time.monotonic(), set(reading)
    while left:
        yield time.monotonic() - begun, gateway.resident()
        _, left = wait(left, timeout=_LOOK_EVERY)
