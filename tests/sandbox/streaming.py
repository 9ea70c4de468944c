"""How these tests stream from a sandbox: in both encodings, with a client that hides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec

from tickgate_sandbox import Sandbox
from tickgate_sandbox.stream.feeds import FEEDS
from tickgate_sandbox.timestamps import parse

JSON = "json"
MSGPACK = "msgpack"

ENCODINGS = (JSON, MSGPACK)

CONNECTED = {"T": "success", "msg": "connected"}
AUTHENTICATED = {"T": "success", "msg": "authenticated"}
AUTH = {"action": "auth", "key": "key", "secret": "secret"}

_PATIENCE = 5.0
"""Seconds to wait for a frame that must come."""


def error(code: int, message: str) -> dict[str, Any]:
    """Return an error as it is sent."""
    return {"T": "error", "code": code, "msg": message}


def instants(record: Any) -> Any:
    """Return a JSON record with its time as MessagePack has it, in nanoseconds."""
    return {key: parse(value) if key == "t" else value for key, value in record.items()}


class StreamClient:
    """A connection to one feed."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, encoding: str) -> None:
        self.socket = socket
        self._encoding = encoding

    async def send(self, message: Any) -> None:
        if self._encoding == JSON:
            await self.socket.send_str(msgspec.json.encode(message).decode())
        else:
            await self.socket.send_bytes(_pack(message))

    async def frame(self) -> list[Any]:
        """Return the messages of the next frame, times in nanoseconds if they are timestamps."""
        message = await self.socket.receive(_PATIENCE)
        if self._encoding == JSON:
            assert message.type is aiohttp.WSMsgType.TEXT, message
            return list(msgspec.json.decode(message.data))
        assert message.type is aiohttp.WSMsgType.BINARY, message
        return [_in_nanoseconds(one) for one in msgpack.unpackb(message.data)]

    async def one(self) -> Any:
        """Return the one message of the next frame."""
        (message,) = await self.frame()
        return message

    async def ask(self, message: Any) -> Any:
        """Send *message* and return the answer, which stands alone in its frame."""
        await self.send(message)
        return await self.one()

    async def subscribe(self, **channels: list[str]) -> Any:
        return await self.ask({"action": "subscribe", **channels})

    async def unsubscribe(self, **channels: list[str]) -> Any:
        return await self.ask({"action": "unsubscribe", **channels})

    async def records(self, count: int) -> list[Any]:
        """Return the next *count* records, of as many frames as they came in."""
        found: list[Any] = []
        while len(found) < count:
            found += await self.frame()
        assert len(found) == count
        return found

    async def end(self) -> aiohttp.WSMessage:
        """Return what is received when the connection ends; frames before it are passed over."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                message = await self.socket.receive()
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    return message


def _pack(message: Any) -> bytes:
    packed: bytes = msgpack.packb(message)
    return packed


def _in_nanoseconds(message: Any) -> Any:
    return {
        key: value.to_unix_nano() if isinstance(value, msgpack.Timestamp) else value
        for key, value in message.items()
    }


@asynccontextmanager
async def connected(
    running: Sandbox,
    feed: str = "iex",
    encoding: str = MSGPACK,
    headers: dict[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[StreamClient]:
    """Connect to *feed*; what the sandbox says first is still to be received."""
    content_type = {"Content-Type": "application/msgpack"} if encoding == MSGPACK else {}
    version = FEEDS[feed].version if feed in FEEDS else "v2"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{running.stream_url}/{version}/{feed}",
            headers=content_type | (headers or {}),
            max_msg_size=0,
            # No test waits for a sandbox that does not answer a close frame on purpose.
            timeout=aiohttp.ClientWSTimeout(ws_close=0.2),
            **options,
        ) as socket,
    ):
        yield StreamClient(socket, encoding)


@asynccontextmanager
async def streamed(
    running: Sandbox, feed: str = "iex", encoding: str = MSGPACK, **channels: list[str]
) -> AsyncIterator[StreamClient]:
    """Connect to *feed* and authenticate, and subscribe to *channels* if there are any."""
    async with connected(running, feed, encoding) as client:
        assert await client.one() == CONNECTED
        assert await client.ask(AUTH) == AUTHENTICATED
        if channels:
            assert (await client.subscribe(**channels))["T"] == "subscription"
        yield client
