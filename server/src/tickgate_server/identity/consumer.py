"""Consumers: the services that call, what they may and how much of it."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct


class Scope(Enum):
    """What a consumer may use. The values are those that operators write."""

    READ = "read"
    """Latest values, options, reference data and status."""

    STREAM = "stream"
    """Live streams."""

    HISTORY = "history"
    """The past."""

    ADMIN = "admin"
    """What only operators may: caches, watchlists, backfills, the error log."""


class Limits(Struct, frozen=True):
    """How much one consumer may use of one process. None is no limit."""

    calls_per_second: float | None = None
    symbols_per_batch: int | None = None
    """Symbols of one request."""

    streams: int | None = None
    """Streams at once."""

    symbols_per_stream: int | None = None
    history_points_per_day: int | None = None
    """Bars, trades and quotes of the past within 24 hours."""


UNLIMITED: Final = Limits()


class Consumer(Struct, frozen=True):
    """Whoever calls."""

    name: str
    """As the operator has called it; empty for somebody of whom nothing is asked."""

    key_id: str = ""
    """Id of the API key, which is no secret; empty without one."""

    scopes: frozenset[Scope] = frozenset(Scope)
    limits: Limits = UNLIMITED


ANYBODY: Final = Consumer("")
"""Whoever calls a gateway that asks nobody for a name."""
