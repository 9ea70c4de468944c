"""Following, over real streams: what is read, what is sent, and how it ends."""

from __future__ import annotations

import asyncio

import pytest

import tickgate

from . import streams
from .streams import Peer, quote, statuses, streaming, updates


async def test_quotes_are_yielded() -> None:
    """What the gateway streams is what the loop reads."""

    async def gateway(peer: Peer) -> None:
        await peer.begin()
        await peer.send(updates, quote("AAPL", 1))
        await peer.acked(2)
        await peer.send(updates, quote("MSFT", 2))
        await peer.gone()

    async with (
        streaming(gateway) as target,
        tickgate.connect(target) as client,
        client.follow("AAPL", "MSFT") as quotes,
    ):
        seen = [(quote.symbol, quote.bid and quote.bid.price) async for quote in first(2, quotes)]
    assert seen == [("AAPL", 1), ("MSFT", 2)]


async def first(count, quotes):
    async for q in quotes:
        yield q
        count -= 1
        if not count:
            return


async def test_sync() -> None:
    async def gateway(peer: Peer) -> None:
        await peer.begin()
        await peer.send(updates, quote("AAPL", 1))
        await peer.acked(2)
        await peer.send(updates, quote("MSFT", 2))
        await peer.gone()

    def use(target):
        with tickgate.connect_sync(target) as client, client.follow("AAPL", "MSFT") as quotes:
            seen = []
            for q in quotes:
                seen.append(q.symbol)
                if len(seen) == 2:
                    return seen

    async with streaming(gateway) as target:
        assert await asyncio.to_thread(use, target) == ["AAPL", "MSFT"]
