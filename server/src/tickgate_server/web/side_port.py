"""The side port: whether the gateway lives, whether it is ready, its numbers, and what it is.

It is served by the loop that serves gRPC, so that `/livez` says of that loop that it turns. Whatever comes in here is
bounded: headers, connections, and the time that an idle one is kept; what a request carries beside its headers is never
looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web
from msgspec import Struct, json

_log = structlog.get_logger(__name__)

_MOST_CONNECTIONS: Final = 100
"""At once: those who scrape and probe keep one each, and whoever comes on top is hung up on."""

_LONGEST_LINE: Final = 2048
"""Bytes of a request's first line, and of one header."""

_MOST_HEADERS: Final = 64

_IDLE: Final = 20.0
"""Seconds that a connection is kept on which no whole request comes. Prometheus asks every 15. Those who
ask nothing must not keep others out for long."""

_LINGER: Final = 1.0
"""Seconds for which a body that nobody wants is still taken off the wire, so that its sender reads the answer."""

_FAREWELL: Final = 1.0
"""Seconds that answers under way get when the port closes."""

_ALLOWED: Final = ("GET", "HEAD")

_JSON: Final = "application/json"

# What strangers send is not worth a line, and aiohttp writes one with a traceback for each piece of garbage. What goes
# wrong with an answer is logged below.
_UNHEARD: Final = logging.getLogger(f"{__name__}.unheard")
_UNHEARD.setLevel(logging.CRITICAL + 1)


class Page(Struct, frozen=True):
    """An answer."""

    body: bytes
    content_type: str = _JSON
    status: int = 200


Answer = Callable[[str], Awaitable[Page]]
"""Makes the answer for somebody who accepts what the given `Accept` header names; empty without one."""


class About(Struct, frozen=True):
    """What `/version` tells."""

    version: str
    environment: str
    started: str
    """RFC 3339."""


def said(sentence: str, status: int) -> Page:
    """Return an answer that is one sentence."""
    return Page(json.encode({"message": sentence}), status=status)


def pages(about: About, unready: Callable[[], str], metrics: Answer) -> Mapping[str, Answer]:
    """Return what the side port answers, by path.

    Args:
        about: what this gateway is.
        unready: tells why it cannot be asked now; empty while it can.
        metrics: makes the numbers.
    """

    async def livez(_: str) -> Page:
        # That anything answers says that the loop turns.
        return said("alive", 200)

    async def readyz(_: str) -> Page:
        why = unready()
        return said(why, 503) if why else said("ready", 200)

    async def version(_: str) -> Page:
        return Page(json.encode(about))

    return {"/livez": livez, "/readyz": readyz, "/metrics": metrics, "/version": version}


@asynccontextmanager
async def side_port(address: str, answers: Mapping[str, Answer]) -> AsyncIterator[int]:
    """Serve *answers* by path at *address* for the length of the block; give the port, a free one for port 0.

    Raises:
        OSError: the address cannot be listened on.
    """
    host, _, port = address.rpartition(":")
    http = web.Server(
        lambda request: _respond(request, answers),
        access_log=None,
        logger=_UNHEARD,
        keepalive_timeout=_IDLE,
        lingering_time=_LINGER,
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
        max_headers=_MOST_HEADERS,
    )

    def protocol() -> asyncio.Protocol:
        return _HungUp() if len(http.connections) >= _MOST_CONNECTIONS else http()

    try:
        server = await asyncio.get_running_loop().create_server(
            protocol, host.strip("[]"), int(port)
        )
    except OSError as error:
        msg = (
            f"cannot listen on {address}: the port is in use, or the address is not this machine's"
        )
        raise OSError(msg) from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        http.pre_shutdown()
        await http.shutdown(_FAREWELL)


class _HungUp(asyncio.Protocol):
    """A connection beyond the most."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _respond(request: web.BaseRequest, answers: Mapping[str, Answer]) -> web.Response:
    page = await _page(request, answers)
    response = web.Response(
        status=page.status,
        body=page.body,
        headers={"Content-Type": page.content_type, "Cache-Control": "no-store"},
    )
    if page.status == 405:
        response.headers["Allow"] = ", ".join(_ALLOWED)
    return response


async def _page(request: web.BaseRequest, answers: Mapping[str, Answer]) -> Page:
    answer = answers.get(request.path)
    if answer is None:
        return said(f"there is nothing here but {', '.join(answers)}", 404)
    if request.method not in _ALLOWED:
        return said(f"this can be read ({' or '.join(_ALLOWED)}) and nothing else", 405)
    try:
        return await answer(request.headers.get("Accept", ""))
    except Exception as error:  # noqa: BLE001 - the last line: no exception's text may reach a caller
        _log.error("side_port_failed", path=request.path, exc_info=error)
        return said("the gateway has failed to say it; its log says why", 500)
