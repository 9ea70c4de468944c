"""A follower with a raw stub: reads and acknowledges at a pace of his own, and keeps the accounts of the law.

Nothing of the client is used here, so what is proven is the gateway's doing alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import channel_pb2, gap_pb2, provenance_pb2
from tickgate.v1 import stream_service_pb2 as pb
from tickgate.v1 import stream_service_pb2_grpc as services

ENOUGH: Final = 30.0
"""Seconds for what must come and has no promised time: long enough for a busy machine."""

QUOTES: Final = channel_pb2.CHANNEL_QUOTES
TRADES: Final = channel_pb2.CHANNEL_TRADES

_CHANNELS: Final = {
    "quote": QUOTES,
    "trade": TRADES,
    "trade_correction": TRADES,
    "trade_cancellation": TRADES,
    "bar": channel_pb2.CHANNEL_BARS,
    "revised_bar": channel_pb2.CHANNEL_BARS,
    "daily_bar": channel_pb2.CHANNEL_DAILY_BARS,
    "trading_status": channel_pb2.CHANNEL_TRADING_STATUSES,
    "price_bands": channel_pb2.CHANNEL_PRICE_BANDS,
}
_KEPT: Final = 200
"""Updates and messages that are remembered."""

_STANDING: Final = frozenset({"LIVE", "QUIET", "STALE"})
_TIMES: Final = ("min_update_interval", "heartbeat_interval", "stale_after", "max_unread_age")

Heed = Callable[["Account", pb.Update, int], None]
"""Looks at an update of an account as it comes; the third is the number that came before it."""


@dataclass(slots=True)
class Account:
    """What became of the numbers of one symbol on one channel, as far as one follower was told."""

    symbol: str
    channel: channel_pb2.Channel.ValueType
    started: int | None = None
    """Number from behind which is counted; None before the first status."""

    number: int = 0
    """The newest number heard of."""

    delivered: int = 0
    conflated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    losses: list[pb.Loss] = field(default_factory=list)
    last: pb.Update | None = None
    updates: list[pb.Update] = field(default_factory=list)
    """The newest few."""

    replayed: list[pb.Update] = field(default_factory=list)
    statuses: list[pb.SymbolStatus] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Records that were said to be lost."""
        return sum(loss.count for loss in self.losses)

    @property
    def is_balanced(self) -> bool:
        """Whether the law holds: of each number is known what became of it."""
        explained = self.delivered + self.conflated + self.refused.total() + self.lost
        return self.started is not None and self.number - self.started == explained

    @property
    def state(self) -> str:
        """The newest state, without the contract's prefix; "" before the first."""
        return name_of(self.statuses[-1].state) if self.statuses else ""

    @property
    def states(self) -> list[str]:
        """The states it was in, one that was told again only once."""
        names: list[str] = []
        for status in self.statuses:
            name = name_of(status.state)
            if names[-1:] != [name]:
                names.append(name)
        return names

    @property
    def gaps(self) -> list[gap_pb2.Gap]:
        """Every gap that was told of, at its beginning or at its end."""
        return [gap for status in self.statuses for gap in status.gaps]

    @property
    def is_standing(self) -> bool:
        """Whether it is current and, where it has one, its snapshot is here."""
        return self.state in _STANDING and (self.channel != QUOTES or self.last is not None)

    def of_kind(self, kind: pb.UpdateKind.ValueType) -> list[pb.Update]:
        """Return the newest updates that came in one way."""
        return [update for update in self.updates if update.kind == kind]

    def told(self, status: pb.SymbolStatus) -> None:
        """Enter a status."""
        if self.started is None:
            self.started = self.number = status.sequence
        self.number = max(self.number, status.sequence)
        self.refused.update({refusal.rule: refusal.count for refusal in status.refusals})
        self.losses += status.losses
        self.statuses.append(status)

    def given(self, update: pb.Update) -> int:
        """Enter an update; return the number of the one before."""
        assert self.started is not None, "no status came before the first update"
        before = self.started if self.last is None else self.last.sequence
        if update.kind == pb.UPDATE_KIND_REPLAY:
            # It was given its number while he was away.
            self.replayed.append(update)
            self.delivered += update.sequence > self.started
            return before
        counted = update.kind == pb.UPDATE_KIND_LIVE
        assert update.sequence >= before + counted
        assert update.conflated <= update.sequence - before - counted
        self.delivered += counted
        self.conflated += update.conflated
        self.number = max(self.number, update.sequence)
        self.last = update
        self.updates.append(update)
        del self.updates[:-_KEPT]
        return before

    def __str__(self) -> str:
        counts = f"{self.delivered} + {self.conflated} + {dict(self.refused)} + {self.lost}"
        return f"{self.symbol} {self.started}–{self.number}: {counts}, {self.states[-4:]}"


class Follower:
    """One stream, from the follower's end."""

    def __init__(
        self, call: Any, *, every: float = 0.0, acks: bool = True, heed: Heed | None = None
    ) -> None:
        """Read from *call*, which `following` opens.

        Args:
            call: the stream.
            every: seconds that each message takes to be read.
            acks: whether what was read is acknowledged; else `ack` does it.
            heed: looks at every update.
        """
        self.call = call
        self.acks = acks
        self.every = every
        self.accounts: dict[tuple[channel_pb2.Channel.ValueType, str], Account] = {}
        self.messages: list[pb.SubscribeResponse] = []
        """The newest few."""

        self.number = 0
        """`delivery_sequence` of the newest message."""

        self.token = ""
        """The newest, of whatever subscription."""

        self.epochs: dict[str, str] = {}
        """By subscription."""

        self.heartbeats = 0
        self.refusals: list[pb.RequestRefused] = []
        self.closing: pb.StreamClosing | None = None
        self.is_over = False
        self.end: grpc.aio.AioRpcError | None = None
        """The status with which the gateway ended the stream; None when that was OK, or while it lasts."""

        self.fault: BaseException | None = None
        """What was wrong with a message."""

        self._heed = heed
        self._pulse = asyncio.Event()
        self._writing = asyncio.Lock()

    def of(self, symbol: str, channel: channel_pb2.Channel.ValueType = QUOTES) -> Account:
        """Return the account of *symbol*."""
        account = self.accounts.get((channel, symbol))
        if account is None:
            account = self.accounts[channel, symbol] = Account(symbol, channel)
        return account

    async def say(self, **request: Any) -> None:
        """Send a request, such as `say(query=pb.Query())`.

        On a stream that is over it goes nowhere; reading tells how that ended.
        """
        async with self._writing:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self.call.write(pb.SubscribeRequest(**request))

    async def fall_silent(self) -> None:
        """Say nothing more, also not that something was read."""
        self.acks = False
        async with self._writing:
            # What was being said has been said.
            return

    async def ack(self) -> None:
        """Acknowledge everything that was read, and from now on whatever is."""
        self.acks = True
        await self.say(ack=pb.Ack(delivery_sequence=self.number))

    async def until(
        self, holds: Callable[[Follower], bool], what: str, *, within: float = ENOUGH
    ) -> None:
        """Wait for *what*, which *holds* tells after every message; fail when it does not come, or one is wrong."""
        try:
            async with asyncio.timeout(within):
                while self._is_right() and not holds(self):
                    self._pulse.clear()
                    await self._pulse.wait()
        except TimeoutError:
            accounts = "; ".join(map(str, self.accounts.values()))
            msg = f"waited {within:g} s for {what}: {accounts}"
            raise AssertionError(msg) from None

    def _is_right(self) -> bool:
        if self.fault is not None:
            raise self.fault
        return True

    async def standing(
        self, *symbols: str, channel: channel_pb2.Channel.ValueType = QUOTES, within: float = ENOUGH
    ) -> None:
        """Wait until *symbols* are current, and the snapshots of quotes are here."""
        await self.until(
            lambda one: all(one.of(symbol, channel).is_standing for symbol in symbols),
            f"{', '.join(symbols)} to stand",
            within=within,
        )

    async def in_state(self, symbol: str, state: str, *, within: float = ENOUGH) -> Account:
        """Wait until the newest state of *symbol*'s quotes is *state*; return their account."""
        account = self.of(symbol)
        await self.until(lambda _: account.state == state, f"{symbol} to be {state}", within=within)
        return account

    async def given(
        self, symbol: str, number: int, channel: channel_pb2.Channel.ValueType = QUOTES
    ) -> None:
        """Wait until update *number* of *symbol*, or a newer one, is here."""
        account = self.of(symbol, channel)
        await self.until(
            lambda _: account.last is not None and account.last.sequence >= number,
            f"update {number} of {symbol}",
        )

    async def balance(self, within: float = ENOUGH, **numbers: int) -> None:
        """Wait until each number is accounted for, and the newest quotes are *numbers* where they are given."""
        await self.say(query=pb.Query())
        await self.until(
            lambda one: (
                all(account.is_balanced for account in one.accounts.values())
                and all(one.of(symbol).number == number for symbol, number in numbers.items())
            ),
            f"the accounts to balance {numbers}",
            within=within,
        )

    async def ended(self, within: float = ENOUGH) -> grpc.aio.AioRpcError | None:
        """Wait until the stream has ended, and return the status where it is an error."""
        await self.until(lambda one: one.is_over, "the end", within=within)
        return self.end

    async def read(self) -> None:
        """Read until the end."""
        try:
            await self._read()
        except grpc.aio.AioRpcError as error:
            self.end = error
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self.fault = error
        finally:
            self.is_over = True
            self._pulse.set()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        free_at = loop.time()
        while (message := await self.call.read()) is not grpc.aio.EOF:
            self._take(message)
            self._pulse.set()
            if self.acks:
                # As the client does: when he takes it, not when he is done with it.
                await self.say(ack=pb.Ack(delivery_sequence=message.delivery_sequence))
            if self.every:
                free_at = max(free_at, loop.time()) + self.every
                await asyncio.sleep(free_at - loop.time())
        status = self.call
        if await status.code() is not grpc.StatusCode.OK:
            self.end = grpc.aio.AioRpcError(
                await status.code(),
                await status.initial_metadata(),
                await status.trailing_metadata(),
                await status.details(),
            )

    def _take(self, message: pb.SubscribeResponse) -> None:
        assert message.delivery_sequence == self.number + 1
        self.number = message.delivery_sequence
        event = message.WhichOneof("event")
        if event in ("updates", "statuses"):
            epoch = self.epochs.setdefault(message.subscription_id, message.epoch)
            assert message.epoch == epoch, "the epoch changed on one stream"
            self.token = message.resume_token
        for status in message.statuses.statuses:
            self.of(status.symbol, status.channel).told(status)
        for update in message.updates.updates:
            self._enter(update)
        if event == "closing":
            self.closing = message.closing
        elif event == "refused":
            self.refusals.append(message.refused)
        self.heartbeats += event == "heartbeat"
        self.messages.append(message)
        del self.messages[:-_KEPT]

    def _enter(self, update: pb.Update) -> None:
        kind = update.WhichOneof("value") or ""
        account = self.of(getattr(update, kind).symbol, _CHANNELS[kind])
        before = account.given(update)
        if self._heed is not None:
            self._heed(account, update, before)


def name_of(state: pb.SymbolState.ValueType) -> str:
    """Return the name of *state* without the contract's prefix."""
    return pb.SymbolState.Name(state).removeprefix("SYMBOL_STATE_")


def subscription(
    symbols: Iterable[str],
    *,
    channels: Sequence[channel_pb2.Channel.ValueType] = (),
    feed: provenance_pb2.Feed.ValueType | None = None,
    **terms: Any,
) -> pb.Subscription:
    """Return the order for *symbols*; those of its terms that are times are in seconds."""
    times = {name: _duration(value) for name, value in terms.items() if name in _TIMES}
    order = pb.Subscription(symbols=symbols, channels=channels, **(terms | times))
    if feed is not None:
        order.feed = feed
    return order


def _duration(seconds: float) -> Duration:
    length = Duration()
    length.FromNanoseconds(round(seconds * 1e9))
    return length


@asynccontextmanager
async def following(
    channel: grpc.aio.Channel,
    *symbols: str,
    every: float = 0.0,
    acks: bool = True,
    reads: bool = True,
    heed: Heed | None = None,
    **order: Any,
) -> AsyncIterator[Follower]:
    """Follow *symbols* over *channel* for the length of the block.

    Args:
        channel: to the gateway.
        symbols: what is followed: quotes, unless *order* names other channels.
        every: seconds that each message takes to be read.
        acks: whether what was read is acknowledged.
        reads: whether anything is read; else `read` does.
        heed: looks at every update.
        order: what else the subscription says.
    """
    stub: services.StreamServiceAsyncStub = services.StreamServiceStub(channel)
    call = stub.Subscribe(wait_for_ready=True)
    follower = Follower(call, every=every, acks=acks, heed=heed)
    reading = asyncio.create_task(follower.read()) if reads else None
    try:
        await follower.say(subscribe=subscription(symbols, **order))
        yield follower
    finally:
        if reading is not None:
            # Not by ending the call, which would look like an end by the gateway.
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        call.cancel()
    if follower.fault is not None:
        raise follower.fault
