"""What the sandbox needs of a market: what was the latest at some instant, and what came when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

Due = tuple[int, bytes]
"""The instant at which the stream sends a record, and the record: JSON in the stream's shape."""


class DailyBars(NamedTuple):
    """The newest daily bar and the one before it, as JSON; None when not known."""

    latest: bytes | None = None
    previous: bytes | None = None


class Source(Protocol):
    """Knows the records that a stream sends, and when.

    Instants are nanoseconds since the epoch.
    """

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that have any data."""
        ...

    async def load(self, symbols: Iterable[str]) -> None:
        """Make *symbols* ready to be asked for; the others are ignored."""
        ...

    def due(self, channel: str, symbol: str, start: int, end: int) -> Sequence[Due]:
        """Return what the stream sends in the half-open interval from *start* to *end*.

        A quote or trade is sent at its own time, a minute bar when its minute is over, and
        the running daily bar after each minute in which something was traded. Other channels
        have nothing that happens again. Oldest first. A thread may ask: the first bar of a
        day may take a second.
        """
        ...


class Market(Source, Protocol):
    """Answers what was the latest record of a symbol at an instant of market time.

    Records are JSON objects in Alpaca's REST shape, as bytes; None means that there is none
    yet.
    """

    def quote(self, symbol: str, instant: int) -> bytes | None:
        """Return the quote of *symbol* that stood at *instant*."""
        ...

    def trade(self, symbol: str, instant: int) -> bytes | None:
        """Return the last trade that set the price of *symbol*."""
        ...

    def minute_bar(self, symbol: str, instant: int) -> bytes | None:
        """Return the newest minute bar that was complete at *instant*.

        The first bar of a day may take a second: its trades are added up. A thread may ask.
        """
        ...

    def daily_bars(self, symbol: str, instant: int) -> DailyBars:
        """Return the running or newest daily bar and that of the session before.

        Like the first minute bar of a day, the first daily bar may take a second.
        """
        ...
