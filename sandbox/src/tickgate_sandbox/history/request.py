"""What a request for a page of the past asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from ..answers import bad_request
from ..parameters import Parameters, data_parameters
from ..timestamps import MINUTE, new_york, new_york_date
from .paging import ODDITY, PageOddity, PageRequest, read_position
from .past import ADJUSTMENTS, BarForm
from .span import Span
from .timeframe import Timeframe, read_timeframe

MOST_RECORDS: Final = 10_000
"""Records on one page, over all symbols together."""
RECENT: Final = 15 * MINUTE
"""What is newer is refused to who has no real-time entitlement."""

_RECORDS = 1_000
_SORTS = frozenset({"asc", "desc"})


def read_page_request(
    request: web.Request, symbols: Sequence[str], now: int, *, delayed: bool
) -> PageRequest:
    """Return the page of *symbols* that is asked for.

    Args:
        request: Its query has the parameters.
        symbols: What it names, in the order of the answer.
        now: The market time.
        delayed: Whether the newest quarter of an hour is closed to who asks.

    Raises:
        Refusal: it makes no sense; the words are Alpaca's.
    """
    parameters = data_parameters(request)
    start = parameters.instant("start")
    end = parameters.last_instant("end")
    if start is None:
        today = new_york(new_york_date(now))
        start = min(today, now - RECENT) if delayed else today
    if end is None:
        end = now
    newest_first = parameters.choice("sort", _SORTS) == "desc"
    limit = parameters.limit(_RECORDS, MOST_RECORDS)
    position = read_position(parameters)
    if end < start:
        raise bad_request("end should not be before start")
    oddity = request.get(ODDITY, PageOddity())
    return PageRequest(symbols, Span(start, end, newest_first), limit, position, oddity)


def read_bar_timeframe(parameters: Parameters) -> Timeframe:
    """Return the timeframe asked for.

    Raises:
        Refusal: there is none, or it is none.
    """
    text = parameters.required("timeframe")
    timeframe = read_timeframe(text)
    if timeframe is None:
        raise bad_request(f"invalid timeframe: {text}")
    return timeframe


def read_bar_form(parameters: Parameters) -> BarForm:
    """Return which bars are asked for.

    Raises:
        Refusal: there is no such timeframe or adjustment.
    """
    timeframe = read_bar_timeframe(parameters)
    text = parameters.text("adjustment") or "raw"
    adjustments: set[str] = set()
    for word in text.split(","):
        if word == "all":
            adjustments |= ADJUSTMENTS
        elif word in ADJUSTMENTS:
            adjustments.add(word)
        elif word != "raw":
            raise bad_request(f"invalid adjustment: {text}")
    return BarForm(timeframe, frozenset(adjustments))
