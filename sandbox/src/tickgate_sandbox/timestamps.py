"""Alpaca's timestamps: RFC 3339 text on the wire, integer nanoseconds since the epoch inside."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

NEW_YORK: Final = ZoneInfo("America/New_York")
SECOND: Final = 1_000_000_000
"""Nanoseconds in a second."""
MINUTE: Final = 60 * SECOND
"""Nanoseconds in a minute."""

_RFC3339 = re.compile(
    r"(?P<minute>\d{4}-\d\d-\d\dT\d\d:\d\d):(?P<second>\d\d)"
    r"(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)"
)


def parse(text: str) -> int:
    """Return the nanoseconds since the epoch that the RFC 3339 *text* names.

    Raises:
        ValueError: *text* is not RFC 3339 with a zone and at most nine digits of fraction.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 2013-10-07T14:00:00.25Z")
    second = int(match["second"])
    if second > 59:
        raise ValueError(f"{text!r} has no such second")
    whole = _minute(match["minute"], match["zone"]) + second * SECOND
    return whole + int((match["fraction"] or "").ljust(9, "0"))


def parse_many(texts: Iterable[str]) -> list[int]:
    """Return the instants of *texts*, quickly when many of them share a minute.

    Raises:
        ValueError: one of them is not RFC 3339.
    """
    minutes: dict[str, int] = {}
    instants = []
    for text in texts:
        head = text[:17]  # as in 2013-10-07T14:00:
        minute = minutes.get(head)
        if minute is None or text[-1] != "Z":
            instants.append(parse(text))
            minutes[head] = _minute(head[:-1], "Z")
        else:
            fraction = text[20:-1].ljust(9, "0")
            instants.append(minute + int(text[17:19]) * SECOND + int(fraction))
    return instants


def _minute(text: str, zone: str) -> int:
    offset = "+00:00" if zone == "Z" else zone
    return round(datetime.fromisoformat(f"{text}:00{offset}").timestamp()) * SECOND


def render(nanoseconds: int) -> str:
    """Return *nanoseconds* as Alpaca writes a time: UTC, `Z`, no trailing zeros."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}{_fraction(fraction)}Z"


def render_new_york(nanoseconds: int) -> str:
    """Return *nanoseconds* as Alpaca's clock writes a time: New York, with its offset."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    moment = datetime.fromtimestamp(seconds, NEW_YORK)
    offset = moment.isoformat()[-6:]
    return f"{moment:%Y-%m-%dT%H:%M:%S}{_fraction(fraction)}{offset}"


def _fraction(nanoseconds: int) -> str:
    return f".{nanoseconds:09}".rstrip("0").rstrip(".")


def new_york_date(nanoseconds: int) -> date:
    """Return the New York calendar date of an instant."""
    return datetime.fromtimestamp(nanoseconds // SECOND, NEW_YORK).date()


def new_york(day: date, hour: int = 0, minute: int = 0) -> int:
    """Return the instant at which New York clocks show *hour*:*minute* on *day*."""
    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK)
    return round(moment.timestamp()) * SECOND


def days_after(day: date, days: int) -> date:
    """Return the date *days* calendar days after *day*."""
    return day + timedelta(days=days)
