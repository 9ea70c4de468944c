"""Whoever follows a replayed day, and however fast, gets what was recorded, and is told what became of the rest."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import tickgate
from tickgate.v1 import provenance_pb2, status_service_pb2

from ..support.crowd import Crowd, Reader, Tapes, span
from ..support.ledger import ENOUGH, QUOTES, TRADES
from ..support.market import Programs, programs, replayed
from ..support.recordings import REAL_RECORDINGS, write_recordings
from ..support.tape import Line, nanoseconds, read_tape, text_of
from ..support.waiting import until_told

SYMBOLS = ("IBM", "BAC", "AIG")
DAY = "2013-10-07"
AFTER = "2013-10-08T00:30:00Z"
"""When the last market has closed."""

CUT = 20_000
"""Lines of each file."""

recorded = REAL_RECORDINGS / "quotes" / f"IBM-{DAY}.jsonl.gz"
needs_recordings = pytest.mark.skipif(
    not recorded.exists(),
    reason="the real recordings are not part of the project and not beside it",
)

BUSY = pytest.mark.timeout(180)
"""For twenty followers and two programs, which take a busy machine a while."""

GATEWAY = {"TICKGATE_ALPACA__PLAN": "plus", "TICKGATE_ALPACA__STOCK_FEED": "sip"}

BOTH = {"channels": (QUOTES, TRADES)}
READERS = (
    *(Reader(f"at-full-speed-{number}") for number in range(3)),
    Reader("at-full-speed-with-trades", order=BOTH),
    Reader("a-thousand-a-second", every=0.001),
    Reader("a-thousand-a-second-with-trades", every=0.001, order=BOTH),
    Reader("a-hundred-a-second", every=0.01),
    Reader("a-hundred-a-second-with-trades", every=0.01, order=BOTH),
    Reader("twenty-a-second", every=0.05),
    Reader("four-a-second", every=0.25),
    Reader("one-a-second", every=1.0),
    Reader("at-intervals", order={"min_update_interval": 0.1}),
    Reader("at-long-intervals-with-trades", order=BOTH | {"min_update_interval": 0.5}),
    Reader("patient", order={"max_unread_age": 10.0}),
    Reader("never-acknowledges", waits=True),
    Reader("never-acknowledges-trades", waits=True, order=BOTH),
    Reader("comes-later", late=True),
    Reader("comes-later-with-trades", late=True, order=BOTH),
    Reader("comes-later-and-is-slow", every=0.02, late=True),
)
"""Nineteen; the twentieth uses the client."""


async def check_replay(running: Programs, tapes: Tapes) -> None:
    """Replay the *tapes* to twenty followers and check what each of them gets."""
    async with (
        AsyncExitStack() as parts,
        tickgate.connect(running.gateway.address) as client,
        asyncio.TaskGroup() as tasks,
    ):
        crowd = Crowd(running.gateway.address, tapes, READERS, provenance_pb2.FEED_SIP, parts)
        by_client = tasks.create_task(check_client(client, tapes))
        await crowd.let_in(late=False)
        await subscribed(running, streams=sum(not reader.late for reader in READERS) + 1)
        replaying = tasks.create_task(
            replayed(running.sandbox.address, *span(tapes), ("quotes", "trades"))
        )
        await crowd.hears("AIG", 2_000)
        await crowd.let_in(late=True)
        sent = await replaying
        assert sent == {
            name: {symbol: len(tapes[channel, symbol]) for symbol in SYMBOLS}
            for channel, name in ((QUOTES, "quotes"), (TRADES, "trades"))
        }
        await crowd.check()
        async with asyncio.timeout(ENOUGH):
            await by_client


async def check_client(client: tickgate.Client, tapes: Tapes) -> None:
    """Follow with the Python client until everything is accounted for, and check each quote on the way."""
    last = {symbol: tapes[QUOTES, symbol].last_valid for symbol in SYMBOLS}
    seen: dict[str, int] = {}
    async with client.follow(*SYMBOLS, feed=tickgate.Feed.SIP) as quotes:
        async for each in quotes.with_events():
            if isinstance(each, tickgate.Update) and each.kind is tickgate.UpdateKind.LIVE:
                compare_with_line(each.value, tapes[QUOTES, each.symbol].line(each.sequence))
                seen[each.symbol] = each.sequence
            counts = quotes.counts
            if seen == last and all(
                counts[symbol].numbered == len(tapes[QUOTES, symbol])
                and not counts[symbol].outstanding
                for symbol in SYMBOLS
            ):
                return


def compare_with_line(quote: tickgate.Quote, line: Line) -> None:
    """Check prices, sizes and time of *quote*."""
    for side, price, size in ((quote.bid, line.bp, line.bs), (quote.ask, line.ap, line.as_)):
        recorded = Decimal(text_of(price))
        assert (None if side is None else side.price) == (recorded or None)
        assert side is None or str(side.size) == text_of(size)
    assert quote.provenance.event_time_ns == nanoseconds(line.t)


async def subscribed(running: Programs, streams: int) -> None:
    """Wait until the gateway counts *streams*, and the upstream both channels of all symbols."""
    everything = {"quotes": sorted(SYMBOLS), "trades": sorted(SYMBOLS)}

    async def seen() -> tuple[int, Any]:
        status = await running.status.GetStatus(status_service_pb2.GetStatusRequest())
        held = await asyncio.to_thread(lambda: running.market.stream["subscribed"])
        return status.streams.streams, held.get("sip")

    await until_told(seen, lambda told: told == (streams, everything), within=ENOUGH)


async def check_recordings(folder: Path, tapes: Tapes, at: str, *more: str) -> None:
    """Replay *folder*, of which *tapes* are the lines, before a gateway, with the market's time behind all of them."""
    arguments = (
        "--replay", str(folder), "--symbols", ",".join(SYMBOLS),
        "--at", at, "--speed", "0", "--plan", "plus", *more,
    )  # fmt: skip
    async with programs(arguments, GATEWAY) as running:
        await check_replay(running, tapes)


def tapes_of(folder: Path, day: str, most: int | None = None) -> Tapes:
    """Return the tapes of *day* in *folder*, each of at most so many lines."""
    return {
        (channel, symbol): read_tape(folder / name / f"{symbol}-{day}.jsonl.gz", symbol, most)
        for channel, name in ((QUOTES, "quotes"), (TRADES, "trades"))
        for symbol in SYMBOLS
    }


@BUSY
async def test_generated_recordings_reach_every_follower(tmp_path: Path) -> None:
    """Of a day made here, in which many quotes are crossed, twenty followers get every line or know its fate."""
    write_recordings(tmp_path, SYMBOLS, updates=10_000)
    tapes = tapes_of(tmp_path, "2024-03-13")
    assert tapes[QUOTES, "IBM"].refused["crossed"] > 100
    await check_recordings(tmp_path, tapes, "2024-03-14T01:00:00Z")


@BUSY
@needs_recordings
async def test_cut_of_a_real_day_reaches_every_follower() -> None:
    """Of 20,000 lines a symbol of 2013-10-07, twenty followers get every line or know what became of it."""
    tapes = tapes_of(REAL_RECORDINGS, DAY, CUT)
    await check_recordings(REAL_RECORDINGS, tapes, AFTER, "--max-records", str(CUT))


@pytest.mark.slow
@pytest.mark.timeout(600)  # a million records, twenty times compared, beside whatever else runs
@needs_recordings
async def test_real_day_reaches_every_follower() -> None:
    """Of all 830,000 quotes and 138,000 trades of IBM, BAC and AIG on 2013-10-07, no follower misses one untold."""
    tapes = tapes_of(REAL_RECORDINGS, DAY)
    quotes = [tapes[QUOTES, symbol] for symbol in SYMBOLS]
    assert sum(map(len, quotes)) > 830_000
    assert [tape.refused["crossed"] for tape in quotes] == [43, 0, 95]
    await check_recordings(REAL_RECORDINGS, tapes, AFTER)
