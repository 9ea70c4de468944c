"""The bare server to compare streams with: grpc.aio, writing the messages that the gateway wrote, when it wrote them.

python -m benchmarks.writer SCHEDULE    a file; see `benchmarks.reader.Schedule`

It reads what its callers send and heeds none of it. Nothing else is on: no message is parsed or made. It begins half a
second after as many have called as there are streams, and says when; and it says when everything is written.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import grpc
import msgspec

from tickgate_server.market.time import NANOS

from .reader import SUBSCRIBE, Schedule

_PAUSE: Final = 0.5
"""Seconds between the last caller and the first message."""


class Writer:
    """Writes to each caller one stream of a schedule."""

    def __init__(self, schedule: Schedule) -> None:
        """Write *schedule*."""
        self._left = list(schedule.streams)
        self._writing = len(self._left)
        self._begun = asyncio.Event()
        self._began = 0

    async def subscribe(
        self,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> None:
        """Write one stream of the schedule."""
        stream = self._left.pop()
        reading = asyncio.create_task(_ignore(requests))
        if not self._left:
            self._begin()
        await self._begun.wait()
        for at, body in stream:
            early = self._began + at - time.time_ns()
            if early > 0:
                await asyncio.sleep(early / NANOS)
            await context.write(body)
        self._writing -= 1
        if not self._writing:
            print("written", flush=True)
        await reading

    def _begin(self) -> None:
        self._began = time.time_ns() + round(_PAUSE * NANOS)
        print("began", self._began, flush=True)
        self._begun.set()


async def _ignore(requests: AsyncIterator[bytes]) -> None:
    async for _ in requests:
        pass


async def serve(schedule: Schedule) -> None:
    """Write until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    service, _, method = SUBSCRIBE[1:].partition("/")
    handler: grpc.RpcMethodHandler[bytes, bytes]
    handler = grpc.stream_stream_rpc_method_handler(Writer(schedule).subscribe)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on {port}", flush=True)
    await stopped.wait()
    await server.stop(None)


def main(schedule: Path) -> None:
    """Run on the loop that the gateway would run on."""
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra of the server

        uvloop.install()
    asyncio.run(serve(msgspec.msgpack.decode(schedule.read_bytes(), type=Schedule)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
