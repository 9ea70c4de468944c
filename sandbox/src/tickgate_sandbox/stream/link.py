"""The wire to one client: frames in its encoding, and every way in which it can end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import ClientConnectionResetError, WSMessage, WSMsgType, web

from ..faults import reset
from .wire import Encoding

ENDS: Final = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})
"""What is received when nothing more will be."""

_HALF_A_FRAME: Final = b"\x82\x7e\x10\x00\x91\x83\xa1T"
"""The head of a binary frame of 4,096 bytes, and the first few of them."""

_GARBAGE: Final = b"\xc1{<<<"
"""No JSON; nor MessagePack, which never uses the first byte."""


class Link:
    """An open WebSocket. Whatever is sent to a client that has gone away is sent nowhere."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, encoding: Encoding
    ) -> None:
        """Speak *encoding* on *socket*, which is carried by *transport*."""
        self._socket = socket
        self._transport = transport
        self._encoding = encoding
        self.closed_in_order = False
        """Whether it ended with a close frame, the client's or ours."""

    @property
    def is_binary(self) -> bool:
        """Whether its frames are binary, which is to say that it speaks MessagePack."""
        return self._encoding.frame_type is WSMsgType.BINARY

    async def receive(self) -> WSMessage:
        """Return the next frame of the client, or one of `ENDS`."""
        message = await self._socket.receive()
        if message.type is WSMsgType.CLOSE:
            self.closed_in_order = True
        return message

    def read(self, message: WSMessage) -> Any:
        """Return what *message* says, or None when it is not in the encoding agreed upon."""
        if message.type is not self._encoding.frame_type:
            return None
        payload = message.data.encode() if isinstance(message.data, str) else message.data
        try:
            return self._encoding.read(payload)
        except msgspec.DecodeError:
            return None

    async def pong(self, message: WSMessage) -> None:
        """Answer a ping."""
        await self._send(message.data, WSMsgType.PONG)

    async def say(self, message: Mapping[str, Any]) -> None:
        """Send a control message, alone in its frame."""
        await self.send([msgspec.json.encode(message)])

    async def send(self, records: Sequence[bytes]) -> bool:
        """Send one frame of *records*, JSON objects; return whether anybody was there."""
        return await self.send_frame(self._encoding.frame(records))

    async def send_frame(self, payload: bytes) -> bool:
        """Send *payload* as it is; return whether anybody was there.

        Waits while the client reads slower than it is sent to.
        """
        return await self._send(payload, self._encoding.frame_type)

    async def close(self, code: int, reason: str = "") -> None:
        """Close with a close frame, and wait a moment for the client's own."""
        self.closed_in_order = True
        await self._socket.close(code=code, message=reason.encode())

    def drop(self) -> None:
        """End the connection without a close frame."""
        self._transport.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        reset(self._transport)

    def cut_frame(self) -> None:
        """Reset the connection in the middle of a frame."""
        self._transport.write(_HALF_A_FRAME)
        self.reset()

    async def send_garbage(self) -> None:
        """Send a frame that means nothing."""
        await self._send(_GARBAGE, WSMsgType.BINARY)

    async def _send(self, payload: bytes, frame_type: WSMsgType) -> bool:
        try:
            await self._socket.send_frame(payload, frame_type)
        except ClientConnectionResetError:
            return False
        return True
