"""Corporate actions, kept for a while."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final

from msgspec import Struct

from ..market.corporate_action import CorporateAction, CorporateActionType
from ..ports import Clock, CorporateActionSource
from .remembered import Shelf
from .weighed import Weighed

_CAPACITY: Final = 100_000
"""Events that are kept at most."""


class _Asked(Struct, frozen=True):
    symbols: tuple[str, ...]
    types: frozenset[CorporateActionType] | None
    start: date
    end: date


class RememberedActions:
    """The wrapped source, asked again when what it said has grown old: all pages of an answer are of one reading."""

    def __init__(
        self,
        source: CorporateActionSource,
        clock: Clock,
        *,
        ttl: float,
        retry_after: float,
        cap: float,
    ) -> None:
        """Wrap *source*; times in seconds as in `Shelf`."""
        self._source = source
        self._shelf: Shelf[_Asked, Sequence[CorporateAction]] = Shelf(
            ttl, retry_after, cap, clock, Weighed(_CAPACITY, lambda found: 1 + len(found[1]))
        )

    async def corporate_actions(
        self,
        symbols: Sequence[str],
        types: Collection[CorporateActionType] | None,
        start: date,
        end: date,
        deadline: float,
    ) -> Sequence[CorporateAction]:
        """Return what happened from *start* up to and without *end*, as `CorporateActionSource` does."""
        asked = _Asked(tuple(symbols), None if types is None else frozenset(types), start, end)

        async def load(cap: float) -> Sequence[CorporateAction]:
            return await self._source.corporate_actions(symbols, types, start, end, cap)

        return await self._shelf.get(asked, load, deadline)
