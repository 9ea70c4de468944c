"""What the asynchronous client follows with. `_sync_subscription` is its twin.

What is sent and handed on is decided once, in `_follower`. Here it is carried and waited for.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import grpc
import grpc.aio

from ._channel import retry_pushback
from ._errors import translated
from ._follower import Follower
from ._plans import PATH
from .v1 import stream_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from ._errors import TickgateError
    from ._follower import Change
    from ._gateways import Gateways
    from ._models import Counts, Disconnected, Reconnected, SymbolStatus, Update
    from ._occ import Occ
    from ._plans import Plan

Item = TypeVar("Item")

BREATH = 0.001
"""Seconds that a reader may keep the event loop to itself: what waits on the wire is read then."""

_CROSSED = "Internal error from Core"


class Subscription(Generic[Item]):
    """Live records of some symbols, for as long as the `async with` lasts. Made by `Client.follow`.

    Iterating yields the records. Whatever else happens is among them in `with_events`.
    """

    def __init__(
        self,
        plan: Plan[Item],
        *,
        gateways: Gateways[AbstractAsyncContextManager[grpc.aio.Channel]],
        metadata: tuple[tuple[str, str], ...],
        timeout: float,
        siblings: set[Subscription[Any]],
    ) -> None:
        self._plan = plan
        self._gateways = gateways
        self._metadata = metadata
        self._timeout = timeout
        self._siblings = siblings
        self._follower = Follower(plan)
        self._outgoing: asyncio.Queue[pb.SubscribeRequest | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._changing = asyncio.Lock()
        self._reading = False
        self._breathed = 0.0
        self._closed = False

    # ------------------------------------------------------------------------------------- reading

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while (each := await self._next()) is not None:
            value = self._follower.value(each)
            if value is not None:
                return value
        raise StopAsyncIteration

    async def with_events(
        self,
    ) -> AsyncIterator[Update[Item] | SymbolStatus | Disconnected | Reconnected]:
        """Iterate over everything that happens, in its order.

        Each record comes as an `Update`, with its number, how it came, and how many others it
        supersedes. A `SymbolStatus` comes whenever the state of a symbol changes, and with what was
        refused, missed or lost. `Disconnected` and `Reconnected` are about the connection to the
        gateway. Rejected symbols raise nothing here: that is one of the states.

        Raises:
            TickgateError: as for iterating over the records.
        """
        while (each := await self._next()) is not None:
            yield each

    async def _next(self) -> Update[Item] | SymbolStatus | Disconnected | Reconnected | None:
        """What comes next, None when the subscription is closed."""
        if self._task is None:
            raise RuntimeError("a subscription is entered before it is read: async with …")
        if self._reading:
            raise RuntimeError("another task is reading this subscription")
        self._reading = True
        try:
            await self._breathe()
            while not self._closed:
                each = self._follower.take()
                self._flush()
                if each is not None:
                    return each
                if self._task.done():
                    self._task.result()
                await self._news()
            return None
        finally:
            self._reading = False

    async def _breathe(self) -> None:
        """Let what has arrived come in, so that the newest is taken."""
        if time.monotonic() - self._breathed >= BREATH:
            await asyncio.sleep(0)
            self._breathed = time.monotonic()

    # ------------------------------------------------------------------------------------ changing

    async def add(self, *symbols: str | Occ) -> None:
        """Follow more symbols; return when the gateway has answered for each of them.

        One that cannot be followed has the state REJECTED. One that is followed already is sent
        again as it stands.

        Raises:
            InvalidRequest: the request breaks a rule of the API, and nothing of it was done.
            DeadlineExceeded: the gateway did not answer in time. It may still do it.
        """
        await self._change(self._follower.add, symbols)

    async def remove(self, *symbols: str | Occ) -> None:
        """Stop following symbols; return when the gateway has confirmed it.

        Nothing of them is read any more, and nothing is known of them.

        Raises:
            InvalidRequest: the request breaks a rule of the API, and nothing of it was done; or no
                symbol would be left.
            DeadlineExceeded: the gateway did not answer in time. It may still do it.
        """
        await self._change(self._follower.remove, symbols)

    async def _change(
        self, begin: Callable[[Iterable[str | Occ]], Change], symbols: tuple[str | Occ, ...]
    ) -> None:
        if self._task is None:
            raise RuntimeError("a subscription is entered before it is changed: async with …")
        async with self._changing:  # so that a refusal is known to be about this one
            change = begin(symbols)
            self._flush()
            try:
                await self._until(lambda: change.settled)
            finally:
                self._follower.settled(change)

    # ------------------------------------------------------------------------------------- looking

    @property
    def connected(self) -> bool:
        """Whether the gateway is there, as far as is known."""
        return self._follower.connected and not self._closed

    @property
    def states(self) -> dict[str, SymbolStatus]:
        """Newest status of each symbol. Empty while the connection is lost: nothing is known then."""
        return dict(self._follower.states)

    @property
    def counts(self) -> dict[str, Counts]:
        """What has become of the records of each symbol, as far as they were taken."""
        return self._follower.counts()

    def latest(self, symbol: str | Occ) -> Item | None:
        """The newest record of *symbol* that has come, read or not; None before the first.

        Its state says whether it is current.
        """
        return self._follower.latest(symbol)

    # --------------------------------------------------------------------------- opening, closing

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise RuntimeError("a subscription is entered once; follow again for another")
        self._task = asyncio.create_task(self._run())
        self._siblings.add(self)
        try:
            await self._until(lambda: self._follower.opened)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the call. Whoever is reading reaches the end."""
        self._closed = True
        self._siblings.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._notify()

    # ------------------------------------------------------------------------------------- waiting

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait for what the gateway has to say."""
        try:
            async with asyncio.timeout(self._timeout):
                while not done():
                    self._check()
                    await self._news()
        except TimeoutError:
            raise self._follower.late(self._timeout) from None

    def _check(self) -> None:
        """Raise why nothing will come any more, if that is so."""
        if self._follower.failure is not None:
            raise self._follower.failure
        if self._closed or self._task is None:
            raise RuntimeError("the subscription is closed")
        if self._task.done():
            self._task.result()

    async def _news(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # ------------------------------------------------------------------------------------ carrying

    async def _run(self) -> None:
        """Keep a stream open."""
        try:
            gateways = self._gateways
            while True:
                await look_up(gateways)
                address = gateways.current
                error, pushback = await self._stream(address)
                gateways.leave(address)
                pause = self._follower.lose(error, pushback, gateways=len(gateways))
                self._notify()
                if pause is None:
                    return
                await asyncio.sleep(pause)
        finally:
            self._notify()

    async def _stream(self, address: str) -> tuple[TickgateError | None, float | None]:
        """Carry one stream of the gateway there to its end; return why it ended, and the gateway's pushback."""
        plan, follower = self._plan, self._follower
        outgoing: asyncio.Queue[pb.SubscribeRequest | None] = asyncio.Queue()
        self._outgoing = outgoing
        outgoing.put_nowait(follower.connect())
        async with self._gateways.reach(address) as channel:
            method = channel.stream_stream(
                PATH,
                request_serializer=pb.SubscribeRequest.SerializeToString,
                response_deserializer=pb.SubscribeResponse.FromString,
            )
            call = method(_each(outgoing), metadata=plan.metadata(self._metadata))
            try:
                await self._receive(call)
            except TimeoutError:
                return follower.silence(), None
            except grpc.aio.AioRpcError as error:
                if _has_lost_its_status(error):
                    return follower.crossing(), None
                failure = translated(error, symbol=None, request_id=plan.request_id)
                return failure, retry_pushback(error.trailing_metadata())
            finally:
                call.cancel()
                outgoing.put_nowait(None)
        return None, None

    async def _receive(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        follower, now = self._follower, asyncio.get_running_loop().time
        async with asyncio.timeout(follower.silent_in()) as silence:
            while True:
                message: Any = await call.read()
                if message is grpc.aio.EOF:
                    return
                follower.receive(message)
                silence.reschedule(now() + follower.silent_in())
                self._flush()
                self._notify()
                if follower.closing:
                    return

    def _flush(self) -> None:
        """Send what is due, and see to it that what is due later will be."""
        for request in self._follower.requests():
            self._outgoing.put_nowait(request)
        due_in = self._follower.due_in()
        if due_in is not None and self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(due_in, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._flush()


async def look_up(gateways: Gateways[Any]) -> None:
    """Find out which gateways there are behind a name."""
    if gateways.name is not None:
        loop = asyncio.get_running_loop()
        # Of a name that is not known, gRPC says it in its own words.
        with suppress(OSError):
            gateways.found(await loop.getaddrinfo(*gateways.name, type=socket.SOCK_STREAM))


def _has_lost_its_status(error: grpc.aio.AioRpcError) -> bool:
    # What asyncio's gRPC says for itself where a message of ours crosses the end of the call.
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == _CROSSED


async def _each(
    requests: asyncio.Queue[pb.SubscribeRequest | None],
) -> AsyncIterator[pb.SubscribeRequest]:
    """The requests until None, with which gRPC's own task ends."""
    while (request := await requests.get()) is not None:
        yield request
