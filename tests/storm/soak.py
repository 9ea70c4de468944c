"""`python -m tests.storm --soak --minutes 20`: half of what a gateway can do, for long, and nothing of it may grow.

Capacity is measured first: callers who never wait. Then half as many calls a second, with followers beside them who
come and go, while resident memory and open files are sampled. Theil and Sen's slope of the second half, which a few odd
samples do not move, must be as good as none.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import grpc

from .load import Load, Weather
from .oracle import Oracle
from .questions import Question, Scene, questions
from .stage import MEBIBYTE, Life, Stage, channel, stage
from .storm import Storm
from .truth import Market, Truth

_MEASURED: Final = 8.0
"""Seconds for which capacity is measured."""

_CALLERS: Final = 24
_FOLLOWERS: Final = 10
_JUDGED: Final = 0.05
"""Share of calls whose answers are looked at: the judge has more to do with an answer than the gateway."""

_EVERY: Final = 1.0
"""Seconds between two samples."""

_MOST_SAMPLES: Final = 300
"""Samples that the slope is taken over: it looks at each pair of them."""

GROWTH: Final = 12.0
"""MiB that the second half may gain by its slope, beside 4 % of what is held: caches and heaps never stand still."""

FILES: Final = 6.0
"""Open files that the second half may gain by its slope."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How something went in the second half."""

    name: str
    unit: str
    first: float
    """Median of the second half's first quarter."""

    last: float
    """Median of its last."""

    gained: float
    """By its slope, over the whole half."""

    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether it is as good as level."""
        return self.gained <= self.allowed

    def __str__(self) -> str:
        verdict = "flat" if self.is_flat else "GROWS"
        return (
            f"{self.name:<28} {self.first:>9.1f} {self.last:>9.1f} {self.gained:>+9.1f} "
            f"{self.allowed:>9.1f} {self.unit:<6} {verdict}"
        )


def trend(name: str, unit: str, values: Sequence[tuple[float, float]], allowed: float) -> Trend:
    """Return how *values*, each with its time, went in their second half."""
    half = values[len(values) // 2 :]
    quarter = max(1, len(half) // 4)
    early, late = (
        statistics.median(one[1] for one in part) for part in (half[:quarter], half[-quarter:])
    )
    thinned = half[:: max(1, len(half) // _MOST_SAMPLES)]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(thinned, 2) if b[0] > a[0]]
    slope = statistics.median(slopes) if slopes else 0.0
    return Trend(name, unit, early, late, slope * (half[-1][0] - half[0][0]), allowed)


def trends(life: Life) -> list[Trend]:
    """Return how memory and open files of one run of a gateway went."""
    memory = [(at, size / MEBIBYTE) for at, size, _ in life.resident]
    files = [(at, float(count)) for at, _, count in life.resident]
    held = statistics.median(size for _, size in memory)
    return [
        trend("resident memory", "MiB", memory, GROWTH + 0.04 * held),
        trend("open files", "files", files, FILES),
    ]


class Pace:
    """Calls at a rate, whoever makes them: each takes the next moment that is free."""

    def __init__(self, rate: float) -> None:
        self._apart = 1 / rate
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until it is time for one more."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next + self._apart, now)
        await asyncio.sleep(self._next - now)


async def soak(minutes: float, seed: int, say: Callable[[str], None]) -> bool:
    """Do it, *say* a table, and return whether everything was flat and true."""
    truth = Truth(Market(seed=seed % (1 << 16)))
    truth.draw()
    contracts = truth.contracts("AAPL", 12)
    began_at = time.time_ns()
    async with AsyncExitStack() as parts:
        # As it runs in production, but for the budget, of which half a capacity would spend all in a second.
        budget = {
            "TICKGATE_ALPACA__BUDGET__DATA_PER_MINUTE": "1000000",
            "TICKGATE_ALPACA__BUDGET__TRADING_PER_MINUTE": "1000000",
        }
        standing = await parts.enter_async_context(
            stage(truth.market, replica=False, environment=budget, quick=False)
        )
        storm = Storm(seed, 0, say)
        await storm.read_clock(standing)
        oracle = Oracle(truth, storm.market_of, began_at)
        oracle.found.say = say
        scene = Scene(
            random.Random(seed), truth, oracle, contracts, lambda: storm.market_of(time.time_ns())
        )
        weather = Weather(name="soak")
        ways = [channel(standing.gateway.target) for _ in range(4)]
        for way in ways:
            parts.push_async_callback(way.close)
        asked = [one for one in questions().values() if one.rpc.service != "StreamService"]
        load = Load(scene, questions(), ways, weather, lambda: standing.metadata)
        capacity = await _capacity(load, asked, ways)
        rate = capacity / 2
        say(f"seed {seed}: {capacity:.0f} calls/s at most, of all kinds, as one process asks them")
        say(f"{rate:.0f} calls/s and {_FOLLOWERS} followers for {minutes:g} minutes")
        await _run(standing, load, asked, ways, rate, minutes * 60)
        rows = trends(standing.gateway.life)
        say(f"\n{'second half':<28} {'early':>9} {'late':>9} {'gained':>9} {'allowed':>9}")
        say("\n".join(map(str, rows)))
        say(f"\n{load.matrix.calls:,} calls, {load.matrix.answered:,} of them answered with values")
        told = f"{oracle.found.values.total():,} values of {_JUDGED:.0%} of the calls compared"
        say(f"{told}: {oracle.found.violations.total()} violations")
        say("\n".join(oracle.found.told))
        return all(one.is_flat for one in rows) and not oracle.found.violations


async def _capacity(
    load: Load, asked: Sequence[Question], ways: Sequence[grpc.aio.Channel]
) -> float:
    """Return the calls a second that many callers make who never wait."""
    until = time.monotonic() + _MEASURED

    async def caller(number: int) -> None:
        dice = random.Random(number)
        while time.monotonic() < until:
            await load.ask(dice.choice(asked), ways[number % len(ways)], judged=False)

    before = load.matrix.calls
    await asyncio.gather(*(caller(number) for number in range(_CALLERS)))
    return (load.matrix.calls - before) / _MEASURED


async def _run(
    standing: Stage,
    load: Load,
    asked: Sequence[Question],
    ways: Sequence[grpc.aio.Channel],
    rate: float,
    seconds: float,
) -> None:
    """Ask at *rate*, with followers who come and go, and sample."""
    until = time.monotonic() + seconds
    pace = Pace(rate)
    streams = [one for one in questions().values() if one.rpc.service == "StreamService"]

    async def caller(number: int) -> None:
        dice = random.Random(number)
        while time.monotonic() < until:
            await pace.turn()
            judged = dice.random() < _JUDGED
            await load.ask(dice.choice(asked), ways[number % len(ways)], judged=judged)

    async def follower(number: int) -> None:
        dice = random.Random(-number)
        while time.monotonic() < until:
            await load.ask(dice.choice(streams), ways[number % len(ways)])
            await asyncio.sleep(dice.random())

    async def sampler() -> None:
        while time.monotonic() < until:
            standing.gateway.sample(time.monotonic())
            await asyncio.sleep(_EVERY)

    work: list[Any] = [caller(number) for number in range(_CALLERS)]
    work += [follower(number) for number in range(_FOLLOWERS)]
    await asyncio.gather(sampler(), *work)
