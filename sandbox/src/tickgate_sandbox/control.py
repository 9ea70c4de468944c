"""The control endpoints, by which a test steers a sandbox that runs as a program."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from aiohttp import web

from .answers import bad_request, json_response, read_body
from .calendar import FIRST_DAY, LAST_DAY, ExchangeCalendar
from .clock import FASTEST, MarketClock
from .counters import Counters
from .faults import AnyFault, Faults
from .pins import Pins
from .timestamps import parse, render

CONTROL_PREFIX = "/sandbox/"
"""Paths below this are neither authenticated, limited, counted nor struck by faults."""


class _ClockChange(msgspec.Struct, forbid_unknown_fields=True):
    market_time: str | None = None
    speed: Annotated[float, msgspec.Meta(ge=0, le=FASTEST)] | None = None


class ControlApi:
    """Market time, counters, faults and pins, as JSON."""

    def __init__(
        self,
        calendar: ExchangeCalendar,
        clock: MarketClock,
        counters: Counters,
        faults: Faults,
        pins: Pins,
    ) -> None:
        """Steer *clock* within *calendar*, *counters*, *faults* and *pins*."""
        self._calendar = calendar
        self._clock = clock
        self._counters = counters
        self._faults = faults
        self._pins = pins

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes of this API."""
        return [
            web.get("/sandbox/clock", self._get_clock),
            web.put("/sandbox/clock", self._put_clock),
            web.get("/sandbox/counters", self._get_counters),
            web.delete("/sandbox/counters", self._delete_counters),
            web.get("/sandbox/faults", self._get_faults),
            web.post("/sandbox/faults", self._post_fault),
            web.delete("/sandbox/faults", self._delete_faults),
            web.put("/sandbox/pins/{kind}/{symbol}", self._put_pin),
            web.delete("/sandbox/pins/{kind}/{symbol}", self._delete_pin),
            web.delete("/sandbox/pins", self._delete_pins),
        ]

    async def _get_clock(self, request: web.Request) -> web.Response:
        return json_response(self._clock_state())

    async def _put_clock(self, request: web.Request) -> web.Response:
        change = await read_body(request, _ClockChange)
        if change.market_time is not None:
            self._clock.seek(control_instant(self._calendar, "market_time", change.market_time))
        if change.speed is not None:
            self._clock.set_speed(change.speed)
        return json_response(self._clock_state())

    def _clock_state(self) -> dict[str, Any]:
        return {"market_time": render(self._clock.now()), "speed": self._clock.speed}

    async def _get_counters(self, request: web.Request) -> web.Response:
        return json_response(self._counters.as_json())

    async def _delete_counters(self, request: web.Request) -> web.Response:
        self._counters.clear()
        return _done()

    async def _get_faults(self, request: web.Request) -> web.Response:
        return json_response(self._faults.armed())

    async def _post_fault(self, request: web.Request) -> web.Response:
        fault = await read_body(request, AnyFault)
        self._faults.add(fault)
        return json_response(fault, status=HTTPStatus.CREATED)

    async def _delete_faults(self, request: web.Request) -> web.Response:
        self._faults.clear()
        return _done()

    async def _put_pin(self, request: web.Request) -> web.Response:
        kind, symbol = request.match_info["kind"], request.match_info["symbol"]
        try:
            self._pins.put(kind, symbol, await request.read())
        except ValueError as error:
            raise bad_request(str(error)) from error
        return _done()

    async def _delete_pin(self, request: web.Request) -> web.Response:
        try:
            self._pins.remove(request.match_info["kind"], request.match_info["symbol"])
        except ValueError as error:
            raise bad_request(str(error)) from error
        return _done()

    async def _delete_pins(self, request: web.Request) -> web.Response:
        self._pins.clear()
        return _done()


def control_instant(calendar: ExchangeCalendar, name: str, text: str) -> int:
    """Return the instant in the field *name* of a control request.

    Raises:
        Refusal: *text* is no RFC 3339 time, or outside the years of *calendar*.
    """
    try:
        instant = parse(text)
    except ValueError as error:
        raise bad_request(f"{name}: {error}") from error
    if not calendar.covers(instant):
        raise bad_request(f"{name} lies between {FIRST_DAY} and {LAST_DAY}, not at {text}")
    return instant


def _done() -> web.Response:
    return web.Response(status=HTTPStatus.NO_CONTENT)
