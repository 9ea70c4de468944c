"""Faults of the stream on command.

Some are armed and strike at the next occasion, as those of the REST API do; the sudden ones
strike whoever is connected now.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
from aiohttp import web

from ..faults import AbstractStruct, Status
from .link import Link
from .refusals import StreamRefusal
from .subscriptions import Lists

EVERY_FEED = "*"

Occasion = Literal["auth", "subscribe", "unsubscribe"]
"""A request of the client."""

_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Code = Annotated[int, msgspec.Meta(ge=0)]


class StreamFault(
    msgspec.Struct,
    metaclass=AbstractStruct,
    kw_only=True,
    tag_field="kind",
    forbid_unknown_fields=True,
):
    """A way to fail, on one feed or all of them."""

    feed: str = EVERY_FEED
    """The feed it strikes, or `*`."""

    def strikes(self, feed: str) -> bool:
        """Return whether *feed* is struck."""
        return self.feed in (EVERY_FEED, feed)


class ArmedFault(StreamFault, kw_only=True):
    """A fault that waits for its occasion."""

    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How often it strikes; None strikes until it is cleared."""


class Handshake(ArmedFault, tag="handshake"):
    """The handshake is answered with a status."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    body: dict[str, Any] | str | None = None
    """JSON; a text leaves verbatim. Unset, it is a message with the status's name."""

    def response(self) -> web.Response:
        """Return the answer to the handshake."""
        return Status(status=self.status, body=self.body).response()


class Refuse(ArmedFault, tag="refuse"):
    """A request is refused with an error."""

    code: _Code
    message: str | None = None
    """Unset, the words that belong to the code."""
    on: Occasion = "auth"
    close: bool = False
    """Whether the connection is closed after the error."""

    def refusal(self) -> StreamRefusal:
        """Return the error."""
        return StreamRefusal(self.code, self.message, close=self.close)


class Occupied(ArmedFault, tag="occupied"):
    """Somebody else holds the slot: 406 for so long, or until it is cleared."""

    seconds: _Seconds | None = None


class SlowAuth(ArmedFault, tag="slow_auth"):
    """The answer to an authentication comes late."""

    seconds: _Seconds


class PartialAck(ArmedFault, tag="partial_ack"):
    """Some symbols of a subscription are silently left out of it, and of its answer."""

    count: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How many of those asked for, the last ones of each channel."""
    symbols: list[str] = []
    """Which, beside those."""

    def forgotten(self, lists: Lists) -> Lists:
        """Return what is left out of a subscription to *lists*."""
        return {
            channel: {*list(symbols)[max(0, len(symbols) - self.count) :], *self.symbols}
            for channel, symbols in lists.items()
        }


class HoldSlot(ArmedFault, tag="hold_slot"):
    """A connection that is lost, not closed, keeps its slot for so long."""

    seconds: _Seconds


class Mute(ArmedFault, tag="mute"):
    """Sockets stay open and send no records; what is due meanwhile is lost."""

    pings: bool = True
    """Whether pings and requests are still answered."""


class Victim(Protocol):
    """A connection that a sudden fault happens to."""

    link: Link

    async def refuse(self, refusal: StreamRefusal) -> None:
        """Send an error, and close if it says so."""
        ...


class SuddenFault(StreamFault, kw_only=True):
    """A fault that strikes whoever is connected now."""

    @abstractmethod
    async def happen(self, victim: Victim) -> None:
        """Strike *victim*."""


class Error(SuddenFault, tag="error"):
    """An error that nobody's request has caused."""

    code: _Code
    message: str | None = None
    """Unset, the words that belong to the code."""
    close: bool = False
    """Whether the connection is closed after the error."""

    async def happen(self, victim: Victim) -> None:
        """Send the error."""
        await victim.refuse(StreamRefusal(self.code, self.message, close=self.close))


class Close(SuddenFault, tag="close"):
    """The connection is closed with a close frame."""

    code: Annotated[int, msgspec.Meta(ge=1000, le=4999)] = 1001
    reason: Annotated[str, msgspec.Meta(max_length=30)] = ""

    async def happen(self, victim: Victim) -> None:
        """Close in order."""
        await victim.link.close(self.code, self.reason)


class Drop(SuddenFault, tag="drop"):
    """The connection ends without a close frame."""

    reset: bool = False
    """Whether by a TCP reset."""

    async def happen(self, victim: Victim) -> None:
        """End the connection."""
        if self.reset:
            victim.link.reset()
        else:
            victim.link.drop()


class CutFrame(SuddenFault, tag="cut_frame"):
    """The connection is reset in the middle of a frame."""

    async def happen(self, victim: Victim) -> None:
        """Send half a frame and no more."""
        victim.link.cut_frame()


class Garbage(SuddenFault, tag="garbage"):
    """A frame that is neither JSON nor MessagePack."""

    async def happen(self, victim: Victim) -> None:
        """Send the frame."""
        await victim.link.send_garbage()


AnyStreamFault = (
    Handshake
    | Refuse
    | Occupied
    | SlowAuth
    | PartialAck
    | HoldSlot
    | Mute
    | Error
    | Close
    | Drop
    | CutFrame
    | Garbage
)
"""Every kind of fault, for decoding one by its `kind`."""

_F = TypeVar("_F", bound=ArmedFault)


@dataclass(slots=True)
class _Armed:
    fault: ArmedFault
    left: int | None
    expiry: asyncio.TimerHandle | None = None


class StreamFaults:
    """The armed faults. The oldest that fits an occasion strikes it."""

    def __init__(self) -> None:
        """Start with none."""
        self._armed: list[_Armed] = []
        self._cleared = asyncio.Event()
        self._when_cleared: list[Callable[[], None]] = []

    @property
    def cleared(self) -> asyncio.Event:
        """Set at the next `clear`: what is held back now is released then."""
        return self._cleared

    def when_cleared(self, call: Callable[[], None]) -> None:
        """Have *call* made at every `clear`."""
        self._when_cleared.append(call)

    def add(self, fault: ArmedFault) -> None:
        """Arm *fault*."""
        armed = _Armed(fault, fault.times)
        if isinstance(fault, Occupied) and fault.seconds is not None:
            loop = asyncio.get_running_loop()
            armed.expiry = loop.call_later(fault.seconds, self._disarm, armed)
        self._armed.append(armed)

    def clear(self) -> None:
        """Disarm every fault, let go of what waits, and free the slots that are held."""
        for one in list(self._armed):
            self._disarm(one)
        self._cleared.set()
        self._cleared = asyncio.Event()
        for call in self._when_cleared:
            call()

    def armed(self) -> Sequence[ArmedFault]:
        """Return the armed faults, `times` telling how often each will still strike."""
        return [msgspec.structs.replace(one.fault, times=one.left) for one in self._armed]

    def find(self, kind: type[_F], feed: str) -> _F | None:
        """Return the fault of *kind* that strikes *feed*, without using it up, or None."""
        for one in self._armed:
            if isinstance(one.fault, kind) and one.fault.strikes(feed):
                return one.fault
        return None

    def strike(self, kind: type[_F], feed: str, on: Occasion | None = None) -> _F | None:
        """Return the fault of *kind* that strikes *feed*, using it up once, or None.

        Args:
            kind: What can happen on the occasion.
            feed: Where it happens.
            on: The occasion, where the kind has several.
        """
        for one in self._armed:
            fault = one.fault
            if not isinstance(fault, kind) or not fault.strikes(feed):
                continue
            if isinstance(fault, Refuse) and fault.on != on:
                continue
            self._use_up(one)
            return fault
        return None

    def _use_up(self, one: _Armed) -> None:
        if one.left is None:
            return
        one.left -= 1
        if one.left == 0:
            self._disarm(one)

    def _disarm(self, one: _Armed) -> None:
        if one.expiry is not None:
            one.expiry.cancel()
        self._armed.remove(one)
