"""What the sandbox needs of an option market."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from ..history.timeframe import Timeframe
from ..market import Due, Source
from .chain import Chain

History = list[Due]
"""Instant and text of records, oldest first, in the shape of REST."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The contracts of one underlying that are or were listed at some instant."""

    underlying: str
    today: date
    """The day by which they have expired or not."""
    contracts: Mapping[str, Mapping[str, Any]]
    """By symbol, what is known beyond the terms: fields of `/v2/options/contracts`, each a
    value or the text it is served as."""


class OptionMarket(Source, Protocol):
    """Knows chains, contracts and what options have done before, at instants of market time.

    Instants are nanoseconds since the epoch. Among contracts, `symbols` are those that a
    subscription to `*` is played; the others are played when they are named.
    """

    @property
    def underlyings(self) -> frozenset[str]:
        """The underlyings that have options."""
        ...

    async def chain(self, underlying: str, instant: int) -> Chain | None:
        """Return the chain that stood at *instant*, or None when there was none.

        Raises:
            RecordingError: a file is not what its name says.
        """
        ...

    async def listing(self, underlying: str, instant: int) -> Listing | None:
        """Return the contracts known at *instant*, or None when there were none.

        Raises:
            RecordingError: a file is not what its name says.
        """
        ...

    async def bars(self, symbol: str, timeframe: Timeframe, instant: int) -> History:
        """Return the bars of *symbol* known at *instant*, each at its start.

        Raises:
            RecordingError: a file is not what its name says.
        """
        ...

    async def trades(self, symbol: str, instant: int) -> History:
        """Return the trades of *symbol* known at *instant*.

        Raises:
            RecordingError: a file is not what its name says.
        """
        ...
