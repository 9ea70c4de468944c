"""A follower who reads whatever comes, acknowledges it, and remembers it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import grpc

from tickgate.v1 import channel_pb2
from tickgate.v1 import stream_service_pb2 as pb

from .running import Stack
from .waiting import PATIENCE

QUOTES: Final = channel_pb2.CHANNEL_QUOTES
TRADES: Final = channel_pb2.CHANNEL_TRADES
BARS: Final = channel_pb2.CHANNEL_BARS
DAILY_BARS: Final = channel_pb2.CHANNEL_DAILY_BARS
TRADING_STATUSES: Final = channel_pb2.CHANNEL_TRADING_STATUSES
PRICE_BANDS: Final = channel_pb2.CHANNEL_PRICE_BANDS

Message = pb.SubscribeResponse | pb.WatchResponse


def state_name(status: pb.SymbolStatus) -> str:
    """The state of a status, without the contract's prefix."""
    return pb.SymbolState.Name(status.state).removeprefix("SYMBOL_STATE_")


class Follower:
    """One stream, and all that came on it."""

    def __init__(self, call: Any, *, acks: bool) -> None:
        self.call = call
        self.messages: list[Message] = []
        self.acks = acks
        """Whether messages are acknowledged; a test may turn it off and on."""

        self.error: grpc.aio.AioRpcError | None = None
        """How the stream ended, if not well."""

        self.ended = False
        self._news = asyncio.Event()
        self.writing = asyncio.Lock()
        """Held while something is said: gRPC takes one message at a time."""

    # --------------------------------------------------------------------------------- what he says

    async def say(self, **request: Any) -> None:
        """Send one request."""
        async with self.writing:
            # The gateway may have ended the stream before it heard anything. Whoever reads learns why.
            with suppress(grpc.aio.AioRpcError):
                await self.call.write(pb.SubscribeRequest(**request))

    async def subscribe(self, *symbols: str, **terms: Any) -> None:
        """Begin a subscription."""
        await self.say(subscribe=pb.Subscription(symbols=symbols, **terms))

    async def add(self, *symbols: str, to: str = "") -> None:
        """Follow more symbols."""
        await self.say(add=pb.AddSymbols(subscription_id=to, symbols=symbols))

    async def unsubscribe(self, *symbols: str, of: str = "") -> None:
        """Stop following."""
        await self.say(unsubscribe=pb.Unsubscribe(subscription_id=of, symbols=symbols))

    async def query(self, subscription_id: str = "") -> None:
        """Ask how everything stands."""
        await self.say(query=pb.Query(subscription_id=subscription_id))

    async def ack(self, number: int) -> None:
        """Acknowledge."""
        await self.say(ack=pb.Ack(delivery_sequence=number))

    # --------------------------------------------------------------------------------- what he got

    def of(self, event: str, subscription: str | None = None) -> list[Any]:
        """Return the events of one kind, of one subscription or of all."""
        return [
            getattr(message, message.WhichOneof("event") or "")
            for message in self.messages
            if message.WhichOneof("event") == event
            and subscription in (None, message.subscription_id)
        ]

    def updates(self, symbol: str = "", subscription: str | None = None) -> list[pb.Update]:
        """Return the updates of *symbol*, or of all."""
        return [
            update
            for event in self.of("updates", subscription)
            for update in event.updates
            if symbol in ("", getattr(update, update.WhichOneof("value") or "").symbol)
        ]

    def statuses(
        self,
        symbol: str = "",
        channel: channel_pb2.Channel.ValueType = QUOTES,
        subscription: str | None = None,
    ) -> list[pb.SymbolStatus]:
        """Return the statuses of *symbol* on *channel*, or of all."""
        return [
            status
            for event in self.of("statuses", subscription)
            for status in event.statuses
            if not symbol or (status.symbol, status.channel) == (symbol, channel)
        ]

    def states(
        self,
        symbol: str,
        channel: channel_pb2.Channel.ValueType = QUOTES,
        subscription: str | None = None,
    ) -> list[str]:
        """Return the names of the states that *symbol* was told to be in, oldest first."""
        return [state_name(status) for status in self.statuses(symbol, channel, subscription)]

    def order(self, symbol: str) -> list[str]:
        """Return what came of *symbol* on the channel of quotes, in order: states and kinds of updates."""
        came: list[str] = []
        for message in self.messages:
            came += (
                state_name(status)
                for status in message.statuses.statuses
                if (status.symbol, status.channel) == (symbol, QUOTES)
            )
            came += (
                pb.UpdateKind.Name(update.kind).removeprefix("UPDATE_KIND_").lower()
                for update in message.updates.updates
                if update.quote.symbol == symbol
            )
        return came

    # ------------------------------------------------------------------------------------- waiting

    async def until(self, holds: Callable[[], object], *, within: float = PATIENCE) -> None:
        """Read on until *holds*; fail when it does not *within* so many seconds, or when the stream ends before."""
        try:
            async with asyncio.timeout(within):
                while not holds():
                    assert not self.ended, f"the stream ended: {self.error}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            came = "\n".join(str(message) for message in self.messages[-10:])
            msg = f"it did not come; the last that did:\n{came}"
            raise AssertionError(msg) from None

    async def until_state(
        self,
        symbol: str,
        state: str,
        channel: channel_pb2.Channel.ValueType = QUOTES,
        subscription: str | None = None,
    ) -> pb.SymbolStatus:
        """Read on until *symbol* is in *state*, and return the status that says so."""
        await self.until(lambda: self.states(symbol, channel, subscription)[-1:] == [state])
        return self.statuses(symbol, channel, subscription)[-1]

    async def until_updates(
        self, count: int, symbol: str = "", subscription: str | None = None
    ) -> list[pb.Update]:
        """Read on until *count* updates of *symbol* have come, and return all of them."""
        await self.until(lambda: len(self.updates(symbol, subscription)) >= count)
        return self.updates(symbol, subscription)

    async def until_number(self, number: int, symbol: str = "AAPL") -> None:
        """Read on until the update with *number* of *symbol* has come."""
        await self.until(lambda: any(one.sequence == number for one in self.updates(symbol)))

    async def until_ended(self) -> grpc.aio.AioRpcError | None:
        """Read on to the end, and return how it ended, if not well."""
        async with asyncio.timeout(PATIENCE):
            while not self.ended:
                self._news.clear()
                await self._news.wait()
        return self.error

    async def read(self) -> None:
        """Take in what comes, until the end."""
        try:
            async for message in self.call:
                self.messages.append(message)
                if self.acks:
                    await self.ack(message.delivery_sequence)
                self._news.set()
        except grpc.aio.AioRpcError as error:
            self.error = error
        except asyncio.InvalidStateError:
            # The stream ended while a message of it was being acknowledged.
            self.error = None
        finally:
            self.ended = True
            self._news.set()


@asynccontextmanager
async def following(at: Stack | Any, *symbols: str, **terms: Any) -> AsyncIterator[Follower]:
    """Follow *at* a gateway, given whole or by its stub, for the length of the block; *symbols* from the start."""
    async with _reading(Follower(_stub(at).Subscribe(), acks=True)) as follower:
        if symbols:
            await follower.subscribe(*symbols, **terms)
        yield follower


@asynccontextmanager
async def watching(at: Stack | Any, *symbols: str, **terms: Any) -> AsyncIterator[Follower]:
    """Watch *symbols* *at* a gateway, given whole or by its stub, for the length of the block."""
    request = pb.WatchRequest(subscription=pb.Subscription(symbols=symbols, **terms))
    async with _reading(Follower(_stub(at).Watch(request), acks=False)) as follower:
        yield follower


def _stub(at: Stack | Any) -> Any:
    return at.streams if isinstance(at, Stack) else at


@asynccontextmanager
async def _reading(follower: Follower) -> AsyncIterator[Follower]:
    reading = asyncio.create_task(follower.read())
    try:
        yield follower
    finally:
        follower.call.cancel()
        with suppress(asyncio.CancelledError):
            await reading
