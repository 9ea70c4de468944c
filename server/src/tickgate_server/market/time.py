"""Instants as integer nanoseconds since the Unix epoch, UTC.

`datetime` stops at microseconds and the upstream stamps nanoseconds, so no instant passes through one on its way from
the socket to the caller.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

NANOS: Final = 1_000_000_000
"""Nanoseconds in a second."""

_RFC3339: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:[0-5]\d)", re.ASCII
)
_FIRST: Final = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
_LAST: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
"""First and last second that UTC, and with it a `Timestamp`, can name."""


def parse_rfc3339(text: str) -> int:
    """Return the instant that *text* names, to the nanosecond.

    Args:
        text: RFC 3339 with `Z` or an offset and a fraction of 0 to 9 digits, the forms that Alpaca sends.

    Raises:
        ValueError: *text* is not such an instant.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        msg = f"not an RFC 3339 instant: {text[:40]!r}"
        raise ValueError(msg)
    whole, fraction, zone = match.groups()
    return _seconds(whole, zone) * NANOS + (int(fraction.ljust(9, "0")) if fraction else 0)


# Records come in bursts that share their second, and `fromisoformat` is most of the cost of parsing an instant.
@lru_cache(maxsize=4096)
def _seconds(whole: str, zone: str) -> int:
    seconds = int(datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone)).timestamp())
    if not _FIRST <= seconds <= _LAST:
        # An offset can carry the first or last day of all out of the calendar.
        msg = f"outside of the years 1 to 9999: {whole}{zone}"
        raise ValueError(msg)
    return seconds


def format_rfc3339(instant: int) -> str:
    """Return *instant* (nanoseconds) as RFC 3339 in UTC, trailing zeros of the fraction cut."""
    seconds, nanos = divmod(instant, NANOS)
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"{_whole(seconds)}{fraction}Z"


# The lines of a log share their second, too.
@lru_cache(maxsize=4096)
def _whole(seconds: int) -> str:
    # Not strftime: its years before 1000 have fewer than four digits on Linux.
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
