"""The audit log: who has had which data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from .logs import Line

MOST_SYMBOLS: Final = 20
"""Symbols that a line names; it counts all of them."""


class AuditLine(Line):
    """One call, or one end of a stream. Those that were refused are told as well."""

    event: Literal["call", "stream_begun", "stream_ended"]

    request_id: str
    endpoint: str
    """Method, such as "QuoteService/GetQuote"."""

    peer: str
    """Address that the call came from."""

    code: str
    """gRPC status; that of a stream which has begun is its state so far."""

    symbols_asked: int
    values_given: int
    consumer: str | None = None
    """Name of the key, or of the certificate; left out of somebody who has none."""

    key_id: str | None = None
    """Of the API key; it is no secret."""

    symbols: Sequence[str] = ()
    """What was asked for, the first twenty."""

    feed: str | None = None
    start: str | None = None
    """First moment of the range that was asked for, of the past."""

    end: str | None = None
    """Moment before which it ends."""

    tiers: dict[str, int] | None = None
    """How many values came from which tier."""

    reason: str | None = None
    """Why the call failed, or why the first missing value is missing."""
