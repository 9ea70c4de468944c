"""Rules that are checked before anything is sent, with the fields and the words of the gateway.

What breaks them could mostly not even be sent: there is no duration of NaN seconds, and gRPC drops a
call with an id in Greek. All other rules are the gateway's to check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import index
from typing import TYPE_CHECKING

from ._errors import FieldViolation, InvalidRequest
from ._time import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta
    from decimal import Decimal

LONGEST = 3660 * 24 * 3600
"""Seconds of the longest length of time that a request may name: ten years."""


def check_length(field: str, value: float | timedelta | None) -> None:
    """Refuse a length of time that is out of bounds, or no number at all; None is no length."""
    if value is None:
        return
    try:
        fits = 0 <= seconds(value) <= LONGEST
    except TypeError:
        raise refused(field, f"a duration is seconds or a timedelta, not {value!r}") from None
    if not fits:
        raise refused(field, f"a duration is 0 to {LONGEST} seconds")


def check_quality(score: int) -> None:
    """Refuse what no quote's quality can be."""
    if not 0 <= score <= 100:
        raise refused("min_quality", f"a quality score is 0 to 100, not {score}")


def check_request_id(text: str) -> None:
    """Refuse an id that would not reach the gateway's logs as it is."""
    if not re.fullmatch(r"[ -~]{1,128}", text):
        raise refused("request_id", "an id is 1 to 128 printable ASCII characters")


def check_instant(field: str, value: datetime | None) -> None:
    """Refuse a time that may mean any of a day's hours; None is no time."""
    if value is not None and value.utcoffset() is None:
        raise refused(field, "a time names its time zone")


def check_number(field: str, value: int, most: int) -> None:
    """Refuse a number that the contract has no room for."""
    try:
        fits = 0 <= index(value) <= most
    except TypeError:
        fits = False
    if not fits:
        raise refused(field, f"0 to {most:,}, not {value!r}")


def check_named(field: str, values: Sequence[object] | None) -> None:
    """Refuse an empty list where leaving it out means all; None is left out."""
    if values is not None and not values:
        raise refused(field, "an empty list would mean all of them; leave it out for that")


def check_around(strikes: int | None, percent: Decimal | int | None) -> None:
    """Refuse two widths at once, of which the request holds one."""
    if strikes is not None and percent is not None:
        raise refused("filter.around", "so many strikes or percent of the price, not both")
    if strikes is not None and not 1 <= strikes <= 1000:
        raise refused("filter.around.strikes", f"1 to 1,000 strikes, not {strikes}")


def check_spread(symbols: Sequence[object]) -> None:
    """Refuse a list where each symbol is an argument of its own.

    Raises:
        TypeError: one was given.
    """
    if any(isinstance(each, Iterable) and not isinstance(each, str) for each in symbols):
        raise TypeError("symbols are given one by one, such as follow('AAPL', 'MSFT')")


def check_symbols(symbols: Sequence[str]) -> None:
    """Refuse to follow nothing, or the same twice."""
    if not symbols:
        raise refused("symbols", "at least one symbol is followed")
    if len(set(symbols)) < len(symbols):
        raise refused("symbols", "no symbol is followed twice")


def refused(field: str, rule: str) -> InvalidRequest:
    """The error to raise where *field* breaks a *rule*."""
    return InvalidRequest(f"{field}: {rule}", violations=(FieldViolation(field, rule),))
