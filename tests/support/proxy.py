"""A TCP proxy that stands between two real parts and spoils their connections on command."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tools.embedded.process import HOST, Port

_CHUNK = 65536

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends a reset and not an end."""

Shape = Callable[[bytes], AsyncIterator[bytes]]
"""In which pieces, and when, a chunk of an answer travels on."""


class FaultProxy:
    """Passes bytes on to a port, or does worse; requests are what its clients send, answers what they get.

    One fault is in force at a time, for the connections there are and for those to come, until another replaces it or
    `mend` ends it. Bytes that were swallowed meanwhile are gone.
    """

    def __init__(self, target_port: int, port: Port) -> None:
        """Stand before *target_port* of the loopback, on *port*. `fault_proxy` makes one that works."""
        self.target_port = target_port
        self.fault = _Fault()
        self.accepted = 0
        """Connections taken since the start."""
        self.asked = 0
        """Bytes of requests that arrived, swallowed ones too."""
        self.answered = 0
        """Bytes of answers that went on to clients."""
        self._port = port
        self._listener: socket.socket | None = None
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._pulse = asyncio.Event()

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return self._port.number

    @property
    def open(self) -> int:
        """Connections there are now."""
        return len(self._connections)

    async def until(self, holds: Callable[[FaultProxy], bool]) -> None:
        """Wait until *holds* is true of this proxy, which is looked at whenever a count or the fault changes."""
        while not holds(self):
            await self._pulse.wait()

    def mend(self) -> None:
        """Pass everything on as it comes. What was closed stays closed."""
        self._impose(_Fault())

    def delay(self, seconds: float, jitter: float = 0.0) -> None:
        """Send each piece of an answer *seconds* later, and up to *jitter* more: the same amounts in every run."""
        chance = random.Random(0)

        async def late(data: bytes) -> AsyncIterator[bytes]:
            await asyncio.sleep(seconds + chance.uniform(0, jitter))
            yield data

        self._impose(_Fault(late))

    def throttle(self, bytes_per_second: int) -> None:
        """Send answers on each connection no faster than that, in up to 20 pieces a second."""
        size = max(1, bytes_per_second // 20)

        async def slow(data: bytes) -> AsyncIterator[bytes]:
            for start in range(0, len(data), size):
                piece = data[start : start + size]
                await asyncio.sleep(len(piece) / bytes_per_second)
                yield piece

        self._impose(_Fault(slow))

    def cut_after(self, count: int) -> None:
        """End each connection, in order, when *count* more bytes of answers have gone over it."""
        self._impose(_Fault(left=count))

    def reset(self) -> None:
        """Break every connection with a reset; new ones are taken and broken at once."""
        self._impose(_Fault(strike=_Connection.reset))

    def half_close(self) -> None:
        """Say on every connection that no more answers come, and go on taking requests."""
        self._impose(_Fault(_nothing, strike=_Connection.end_answers))

    def blackhole(self) -> None:
        """Take connections and bytes, and let nothing through either way, not even an end."""
        self._impose(_Fault(_nothing, swallows=True))

    def refuse(self) -> None:
        """Break every connection and listen no more; `mend` listens on the same port again."""
        self._impose(_Fault(strike=_Connection.reset))
        self._stop_listening()

    def listen(self) -> None:
        """Take connections."""
        if self._listener is None:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((HOST, self.port))
            self._listener.listen(1024)
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._take, self._listener)

    def count(self, *, asked: int = 0, answered: int = 0) -> None:
        """Count bytes, and wake who waits for a change."""
        self.asked += asked
        self.answered += answered
        self._pulse.set()
        self._pulse = asyncio.Event()

    async def close(self) -> None:
        """Take no more connections and end those there are, whatever state they are in."""
        self._stop_listening()
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _impose(self, fault: _Fault) -> None:
        self.fault = fault
        self.listen()
        for connection in self._connections:
            connection.suffer(fault)
        self.count()

    def _take(self, listener: socket.socket) -> None:
        with suppress(OSError):  # whoever wanted to connect may have gone again
            accepted, _ = listener.accept()
            connection = _Connection(self)
            task = asyncio.get_running_loop().create_task(connection.serve(accepted))
            self._connections[connection] = task
            task.add_done_callback(lambda _: self._forget(connection))
            self.accepted += 1
            self.count()

    def _forget(self, connection: _Connection) -> None:
        del self._connections[connection]
        self.count()


class _Connection:
    """A client's connection, and the one to the target that belongs to it."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._writers: list[asyncio.StreamWriter] = []
        self._left: int | None = None
        self._answers_ended = False

    async def serve(self, accepted: socket.socket) -> None:
        """Pass on what the fault in force lets through, until both sides have ended."""
        try:
            requests, client = await self._open(sock=accepted)
            answers, target = await self._open(host=HOST, port=self._proxy.target_port)
            self.suffer(self._proxy.fault)
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pass_requests(requests, target))
                both_ways.create_task(self._pass_answers(answers, client))
        except* OSError:
            self.reset()
        finally:
            for writer in self._writers:
                writer.close()

    def suffer(self, fault: _Fault) -> None:
        """Feel what *fault* does to a connection as soon as they meet."""
        self._left = fault.left
        fault.strike(self)

    def stay(self) -> None:
        """Remain as it is."""

    def reset(self) -> None:
        """Break both sides."""
        for writer in self._writers:
            with suppress(OSError):  # the other side may have done so already
                end = writer.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def end_answers(self) -> None:
        """Tell the client that no more comes."""
        if not self._answers_ended and self._writers:
            self._answers_ended = True
            self._writers[0].write_eof()

    async def _open(self, **where: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(**where)
        self._writers.append(writer)
        return reader, writer

    async def _pass_requests(
        self, requests: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        while data := await requests.read(_CHUNK):
            if not self._proxy.fault.swallows:
                target.write(data)
                await target.drain()
            self._proxy.count(asked=len(data))
        await self._proxy.until(lambda proxy: not proxy.fault.swallows)
        target.write_eof()

    async def _pass_answers(
        self, answers: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        while data := await answers.read(_CHUNK):
            async for piece in self._proxy.fault.shape(data):
                if not self._answers_ended:
                    await self._answer(client, piece[: self._left])
        await self._proxy.until(lambda proxy: not proxy.fault.swallows)
        self.end_answers()

    async def _answer(self, client: asyncio.StreamWriter, piece: bytes) -> None:
        client.write(piece)
        await client.drain()
        self._proxy.count(answered=len(piece))
        if self._left is not None:
            self._left -= len(piece)
            if not self._left:
                self._answers_ended = True
                for writer in self._writers:
                    writer.close()


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _nothing(_: bytes) -> AsyncIterator[bytes]:
    return
    yield


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is done to connections; as it stands here, nothing."""

    shape: Shape = _whole
    swallows: bool = False
    """Whether requests lead nowhere."""
    left: int | None = None
    """Bytes of answers after which a connection ends."""
    strike: Callable[[_Connection], None] = _Connection.stay
    """What befalls a connection at once."""


@asynccontextmanager
async def fault_proxy(target_port: int) -> AsyncIterator[FaultProxy]:
    """Stand before *target_port* of the loopback for as long as the block does, at first without a fault."""
    port = Port()
    proxy = FaultProxy(target_port, port)
    proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
        port.close()
