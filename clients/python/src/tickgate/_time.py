"""Instants and lengths of time: exact as integer nanoseconds, convenient to the microsecond.

The gateway keeps every nanosecond that the exchange stamped. `datetime` and `timedelta` end at the
microsecond, so values hold the integer and offer the convenient type beside it, rounded down.
Compare and store the integers; print and schedule with the others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T_co = TypeVar("T_co", covariant=True)


def instant(ns: int) -> datetime:
    """Nanoseconds since 1970 as an aware datetime in UTC, rounded down to the microsecond."""
    return _EPOCH + timedelta(microseconds=ns // 1_000)


def length(ns: int) -> timedelta:
    """Nanoseconds as a timedelta, rounded down to the microsecond."""
    return timedelta(microseconds=ns // 1_000)


def nanoseconds(value: float | timedelta) -> int:
    """A length of time in nanoseconds: a timedelta exactly, seconds to the nearest nanosecond."""
    if isinstance(value, timedelta):
        return (value // timedelta(microseconds=1)) * 1_000
    return round(value * 1_000_000_000)


def seconds(value: float | timedelta) -> float:
    """A length of time in seconds, as timers take it."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def rfc3339(ns: int) -> str:
    """Nanoseconds since 1970 as UTC text with all nine digits: `2026-01-02T14:30:00.123456789Z`."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


class _Rounded(Generic[T_co]):
    """An attribute that reads the field `<its own name>_ns` in a coarser, convenient type."""

    def __init__(self, read: Callable[[Any], T_co], doc: str) -> None:
        self._read = read
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._ns = attrgetter(f"{name}_ns")

    @overload
    def __get__(self, value: None, owner: type) -> Self: ...
    @overload
    def __get__(self, value: object, owner: type) -> T_co: ...
    def __get__(self, value: object | None, owner: type) -> Self | T_co:
        return self if value is None else self._read(self._ns(value))


def rounded_instant() -> _Rounded[datetime]:
    """Declare `x_time` beside a field `x_time_ns`."""
    return _Rounded(instant, "The instant, aware and in UTC, rounded down to the microsecond.")


def rounded_optional_instant() -> _Rounded[datetime | None]:
    """Declare `x_time` beside a field `x_time_ns` that may be None."""
    return _Rounded(
        lambda ns: None if ns is None else instant(ns),
        "The instant, aware and in UTC, rounded down to the microsecond. None if there is none.",
    )


def rounded_length() -> _Rounded[timedelta]:
    """Declare `x_age` beside a field `x_age_ns`."""
    return _Rounded(length, "The length of time, rounded down to the microsecond.")


def rounded_optional_length() -> _Rounded[timedelta | None]:
    """Declare `x_age` beside a field `x_age_ns` that may be None."""
    return _Rounded(
        lambda ns: None if ns is None else length(ns),
        "The length of time, rounded down to the microsecond. None if there is none.",
    )
