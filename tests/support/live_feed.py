"""A live feed against an upstream that says and hears exactly what a test lets it, and a listener that remembers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from struct import pack
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tickgate_server.ingress.gate import Gate
from tickgate_server.market.live import Channel, FeedState, GapCause, LiveValue, RecordKind
from tickgate_server.market.provenance import Feed
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Unavailable
from tickgate_server.observe.counters import FeedCounts
from tickgate_server.upstream.alpaca.stream.feed import AlpacaFeed
from tickgate_server.upstream.alpaca.stream.policy import FeedPolicy

from .fakes import NOW, HandClock, gate
from .waiting import PATIENCE, until

KEYS = ("key-id", "the-secret")
CONNECTED = {"T": "success", "msg": "connected"}
AUTHENTICATED = {"T": "success", "msg": "authenticated"}
AUTH = {"action": "auth", "key": KEYS[0], "secret": KEYS[1]}

POLICY = FeedPolicy(user_agent="tests", pause=0.01, jitter=0.0, close=0.2)
"""Attempts follow each other at once, as no test has to wait for them."""


def error(code: int, message: str = "as scripted") -> dict[str, Any]:
    """An error of the upstream."""
    return {"T": "error", "code": code, "msg": message}


def stamp(instant: int) -> msgspec.msgpack.Ext:
    """An instant in the form of 64 bits, as Alpaca sends it."""
    seconds, nanos = divmod(instant, NANOS)
    return msgspec.msgpack.Ext(-1, pack(">Q", nanos << 34 | seconds))


def quote(symbol: str = "AAPL", bid: Any = 10.0, ask: Any = 10.02, **other: Any) -> dict[str, Any]:  # fmt: skip
    """A quote as it is sent."""
    return {"T": "q", "S": symbol, "bx": "V", "bp": bid, "bs": 3, "ax": "Q", "ap": ask, "as": 4,
            "c": ["R"], "z": "C", "t": stamp(NOW)} | other  # fmt: skip


def trade(symbol: str = "AAPL", price: Any = 10.01, **other: Any) -> dict[str, Any]:
    """A trade as it is sent."""
    return {"T": "t", "S": symbol, "i": 7, "x": "V", "p": price, "s": 50, "c": ["@"], "z": "C",
            "t": stamp(NOW)} | other  # fmt: skip


def packed(*records: Any) -> bytes:
    """The frame that holds *records*."""
    return msgspec.msgpack.encode(records)


class Listener:
    """A `FeedListener` that remembers what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.settled = 0

    def of(self, what: str) -> list[tuple[Any, ...]]:
        """What was told by the method *what*."""
        return [call[1:] for call in self.told if call[0] == what]

    @property
    def values(self) -> list[Any]:
        """Records that were accepted."""
        return [value for _, _, value in self.of("accept")]

    @property
    def states(self) -> list[FeedState]:
        """States of the connection, oldest first."""
        return [state for state, _ in self.of("changed")]

    def accept(self, kind: RecordKind, symbol: str, value: LiveValue) -> None:
        self.told.append(("accept", kind, symbol, value))

    def refuse(self, kind: RecordKind, symbol: str, why: Unavailable) -> None:
        self.told.append(("refuse", kind, symbol, why))

    def settle(self) -> None:
        self.settled += 1

    def confirmed(self, channel: Channel, symbols: Collection[str]) -> None:
        self.told.append(("confirmed", channel, sorted(symbols)))

    def rejected(self, channel: Channel, symbols: Collection[str], why: Unavailable) -> None:
        self.told.append(("rejected", channel, sorted(symbols), why))

    def missed(
        self, cause: GapCause, since: int, message: str, *, records: int | None = None
    ) -> None:
        self.told.append(("missed", cause, since, message, records))

    def lost(self, cause: GapCause, since: int, message: str) -> None:
        self.told.append(("lost", cause, since, message))

    def changed(self, state: FeedState, message: str) -> None:
        self.told.append(("changed", state, message))


class Peer:
    """The upstream's end of one connection."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket = socket
        self.request = request
        self.held: dict[str, set[str]] = {}
        self.over = asyncio.Event()
        self.close_code: int | None = None
        """With which the other end said goodbye."""

        self.answers_pings = True
        self.pings = 0
        self.pongs: list[bytes] = []
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()

    async def read(self) -> None:
        """Take in what comes, until the end."""
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.PING:
                self.pings += 1
                if self.answers_pings:
                    await self.socket.pong(message.data)
            elif message.type is aiohttp.WSMsgType.PONG:
                self.pongs.append(bytes(message.data))
            else:
                self._inbox.put_nowait(msgspec.msgpack.decode(message.data))
        self.close_code = self.socket.close_code
        self.over.set()

    async def say(self, *messages: Any) -> None:
        """Send each of *messages* in a frame of its own."""
        for message in messages:
            await self.frame(packed(message))

    async def send(self, *records: Any) -> None:
        """Send *records* in one frame."""
        await self.frame(packed(*records))

    async def frame(self, data: bytes) -> None:
        """Send one frame."""
        await self.socket.send_bytes(data)

    async def hear(self) -> Any:
        """Return the next message of the other end."""
        async with asyncio.timeout(PATIENCE):
            return await self._inbox.get()

    @property
    def has_heard_all(self) -> bool:
        """Whether the other end has said nothing more."""
        return self._inbox.empty()

    async def let_in(self) -> None:
        """Greet, and accept the credentials."""
        await self.say(CONNECTED)
        assert await self.hear() == AUTH
        await self.say(AUTHENTICATED)

    async def acknowledge(self, *, without: Collection[str] = ()) -> Any:
        """Hear a request and answer with what is held, *without* some symbols; return the request."""
        request = await self.hear()
        for channel, symbols in request.items():
            if channel == "action":
                continue
            held = self.held.setdefault(channel, set())
            if request["action"] == "subscribe":
                held |= set(symbols) - set(without)
            else:
                held -= set(symbols)
        await self.say_held()
        return request

    async def say_held(self) -> None:
        """Say what is held."""
        lists = {channel: sorted(held) for channel, held in self.held.items()}
        await self.say({"T": "subscription", **lists})

    async def close(self, code: int = 1000) -> None:
        """Say goodbye."""
        await self.socket.close(code=code)

    def cut(self) -> None:
        """End the connection without a word."""
        assert self.request.transport is not None
        self.request.transport.abort()


class Upstream:
    """An upstream whose connections a test holds one by one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: list[int] = []
        """Answers to the next handshakes; 101 is a connection."""

        self.handshakes: list[web.Request] = []
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.held_up: list[Peer] = []

    async def connection(self) -> Peer:
        """Return the next connection that is made."""
        async with asyncio.timeout(PATIENCE):
            return await self._peers.get()

    async def following(self, *, without: Collection[str] = ()) -> Peer:
        """Return the next connection, once its first request is answered."""
        peer = await self.connection()
        await peer.let_in()
        await peer.acknowledge(without=without)
        return peer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a handshake, and keep the connection until its end."""
        self.handshakes.append(request)
        status = self.statuses.pop(0) if self.statuses else 101
        if status != 101:
            return web.Response(status=status)
        socket = web.WebSocketResponse(autoping=False, max_msg_size=0, timeout=0.2)
        await socket.prepare(request)
        peer = Peer(socket, request)
        self.held_up.append(peer)
        self._peers.put_nowait(peer)
        await peer.read()
        return socket


@asynccontextmanager
async def scripted() -> AsyncIterator[Upstream]:
    """Run an upstream on this loop."""
    app = web.Application()
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    upstream = Upstream("")
    app.router.add_get("/v2/{feed}", upstream.handle)
    app.router.add_get("/v1beta1/{feed}", upstream.handle)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    upstream.url = f"ws://{host}:{port}"
    try:
        yield upstream
    finally:
        for peer in upstream.held_up:
            if not peer.over.is_set():
                peer.cut()
        await runner.cleanup()


class Elsewhere:
    """An upstream on a thread of its own, which sends to its first follower whatever the test's loop does meanwhile."""

    def __init__(self, frames: Sequence[bytes], pause: float = 0.0) -> None:
        """Send *frames*, *pause* seconds apart, once `go` is set."""
        self.go = threading.Event()
        self.sent: list[int] = []
        """When each frame was sent, nanoseconds of the wall clock."""

        self._frames = frames
        self._pause = pause
        self._url: Future[str] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def __aenter__(self) -> str:
        """Start, and return the address."""
        self._thread.start()
        return await asyncio.wrap_future(self._url)

    async def __aexit__(self, *_: object) -> None:
        """Wait until the follower has gone."""
        self.go.set()
        await asyncio.to_thread(self._thread.join)

    async def _serve(self) -> None:
        async with scripted() as upstream:
            self._url.set_result(upstream.url)
            peer = await upstream.following()
            await asyncio.to_thread(self.go.wait)
            for frame in self._frames:
                self.sent.append(time.time_ns())
                await peer.frame(frame)
                # The spacing is what the test looks at.
                await asyncio.sleep(self._pause)
            await peer.over.wait()


class Held:
    """A feed that runs, and what came of it."""

    def __init__(self, feed: AlpacaFeed, listener: Listener, counts: FeedCounts) -> None:
        self.feed = feed
        self.listener = listener
        self.counts = counts

    async def told(self, what: str, count: int = 1) -> list[tuple[Any, ...]]:
        """Wait until the listener was told *count* times by the method *what*, and return all of it."""
        await until(lambda: len(self.listener.of(what)) >= count)
        return self.listener.of(what)

    async def in_state(self, state: FeedState) -> None:
        """Wait until the connection is in *state*."""
        await until(lambda: self.listener.states[-1:] == [state])


@asynccontextmanager
async def held(
    url: str,
    policy: FeedPolicy = POLICY,
    *,
    clock: Any = None,
    through: Gate | None = None,
    feed: Feed = Feed.IEX,
) -> AsyncIterator[Held]:
    """Run a feed of *url* for the length of the block."""
    clock = clock or HandClock()
    listener, counts = Listener(), FeedCounts()
    alpaca = AlpacaFeed(feed, url, KEYS, through or gate(clock), listener, clock, policy, counts)
    running = asyncio.create_task(alpaca.run())
    try:
        yield Held(alpaca, listener, counts)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
