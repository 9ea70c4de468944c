"""What is no gRPC at all, on the gateway's port: random bytes, broken frames, and floods that other servers fell to."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import grpc

from tickgate.v1 import quote_service_pb2 as quotes
from tickgate.v1 import quote_service_pb2_grpc as services

from ..support.running import FROZEN, running
from .found import Found
from .mutate import spoil_bytes

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _PRIORITY, _RST, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(
    10
)
_PATIENCE: Final = 1.0
"""Seconds for which an attacker waits for what becomes of him."""

_AT_ONCE: Final = 16


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload
    )


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header as HPACK's literal without indexing, lengths up to 126 and beyond."""
    return b"\x00" + _length(len(name)) + name + _length(len(value)) + value


def _length(value: int) -> bytes:
    if value < 127:
        return bytes((value,))
    out, rest = bytearray((127,)), value - 127
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    out.append(rest)
    return bytes(out)


_HEAD: Final = b"".join(
    _literal(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/tickgate.v1.QuoteService/GetQuote"),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)
_REQUEST: Final = b"\x00\x00\x00\x00\x06\x0a\x04AAPL"
_GREETING: Final = _PREFACE + _frame(_SETTINGS, 0, 0)
_CALL: Final = _frame(_HEADERS, 4, 1, _HEAD) + _frame(_DATA, 1, 1, _REQUEST)


BAD_PATH: Final = (
    _GREETING
    + _frame(_HEADERS, 4, 1, _HEAD.replace(b"QuoteService", b"\xffuoteService"))
    + _frame(_DATA, 1, 1, _REQUEST)
)
"""A call of a method whose name is no UTF-8: it ends the loop of a grpc.aio server of these days."""


def _noise(dice: random.Random) -> bytes:
    return dice.randbytes(dice.choice((1, 24, 1000, 100_000)))


def _http1(dice: random.Random) -> bytes:
    return dice.choice(
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(200),
        )
    )


def _broken_frames(dice: random.Random) -> bytes:
    frames = (
        _frame(
            dice.randrange(256),
            dice.randrange(256),
            dice.randrange(1 << 31),
            dice.randbytes(dice.randrange(40)),
        )
        for _ in range(50)
    )
    return _GREETING + b"".join(frames)


def _spoilt_call(dice: random.Random) -> bytes:
    return _GREETING + spoil_bytes(dice, _CALL)


def _half_a_call(dice: random.Random) -> bytes:
    whole = _GREETING + _CALL
    return whole[: dice.randrange(len(whole))]


def _settings_flood(dice: random.Random) -> bytes:
    return (
        _GREETING + _frame(_SETTINGS, 0, 0, struct.pack(">HI", 3, dice.randrange(1 << 32))) * 20_000
    )


def _ping_flood(dice: random.Random) -> bytes:
    return _GREETING + _frame(_PING, 0, 0, dice.randbytes(8)) * 20_000


def _rapid_reset(dice: random.Random) -> bytes:
    """Calls that are taken back at once, as in CVE-2023-44487."""
    frames = (
        _frame(_HEADERS, 4, stream, _HEAD) + _frame(_RST, 0, stream, struct.pack(">I", 8))
        for stream in range(1, 4001, 2)
    )
    return _GREETING + b"".join(frames)


def _continuation_flood(dice: random.Random) -> bytes:
    """Headers that never end, as in VU#421644."""
    return (
        _GREETING
        + _frame(_HEADERS, 0, 1, _HEAD)
        + _frame(_CONTINUATION, 0, 1, b"\x00\x01a" + b"\x01b") * 50_000
    )


def _header_bomb(dice: random.Random) -> bytes:
    """One large header in the table, and references to it without end."""
    large = b"\x40" + _length(5) + b"bomb1" + _length(4000) + b"x" * 4000
    return _GREETING + _frame(_HEADERS, 4, 1, _HEAD + large + b"\xbe" * 12_000)


def _window_overflow(dice: random.Random) -> bytes:
    return (
        _GREETING
        + _frame(_WINDOW, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 3
        + _frame(_WINDOW, 0, 0, b"\0" * 4)
    )


def _empty_data_flood(dice: random.Random) -> bytes:
    return _GREETING + _frame(_HEADERS, 4, 1, _HEAD) + _frame(_DATA, 0, 1) * 50_000


def _huge_message(dice: random.Random) -> bytes:
    return (
        _GREETING
        + _frame(_HEADERS, 4, 1, _HEAD)
        + _frame(_DATA, 0, 1, b"\0\xff\xff\xff\xff" + b"x" * 16_000)
    )


def _compressed_nonsense(dice: random.Random) -> bytes:
    head = _HEAD + _literal(b"grpc-encoding", b"gzip")
    return (
        _GREETING
        + _frame(_HEADERS, 4, 1, head)
        + _frame(_DATA, 1, 1, b"\1\0\0\0\x20" + dice.randbytes(32))
    )


def _strange_headers(dice: random.Random) -> bytes:
    odd = (
        _literal(b"grpc-timeout", b"99999999999H"), _literal(b"grpc-timeout", b"-1S"),
        _literal(b"content-type", b"text/html"),
        _literal(b":path", b"/" + b"a" * 5000), _literal(b"UPPER", b"x"), _literal(b"bad name", b"\r\nx: y"),
        _literal(b"x-bin", b"!!!not base64!!!"), _literal(b"grpc-encoding", b"lzma"),
    )  # fmt: skip
    return (
        _GREETING + _frame(_HEADERS, 4, 1, _HEAD + dice.choice(odd)) + _frame(_DATA, 1, 1, _REQUEST)
    )


ATTACKS: Final[tuple[Callable[[random.Random], bytes], ...]] = (
    _noise, _http1, _broken_frames, _spoilt_call, _half_a_call, _settings_flood, _ping_flood, _rapid_reset,
    _continuation_flood, _header_bomb, _window_overflow, _empty_data_flood, _huge_message, _compressed_nonsense,
    _strange_headers,
)  # fmt: skip


async def fuzz_http2(seed: int, rounds: int) -> Found:
    """Make every attack *rounds* times, while somebody asks properly, who must be answered all along."""
    dice = random.Random(seed)
    found = Found("connections that are no gRPC")
    async with running(FROZEN) as stack:
        host, _, port = stack.target.rpartition(":")
        over = asyncio.Event()
        asking = asyncio.create_task(_ask_properly(stack.target, over, found))
        places = asyncio.Semaphore(_AT_ONCE)

        async def attack(how: Callable[[random.Random], bytes]) -> None:
            async with places:
                outcome = await _attack(host, int(port), how(dice))
                found.outcomes[f"{how.__name__.strip('_')}: {outcome}"] += 1

        for _ in range(rounds):
            async with asyncio.TaskGroup() as group:
                for how in ATTACKS:
                    group.create_task(attack(how))
            found.look()
        over.set()
        found.outcomes["proper calls answered"] += await asking
        # The one that does end something comes last: whoever comes after it must be answered, too.
        await _attack(host, int(port), BAD_PATH)
        await _ask_once(stack.target, found)
    return found


async def send(target: str, data: bytes) -> str:
    """Send *data* to *target*, and return what became of the connection."""
    host, _, port = target.rpartition(":")
    return await _attack(host, int(port), data)


async def _attack(host: str, port: int, data: bytes) -> str:
    reader, writer = await _connected(host, port)
    try:
        async with asyncio.timeout(_PATIENCE):
            with suppress(OSError):
                writer.write(data)
                await writer.drain()
            while await reader.read(65536):
                pass
    except TimeoutError:
        return "left open"
    except OSError:
        return "reset"
    finally:
        writer.transport.abort()
    return "closed"


async def _connected(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection, after a moment where the gateway has just begun to listen again."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.05)


async def _ask_properly(target: str, over: asyncio.Event, found: Found) -> int:
    answered = 0
    async with _soon_back(target) as channel:
        stub: services.QuoteServiceAsyncStub = services.QuoteServiceStub(channel)
        while not over.is_set():
            try:
                await _ask(stub)
                answered += 1
            except grpc.aio.AioRpcError as error:
                # A spoilt call may end gRPC's own loop, and all that is under way with it.
                ended = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
                found.outcomes["proper calls cut off"] += ended
                if not ended:
                    found.object("a proper call that failed", f"{error.code()} {error.details()}")
            await asyncio.sleep(0.01)
    if not answered:
        found.object("a proper call that failed", "none was answered")
    return answered


async def _ask_once(target: str, found: Found) -> None:
    async with _soon_back(target) as channel:
        try:
            await _ask(services.QuoteServiceStub(channel))
        except grpc.aio.AioRpcError as error:
            found.object("a gateway that no longer serves", f"{error.code()} {error.details()}")


async def _ask(stub: services.QuoteServiceAsyncStub) -> None:
    await stub.GetQuote(quotes.GetQuoteRequest(symbol="AAPL"), timeout=20, wait_for_ready=True)


def _soon_back(target: str) -> grpc.aio.Channel:
    options = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
    return grpc.aio.insecure_channel(target, options=options)
