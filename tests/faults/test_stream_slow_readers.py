"""However slowly somebody reads a market that runs, what he reads is fresh, and the gateway holds no more for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from struct import pack
from typing import Any

import grpc
import msgspec
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

import tickgate
from tickgate.v1 import provenance_pb2
from tickgate.v1 import stream_service_pb2 as pb
from tools.programs import Program

from ..support.lateness import Lateness, measured
from ..support.ledger import ENOUGH, Account, Follower, following
from ..support.market import Market, Programs, programs
from ..support.recordings import write_recordings
from ..support.tape import nanoseconds
from ..support.waiting import until

SYMBOLS = tuple(f"S{letter}{other}" for letter in "ABCDE" for other in "ABCDEFGHIJ")
AT = "2024-03-13T15:00:00Z"
"""Where the market's time stands still while the market is open: what is sent is sent by the test."""

TICK = 0.01
"""Seconds between two quotes of a symbol: 5,000 a second of all fifty."""

PERIODS = (0.001, 0.01, 0.1, 0.25, 1.0)
"""Seconds between two messages that a reader takes."""

FRESH = 0.5
"""Seconds since what is read was superseded, at most; or two of the reader's periods, if these are longer."""

GROWTH = 32 * 2**20
"""Bytes by which the gateway may grow while readers are slow."""

GATEWAY = {"TICKGATE_ALPACA__PLAN": "plus", "TICKGATE_ALPACA__STOCK_FEED": "sip"}


class Run:
    """A market that runs in another process, driven by a thread. The bid of a quote is the number of its tick."""

    def __init__(self, sandbox: Program) -> None:
        self.sent_at: list[float] = [0.0]
        """When each tick was about to be sent, seconds of the monotonic clock; the first is number 1."""

        self.slowest = 0.0
        """Seconds that the sandbox took at worst to send a tick."""

        self._market = Market(sandbox.address)
        self._time = msgspec.msgpack.Ext(-1, pack(">Q", nanoseconds(AT) // 10**9))
        self._stopped = threading.Event()

    @contextmanager
    def going(self) -> Iterator[None]:
        """Let it run for the length of the block."""
        running = threading.Thread(target=self._go)
        running.start()
        try:
            yield
        finally:
            self._stopped.set()
            running.join()
            self._market.close()

    @property
    def ticks(self) -> int:
        """How many there were."""
        return len(self.sent_at) - 1

    def tick(self) -> None:
        """Send the next quote of every symbol, and wait until the sandbox has done so."""
        frame = self._frame(len(self.sent_at))
        began = time.monotonic()
        self.sent_at.append(began)
        assert self._market.ask("POST", "stream/frames?feed=sip", frame) == {"clients": 1}
        self.slowest = max(self.slowest, time.monotonic() - began)

    def superseded_for(self, tick: int) -> float:
        """Return for how many seconds a quote of *tick* has been superseded; 0 while it is the newest."""
        following_tick = tick + 1
        if following_tick >= len(self.sent_at):
            return 0.0
        return time.monotonic() - self.sent_at[following_tick]

    def _go(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            # Behind a sandbox that is late the ticks do not pile up, for then nobody knew when they were sent.
            due = max(due + TICK, time.monotonic())
            self.tick()

    def _frame(self, tick: int) -> bytes:
        common = {"T": "q", "bx": "V", "bp": float(tick), "bs": 1, "ax": "Q", "ap": tick + 1.0,
                  "as": 1, "c": ["R"], "z": "C", "t": self._time}  # fmt: skip
        return msgspec.msgpack.encode([common | {"S": symbol} for symbol in SYMBOLS])


class Watched:
    """How old what one reader reads has become."""

    def __init__(self, name: str, period: float, run: Run) -> None:
        self.name = name
        self.period = period
        self.read = 0
        self.oldest = 0.0
        """Seconds for which a quote had been superseded when it was read, at most."""

        self._run = run

    def __call__(self, _: Account, update: pb.Update, __: int) -> None:
        """Look at an update."""
        if update.sequence > 0:
            self.look(int(update.quote.bid.price.value))

    def look(self, tick: int) -> None:
        """Look at a quote of *tick*."""
        self.read += 1
        self.oldest = max(self.oldest, self._run.superseded_for(tick))

    def check(self, lateness: Lateness) -> None:
        """Check that nothing was too old, apart from what the machine was late."""
        allowed = max(FRESH, 2 * self.period) + lateness.worst + self._run.slowest
        assert self.read > 0, self.name
        assert self.oldest <= allowed, f"{self.name}: {self.oldest:.3f} s, {allowed:.3f} allowed"


async def read_by_client(client: tickgate.Client, watched: Watched) -> None:
    """Take one quote in each period with the client, until cancelled."""
    async with client.follow(*SYMBOLS, feed=tickgate.Feed.SIP) as quotes:
        async for each in quotes.with_events():
            if isinstance(each, tickgate.Update) and each.sequence > 0:
                assert each.value.bid is not None
                watched.look(int(each.value.bid.price))
                await asyncio.sleep(watched.period)


async def check_slow_readers(folder: Path, seconds: float) -> None:
    """Run the market for *seconds* before readers of every speed."""
    write_recordings(folder, SYMBOLS, updates=8)
    arguments = ("--replay", str(folder), "--at", AT, "--speed", "0", "--plan", "plus")
    async with programs(arguments, GATEWAY) as running, AsyncExitStack() as parts:
        run = Run(running.sandbox)
        watched = [Watched(f"one in {period:g} s", period, run) for period in PERIODS]
        # The quickest comes first, so that the others find everything confirmed, with a quote to begin with.
        quickest = await parts.enter_async_context(_reader(running, watched[0]))
        await quickest.until(_is_confirmed, "all to be confirmed")
        await asyncio.to_thread(run.tick)
        await quickest.given(SYMBOLS[-1], 1)
        others = [await parts.enter_async_context(_reader(running, one)) for one in watched[1:]]
        client = await parts.enter_async_context(tickgate.connect(running.gateway.address))
        by_client = [Watched(f"client, one in {period:g} s", period, run) for period in PERIODS]
        tasks = [asyncio.create_task(read_by_client(client, one)) for one in by_client]
        parts.callback(lambda: [task.cancel() for task in tasks])
        for reader in others:
            await reader.standing(*SYMBOLS)
        await until(lambda: all(one.read for one in by_client), within=ENOUGH)
        readers = [quickest, *others]
        gateway = psutil.Process(running.gateway.process.pid)
        async with measured() as lateness:
            with run.going():
                await until(lambda: run.ticks >= 0.2 * seconds / TICK, within=60 + 10 * seconds)
                before = gateway.memory_info().rss
                await until(lambda: run.ticks >= seconds / TICK, within=60 + 10 * seconds)
                grown = gateway.memory_info().rss - before
            for one in (*watched, *by_client):
                one.check(lateness)
        for reader in readers:
            # What is checked now is who knows what, and not when.
            reader.every = 0.0
        assert grown < GROWTH
        for task in tasks:
            assert not task.done() or task.result() is None
        for reader in readers:
            await reader.given(SYMBOLS[-1], run.ticks)
            await reader.balance(**dict.fromkeys(SYMBOLS, run.ticks))


def _is_confirmed(reader: Follower) -> bool:
    return all(reader.of(symbol).state == "LIVE" for symbol in SYMBOLS)


def _reader(running: Programs, watched: Watched) -> Any:
    channel = grpc.aio.insecure_channel(
        running.gateway.address, options=(("grpc.use_local_subchannel_pool", 1),)
    )
    return following(
        channel, *SYMBOLS, every=watched.period, heed=watched, feed=provenance_pb2.FEED_SIP
    )


@pytest.mark.timeout(180)  # the market takes as long as the machine does
async def test_slow_readers_read_what_is_fresh(tmp_path: Path) -> None:
    """At 5,000 updates a second who reads 1, 4, 10, 100 or 1,000 messages a second reads quotes that are fresh."""
    await check_slow_readers(tmp_path, 4.0)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute of a running market, longer where the machine cannot keep up
async def test_slow_readers_go_on_reading_what_is_fresh(tmp_path: Path) -> None:
    """A minute of it changes nothing: quotes are as fresh, and the gateway has not grown."""
    await check_slow_readers(tmp_path, 60.0)
