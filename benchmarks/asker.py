"""Asks many different questions, which h2load cannot: it sends the same body again and again.

python -m benchmarks.asker PLAN HEARD    both are files; see `Plan` and `Heard`

It costs as much as the server that it asks, so it goes at a rate that leaves it time, or measures what a crowd costs
the upstream. Answers are kept as they came; whoever reads them does so when nothing is measured any more.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import msgspec

from . import consumer
from .processes import cpu_seconds

_DEADLINE: Final = 30.0
"""Seconds that a call may take. Nobody here means to measure who gives up."""

_METADATA: Final = consumer.metadata()

_TIMER_GRAIN: Final = 0.002
"""Seconds by which a timer may be late. More than that is this program's own lateness, for which a real caller would
have waited: it counts."""

_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)
"""Without it, all channels of a process share one connection."""


class Plan(msgspec.Struct):
    """What to ask."""

    pid: int
    """Of the server, whose CPU time is read."""

    port: int
    path: str
    bodies: list[bytes]
    order: list[int]
    """Which body each call sends."""

    connections: int
    at_once: int
    """Calls under way at once, where there is no rate."""

    rate: float | None
    """Calls begun in a second, whatever becomes of those before."""

    streamed: bool = False
    """Whether each answer is a stream of messages."""


class Heard(msgspec.Struct):
    """What came of it."""

    seconds: float
    """From the first call's start to the last one's end."""

    cpu: float
    """Seconds of CPU that the server used meanwhile."""

    times: list[float]
    """Seconds that each call took, in the order of the plan."""

    answers: list[bytes]
    """Of a stream: its messages behind each other, each behind its length in four bytes."""


class Asker:
    """Asks as it is told."""

    def __init__(self, plan: Plan, channels: list[grpc.aio.Channel]) -> None:
        """Ask as *plan* says over *channels*, in turn."""
        self._plan = plan
        self._asks: list[Callable[[bytes], Awaitable[bytes]]] = [
            partial(_whole, channel.unary_stream(plan.path))
            if plan.streamed
            else partial(_one, channel.unary_unary(plan.path))
            for channel in channels
        ]
        self._times = [0.0] * len(plan.order)
        self._answers = [b""] * len(plan.order)

    async def run(self) -> Heard:
        """Ask everything. The first call that fails ends it."""
        cpu, start = cpu_seconds(self._plan.pid), time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            if self._plan.rate is None:
                await self._at_once(calls)
            else:
                await self._at_rate(calls, start, self._plan.rate)
        return Heard(
            time.perf_counter() - start,
            cpu_seconds(self._plan.pid) - cpu,
            self._times,
            self._answers,
        )

    async def _at_once(self, calls: asyncio.TaskGroup) -> None:
        places = asyncio.Semaphore(self._plan.at_once)

        async def ask(number: int) -> None:
            try:
                await self._ask(number, time.perf_counter())
            finally:
                places.release()

        for number in range(len(self._plan.order)):
            await places.acquire()
            calls.create_task(ask(number))

    async def _at_rate(self, calls: asyncio.TaskGroup, start: float, rate: float) -> None:
        for number in range(len(self._plan.order)):
            due = start + number / rate
            early = due - time.perf_counter()
            if early > 0:
                await asyncio.sleep(early)
            now = time.perf_counter()
            calls.create_task(self._ask(number, now if now - due < _TIMER_GRAIN else due))

    async def _ask(self, number: int, since: float) -> None:
        ask = self._asks[number % len(self._asks)]
        body = self._plan.bodies[self._plan.order[number]]
        self._answers[number] = await ask(body)
        self._times[number] = time.perf_counter() - since


async def _one(call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], body: bytes) -> bytes:
    return await call(body, timeout=_DEADLINE, metadata=_METADATA)


async def _whole(call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes], body: bytes) -> bytes:
    messages = [message async for message in call(body, timeout=_DEADLINE, metadata=_METADATA)]
    return b"".join(len(message).to_bytes(4, "big") + message for message in messages)


async def ask(plan: Plan) -> Heard:
    """Ask as *plan* says, over connections that are open before the first call."""
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{plan.port}", options=_OPTIONS)
        for _ in range(plan.connections)
    ]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    try:
        return await Asker(plan, channels).run()
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


def main(plan: Path, heard: Path) -> None:
    """Run on the quickest loop there is."""
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra of the server

        uvloop.install()
    told = msgspec.msgpack.decode(plan.read_bytes(), type=Plan)
    heard.write_bytes(msgspec.msgpack.encode(asyncio.run(ask(told))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
