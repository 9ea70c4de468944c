"""Faults on command: ways in which an upstream fails, armed by a test."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from abc import ABCMeta, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from aiohttp import web

from .answers import unauthorized
from .history.paging import ODDITY, PageOddity
from .rewrites import drop_symbols, rename_symbol

Proceed = Callable[[], Awaitable[web.StreamResponse]]
"""Gives the answer that the request would have had without the fault."""

EVERY_PATH = "*"

_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
"""A line break in a header would end it, and the connection with it."""


class AbstractStruct(msgspec.StructMeta, ABCMeta):
    """The class of a struct of which only kinds can be made."""


class Fault(
    msgspec.Struct,
    metaclass=AbstractStruct,
    kw_only=True,
    tag_field="kind",
    forbid_unknown_fields=True,
):
    """A way to fail, for requests whose path begins with `path`."""

    path: str = EVERY_PATH
    """Prefix of the paths it strikes, or `*`; control paths are never struck."""
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many requests it strikes; None strikes until it is cleared."""
    page: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Which page of each walk through history it strikes, from 1; None strikes all requests."""

    @abstractmethod
    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer *request* badly.

        Args:
            request: The request that is struck.
            proceed: Gives the true answer.
            cleared: Set when faults are cleared or the sandbox stops.
        """

    def strikes(self, path: str, page: int | None) -> bool:
        """Return whether a request for *path* is struck, and for the *page* of a walk."""
        if self.page not in (None, page):
            return False
        return self.path == EVERY_PATH or path.startswith(self.path)


class Status(Fault, tag="status"):
    """An error status with a JSON body."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    body: dict[str, Any] | list[Any] | str | None = None
    """JSON; a text leaves verbatim. Unset, it is a message with the status's name."""
    content_type: str = "application/json"
    headers: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Check what stands in the head of the answer.

        Raises:
            ValueError: it cannot be sent as it is.
        """
        _check_head(self.content_type, self.headers)

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with the status."""
        return self.response()

    def response(self) -> web.Response:
        """Return the answer."""
        body = self.body if self.body is not None else {"message": _phrase(self.status)}
        raw = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
        return web.Response(
            body=raw, status=self.status, content_type=self.content_type, headers=self.headers
        )


class Latency(Fault, tag="latency"):
    """The true answer, late."""

    seconds: Annotated[float, msgspec.Meta(ge=0)]

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer after the wait, or as soon as faults are cleared."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                await cleared.wait()
        return await proceed()


class Hang(Fault, tag="hang"):
    """No answer; the connection is reset once faults are cleared."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Wait for the end of the fault."""
        await cleared.wait()
        return _reset(request)


class Reset(Fault, tag="reset"):
    """The connection is reset (TCP RST) without an answer."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Reset the connection."""
        return _reset(request)


class Truncate(Fault, tag="truncate"):
    """The true answer with half its body missing, though its length promises all of it."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Send the head and half the body, then close."""
        whole = await proceed()
        body = _body(whole)
        cut = web.StreamResponse(status=whole.status)
        cut.content_type = whole.content_type
        cut.content_length = len(body)
        cut.force_close()
        await cut.prepare(request)
        await cut.write(body[: len(body) // 2])
        return cut


class Garbage(Fault, tag="garbage"):
    """Status 200 and JSON's content type, but bytes that are no JSON."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with the bytes."""
        return _ok(b'{"quotes": \xff\xfe\x00<<<')


class Html401(Fault, tag="html_401"):
    """The page that a bad key gets."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with the page."""
        return unauthorized()


class NullBody(Fault, tag="null_body"):
    """Status 200 and the JSON text `null`."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with null."""
        return _ok(b"null")


class EmptyBody(Fault, tag="empty_body"):
    """Status 200 and no body at all."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with nothing."""
        return _ok(b"")


class Reply(Fault, tag="reply"):
    """Any answer, verbatim."""

    body: str
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    content_type: str = "application/json"

    def __post_init__(self) -> None:
        """Check what stands in the head of the answer.

        Raises:
            ValueError: it cannot be sent as it is.
        """
        _check_head(self.content_type)

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with the body."""
        return web.Response(
            body=self.body.encode(), status=self.status, content_type=self.content_type
        )


class WrongSymbol(Fault, tag="wrong_symbol"):
    """The true answer, but under a symbol that nobody asked for."""

    symbol: str
    """Stands in the place of the first symbol of the answer."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with the symbol changed."""
        return _rewritten(await proceed(), lambda body: rename_symbol(body, self.symbol))


class DropSymbols(Fault, tag="drop_symbols"):
    """The true answer to a question about many symbols, with some left out."""

    symbols: list[str]

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer without the symbols."""
        return _rewritten(await proceed(), lambda body: drop_symbols(body, self.symbols))


class ShortPages(Fault, tag="short_pages"):
    """True pages of history with fewer records than there is room for, although more follow."""

    records: Annotated[int, msgspec.Meta(ge=1)]
    """So many records a page at most."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with a short page."""
        request[ODDITY] = PageOddity(most=self.records)
        return await proceed()


class EmptyPage(Fault, tag="empty_page"):
    """A page of history with nothing on it, and a token that goes on where it was."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with an empty page."""
        request[ODDITY] = PageOddity(empty=True)
        return await proceed()


class SameToken(Fault, tag="same_token"):
    """A true page of history whose token leads to it again: a walk that never ends."""

    async def answer(
        self, request: web.Request, proceed: Proceed, cleared: asyncio.Event
    ) -> web.StreamResponse:
        """Answer with the page and its own token."""
        request[ODDITY] = PageOddity(same_token=True)
        return await proceed()


AnyFault = (
    Status
    | Latency
    | Hang
    | Reset
    | Truncate
    | Garbage
    | Html401
    | NullBody
    | EmptyBody
    | Reply
    | WrongSymbol
    | DropSymbols
    | ShortPages
    | EmptyPage
    | SameToken
)
"""Every kind of fault, for decoding one by its `kind`."""


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int | None


class Faults:
    """The armed faults. The oldest that fits a request strikes it."""

    def __init__(self) -> None:
        """Start with none."""
        self._armed: list[_Armed] = []
        self._cleared = asyncio.Event()

    @property
    def cleared(self) -> asyncio.Event:
        """Set at the next `clear`: what is held back now is released then."""
        return self._cleared

    def add(self, fault: Fault) -> None:
        """Arm *fault*."""
        self._armed.append(_Armed(fault, fault.times))

    def clear(self) -> None:
        """Disarm every fault and let go of the requests that hang or wait."""
        self._armed.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    def armed(self) -> Sequence[Fault]:
        """Return the armed faults, `times` telling how often each will still strike."""
        return [msgspec.structs.replace(one.fault, times=one.left) for one in self._armed]

    def strike(self, path: str, page: int | None = None) -> Fault | None:
        """Return the fault that strikes a request for *path*, using it up once, or None.

        Args:
            path: The path.
            page: Which page of a walk it is for; None where that is not known.
        """
        for one in self._armed:
            if one.fault.strikes(path, page):
                self._use_up(one)
                return one.fault
        return None

    def _use_up(self, one: _Armed) -> None:
        if one.left is None:
            return
        one.left -= 1
        if one.left == 0:
            self._armed.remove(one)


def _check_head(content_type: str, headers: Mapping[str, str] | None = None) -> None:
    if not _MEDIA_TYPE.fullmatch(content_type):
        raise ValueError(f"content_type is one such as text/plain, not {content_type!r}")
    for name, value in (headers or {}).items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"a header cannot be called {name!r}")
        if name.lower() == "content-type":
            raise ValueError("content_type goes beside the headers, not among them")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"header {name} holds what no header can: {value!r}")


def _ok(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return "unknown"


def _body(response: web.StreamResponse) -> bytes:
    body = response.body if isinstance(response, web.Response) else None
    return body if isinstance(body, bytes) else b""


def _rewritten(
    response: web.StreamResponse, change: Callable[[bytes], bytes]
) -> web.StreamResponse:
    if response.status == HTTPStatus.OK and isinstance(response, web.Response):
        response.body = change(_body(response))
    return response


def _reset(request: web.Request) -> web.StreamResponse:
    """Reset the connection; the answer returned can no longer be sent."""
    if request.transport is not None:
        reset(request.transport)
    return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)


def reset(transport: asyncio.Transport) -> None:
    """Drop a connection with a TCP RST."""
    connection: socket.socket = transport.get_extra_info("socket")
    # Closing a socket that lingers for zero seconds sends RST instead of FIN.
    linger = struct.pack("ii", 1, 0)
    if connection.fileno() >= 0:  # it may have ended a moment ago
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
