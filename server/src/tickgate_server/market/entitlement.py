"""What the upstream account may read."""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct

from .provenance import Feed


class Standing(Enum):
    """Whether the account may read a feed. The names are those of `EntitlementState` in the contract."""

    UNKNOWN = auto()
    """It could not be asked yet."""

    GRANTED = auto()
    """The upstream has answered on it."""

    DENIED = auto()
    """The upstream has refused it."""


class Entitlement(Struct, frozen=True, gc=False):
    """What is known of one feed."""

    feed: Feed
    standing: Standing = Standing.UNKNOWN
    learned_at: int | None = None
    """When the upstream last said so, nanoseconds of the wall clock; None while it is unknown."""

    said: str = ""
    """What the upstream said when it denied the feed; empty otherwise."""
