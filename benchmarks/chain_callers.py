"""Many who ask for the same option chain at the same moment, each over a connection of his own.

python -m benchmarks.chain_callers PORT UNDERLYING CALLERS

It says "ready" when all connections stand, then reads a line for each crowd and answers with one, both JSON: see
`chain_reader.Ask` and `Crowd`. Messages are kept as they came and read when nobody waits any more.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import grpc
import msgspec

from tickgate.v1 import option_service_pb2 as pb

from . import consumer
from .chain_reader import PATH, PATIENCE, Ask, Row, digest, rows_of_messages

_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)
"""Without it, all channels of a process share one connection."""


class Crowd(msgspec.Struct):
    """What came of it."""

    firsts: list[float]
    """Seconds until each caller's first message."""

    times: list[float]
    """Seconds until each caller had all."""

    contracts: list[int]
    """Of each chain that somebody got: of one, if all got the same but for the times in the header."""

    digests: list[int]
    """Of each of them, as `chain_reader.digest` has it."""


async def ask_all(
    calls: Sequence[grpc.aio.UnaryStreamMultiCallable[bytes, bytes]], body: bytes
) -> Crowd:
    """Ask over each of *calls* at once."""
    firsts: list[float] = []
    times: list[float] = []
    answers: list[list[bytes]] = []

    async def ask(call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]) -> None:
        since = time.perf_counter()
        parts: list[bytes] = []
        async for part in call(body, timeout=PATIENCE, metadata=consumer.metadata()):
            if not parts:
                firsts.append(time.perf_counter() - since)
            parts.append(part)
        times.append(time.perf_counter() - since)
        # The header tells when each was served; all else is the chain.
        if parts[1:] not in answers:
            answers.append(parts[1:])

    async with asyncio.TaskGroup() as callers:
        for call in calls:
            callers.create_task(ask(call))
    read = [_rows(parts) for parts in answers]
    return Crowd(firsts, times, list(map(len, read)), list(map(digest, read)))


def _rows(parts: list[bytes]) -> list[Row]:
    messages = [pb.StreamOptionChainResponse.FromString(part) for part in parts]
    rows = rows_of_messages(messages)
    if messages[-1].end.count != len(rows):
        raise SystemExit(f"of {messages[-1].end.count} contracts {len(rows)} came")
    return rows


async def run(port: str, underlying: str, callers: int) -> None:
    """Answer every line of the input."""
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) for _ in range(callers)
    ]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    calls: list[grpc.aio.UnaryStreamMultiCallable[bytes, bytes]] = [
        channel.unary_stream(PATH) for channel in channels
    ]
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        ask = msgspec.json.decode(line, type=Ask)
        request = pb.StreamOptionChainRequest(underlying_symbol=underlying)
        if ask.max_age is not None:
            request.max_age.FromNanoseconds(round(ask.max_age * 1e9))
        crowd = await ask_all(calls, request.SerializeToString())
        print(msgspec.json.encode(crowd).decode(), flush=True)


def main(port: str, underlying: str, callers: str) -> None:
    """Run on the quickest loop there is."""
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra of the server

        uvloop.install()
    asyncio.run(run(port, underlying, int(callers)))


if __name__ == "__main__":
    main(*sys.argv[1:])
