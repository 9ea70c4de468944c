"""The control endpoints of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from ..answers import bad_request, json_response, read_body
from ..calendar import ExchangeCalendar
from ..channels import PLAYED
from ..control import control_instant
from .counters import by_channel
from .faults import AnyStreamFault
from .feeds import FEEDS
from .stream import Stream


class _Replay(msgspec.Struct, forbid_unknown_fields=True):
    start: str
    end: str
    channels: list[str] = msgspec.field(default_factory=lambda: sorted(PLAYED))
    feed: str | None = None


class StreamControlApi:
    """Replay, pushed messages and faults, as JSON."""

    def __init__(self, calendar: ExchangeCalendar, stream: Stream) -> None:
        """Steer *stream* within *calendar*."""
        self._calendar = calendar
        self._stream = stream

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes of this API."""
        return [
            web.post("/sandbox/stream/replay", self._replay),
            web.post("/sandbox/stream/messages", self._push),
            web.post("/sandbox/stream/frames", self._send_frame),
            web.get("/sandbox/stream/faults", self._get_faults),
            web.post("/sandbox/stream/faults", self._post_fault),
            web.delete("/sandbox/stream/faults", self._delete_faults),
        ]

    async def _replay(self, request: web.Request) -> web.Response:
        wanted = await read_body(request, _Replay)
        _check_feed(wanted.feed)
        unknown = sorted(set(wanted.channels) - PLAYED)
        if unknown:
            raise bad_request(f"channels are out of {', '.join(sorted(PLAYED))}, not {unknown[0]}")
        played = await self._stream.replay(
            control_instant(self._calendar, "start", wanted.start),
            control_instant(self._calendar, "end", wanted.end),
            channels=wanted.channels,
            feed=wanted.feed,
        )
        records = by_channel(played.records)
        return json_response({"clients": played.clients, "records": records})

    async def _push(self, request: web.Request) -> web.Response:
        try:
            clients = await self._stream.push(await request.read(), feed=_feed(request))
        except ValueError as error:
            raise bad_request(str(error)) from error
        return json_response({"clients": clients})

    async def _send_frame(self, request: web.Request) -> web.Response:
        clients = await self._stream.send_frame(await request.read(), feed=_feed(request))
        return json_response({"clients": clients})

    async def _get_faults(self, request: web.Request) -> web.Response:
        return json_response(self._stream.faults.armed())

    async def _post_fault(self, request: web.Request) -> web.Response:
        fault = await read_body(request, AnyStreamFault)
        clients = await self._stream.fail(fault)
        body: dict[str, Any] = msgspec.to_builtins(fault) | {"clients": clients}
        return json_response(body, status=HTTPStatus.CREATED)

    async def _delete_faults(self, request: web.Request) -> web.Response:
        self._stream.faults.clear()
        return web.Response(status=HTTPStatus.NO_CONTENT)


def _feed(request: web.Request) -> str | None:
    feed = request.query.get("feed")
    _check_feed(feed)
    return feed


def _check_feed(feed: str | None) -> None:
    if feed is not None and feed not in FEEDS:
        raise bad_request(f"feed is one of {', '.join(FEEDS)}, not {feed}")
