"""Listed options: quotes, terms and lists of contracts. What the upstream did not send is None."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from .occ import Occ, OptionType
from .provenance import Provenance
from .quote import Quote
from .trade import Trade
from .unavailable import Unavailable


class OptionPart(Enum):
    """A part of an option quote. The names are those of the contract."""

    QUOTE = "quote"
    LATEST_TRADE = "latest_trade"
    GREEKS = "greeks"
    IMPLIED_VOLATILITY = "implied_volatility"
    MINUTE_BAR = "minute_bar"
    DAILY_BAR = "daily_bar"
    PREVIOUS_DAILY_BAR = "previous_daily_bar"
    CONTRACT = "contract"


class Greeks(Struct, frozen=True, gc=False):
    """Sensitivities by the upstream's model, as it sent them."""

    delta: float | None = None
    gamma: float | None = None
    theta: float | None = None
    vega: float | None = None
    rho: float | None = None


class OptionBar(Struct, frozen=True, gc=False):
    """Sum of the trades in one contract over one interval; its start is the provenance's event time."""

    open: Decimal | None
    """US dollars a share, as are the other prices."""

    high: Decimal | None
    low: Decimal | None
    close: Decimal | None
    volume: int | None
    """Contracts."""

    trade_count: int | None
    vwap: Decimal | None
    provenance: Provenance


class OptionQuote(Struct, frozen=True):
    """What the upstream knows of one contract, in one answer. At least one part is there."""

    symbol: str
    quote: Quote | None
    """Sizes in contracts."""

    latest_trade: Trade | None
    """Size in contracts."""

    greeks: Greeks | None
    implied_volatility: float | None
    """0.37 is 37 % a year."""

    minute_bar: OptionBar | None
    daily_bar: OptionBar | None
    previous_daily_bar: OptionBar | None
    provenance: Provenance
    """Origin of greeks and volatility, which bear no time of their own."""

    missing: Mapping[OptionPart, Unavailable]
    """Why parts that were sent are None: a rule refused them."""

    @property
    def event_time(self) -> int | None:
        """Stamp of the newer of quote and latest trade, nanoseconds; None without either."""
        stamps = [
            part.event_time
            for part in (self.quote, self.latest_trade)
            if part is not None and part.event_time is not None
        ]
        return max(stamps, default=None)


class OptionStyle(Enum):
    """When a contract may be exercised; the value is the upstream's word."""

    AMERICAN = "american"
    EUROPEAN = "european"


class ContractStatus(Enum):
    """The upstream's status of a contract; the value is its word."""

    ACTIVE = "active"
    INACTIVE = "inactive"


class Deliverable(Struct, frozen=True, gc=False):
    """One thing that changes hands when a contract is exercised; the words are the upstream's."""

    type: str
    symbol: str
    amount: Decimal | None
    """Shares, or US dollars for cash."""

    allocation_percentage: Decimal | None
    settlement_type: str
    settlement_method: str
    delayed_settlement: bool | None


class OptionContract(Struct, frozen=True, kw_only=True):
    """Terms of one contract."""

    symbol: str
    occ: Occ
    id: str
    name: str
    underlying: str
    style: OptionStyle | None
    multiplier: Decimal | None
    """What a price is multiplied with to get money."""

    size: Decimal | None
    """Shares delivered for one contract."""

    status: ContractStatus | None
    tradable: bool | None
    open_interest: int | None
    """Contracts outstanding at the end of `open_interest_date`."""

    open_interest_date: datetime.date | None
    close_price: Decimal | None
    close_price_date: datetime.date | None
    deliverables: tuple[Deliverable, ...]


class ContractScope(Struct, frozen=True):
    """Which contracts the upstream is asked to list. Dates are always named, or it would list the next week's only."""

    start: datetime.date
    """First expiration date."""

    end: datetime.date
    """Last expiration date, which belongs to the range as it does at the upstream."""

    underlying: str = ""
    """Of one underlying; empty when `root` says which."""

    root: str = ""
    """Of one OCC root; empty when `underlying` says which."""

    status: ContractStatus = ContractStatus.ACTIVE
    deliverables: bool = False
    """Whether deliverables are asked for."""


FARTHEST_EXPIRY: Final = datetime.timedelta(days=3660)
"""How far ahead of today contracts are asked for; the longest that are listed expire in about five years."""


def active_scope(today: datetime.date, underlying: str = "", root: str = "") -> ContractScope:
    """Return the scope of all active contracts of an underlying or of a root."""
    return ContractScope(today, today + FARTHEST_EXPIRY, underlying, root)


class ContractFilter(Struct, frozen=True):
    """Which contracts of a list are wanted; each that is set must match."""

    type: OptionType | None = None
    start: datetime.date | None = None
    """First expiration date."""

    end: datetime.date | None = None
    """Day after the last expiration date."""

    lowest: Decimal | None = None
    highest: Decimal | None = None
    """Strikes, US dollars a share; both ends belong to the range."""

    root: str = ""

    def matches(self, occ: Occ) -> bool:
        """Tell whether the contract *occ* passes every filter."""
        return (
            (self.type is None or occ.type is self.type)
            and (self.start is None or occ.expiry >= self.start)
            and (self.end is None or occ.expiry < self.end)
            and (self.lowest is None or occ.strike >= self.lowest)
            and (self.highest is None or occ.strike <= self.highest)
            and (not self.root or occ.root == self.root)
        )


class ContractList:
    """What the upstream listed for one scope, in the order of a desk."""

    def __init__(
        self,
        contracts: Sequence[OptionContract],
        provenance: Provenance,
        refused: Mapping[str, Unavailable] | None = None,
        unreadable: int = 0,
    ) -> None:
        """Keep *contracts*.

        Args:
            contracts: those whose terms can be what they say.
            provenance: origin of the list.
            refused: why terms of others were refused, by symbol: they are listed all the same.
            unreadable: entries that do not even say which contract they are about.
        """
        self.provenance = provenance
        self.refused = refused or {}
        self.refusals = len(self.refused) + unreadable
        self._contracts = sorted(contracts, key=lambda contract: contract.occ.order)
        self._by_symbol = {contract.symbol: contract for contract in self._contracts}
        # A caller who walks the pages asks the same for each.
        self.matching = lru_cache(maxsize=32)(self._search)

    def __len__(self) -> int:
        return len(self._contracts)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._by_symbol or symbol in self.refused

    def get(self, symbol: str) -> OptionContract | None:
        """Return the contract *symbol*, or None."""
        return self._by_symbol.get(symbol)

    def _search(self, wanted: ContractFilter) -> Sequence[OptionContract]:
        """Return the contracts that *wanted* lets pass, in order."""
        return [contract for contract in self._contracts if wanted.matches(contract.occ)]
