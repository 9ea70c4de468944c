"""Reads with our Python client, at a pace of its own, and says how old what it read was.

python -m benchmarks.slow_reader PORT PACE SECONDS AHEAD SYMBOL…

PACE is seconds between two quotes that it takes, AHEAD the nanoseconds by which event times are ahead of the wall
clock. It says "ready" when it has begun, reads after a line on its input, and then prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress

import msgspec

import tickgate
from tickgate_server.market.time import NANOS

from . import consumer
from .reader import percentiles


class Read(msgspec.Struct):
    """What was read."""

    quotes: int
    ages: list[float]
    """Seconds between the event of a quote and its being taken: p50, p99 and the largest."""


async def read(port: int, pace: float, seconds: float, ahead: int, symbols: Sequence[str]) -> Read:
    """Take a quote every *pace* seconds for *seconds*."""
    ages = array("d")
    async with (
        tickgate.connect(f"127.0.0.1:{port}", api_key=consumer.api_key()) as gateway,
        gateway.follow(*symbols) as quotes,
    ):
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        begun = due = time.monotonic()
        async for quote in quotes:
            now = time.time_ns()
            event = quote.provenance.event_time_ns
            if event is not None:
                ages.append((now + ahead - event) / NANOS)
            due = max(due + pace, time.monotonic() - pace)
            if due >= begun + seconds:
                break
            await asyncio.sleep(due - time.monotonic())
    return Read(len(ages), percentiles(ages, 50, 99, 100))


def main(port: str, pace: str, seconds: str, ahead: str, *symbols: str) -> None:
    """Run on the quickest loop there is."""
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra of the server

        uvloop.install()
    found = asyncio.run(read(int(port), float(pace), float(seconds), int(ahead), symbols))
    print(msgspec.json.encode(found).decode(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
