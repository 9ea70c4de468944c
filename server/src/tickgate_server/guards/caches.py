"""Everything that holds values, to be emptied together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..market.provenance import Feed
from ..market.value_kind import ValueKind
from ..ports import Dropped
from .cached import Tiers


class AllCaches:
    """The `Caches` port over the tiers of every kind of value."""

    def __init__(
        self,
        tiers: Mapping[ValueKind, Tiers[Any]],
        forget_chains: Callable[[Collection[Feed] | None, Collection[str] | None], int],
    ) -> None:
        """Empty *tiers*, and what *forget_chains* empties."""
        self._tiers = tiers
        self._forget_chains = forget_chains

    async def drop(
        self,
        feeds: Collection[Feed] | None,
        symbols: Collection[str] | None,
        kinds: Collection[ValueKind] | None,
    ) -> Dropped:
        """Forget values; None stands for all. What Redis forgot is counted only where it answered for every kind."""
        chosen = [tiers for kind, tiers in self._tiers.items() if kinds is None or kind in kinds]
        memory = sum(tiers.memory.forget(feeds, symbols) for tiers in chosen)
        if kinds is None or ValueKind.OPTION_CHAIN in kinds:
            memory += self._forget_chains(feeds, symbols)
        counts = [
            await tiers.shared.forget(feeds, symbols)
            for tiers in chosen
            if tiers.shared is not None
        ]
        known = [count for count in counts if count is not None]
        return Dropped(memory, sum(known) if known and len(known) == len(counts) else None)
