"""The storm itself: calm, then one fault after the other under load, then calm again, and what became of it all."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from tickgate.v1 import (
    channel_pb2,
    freshness_pb2,
    provenance_pb2,
    status_service_pb2,
)
from tickgate.v1 import quote_service_pb2 as quotes
from tickgate.v1 import quote_service_pb2_grpc as quote_services
from tickgate.v1 import status_service_pb2_grpc as status_services
from tickgate_sandbox.timestamps import SECOND, parse

from .faults import Fault, every_fault
from .followers import CHANNELS, Stayer, orders
from .load import Load, Weather
from .matrix import Matrix
from .oracle import Oracle, Verdicts
from .questions import Scene, questions
from .secrets import Leak, search
from .stage import MEBIBYTE, Stage, channel, stage
from .truth import Market, Timeline, Truth

CALLERS: Final = 6
"""Callers who never stop asking."""

RECOVERY: Final = 45.0
"""Seconds within which everything must be well again after a fault."""

DOUBT: Final = 3.0
"""Seconds after a fault for which an answer that there is nothing may be remembered; see `QUICK` in `stage`."""

GROWTH: Final = 80 * MEBIBYTE
"""Seconds after a fault for which an answer that there is nothing may be remembered (see `QUICK` in `stage`)."""

_PAUSE: Final = 0.05
_LONG: Final = 300.0
"""Seconds from which on a storm is a long one."""

_FEWEST: Final = 6
"""Faults that are thrown however slow the machine is."""

_INFANCY: Final = 20.0
"""Seconds in which a gateway that has just started fills what it holds."""


@dataclass(slots=True)
class Recovery:
    """Seconds from the end of a fault until each thing was well again; None never."""

    fault: str
    times: dict[str, float | None] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """What a storm has brought to light."""

    seed: int
    seconds: float
    faults: Sequence[str]
    rpcs: Sequence[str]
    matrix: Matrix
    found: Verdicts
    recoveries: Sequence[Recovery]
    tallies: Sequence[Any]
    lives: Sequence[tuple[str, int | None, Sequence[int]]]
    memory: Sequence[tuple[str, float, float, float]]
    leaks: Sequence[Leak]
    searched: Mapping[str, int]
    on: Sequence[str]
    """What of the gateway was switched on."""

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong, and every call was made under every fault."""
        return not (self.found.violations or self.leaks or self.unasked)

    @property
    def unasked(self) -> Sequence[tuple[str, str]]:
        """Calls that were never made under a fault that was thrown."""
        return self.matrix.missing(self.rpcs, self.faults)

    def lines(self, *, grid: bool = False) -> list[str]:
        """Return it as text."""
        lines = [
            (
                f"storm with seed {self.seed}: {self.seconds:.0f} s, {len(self.faults)} faults, "
                f"{self.matrix.calls:,} calls, {self.matrix.answered:,} of them answered with values"
            ),
            f"switched on: {', '.join(self.on)}",
            "",
            *self.matrix.lines(self.rpcs, self.faults),
            "",
            *(self.matrix.grid(self.rpcs, self.faults) if grid else ()),
            "",
            "seconds from the end of a fault to the first good answer (call), live update (stream), and tiers up",
        ]
        for one in self.recoveries:
            told = ", ".join(f"{name} {_seconds(took)}" for name, took in one.times.items())
            lines.append(f"  {one.fault:<34} {told}")
        calls = [took for one in self.recoveries if (took := one.times.get("call")) is not None]
        if calls:
            lines.append(
                f"  calls: median {statistics.median(calls):.2f} s, longest {max(calls):.2f} s"
            )
        lines += ["", "values compared with what the sandbox held:"]
        lines += [f"  {kind:<24} {count:>10,}" for kind, count in self.found.values.most_common()]
        lines += ["", "records to followers:"]
        lines += [
            f"  {one.delivered:,} delivered, {one.conflated:,} conflated, {one.refused} refused {sorted(one.rules)}, "
            f"{one.lost} lost and said so, {one.in_gaps} in gaps, {one.unknowable} of a mute socket, "
            f"{one.lives} streams"
            for one in self.tallies
        ]
        lines += ["", "processes:"]
        lines += [
            f"  {name}: exit {status} of {sorted(allowed)}" for name, status, allowed in self.lives
        ]
        lines += [
            f"  {name}: {first:.0f} MiB early, {last:.0f} MiB late, {most:.0f} MiB at most"
            for name, first, last, most in self.memory
        ]
        lines += [
            "",
            f"searched for secrets: {', '.join(f'{k} {v:,} characters' for k, v in self.searched.items())}",
        ]
        lines += [f"  LEAK: {leak}" for leak in self.leaks]
        lines += ["", f"cells of calls and faults that are empty: {len(self.unasked)}"]
        lines += [f"violations: {self.found.violations.total()}"]
        lines += [f"  {count} × {kind}" for kind, count in self.found.violations.most_common()]
        lines += [f"    {text}" for text in self.found.told]
        return lines


class Storm:
    """One storm."""

    def __init__(self, seed: int, seconds: float, say: Callable[[str], None]) -> None:
        """Rage for so many *seconds* at least, as *seed* has it; *say* tells of it on the way."""
        self.seed = seed
        self.seconds = seconds
        self.weather = Weather()
        self.recoveries: list[Recovery] = []
        self.excused: list[tuple[int, int]] = []
        self._dice = random.Random(seed)
        self._say = say
        self._offset = 0
        self._stayers: list[Stayer] = []
        self._tiers = ""
        """How the tiers stood when they were last looked at."""

    def market_of(self, wall: int) -> int:
        """Return the sandbox's market time at a wall clock reading, in nanoseconds."""
        return wall + self._offset

    async def rage(self, chosen: Sequence[Fault], *, again: bool) -> Report:
        """Throw *chosen* faults, each once; with *again* one after the other until the time is over."""
        began_at, began = time.time_ns(), time.monotonic()
        # A market that moves half as often is drawn in half the time, of which a short storm has little.
        step = 0.25 if self.seconds >= _LONG else 0.5
        truth = Truth(Market(seed=self._dice.randrange(1 << 16), step=step))
        contracts, timeline = _drawn(truth)
        async with AsyncExitStack() as parts:
            standing = await parts.enter_async_context(
                stage(truth.market, keys_in="postgres" if self.seed % 2 else "file")
            )
            await self.read_clock(standing)
            oracle = Oracle(truth, self.market_of, began_at)
            oracle.found.say = self._say
            scene = Scene(
                random.Random(self.seed), truth, oracle, contracts,
                lambda: self.market_of(time.time_ns()),
            )  # fmt: skip
            parts.enter_context(_tasks(self._sample(standing), self.weather.watch_ourselves()))
            load = Load(
                scene, questions(), [self._way(house.target, parts) for house in standing.houses],
                self.weather, lambda: standing.metadata,
            )  # fmt: skip
            self._canary = self._way(standing.gateway.target, parts)
            followers = await self._follow(standing, scene, timeline, parts)
            parts.push_async_callback(load.stop)
            load.start(CALLERS)
            await load.round()
            raging = time.monotonic()
            course = self._course(chosen, raging, again=again)
            until = None if again else raging + self.seconds
            thrown = await self._throw_all(course, standing, load, oracle, until=until)
            self.weather.name, self.weather.cut = "calm", False
            await load.round()
            await load.stop()
            await self._balance(oracle)
            await self._dismiss(followers)
            return await self._report(standing, load, oracle, thrown, began)

    async def _throw_all(
        self,
        course: Iterable[Fault],
        standing: Stage,
        load: Load,
        oracle: Oracle,
        *,
        until: float | None,
    ) -> list[str]:
        """Throw one after the other, until that reading of the monotonic clock, but some; return their names."""
        thrown: dict[str, None] = {}
        for fault in course:
            await self._throw(fault, standing, load, oracle)
            thrown[fault.name] = None
            if until is not None and time.monotonic() > until and len(thrown) >= _FEWEST:
                break
        return list(thrown)

    async def _dismiss(self, followers: Sequence[asyncio.Task[None]]) -> None:
        """Let the followers go; fail when one of them has stumbled, and saw no more."""
        for stayer in self._stayers:
            stayer.stop()
        for task in followers:
            task.cancel()
        for outcome in await asyncio.gather(*followers, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _report(
        self, standing: Stage, load: Load, oracle: Oracle, thrown: Sequence[str], began: float
    ) -> Report:
        """End the gateways, and say what became of it all."""
        await self._revive(standing, oracle)
        leaks, searched = await search(standing, self.weather.corpus)
        memory = self._memory(standing, oracle)
        on = _switched_on(standing)
        for house in standing.houses:
            for life in house.lives:
                await house.end(life)
                self._look_at_end(house.name, life, oracle)
        return Report(
            self.seed, time.monotonic() - began, ["calm", *thrown], sorted(questions()), load.matrix,
            oracle.found, self.recoveries, [one.tally for one in self._stayers],
            [
                (f"{house.name} {number}", life.status, sorted(life.expected))
                for house in standing.houses for number, life in enumerate(house.lives, 1)
            ],
            memory, leaks, searched, on,
        )  # fmt: skip

    def _way(self, target: str, parts: AsyncExitStack) -> grpc.aio.Channel:
        """Return a connection that is closed with *parts*."""
        way = channel(target)
        parts.push_async_callback(way.close)
        return way

    def _course(self, chosen: Sequence[Fault], began: float, *, again: bool) -> Any:
        """Yield faults: each of *chosen*, what befalls the process first, and then more until the time is over."""
        first = [one for one in chosen if one.family == "process"]
        others = [one for one in chosen if one.family != "process"]
        self._dice.shuffle(others)
        yield from first
        yield from _spread(others)
        while again and time.monotonic() - began < self.seconds:
            yield self._dice.choice(others)

    async def _throw(self, fault: Fault, standing: Stage, load: Load, oracle: Oracle) -> None:
        began = time.monotonic()
        self.weather.name, self.weather.cut = fault.name, fault.cut
        from_ = self.market_of(time.time_ns())
        if fault.doubtful:
            oracle.doubtful_until = time.time_ns() + 600 * SECOND
        started: asyncio.Future[None] = asyncio.ensure_future(fault.begin(standing))
        await asyncio.sleep(_PAUSE)
        await load.round()
        await started
        left = fault.holds - (time.monotonic() - began)
        if left > 0:
            await asyncio.sleep(left)
        await fault.end(standing)
        ended = time.monotonic()
        if fault.doubtful:
            oracle.doubtful_until = time.time_ns() + int(DOUBT * SECOND)
        if fault.unknowable:
            self.excused.append((from_, self.market_of(time.time_ns()) + 5 * SECOND))
        await self._revive(standing, oracle)
        recovery = await self._recover(fault, ended, oracle, standing)
        self.recoveries.append(recovery)
        self.weather.cut = False
        told = ", ".join(f"{name} {_seconds(took)}" for name, took in recovery.times.items())
        wrong = oracle.found.violations.total()
        self._say(
            f"{fault.name:<34} {time.monotonic() - began:5.1f} s; well again: {told}; {wrong} violations"
        )

    async def _revive(self, standing: Stage, oracle: Oracle) -> None:
        """Object when a process has died that nobody has ended, and start it again."""
        for house in standing.houses:
            status = house.life.program.process.poll() if house.lives else 0
            if house.lives and status is not None:
                await house.end(house.life)
                said = "".join(house.life.program.lines[-40:])
                oracle.found.object(
                    "a crash", f"{house.name} under {self.weather.name}: exit {status}\n{said}"
                )
                await house.start()

    async def _recover(
        self, fault: Fault, ended: float, oracle: Oracle, standing: Stage
    ) -> Recovery:
        """Wait until calls, streams and tiers are well again."""
        ways: dict[str, Callable[[], Awaitable[bool]]] = {
            "call": lambda: self._is_answered(standing),
            "stream": lambda: self._is_streaming(ended),
            "tiers": lambda: self._has_tiers(standing),
        }
        recovery = Recovery(fault.name)

        async def wait(name: str, is_well: Callable[[], Awaitable[bool]]) -> None:
            recovery.times[name] = None
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.1, ended + RECOVERY - time.monotonic())):
                    while not await is_well():  # noqa: ASYNC110 - another process gives no sign
                        await asyncio.sleep(_PAUSE)
                    recovery.times[name] = time.monotonic() - ended
            if recovery.times[name] is None:
                silent = "; ".join(str(one) for one in self._stayers if one.heard <= ended)
                why = {"stream": silent, "tiers": self._tiers}.get(name, "")
                what = f"{fault.name}: {name} within {RECOVERY:g} s {why}"
                oracle.found.object("no recovery", what)

        async with asyncio.TaskGroup() as group:
            for name, is_well in ways.items():
                group.create_task(wait(name, is_well))
        return recovery

    async def _is_answered(self, standing: Stage) -> bool:
        request = quotes.GetQuoteRequest(
            symbol="AAPL",
            freshness=freshness_pb2.Freshness(allowed_tiers=[provenance_pb2.TIER_UPSTREAM]),
        )
        request.freshness.max_age.SetInParent()
        stub: quote_services.QuoteServiceAsyncStub = quote_services.QuoteServiceStub(self._canary)
        try:
            answer = await stub.GetQuote(request, timeout=2, metadata=standing.metadata)
        except grpc.aio.AioRpcError:
            return False
        return answer.result.HasField("quote")

    async def _is_streaming(self, since: float) -> bool:
        return all(one.heard > since for one in self._stayers)

    async def _has_tiers(self, standing: Stage) -> bool:
        stub: status_services.StatusServiceAsyncStub = status_services.StatusServiceStub(
            self._canary
        )
        try:
            told = await stub.GetStatus(
                status_service_pb2.GetStatusRequest(), timeout=2, metadata=standing.metadata
            )
        except grpc.aio.AioRpcError as error:
            self._tiers = f"GetStatus: {error.code().name}"
            return False
        up = status_service_pb2.TIER_STATE_UP
        redis = [one.state for one in told.tiers if one.tier == provenance_pb2.TIER_REDIS]
        self._tiers = f"Redis {redis}, store {told.store.state}"
        return redis == [up] and told.store.state == up

    async def read_clock(self, standing: Stage) -> None:
        """Learn how market time and the wall clock lie apart, from the quickest of a few readings."""
        readings = []
        for _ in range(10):
            before = time.time_ns()
            told = await standing.sandbox.control("GET", "clock")
            after = time.time_ns()
            readings.append((after - before, parse(told["market_time"]) - (before + after) // 2))
        self._offset = min(readings)[1]

    async def _follow(
        self, standing: Stage, scene: Scene, timeline: Timeline, parts: AsyncExitStack
    ) -> list[asyncio.Task[None]]:
        for symbols, order, every in orders(scene.contracts):
            self._stayers.append(
                Stayer(
                    self._way(standing.gateway.target, parts), symbols, order, scene.oracle, timeline, every=every,
                    metadata=lambda: standing.metadata, excused=self.excused,
                    cut=lambda: self.weather.cut, weather=lambda: self.weather.name,
                )
            )  # fmt: skip
        tasks = [asyncio.create_task(one.follow()) for one in self._stayers]
        begun = time.monotonic()
        async with asyncio.timeout(RECOVERY):
            while not await self._is_streaming(begun):  # noqa: ASYNC110 - another process gives no sign
                await asyncio.sleep(_PAUSE)
        return tasks

    async def _balance(self, oracle: Oracle) -> None:
        """Hold the law against every follower who is there at the end."""
        for stayer in self._stayers:
            if stayer.follower is None:
                continue
            try:
                await stayer.follower.balance(within=20)
            except AssertionError as error:
                oracle.found.object("accounts that do not balance", str(error)[:800])

    async def _sample(self, standing: Stage) -> None:
        while True:
            for house in standing.houses:
                house.sample(time.monotonic())
            await asyncio.sleep(1.0)

    def _memory(self, standing: Stage, oracle: Oracle) -> list[tuple[str, float, float, float]]:
        told = []
        for house in standing.houses:
            samples = house.life.resident
            grown = [one for one in samples if one[0] - samples[0][0] > _INFANCY]
            if len(grown) < 10:
                continue
            fifth = max(1, len(grown) // 5)
            early, late = (
                statistics.median(one[1] for one in part)
                for part in (grown[:fifth], grown[-fifth:])
            )
            most = max(one[1] for one in samples)
            told.append((house.name, early / MEBIBYTE, late / MEBIBYTE, most / MEBIBYTE))
            if late > early * 1.25 + GROWTH:
                oracle.found.object("memory that grows", f"{house.name}: {early:.0f} to {late:.0f}")
        return told

    def _look_at_end(self, name: str, life: Any, oracle: Oracle) -> None:
        if life.status not in life.expected:
            oracle.found.object("an exit status", f"{name}: {life.status}, not {life.expected}")
        lines = life.program.lines
        for number, line in enumerate(lines):
            if "Traceback (most recent call last)" in line or '"level":"critical"' in line:
                told = "".join(lines[number : number + 1 if line.startswith("{") else number + 25])
                oracle.found.object("a traceback in the log", f"{name}: {_in_lines(told)}")


@contextmanager
def _tasks(*coroutines: Coroutine[Any, Any, None]) -> Iterator[list[asyncio.Task[None]]]:
    """Let *coroutines* run beside the block, and end them with it."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


def _switched_on(standing: Stage) -> list[str]:
    """Return what of the gateway was on, by its own settings."""
    on = ["Redis", "PostgreSQL", "live feeds", "recording", "call log"]
    on += (
        [f"API keys in {standing.environment['TICKGATE_IDENTITY__KEYS']}"]
        if standing.api_key
        else []
    )
    on += ["side port"] if standing.gateway.side else []
    on += ["audit log"] if list(standing.folder.glob("audit*")) else []
    on += ["traces"] if "TICKGATE_TRACES__ENDPOINT" in standing.environment else []
    return on


def sample(seed: int, most: int) -> Sequence[Fault]:
    """Return so many faults at most, by lot, some of each family."""
    dice = random.Random(seed)
    families: dict[str, list[Fault]] = {}
    for one in every_fault():
        families.setdefault(one.family, []).append(one)
    for found in families.values():
        dice.shuffle(found)
    chosen: list[Fault] = []
    while len(chosen) < most and any(families.values()):
        chosen += [found.pop() for found in families.values() if found]
    return chosen[:most]


def _drawn(truth: Truth) -> tuple[list[str], Timeline]:
    """Return contracts to ask for, and what is followed, drawn before anybody has to wait for it."""
    truth.draw()
    contracts = truth.contracts("AAPL", 12)
    timeline = Timeline(truth)
    for symbols, order, _ in orders(contracts):
        for one in symbols:
            for followed in order["channels"]:
                timeline.draw(CHANNELS.get(followed, "quotes"), one)
    return contracts, timeline


def _spread(faults: Sequence[Fault]) -> list[Fault]:
    """Return *faults* with those that break the live feed far apart, or its pauses would grow to half a minute."""
    breaking = [one for one in faults if one.breaks_feed]
    others = [one for one in faults if not one.breaks_feed]
    apart = max(1, len(others) // max(1, len(breaking)))
    mixed: list[Fault] = []
    while others or breaking:
        mixed += [breaking.pop()] if breaking else []
        mixed += others[:apart]
        del others[:apart]
    return mixed


def _in_lines(record: str) -> str:
    """Return the end of a log record with a traceback, which is where the error stands, as lines."""
    lines = record.replace("\\n", "\n").splitlines()
    return "\n      ".join([lines[0][:400], "…", *lines[-60:]])


def _seconds(took: float | None) -> str:
    return "never" if took is None else f"{took:.2f}"


__all__ = ["Report", "Storm", "channel_pb2", "sample"]
