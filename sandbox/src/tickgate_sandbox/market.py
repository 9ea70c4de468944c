"""What the sandbox needs of a market: the records that were the latest at some instant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol


class DailyBars(NamedTuple):
    """The newest daily bar and the one before it, as JSON; None when not known."""

    latest: bytes | None = None
    previous: bytes | None = None


class Market(Protocol):
    """Answers what was the latest record of a symbol at an instant of market time.

    Instants are nanoseconds since the epoch. Records are JSON objects in Alpaca's REST
    shape, as bytes; None means that there is none yet.
    """

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that have any data."""
        ...

    async def load(self, symbols: Iterable[str]) -> None:
        """Make *symbols* ready to be asked for; the others are ignored."""
        ...

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
