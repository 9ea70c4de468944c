"""What the synchronous client follows with. `_subscription` is its twin.

What is sent and handed on is decided once, in `_follower`. Here it is carried by threads: one of
ours reads the stream and makes it again, one of gRPC's sends what is due.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import grpc

from ._channel import retry_pushback
from ._errors import translated
from ._follower import Follower
from ._plans import PATH
from .v1 import stream_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from ._errors import TickgateError
    from ._follower import Change
    from ._gateways import Gateways
    from ._models import Counts, Disconnected, Reconnected, SymbolStatus, Update
    from ._occ import Occ
    from ._plans import Plan

Item = TypeVar("Item")


class _Call:
    """One stream, as its two threads see it."""

    def __init__(self) -> None:
        self.rpc: grpc.Call | None = None
        self.over = False
        self.silent = False


class SyncSubscription(Generic[Item]):
    """Live records of some symbols, for as long as the `with` lasts. Made by `SyncClient.follow`.

    Iterating yields the records. Whatever else happens is among them in `with_events`.
    """

    def __init__(
        self,
        plan: Plan[Item],
        *,
        gateways: Gateways[AbstractContextManager[grpc.Channel]],
        metadata: tuple[tuple[str, str], ...],
        timeout: float,
        siblings: set[SyncSubscription[Any]],
    ) -> None:
        self._plan = plan
        self._gateways = gateways
        self._metadata = metadata
        self._timeout = timeout
        self._siblings = siblings
        self._follower = Follower(plan)
        self._lock = threading.Lock()
        """Whoever holds it may use the follower."""
        self._news = threading.Condition(self._lock)
        self._sending = threading.Condition(self._lock)
        self._changing = threading.Lock()
        self._reading = False
        self._closed = threading.Event()
        self._call = _Call()
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None

    # ------------------------------------------------------------------------------------- reading

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while (each := self._next()) is not None:
            with self._lock:
                value = self._follower.value(each)
            if value is not None:
                return value
        raise StopIteration

    def with_events(self) -> Iterator[Update[Item] | SymbolStatus | Disconnected | Reconnected]:
        """Iterate over everything that happens, in its order.

        Each record comes as an `Update`, with its number, how it came, and how many others it
        supersedes. A `SymbolStatus` comes whenever the state of a symbol changes, and with what was
        refused, missed or lost. `Disconnected` and `Reconnected` are about the connection to the
        gateway. Rejected symbols raise nothing here: that is one of the states.

        Raises:
            TickgateError: as for iterating over the records.
        """
        while (each := self._next()) is not None:
            yield each

    def _next(self) -> Update[Item] | SymbolStatus | Disconnected | Reconnected | None:
        """What comes next, None when the subscription is closed."""
        with self._lock:
            if self._thread is None:
                raise RuntimeError("a subscription is entered before it is read: with …")
            if self._reading:
                raise RuntimeError("another thread is reading this subscription")
            self._reading = True
            try:
                while not self._closed.is_set():
                    each = self._follower.take()
                    self._send()
                    if each is not None:
                        return each
                    self._check()
                    self._news.wait()
            finally:
                self._reading = False
        return None

    # ------------------------------------------------------------------------------------ changing

    def add(self, *symbols: str | Occ) -> None:
        """Follow more symbols; return when the gateway has answered for each of them.

        One that cannot be followed has the state REJECTED. One that is followed already is sent
        again as it stands.

        Raises:
            InvalidRequest: the request breaks a rule of the API, and nothing of it was done.
            DeadlineExceeded: the gateway did not answer in time. It may still do it.
        """
        self._change(self._follower.add, symbols)

    def remove(self, *symbols: str | Occ) -> None:
        """Stop following symbols; return when the gateway has confirmed it.

        Nothing of them is read any more, and nothing is known of them.

        Raises:
            InvalidRequest: the request breaks a rule of the API, and nothing of it was done; or no
                symbol would be left.
            DeadlineExceeded: the gateway did not answer in time. It may still do it.
        """
        self._change(self._follower.remove, symbols)

    def _change(
        self, begin: Callable[[Iterable[str | Occ]], Change], symbols: tuple[str | Occ, ...]
    ) -> None:
        if self._thread is None:
            raise RuntimeError("a subscription is entered before it is changed: with …")
        with self._changing, self._lock:  # one by one, so that a refusal is known to be about it
            change = begin(symbols)
            self._send()
            try:
                self._until(lambda: change.settled)
            finally:
                self._follower.settled(change)

    # ------------------------------------------------------------------------------------- looking

    @property
    def connected(self) -> bool:
        """Whether the gateway is there, as far as is known."""
        with self._lock:
            return self._follower.connected and not self._closed.is_set()

    @property
    def states(self) -> dict[str, SymbolStatus]:
        """Newest status of each symbol. Empty while the connection is lost: nothing is known then."""
        with self._lock:
            return dict(self._follower.states)

    @property
    def counts(self) -> dict[str, Counts]:
        """What has become of the records of each symbol, as far as they were taken."""
        with self._lock:
            return self._follower.counts()

    def latest(self, symbol: str | Occ) -> Item | None:
        """The newest record of *symbol* that has come, read or not; None before the first.

        Its state says whether it is current.
        """
        with self._lock:
            return self._follower.latest(symbol)

    # --------------------------------------------------------------------------- opening, closing

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("a subscription is entered once; follow again for another")
        # A daemon, so that a subscription that nobody leaves does not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="tickgate-follow", daemon=True)
        self._thread.start()
        self._siblings.add(self)
        try:
            with self._lock:
                self._until(lambda: self._follower.opened)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the call. Whoever is reading reaches the end."""
        self._siblings.discard(self)
        with self._lock:
            self._closed.set()
            if self._call.rpc is not None:
                self._call.rpc.cancel()
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join()

    # ------------------------------------------------------------------------------------- waiting

    def _until(self, done: Callable[[], bool]) -> None:
        """Wait for what the gateway has to say. The lock is held."""
        deadline = time.monotonic() + self._timeout
        while not done():
            self._check()
            if self._closed.is_set():
                raise RuntimeError("the subscription is closed")
            if not self._news.wait(deadline - time.monotonic()) and not done():
                raise self._follower.late(self._timeout)

    def _check(self) -> None:
        """Raise why nothing will come any more, if that is so."""
        if self._follower.failure is not None:
            raise self._follower.failure
        if self._fault is not None:
            raise self._fault

    # ------------------------------------------------------------------------------------ carrying

    def _run(self) -> None:
        """Keep a stream open, in a thread of its own."""
        try:
            gateways = self._gateways
            while not self._closed.is_set():
                look_up(gateways)
                address = gateways.current
                error, pushback = self._stream(address)
                gateways.leave(address)
                with self._lock:
                    if self._closed.is_set():
                        return
                    pause = self._follower.lose(error, pushback, gateways=len(gateways))
                    self._news.notify_all()
                if pause is None or self._closed.wait(pause):
                    return
        except BaseException as fault:
            # A thread's error reaches nobody; the reader's does.
            self._fault = fault
            raise
        finally:
            with self._lock:
                self._news.notify_all()

    def _stream(self, address: str) -> tuple[TickgateError | None, float | None]:
        """Carry one stream of the gateway there to its end; return why it ended, and the gateway's pushback."""
        plan, call = self._plan, _Call()
        with self._gateways.reach(address) as channel:
            method = channel.stream_stream(
                PATH,
                request_serializer=pb.SubscribeRequest.SerializeToString,
                response_deserializer=pb.SubscribeResponse.FromString,
            )
            with self._lock:
                first = self._follower.connect()
                self._call = call
                rpc = method(self._outgoing(call, first), metadata=plan.metadata(self._metadata))
                call.rpc = rpc
                if self._closed.is_set():
                    rpc.cancel()
            try:
                self._receive(rpc)
            except grpc.RpcError as error:
                if call.silent:
                    return self._follower.silence(), None
                failure = translated(error, symbol=None, request_id=plan.request_id)
                # It is the call too, which gRPC's types do not say.
                return failure, retry_pushback(cast("grpc.Call", error).trailing_metadata())
            finally:
                with self._lock:
                    call.over = True
                    self._sending.notify_all()
                rpc.cancel()
        return None, None

    def _receive(self, messages: Iterable[pb.SubscribeResponse]) -> None:
        for message in messages:
            with self._lock:
                self._follower.receive(message)
                self._send()
                self._news.notify_all()
                if self._follower.closing:
                    return

    def _send(self) -> None:
        """Wake the thread that sends, if there is something to send. The lock is held."""
        if self._follower.due_in() is not None:
            self._sending.notify_all()

    def _outgoing(self, call: _Call, first: pb.SubscribeRequest) -> Iterator[pb.SubscribeRequest]:
        """What is sent, when it is due. Runs in gRPC's thread until the call is over."""
        yield first
        while True:
            with self._lock:
                while not call.over and not (requests := self._follower.requests()):
                    self._sending.wait(self._patience(call))
                if call.over:
                    return
            yield from requests

    def _patience(self, call: _Call) -> float | None:
        """Seconds until there is something to do; None when the call has been given up."""
        silent_in, due_in = self._follower.silent_in(), self._follower.due_in()
        if silent_in <= 0 and call.rpc is not None:
            call.silent = True
            call.rpc.cancel()
            return None
        return silent_in if due_in is None else min(silent_in, due_in)


def look_up(gateways: Gateways[Any]) -> None:
    """Find out which gateways there are behind a name."""
    if gateways.name is not None:
        # Of a name that is not known, gRPC says it in its own words.
        with suppress(OSError):
            gateways.found(socket.getaddrinfo(*gateways.name, type=socket.SOCK_STREAM))
