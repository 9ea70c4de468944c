"""What the sandbox needs of a market's past."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, Protocol

from ..market import Due
from .span import Span
from .timeframe import Timeframe

TickKind = Literal["trades", "quotes"]

ADJUSTMENTS: Final = frozenset({"split", "dividend", "spin-off"})
"""What prices can be adjusted for. All of them together are `all`, none is `raw`."""


@dataclass(frozen=True, slots=True)
class BarForm:
    """Which bars are wanted."""

    timeframe: Timeframe
    adjustments: frozenset[str] = frozenset()
    """Out of `ADJUSTMENTS`."""


class Past(Protocol):
    """Knows every record of shares, in Alpaca's REST shape.

    Threads ask; for bars one at a time, since adding them up may take seconds.
    """

    @property
    def first_day(self) -> date:
        """The first day of which there is anything, as it is shown."""
        ...

    async def load(self, symbols: Iterable[str]) -> None:
        """Make *symbols* ready to be asked for; the others are ignored.

        Raises:
            RecordingError: a file is not what its name says.
        """
        ...

    def ticks(self, kind: TickKind, symbol: str, span: Span) -> list[Due]:
        """Return the trades or quotes of *symbol* in *span*, in its order."""
        ...

    def bars(self, form: BarForm, symbol: str, span: Span, now: int) -> list[Due]:
        """Return the bars of *symbol* that begin in *span*, in its order, as they are at *now*.

        A minute bar is there once its minute is over. Of a longer interval that is not over the
        bar is there as far as it has come, and goes on changing.
        """
        ...
