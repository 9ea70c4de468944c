"""Resume tokens: opaque to followers, good for one subscription.

A token is text, because it stands in every message and must cost next to nothing: what does not change while a
subscription is as it is, then the position and the time in hexadecimal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from msgspec import Struct

from ..market.live import Channel
from ..market.provenance import Feed

_VERSION: Final = "1"
# Each part is bounded: what is no token of this gateway is said in messages until its gaps have been told.
_TOKEN: Final = re.compile(
    rf"{_VERSION}\.(?P<feed>[a-z_]{{1,32}})\.(?P<epoch>[0-9a-z]{{1,64}})\.(?P<digest>[0-9a-f]{{16}})"
    r"\.(?P<position>[0-9a-f]{1,16})\.(?P<time>[0-9a-f]{1,16})",
    re.ASCII,
)


class Token(Struct, frozen=True, gc=False):
    """Where a follower stopped reading."""

    feed: str
    epoch: str
    digest: str
    """Of the channels and symbols that were followed."""

    position: int
    """Everything of the feed up to here was delivered, or said to be missing."""

    time: int
    """Every gap that was over by then was said to be one, nanoseconds of the wall clock."""

    @property
    def prefix(self) -> str:
        """What all tokens of its subscription begin with."""
        return _prefix(self.feed, self.epoch, self.digest)


def prefix(feed: Feed, epoch: str, channels: Iterable[Channel], symbols: Iterable[str]) -> str:
    """Return what all tokens of a subscription begin with."""
    return _prefix(feed.value, epoch, _digest(channels, symbols))


def belongs(token: Token, prefix: str) -> bool:
    """Tell whether *token* is of the subscription whose tokens begin with *prefix*."""
    return token.prefix == prefix


def _prefix(feed: str, epoch: str, digest: str) -> str:
    return f"{_VERSION}.{feed}.{epoch}.{digest}"


def _digest(channels: Iterable[Channel], symbols: Iterable[str]) -> str:
    """Return what tells subscriptions apart, in every process alike."""
    named = ",".join(sorted(channels)) + ";" + ",".join(sorted(symbols))
    return sha256(named.encode()).hexdigest()[:16]


def encode(prefix: str, position: int, time: int) -> str:
    """Return the token that resumes behind *position*."""
    return f"{prefix}.{position:x}.{time:x}"


def decode(text: str) -> Token:
    """Return what *text* says.

    Raises:
        ValueError: it is no token; the message is for the follower.
    """
    match = _TOKEN.fullmatch(text)
    if match is None:
        msg = "not a resume token of this gateway"
        raise ValueError(msg)
    return Token(
        match["feed"],
        match["epoch"],
        match["digest"],
        int(match["position"], 16),
        int(match["time"], 16),
    )
