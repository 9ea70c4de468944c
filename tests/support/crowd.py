"""Followers of a replay who read at different paces, and the comparison of what each gets with what was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc

from tickgate.v1 import channel_pb2, provenance_pb2
from tickgate.v1 import stream_service_pb2 as pb

from .ledger import QUOTES, Account, Follower, following
from .tape import Tape, nanoseconds

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

    def __init__(
        self,
        target: str,
        tapes: Tapes,
        readers: Sequence[Reader],
        feed: provenance_pb2.Feed.ValueType,
        parts: AsyncExitStack,
    ) -> None:
        """Let *readers* follow what *target* sends of *tapes* on *feed*, until *parts* are over."""
        self._target = target
        self._tapes = tapes
        self._readers = readers
        self._feed = feed
        self._parts = parts
        self._symbols = sorted({symbol for _, symbol in tapes})
        self._members: list[tuple[Reader, Check, Follower]] = []

    async def let_in(self, *, late: bool) -> None:
        """Begin with those who come *late*, or with the others, and wait until they have begun."""
        come = [await self._begin(reader) for reader in self._readers if reader.late is late]
        for reader, _, follower in come:
            if not reader.waits:
                for channel in reader.order.get("channels", (QUOTES,)):
                    await follower.standing(*self._symbols, channel=channel)
        self._members += come

    async def _begin(self, reader: Reader) -> tuple[Reader, Check, Follower]:
        options = (("grpc.use_local_subchannel_pool", 1),)
        channel = await self._parts.enter_async_context(
            grpc.aio.insecure_channel(self._target, options=options)
        )
        check = Check(self._tapes)
        entered = following(
            channel, *self._symbols, every=reader.every, acks=not reader.waits, heed=check,
            feed=self._feed, **reader.order,
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


def span(tapes: Tapes) -> tuple[str, str]:
    """Return from when to when something was recorded, as the sandbox is told."""
    times = [tape.line(number).t for tape in tapes.values() for number in (1, len(tape))]
    last = max(times, key=nanoseconds)
    second, _, fraction = last.removesuffix("Z").partition(".")
    # One nanosecond later: the end of a replay does not belong to it.
    return min(times, key=nanoseconds), f"{second}.{int(fraction.ljust(9, '0')) + 1:09}Z"
