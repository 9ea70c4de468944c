"""What can be asked for, and what codes mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache

from msgspec import Struct

from .provenance import Provenance


class AssetStatus(Enum):
    """The upstream's status of an asset."""

    ACTIVE = "active"
    INACTIVE = "inactive"


class Asset(Struct, frozen=True, gc=False):
    """An entry of the upstream's list of stocks; None where nothing was sent."""

    symbol: str
    name: str
    id: str
    exchange: str
    asset_class: str
    status: AssetStatus | None
    tradable: bool | None
    marginable: bool | None
    shortable: bool | None
    fractionable: bool | None
    attributes: tuple[str, ...]


class AssetQuery(Struct, frozen=True, gc=False):
    """Filters of a search; each that is set must match."""

    words: tuple[str, ...] = ()
    """Upper-case words; each must begin the symbol or occur in the name."""

    status: AssetStatus | None = None
    exchange: str = ""
    attribute: str = ""

    def matches(self, asset: Asset, name: str) -> bool:
        """Tell whether *asset* passes every filter; *name* is its name in upper case."""
        if self.status is not None and asset.status is not self.status:
            return False
        if self.exchange and asset.exchange != self.exchange:
            return False
        if self.attribute and self.attribute not in asset.attributes:
            return False
        return all(asset.symbol.startswith(word) or word in name for word in self.words)


class AssetList:
    """The upstream's whole list of stocks at one moment, ordered by symbol."""

    def __init__(self, assets: Sequence[Asset], provenance: Provenance) -> None:
        """Keep *assets*. Of two with one symbol (tickers are reused) the active one is the asset of that symbol."""
        self.provenance = provenance
        self._assets = sorted(assets, key=_order)
        self._by_symbol: Mapping[str, Asset] = {asset.symbol: asset for asset in self._assets}
        self._names = [asset.name.upper() for asset in self._assets]
        # A caller who walks the pages asks the same query for each.
        self.matching = lru_cache(maxsize=32)(self._search)

    def __len__(self) -> int:
        return len(self._assets)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._by_symbol

    def get(self, symbol: str) -> Asset | None:
        """Return the asset of *symbol*, or None."""
        return self._by_symbol.get(symbol)

    def _search(self, query: AssetQuery) -> Sequence[Asset]:
        """Return the assets that pass *query*, by symbol."""
        named = zip(self._assets, self._names, strict=True)
        return [asset for asset, name in named if query.matches(asset, name)]


def _order(asset: Asset) -> tuple[str, bool, str]:
    # Active last, so that it is the one that the symbol maps to.
    return asset.symbol, asset.status is AssetStatus.ACTIVE, asset.id


class CodeKind(Enum):
    """A table of codes."""

    EXCHANGE = "exchange"
    TRADE_CONDITION = "trade_condition"
    QUOTE_CONDITION = "quote_condition"
    OPTION_EXCHANGE = "option_exchange"
    OPTION_TRADE_CONDITION = "option_trade_condition"
    OPTION_QUOTE_CONDITION = "option_quote_condition"


class CodeTable(Struct, frozen=True):
    """A table of codes and what they stand for, ordered by code."""

    names: Mapping[str, str]
    provenance: Provenance
