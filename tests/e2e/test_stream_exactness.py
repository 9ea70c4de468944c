"""Whoever follows a replayed day, and however fast, gets what was recorded, and is told what became of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

import tickgate
from tickgate.v1 import channel_pb2, provenance_pb2, status_service_pb2
from tickgate.v1 import stream_service_pb2 as pb

from ..support.ledger import ENOUGH, QUOTES, TRADES, Account, Follower, following
from ..support.market import Programs, programs, replayed
from ..support.recordings import REAL_RECORDINGS, write_recordings
from ..support.tape import Line, Tape, nanoseconds, read_tape, text_of
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

Key = tuple[channel_pb2.Channel.ValueType, str]
Tapes = Mapping[Key, Tape]


@dataclass(frozen=True)
class Reader:
    """How somebody reads."""

    name: str
    every: float = 0.0
    """Seconds that each message takes him."""

    waits: bool = False
    """Whether he reads or acknowledges nothing until all was sent."""

    late: bool = False
    """Whether he comes when the replay is under way."""

    order: Mapping[str, Any] = field(default_factory=dict)


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


class Check:
    """Compares what one follower gets with the tapes."""

    def __init__(self, tapes: Tapes) -> None:
        self.tapes = tapes
        self.given: dict[Key, set[int]] = {key: set() for key in tapes}

    def __call__(self, account: Account, update: pb.Update, before: int) -> None:
        """Compare *update*, which came behind number *before*."""
        key = account.channel, account.symbol
        if update.kind not in (pb.UPDATE_KIND_LIVE, pb.UPDATE_KIND_REPLAY):
            return
        if account.channel == QUOTES:
            self.tapes[key].compare(update, before)
        else:
            # What lies between was lost, and is looked at when all losses were told.
            assert update.conflated == 0
            self.tapes[key].compare(update, update.sequence)
        assert update.sequence not in self.given[key]
        self.given[key].add(update.sequence)

    def losses(self, account: Account) -> None:
        """Check that every record that a queue did not deliver lies in a loss that was told, and no other does."""
        key = account.channel, account.symbol
        lost = {
            number
            for loss in account.losses
            for number in range(loss.first_sequence, loss.last_sequence + 1)
        }
        everything = set(range((account.started or 0) + 1, len(self.tapes[key]) + 1))
        assert lost | self.given[key] == everything
        assert not lost & self.given[key]
        assert len(lost) == account.lost


class Crowd:
    """The followers of one replay, each on a connection of his own, as services are."""

    def __init__(self, target: str, tapes: Tapes, parts: AsyncExitStack) -> None:
        """Follow what *target* sends of *tapes*, until *parts* are over."""
        self._target = target
        self._tapes = tapes
        self._parts = parts
        self._members: list[tuple[Reader, Check, Follower]] = []

    async def let_in(self, *, late: bool) -> None:
        """Begin with those who come *late*, or with the others, and wait until they have begun."""
        come = [await self._begin(reader) for reader in READERS if reader.late is late]
        for reader, _, follower in come:
            if not reader.waits:
                for channel in reader.order.get("channels", (QUOTES,)):
                    await follower.standing(*SYMBOLS, channel=channel)
        self._members += come

    async def _begin(self, reader: Reader) -> tuple[Reader, Check, Follower]:
        options = (("grpc.use_local_subchannel_pool", 1),)
        channel = await self._parts.enter_async_context(
            grpc.aio.insecure_channel(self._target, options=options)
        )
        check = Check(self._tapes)
        entered = following(
            channel, *SYMBOLS, every=reader.every, acks=not reader.waits, heed=check,
            feed=provenance_pb2.FEED_SIP, **reader.order,
        )  # fmt: skip
        return reader, check, await self._parts.enter_async_context(entered)

    async def hears(self, symbol: str, number: int) -> None:
        """Wait until the first one has heard of *number* of *symbol*."""
        _, _, first = self._members[0]
        await first.until(lambda one: one.of(symbol).number >= number, f"{number} of {symbol}")

    async def check(self) -> None:
        """Check that each gets everything, or is told what became of it."""
        for reader, check, follower in self._members:
            if reader.waits:
                await follower.ack()
            await follower.until(self._has_heard_all, f"{reader.name} to hear of all", within=120)
            await follower.balance()
            for account in follower.accounts.values():
                compare_with_tape(account, check, self._tapes[account.channel, account.symbol])

    def _has_heard_all(self, follower: Follower) -> bool:
        return all(
            follower.of(symbol, channel).number == len(tape)
            for (channel, symbol), tape in self._tapes.items()
            if (channel, symbol) in follower.accounts
        )


async def check_replay(running: Programs, tapes: Tapes) -> None:
    """Replay the *tapes* to twenty followers and check what each of them gets."""
    async with (
        AsyncExitStack() as parts,
        tickgate.connect(running.gateway.address) as client,
        asyncio.TaskGroup() as tasks,
    ):
        crowd = Crowd(running.gateway.address, tapes, parts)
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


def compare_with_tape(account: Account, check: Check, tape: Tape) -> None:
    """Check that the whole *tape* is accounted for, and that the last value is its last."""
    assert account.number == len(tape)
    if account.channel == QUOTES:
        assert account.last is not None
        assert account.last.sequence == tape.last_valid
        assert account.lost == 0
    else:
        check.losses(account)
    if account.started == 0:
        assert account.refused == tape.refused
        assert (
            account.delivered + account.conflated + account.lost == len(tape) - tape.refused.total()
        )


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


def span(tapes: Tapes) -> tuple[str, str]:
    """Return from when to when something was recorded, as the sandbox is told."""
    times = [tape.line(number).t for tape in tapes.values() for number in (1, len(tape))]
    last = max(times, key=nanoseconds)
    second, _, fraction = last.removesuffix("Z").partition(".")
    # One nanosecond later: the end of a replay does not belong to it.
    return min(times, key=nanoseconds), f"{second}.{int(fraction.ljust(9, '0')) + 1:09}Z"


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
