"""Records that a test sends itself, so that it knows the number of each, and what the gateway shows of its feeds."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tickgate.v1 import gap_pb2
from tickgate.v1 import status_service_pb2 as pb
from tickgate_sandbox import Sandbox

from .ledger import ENOUGH, following
from .outages import nothing_left, own_tasks
from .running import Stack
from .waiting import until, until_told

NOW = "2026-10-01T15:00:00Z"
"""Time of every record: that of the market that stands still."""


class Ticker:
    """Sends records over a sandbox's stream, numbered as the gateway numbers them."""

    def __init__(self, sandbox: Sandbox, feed: str = "iex") -> None:
        """Send to whoever has subscribed on *feed*."""
        self.numbers: Counter[str] = Counter()
        """Quotes sent so far, by symbol."""

        self.trades: Counter[str] = Counter()
        self._sandbox = sandbox
        self._feed = feed

    async def quote(self, *symbols: str, count: int = 1) -> None:
        """Send the next *count* quotes of each of *symbols*, in one piece."""
        await self._send(
            [self._quote(symbol) for _ in range(count) for symbol in symbols], len(symbols) * count
        )

    async def crossed(self, symbol: str) -> None:
        """Send a quote whose bid is above its ask: the gateway refuses it."""
        await self._send([self._quote(symbol) | {"bp": 1000}], 1)

    async def trade(self, *symbols: str, count: int = 1) -> None:
        """Send the next *count* trades of each of *symbols*, in one piece."""
        await self._send(
            [self._trade(symbol) for _ in range(count) for symbol in symbols], len(symbols) * count
        )

    def bid(self, number: int) -> str:
        """Return the bid of quote *number* of any symbol, as it is delivered."""
        return f"{100 + number / 100:.2f}".rstrip("0").rstrip(".")

    async def _send(self, records: list[dict[str, Any]], count: int) -> None:
        assert len(records) == count
        assert await self._sandbox.stream.push(records, feed=self._feed) == 1

    def _quote(self, symbol: str) -> dict[str, Any]:
        self.numbers[symbol] += 1
        bid = float(self.bid(self.numbers[symbol]))
        return {"T": "q", "S": symbol, "bx": "V", "bp": bid, "bs": 3, "ax": "Q", "ap": 150.0, "as": 2,
                "c": ["R"], "z": "C", "t": NOW}  # fmt: skip

    def _trade(self, symbol: str) -> dict[str, Any]:
        self.trades[symbol] += 1
        return {"T": "t", "S": symbol, "i": self.trades[symbol], "x": "V", "p": 120.5, "s": 10,
                "c": ["@"], "z": "C", "t": NOW}  # fmt: skip


async def gaps(stack: Stack, **asked: Any) -> list[gap_pb2.Gap]:
    """Return the gaps that the gateway lists, newest first."""
    return list((await stack.status.ListGaps(pb.ListGapsRequest(**asked))).gaps)


async def repaired(stack: Stack, count: int) -> list[gap_pb2.Gap]:
    """Wait until the gateway lists *count* gaps and works on none, and return them, newest first."""

    def done(listed: list[gap_pb2.Gap]) -> bool:
        pending = gap_pb2.GAP_REPAIR_PENDING
        return len(listed) == count and all(
            gap.HasField("end_time") and gap.repair != pending for gap in listed
        )

    return await until_told(lambda: gaps(stack), done, within=ENOUGH)


async def shown(stack: Stack) -> pb.GetStatusResponse:
    """Return the status of the gateway."""
    return await stack.status.GetStatus(pb.GetStatusRequest())


async def feed_in_state(stack: Stack, state: pb.FeedState.ValueType) -> pb.FeedStatus:
    """Wait until the one feed that is followed, or the first of several, is in *state*; return its status."""

    async def look() -> pb.FeedStatus:
        feeds = (await shown(stack)).feeds
        return feeds[0] if feeds else pb.FeedStatus()

    return await until_told(look, lambda feed: feed.state == state, within=ENOUGH)


async def begun(stack: Stack) -> set[asyncio.Task[Any]]:
    """Let somebody come and go, so that the feed has begun; return the tasks that it needs with nobody there."""
    async with following(stack.channel, "GOOGL") as first:
        await first.standing("GOOGL")
    await until(lambda: not stack.sandbox.counters.stream.subscribed("iex"), within=ENOUGH)
    await until(lambda: stack.gateway.counters.streams.streams == 0, within=ENOUGH)
    return own_tasks()


async def left(stack: Stack, before: set[asyncio.Task[Any]]) -> None:
    """Wait until nothing is left of those who followed: no stream, no subscription here or upstream, no task."""
    counters, upstream = stack.gateway.counters, stack.sandbox.counters.stream
    await until(lambda: not upstream.subscribed("iex"), within=ENOUGH)
    await until(lambda: counters.streams.streams == 0, within=ENOUGH)
    await nothing_left(stack.gateway, before)
    for feed in counters.feeds.values():
        assert not any(feed.wanted.values())
        assert not any(feed.confirmed.values())
        assert feed.symbols == 0
