"""An upgrade under load: two gateways, one client that knows both, and each gateway stopped in its turn."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import pytest

import tickgate
from tickgate import FeedState, GapCause
from tools.programs import Program, gateway_program, sandbox_program

from ..support.pouring import pouring

NOW = "2026-10-01T15:00:00Z"
SYMBOLS = ("AAPL", "AMZN", "GOOGL", "MSFT", "TSLA")

ENOUGH = 120.0
"""Seconds that a step may take on a machine that does much else at the same time."""

PATIENT = {"TICKGATE_DRAIN": "60"}
"""Followers and callers get so long that nobody is cut off on such a machine."""


def market_moving(sandbox: Program) -> AbstractContextManager[None]:
    """Let the sandbox send a quote of each symbol twenty times a second for the length of the block."""
    return pouring(sandbox.address, quotes_of_all, every=0.05)


def quotes_of_all(number: int) -> list[dict[str, Any]]:
    """A quote of each symbol."""
    return [
        {"T": "q", "S": symbol, "bx": "V", "bp": 100 + number % 1000 / 100, "bs": 3,
         "ax": "Q", "ap": 150, "as": 2, "c": ["R"], "z": "C", "t": NOW}
        for symbol in SYMBOLS
    ]  # fmt: skip


@dataclass
class Reader:
    """One who follows a symbol, and what he was told."""

    updates: int = 0
    lost: list[tickgate.Disconnected] = field(default_factory=list)
    back: list[tickgate.Reconnected] = field(default_factory=list)
    gaps: list[tickgate.Gap] = field(default_factory=list)
    since: int = 0
    """Updates since the connection was last made again."""

    async def read(self, quotes: tickgate.Subscription[tickgate.Quote]) -> None:
        """Read until the subscription is closed."""
        async for each in quotes.with_events():
            match each:
                case tickgate.Update():
                    self.updates += 1
                    self.since += 1
                case tickgate.Disconnected():
                    self.lost.append(each)
                    self.since = 0
                case tickgate.Reconnected():
                    self.back.append(each)
                    self.since = 0
                case tickgate.SymbolStatus():
                    self.gaps += [gap for gap in each.gaps if gap.cause is GapCause.RESUME]

    def is_elsewhere(self, upgrades: int) -> bool:
        """Whether he has been told of each of so many losses and returns, and reads again."""
        moved = len(self.back) >= upgrades and self.since > 0
        resumed = sum(each.resumed for each in self.back)
        return moved and resumed + len(self.gaps) >= upgrades


class Callers:
    """Those who ask for quotes, so many a second, however long an answer takes."""

    def __init__(self, client: tickgate.Client, rate: int) -> None:
        self._client = client
        self._rate = rate
        self.answered = 0
        self.failures: Counter[str] = Counter()
        self.slowest = 0.0

    async def _ask(self, symbol: str) -> None:
        began = time.monotonic()
        try:
            await self._client.quote(symbol, timeout=ENOUGH)
        except tickgate.TickgateError as error:
            self.failures[f"{type(error).__name__}: {error.message}"] += 1
        else:
            self.answered += 1
        self.slowest = max(self.slowest, time.monotonic() - began)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Ask for the length of the block, and wait for every answer."""
        stopping = asyncio.Event()

        async def pace(calls: asyncio.TaskGroup) -> None:
            began, asked = time.monotonic(), 0
            while not stopping.is_set():
                due = int((time.monotonic() - began) * self._rate)
                # Who was held up catches up, but not with everything at once.
                for number in range(asked, min(due, asked + self._rate // 10)):
                    calls.create_task(self._ask(SYMBOLS[number % len(SYMBOLS)]))
                    asked = number + 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), 1 / min(self._rate, 100))

        async with asyncio.TaskGroup() as calls:
            calls.create_task(pace(calls))
            try:
                yield
            finally:
                stopping.set()


async def until(what: Callable[[], bool], told: str) -> None:
    """Look again and again: what readers and programs in other processes do has no event here."""
    try:
        async with asyncio.timeout(ENOUGH):
            while not what():  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {ENOUGH:g} s: {told}") from None


async def holds_the_feed(gateway: Program) -> None:
    """Wait until *gateway* has the upstream's place."""
    async with tickgate.connect(gateway.address) as client, asyncio.timeout(ENOUGH):
        while True:
            feeds = (await client.status(timeout=ENOUGH)).feeds
            if any(feed.state is FeedState.LIVE for feed in feeds):
                return
            await asyncio.sleep(0.02)


def telling(capsys: pytest.CaptureFixture[str]) -> Callable[[str], object]:
    """Show lines to whoever runs the test, whether it passes or not."""

    def tell(line: str) -> None:
        with capsys.disabled():
            sys.stderr.write(f"\n{line}\n")

    return tell


@dataclass
class Stop:
    """What one stop did, in seconds after the signal."""

    place_taken: float
    everybody_back: float
    gone: float
    status: int


async def stop(leaving: Program, staying: Program, readers: list[Reader], upgrades: int) -> Stop:
    """Stop one gateway, and wait until the other has the feed and everybody follows there."""
    asked = time.monotonic()
    leaving.process.terminate()

    async def gone() -> float:
        await asyncio.to_thread(leaving.process.wait, ENOUGH)
        return time.monotonic() - asked

    going = asyncio.create_task(gone())
    await holds_the_feed(staying)
    place_taken = time.monotonic() - asked
    await until(
        lambda: all(each.is_elsewhere(upgrades) for each in readers),
        f"everybody follows elsewhere after stop {upgrades}",
    )
    everybody_back = time.monotonic() - asked
    return Stop(place_taken, everybody_back, await going, leaving.process.returncode)


async def upgraded(followers: int, rate: int, told: Callable[[str], object], *, both: bool) -> None:
    """Replace one gateway or *both*, in turn, under so many followers and calls a second; tell the numbers."""
    with ExitStack() as programs:
        sandbox = programs.enter_context(sandbox_program("--at", NOW, "--speed", "0"))
        first, second = (
            programs.enter_context(gateway_program(sandbox.address, PATIENT)) for _ in range(2)
        )
        programs.enter_context(market_moving(sandbox))
        one = await asyncio.to_thread(lambda: first.address)
        other = await asyncio.to_thread(lambda: second.address)
        readers = [Reader() for _ in range(followers)]
        async with AsyncExitStack() as parts:
            client = await parts.enter_async_context(tickgate.connect([one, other]))
            reading = await parts.enter_async_context(asyncio.TaskGroup())
            callers = Callers(client, rate)
            parts.push_async_callback(client.close)
            for number, reader in enumerate(readers):
                quotes = client.follow(SYMBOLS[number % len(SYMBOLS)], timeout=ENOUGH)
                reading.create_task(reader.read(await parts.enter_async_context(quotes)))
            await holds_the_feed(first)
            await until(lambda: all(each.updates for each in readers), "everybody reads")
            async with callers.asking():
                await until(lambda: callers.answered > rate, "calls are answered")
                stops = [await stop(first, second, readers, 1)]
                if both:
                    third = programs.enter_context(
                        gateway_program(sandbox.address, PATIENT, listen=one)
                    )
                    await asyncio.to_thread(lambda: third.address)
                    # Whoever upgrades waits until the new one is used.
                    await until(
                        lambda: any("QuoteService/GetQuote" in line for line in third.lines),
                        "the new gateway is asked",
                    )
                    stops.append(await stop(second, third, readers, 2))
                settled = callers.answered
                await until(lambda: callers.answered > settled + rate, "calls go on")

    for which, each in zip(("first", "second"), stops, strict=False):
        told(
            f"{which} stop: the other had the feed after {each.place_taken:.2f} s, all {followers} followers were back"
            f" after {each.everybody_back:.2f} s, the process was gone after {each.gone:.2f} s"
        )
    outages = [outage.outage.total_seconds() for each in readers for outage in each.back]
    resumed = sum(outage.resumed for each in readers for outage in each.back)
    gaps = sum(len(each.gaps) for each in readers)
    told(
        f"{callers.answered} calls answered, {callers.failures.total()} failed, the slowest took"
        f" {callers.slowest:.2f} s; {len(outages)} outages of streams, median {median(outages):.2f} s, longest"
        f" {max(outages):.2f} s: {resumed} resumed, {gaps} gaps reported"
    )
    assert callers.failures == Counter()
    assert [each.status for each in stops] == [0] * (1 + both)


@pytest.mark.timeout(180)  # three programs start, which takes its time on a busy machine
async def test_a_stop_fails_no_call_and_tells_every_follower(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The gateway with the feed stops: no call fails, and each follower goes on at the other, told of his gap."""
    await upgraded(10, 50, telling(capsys), both=False)


@pytest.mark.slow
@pytest.mark.timeout(600)  # several steps of ENOUGH each
async def test_an_upgrade_under_load_fails_no_call_and_tells_every_follower(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both gateways are replaced in turn under 200 followers and 500 calls a second, and the same holds for each."""
    await upgraded(200, 500, telling(capsys), both=True)
