"""The made-up share of Alpaca's test stream, which trades around the clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from typing import Final

from .calendar import Session
from .channels import stream_record
from .market import Due
from .synthetic import SyntheticDay
from .timestamps import MINUTE, SECOND, days_after, new_york, new_york_date

SYMBOL: Final = "FAKEPACA"

_PRICE = 13_400
"""In cents, as in the samples of Alpaca's documentation."""
_STEP = 5 * SECOND
"""Between two quotes, as in the same samples."""


class _WholeDay(Session):
    """A session without an end: the day is open from midnight to midnight."""

    __slots__ = ()

    @property
    def open(self) -> int:
        return new_york(self.day)

    @property
    def close(self) -> int:
        return new_york(days_after(self.day, 1))

    @property
    def extended_open(self) -> int:
        return self.open

    @property
    def extended_close(self) -> int:
        return self.close


class FakepacaSource:
    """Quotes, trades and minute bars of `FAKEPACA`."""

    def __init__(self, seed: int = 0) -> None:
        """Make them up; another *seed* gives others."""
        self._seed = seed
        self._drawn = lru_cache(maxsize=3)(self._draw)

    @property
    def symbols(self) -> frozenset[str]:
        """The one symbol."""
        return frozenset({SYMBOL})

    async def load(self, symbols: Iterable[str]) -> None:
        """Do nothing: days are drawn when they are asked for."""

    def due(self, channel: str, symbol: str, start: int, end: int) -> Sequence[Due]:
        """Return what the stream sends of *symbol* from *start* to before *end*."""
        if symbol != SYMBOL:
            return []
        # The bar of a day's last minute is sent when the minute is over.
        day, last = new_york_date(start - MINUTE), new_york_date(end)
        found: list[Due] = []
        while day <= last:
            records = self._drawn(day).due(channel, start, end)
            found.extend((at, stream_record(channel, symbol, record)) for at, record in records)
            day = days_after(day, 1)
        return found

    def _draw(self, day: date) -> SyntheticDay:
        return SyntheticDay(SYMBOL, _PRICE, _WholeDay(day, early_close=False), _STEP, self._seed)
