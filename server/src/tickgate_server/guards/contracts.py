"""Lists of option contracts, kept for a while."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet

from ..errors import UpstreamFailure
from ..market.occ import parse_occ
from ..market.option import ContractList, ContractScope, OptionContract
from ..market.unavailable import Unavailable
from ..ports import Clock, ContractSource
from .remembered import Shelf
from .weighed import Weighed

_MOST_SINGLE = 10_000
"""Single contracts of which it is remembered whether they exist."""

_MOST_ROOTS = 8
"""Lists that one batch may cost to tell unknown contracts from quiet ones."""


class RememberedContracts:
    """The wrapped source, asked again only when what it said has grown old.

    Open interest changes once a day, and terms hardly ever.
    """

    def __init__(
        self,
        source: ContractSource,
        clock: Clock,
        *,
        ttl: float,
        keep_single: float,
        retry_after: float,
        cap: float,
        capacity: int,
    ) -> None:
        """Wrap *source*.

        Args:
            source: is asked.
            clock: measures.
            ttl: seconds that a list is kept.
            keep_single: seconds that it is remembered what became of a single contract.
            retry_after: seconds of pause after a failure.
            cap: seconds that one reading may take.
            capacity: contracts that are kept at most.
        """
        self._source = source
        self._clock = clock
        self._lists: Shelf[ContractScope, ContractList | Unavailable] = Shelf(
            ttl, retry_after, cap, clock, Weighed(capacity, _weight)
        )

        self._single: Shelf[str, OptionContract | Unavailable | None] = Shelf(
            keep_single, retry_after, cap, clock, Weighed(_MOST_SINGLE, lambda _: 1)
        )

    async def contracts(self, scope: ContractScope, deadline: float) -> ContractList | Unavailable:
        """Return the contracts of *scope*, or that the underlying does not exist."""

        async def load(cap: float) -> ContractList | Unavailable:
            return await self._source.contracts(scope, cap)

        return await self._lists.get(scope, load, deadline)

    async def contract(self, symbol: str, deadline: float) -> OptionContract | Unavailable | None:
        """Return the contract *symbol*, why its terms cannot be told, or None when there is none."""

        async def load(cap: float) -> OptionContract | Unavailable | None:
            return await self._source.contract(symbol, cap)

        return await self._single.get(symbol, load, deadline)

    async def listed(self, symbols: Sequence[str], deadline: float) -> Collection[str] | None:
        """Return those of *symbols* that the upstream lists, or None where that cannot be had.

        One contract is asked for by its name. Of several, the lists of their roots are, on just their dates.
        """
        try:
            if len(symbols) == 1:
                found = await self.contract(symbols[0], deadline)
                return frozenset(symbols if found is not None else ())
            return await self._look_up(symbols, deadline)
        except UpstreamFailure:
            return None

    def forget(self, underlyings: AbstractSet[str] | None) -> int:
        """Forget lists and contracts of *underlyings*, None standing for all; return how many."""

        def is_of_a_list(scope: ContractScope) -> bool:
            return underlyings is None or (scope.underlying or scope.root) in underlyings

        def is_of_a_contract(symbol: str) -> bool:
            return underlyings is None or not underlyings.isdisjoint(
                (symbol, parse_occ(symbol).root, parse_occ(symbol).underlying)
            )

        return self._lists.forget(is_of_a_list) + self._single.forget(is_of_a_contract)

    async def _look_up(self, symbols: Sequence[str], deadline: float) -> frozenset[str] | None:
        roots: dict[str, list[str]] = {}
        for symbol in symbols:
            roots.setdefault(parse_occ(symbol).root, []).append(symbol)
        if len(roots) > _MOST_ROOTS:
            return None
        known: set[str] = set()
        for root, asked in roots.items():
            dates = [parse_occ(symbol).expiry for symbol in asked]
            scope = ContractScope(min(dates), max(dates), root=root)
            contracts = await self.contracts(scope, deadline)
            if isinstance(contracts, ContractList):
                known.update(symbol for symbol in asked if symbol in contracts)
        return frozenset(known)


def _weight(kept: tuple[float, ContractList | Unavailable]) -> int:
    _, contracts = kept
    return 1 + (len(contracts) if isinstance(contracts, ContractList) else 0)
