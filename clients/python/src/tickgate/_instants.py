"""Instants as callers write them. Knows no I/O.

What has no time zone may mean any of a day's hours and is refused. A plain day means that day where the market is: it
begins at midnight in New York.
"""

from __future__ import annotations

import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.timestamp_pb2 import Timestamp

from ._rules import refused

Moment: TypeAlias = datetime.datetime | datetime.date | str | int
"""An aware datetime, a day in New York, RFC 3339 text, or nanoseconds since 1970."""

_FIRST_NS = -62_135_596_800_000_000_000
_LAST_NS = 253_402_300_799_999_999_999
"""The years 1 to 9999, beyond which the contract has no instants."""

FORMS = "an aware datetime, a day, text such as 2024-03-01T15:30:00Z or 2024-03-01, or nanoseconds since 1970"


def timestamp(field: str, value: Moment | None) -> Timestamp | None:
    """Write an instant to the nanosecond, or leave it out.

    Raises:
        InvalidRequest: it is none, or it names no time zone.
    """
    match value:
        case None:
            return None
        case bool():
            raise refused(field, f"an instant is {FORMS}")
        case int():
            return _of_nanoseconds(field, value)
        case str():
            return _of_text(field, value)
        case datetime.datetime():
            return _of_datetime(field, value)
        case datetime.date():
            return _midnight(field, value)
        case _:
            raise refused(field, f"an instant is {FORMS}, not {value!r}")


def _of_nanoseconds(field: str, ns: int) -> Timestamp:
    if not _FIRST_NS <= ns <= _LAST_NS:
        raise refused(field, "an instant is in the years 1 to 9999")
    seconds, nanos = divmod(ns, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)


def _of_text(field: str, text: str) -> Timestamp:
    try:
        return _midnight(field, datetime.date.fromisoformat(text))
    except ValueError:
        message = Timestamp()
    try:
        message.FromJsonString(text)
    except ValueError:
        raise refused(
            field,
            f"a time as text is a day or has a zone, such as 2024-03-01T15:30:00Z, not {text!r}",
        ) from None
    return message


def _of_datetime(field: str, value: datetime.datetime) -> Timestamp:
    if value.utcoffset() is None:
        raise refused(field, "a time names its time zone")
    message = Timestamp()
    message.FromDatetime(value)
    # A datetime of pandas goes on behind the microsecond.
    message.nanos += getattr(value, "nanosecond", 0)
    return message


def _midnight(field: str, day: datetime.date) -> Timestamp:
    try:
        zone = ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        raise refused(
            field,
            "this machine does not know New York's time zone: pip install tzdata, or give a full time",
        ) from None
    return _of_datetime(field, datetime.datetime.combine(day, datetime.time(), zone))
