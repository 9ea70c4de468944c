"""Stands in for Alpaca's stock stream where the sandbox would take the readers' time: it sends frames made beforehand.

python -m benchmarks.feeder

`/v2/sip` on its port greets, lets everybody in, acknowledges whatever is subscribed to, and checks nothing: whether a
protocol is kept is what tests are for. `POST /play` sends quotes at a steady rate and answers when they are sent.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress

import msgspec
from aiohttp import WSMsgType, web

from .ticks import Ticks

_PORT_LINE = "listening on"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Play(msgspec.Struct):
    """What to send."""

    symbols: list[str]
    rate: float
    """Quotes a second."""

    in_frame: int
    """Quotes of a frame."""

    seconds: float
    market_ahead: int
    """Nanoseconds by which the market's time is ahead of the wall clock's."""


class Played(msgspec.Struct):
    """What was sent."""

    records: dict[str, int]
    """Quotes of each symbol."""

    frames: int
    seconds: float
    """From the first frame to the last."""

    late: float
    """Seconds by which the frame that was most behind its time was late."""

    cpu: float
    """Seconds of CPU that it took."""


class Feeder:
    """An upstream whose every follower gets everything that is played."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._sockets: set[web.WebSocketResponse] = set()
        self._ticks: dict[tuple[str, ...], Ticks] = {}

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        """Hold one connection."""
        socket = web.WebSocketResponse(compress=False, max_msg_size=0)
        await socket.prepare(request)
        await socket.send_bytes(_encode([{"T": "success", "msg": "connected"}]))
        held: dict[str, None] = {}
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                break
            await self._answer(socket, _decode(message.data), held)
        self._sockets.discard(socket)
        return socket

    async def _answer(
        self, socket: web.WebSocketResponse, said: dict[str, object], held: dict[str, None]
    ) -> None:
        action, quotes = said.get("action"), said.get("quotes")
        symbols = quotes if isinstance(quotes, list) else []
        if action == "auth":
            await socket.send_bytes(_encode([{"T": "success", "msg": "authenticated"}]))
            self._sockets.add(socket)
            return
        if action == "subscribe":
            held.update(dict.fromkeys(symbols))
        else:
            for symbol in symbols:
                held.pop(symbol, None)
        await socket.send_bytes(_encode([{"T": "subscription", "quotes": list(held)}]))

    async def play(self, request: web.Request) -> web.Response:
        """Send quotes, and answer when they are sent."""
        told = msgspec.json.decode(await request.read(), type=Play)
        key = (*told.symbols, str(told.in_frame))
        ticks = self._ticks.get(key) or Ticks(told.symbols, told.in_frame)
        self._ticks[key] = ticks
        played = await self._play(told, ticks)
        return web.Response(body=msgspec.json.encode(played), content_type="application/json")

    async def _play(self, told: Play, ticks: Ticks) -> Played:
        frames = max(1, round(told.seconds * told.rate / told.in_frame))
        cpu, begun, late = time.process_time(), time.perf_counter(), 0.0
        for number in range(frames):
            early = begun + number * told.in_frame / told.rate - time.perf_counter()
            # Below a millisecond the loop would sleep longer than asked.
            if early > 0.001:
                await asyncio.sleep(early)
            late = max(late, -early)
            data = ticks.frame(number, time.time_ns() + told.market_ahead)
            for socket in self._sockets:
                await socket.send_bytes(data)
        return Played(
            ticks.sent(frames),
            frames,
            time.perf_counter() - begun,
            late,
            time.process_time() - cpu,
        )


async def serve() -> None:
    """Send until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    feeder, app = Feeder(), web.Application(client_max_size=2**24)
    app.add_routes([web.get("/v2/sip", feeder.stream), web.post("/play", feeder.play)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(_PORT_LINE, runner.addresses[0][1], flush=True)
    await stopped.wait()
    await runner.cleanup()


def main() -> None:
    """Run on the quickest loop there is."""
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra of the server

        uvloop.install()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
