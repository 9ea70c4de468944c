"""What an operator may turn about a live feed, and the pauses that follow from it."""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct


class FeedPolicy(Struct, frozen=True, kw_only=True):
    """How a live feed is held. Times are in seconds."""

    user_agent: str
    connect: float = 10.0
    """For making a connection, and for its first word."""

    auth: float = 10.0
    """For an answer to the credentials. While another connection holds the only place (406) they are sent again for as
    long, which is how long Alpaca leaves the connection open."""

    acknowledge: float = 10.0
    """For an answer to a subscription; without one the connection is given up."""

    chunk: int = 500
    """Symbols in one subscription. Alpaca has been seen to cut larger ones short without a word."""

    tries: int = 3
    """Times that a symbol is asked for which an acknowledgement leaves out."""

    pause: float = 0.5
    """Before the first attempt to connect again; it doubles with each that fails."""

    pause_most: float = 30.0
    slot_pause_most: float = 120.0
    """Longest pause while another connection holds the only place: one that died without a word does so for 90 s."""

    slot_pause_least: float = 5.0
    """Shortest pause then, however many ask for the feed meanwhile."""

    jitter: float = 0.5
    """Share of a pause that is left to chance."""

    steady: float = 10.0
    """For which a connection must have stood before pauses are short again."""

    stopped: float = 60.0
    """For which a feed that refused the credentials or the plan is left alone."""

    ping: float = 15.0
    """Without a sign of life, after which one is asked for."""

    pong: float = 10.0
    """For that sign."""

    close: float = 1.0
    """For the upstream's farewell."""

    most_frames: int = 20_000
    """Frames that may wait to be decoded."""

    most_bytes: int = 64 * 1024 * 1024
    """Bytes of them."""

    largest_frame: int = 16 * 1024 * 1024
    """Bytes of one frame."""


class Pauses:
    """Pauses between attempts: each twice as long as the one before, up to a bound, a part of it left to chance."""

    def __init__(
        self, first: float, jitter: float, chance: Callable[[], float] = random.random
    ) -> None:
        """Begin with *first* seconds, of which the share *jitter* is left to *chance*."""
        self._first = first
        self._jitter = jitter
        self._chance = chance
        self._failed = 0

    def next(self, most: float) -> float:
        """Return the seconds until the next attempt, at most *most*."""
        # Beyond that power it is longer than any bound.
        pause = min(most, self._first * 2.0 ** min(self._failed, 32))
        self._failed += 1
        return pause * (1 - self._jitter * self._chance())

    def reset(self) -> None:
        """Be short again."""
        self._failed = 0
