"""The list of assets and its search."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tickgate_server.market.asset import AssetList, AssetQuery, AssetStatus

from ...support.fakes import asset, provenance

APPLE = replace(
    asset("AAPL", "Apple Inc. Common Stock"), exchange="NASDAQ", attributes=("has_options",)
)
IBM = asset("IBM", "International Business Machines")
OLD_FB = replace(asset("FB", "Facebook Inc.", AssetStatus.INACTIVE), id="a")
NEW_FB = replace(asset("FB", "ProShares S&P 500 Dynamic Buffer ETF"), id="b")
OLDER_FB = replace(asset("FB", "Falcon Bancorp", AssetStatus.INACTIVE), id="c")
NAMELESS = asset("ZZZ", "", None)
ASSETS = AssetList([NAMELESS, NEW_FB, OLDER_FB, IBM, OLD_FB, APPLE], provenance(None))


def found(query: AssetQuery) -> list[str]:
    """The names of what a query finds."""
    return [one.name for one in ASSETS.matching(query)]


def test_a_reused_ticker_means_the_active_asset() -> None:
    """Of several assets with one symbol the active one is the symbol's; a search finds them all."""
    assert ASSETS.get("FB") is NEW_FB
    assert found(AssetQuery(words=("FB",))) == [OLD_FB.name, OLDER_FB.name, NEW_FB.name]


def test_membership_is_by_symbol() -> None:
    """A symbol is listed or not, whatever its status."""
    assert "ZZZ" in ASSETS
    assert "AAP" not in ASSETS
    assert ASSETS.get("AAP") is None
    assert len(ASSETS) == 6


def test_results_are_ordered_by_symbol() -> None:
    """An empty query finds everything, by symbol."""
    symbols = [one.symbol for one in ASSETS.matching(AssetQuery())]
    assert symbols == ["AAPL", "FB", "FB", "FB", "IBM", "ZZZ"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (AssetQuery(words=("AA",)), [APPLE.name]),
        (AssetQuery(words=("APL",)), []),
        (AssetQuery(words=("APPLE", "STOCK")), [APPLE.name]),
        (AssetQuery(words=("APPLE", "BUSINESS")), []),
        (AssetQuery(words=("MACHINES", "IB")), [IBM.name]),
        (AssetQuery(exchange="NASDAQ"), [APPLE.name]),
        (AssetQuery(exchange="nasdaq"), []),
        (AssetQuery(attribute="has_options"), [APPLE.name]),
        (AssetQuery(attribute="options"), []),
        (AssetQuery(status=AssetStatus.INACTIVE), [OLD_FB.name, OLDER_FB.name]),
        (AssetQuery(words=("F",), status=AssetStatus.ACTIVE), [NEW_FB.name]),
        (AssetQuery(words=("ZZZ",)), [""]),
    ],
)
def test_every_filter_must_match(query: AssetQuery, names: list[str]) -> None:
    """Each word begins the symbol or occurs in the name; exchange, attribute and status match whole."""
    assert found(query) == names
