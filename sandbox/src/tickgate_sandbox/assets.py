"""The assets that the trading API lists."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

STATUSES: Final = frozenset({"active", "inactive"})
"""What the `status` filter accepts."""

ASSET_CLASSES: Final = frozenset(
    "us_equity us_option crypto crypto_perp treasury corporate"
    " global_equity us_index us_equity_chain ipo".split()
)
"""What the `asset_class` filter accepts."""

EXCHANGES: Final = frozenset("AMEX ARCA BATS NYSE NASDAQ NYSEARCA OTC CRYPTO".split())
"""What the `exchange` filter accepts."""

DATALESS_SYMBOL: Final = "QUIET"
"""A built-in share that is listed but never had a quote, trade or bar."""

_LISTING_EXCHANGES: Final = {"A": "NYSE", "B": "ARCA", "C": "NASDAQ"}

_ID_NAMESPACE: Final = uuid.UUID("8f5a1fc1-7f5e-4d1a-9f57-6b5f1a7a3c2e")

_BUILT_IN: Final = (
    ("AAPL", "NASDAQ", "Apple Inc. Common Stock"),
    ("AMZN", "NASDAQ", "Amazon.com, Inc. Common Stock"),
    ("BRK.B", "NYSE", "Berkshire Hathaway Inc. Class B"),
    ("GOOGL", "NASDAQ", "Alphabet Inc. Class A Common Stock"),
    ("MSFT", "NASDAQ", "Microsoft Corporation Common Stock"),
    (DATALESS_SYMBOL, "NYSE", "Quiet Holdings Inc. Common Stock"),
    ("TSLA", "NASDAQ", "Tesla, Inc. Common Stock"),
)


_LATE_CLOSE: Final = "options_late_close"

LATE_CLOSING: Final = frozenset(
    "DBA DBB DBC DBO DIA EEM EFA IWM IWN IWO IWV KBE KRE MDY MOO OEF QQQ SLX SPY SVXY"
    " UNG UUP UVXY VIXM VIXY VXX VXZ"
    " XHB XLB XLE XLF XLI XLK XLP XLU XLV XLY XME XRT".split()
)
"""Funds whose options trade until 16:15 New York, by the lists that brokers publish."""

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Fields(msgspec.Struct):
    """What filters and lookups look at; a recording may lack the newer fields."""

    id: str
    symbol: str
    status: str
    exchange: str = ""
    asset_class: str = msgspec.field(name="class", default="us_equity")
    cusip: str | None = None
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """The filters of `/v2/assets`; None leaves a field alone."""

    status: str | None = None
    asset_class: str = "us_equity"
    exchange: str | None = None
    attributes: frozenset[str] = frozenset()
    """Any one of these is enough; empty admits all."""

    def admits(self, asset: _Fields) -> bool:
        """Return whether *asset* passes every filter."""
        return (
            asset.asset_class == self.asset_class
            and self.status in (None, asset.status)
            and self.exchange in (None, asset.exchange)
            and (not self.attributes or not self.attributes.isdisjoint(asset.attributes))
        )


class AssetDirectory:
    """Assets by symbol, id and CUSIP, each kept as the text it is served as."""

    def __init__(self, assets: Iterable[bytes]) -> None:
        """Take raw JSON *assets* in the order in which they are listed."""
        self._assets = [(msgspec.json.decode(raw, type=_Fields), raw) for raw in assets]
        self._symbols = {fields.symbol: raw for fields, raw in self._assets}
        self._by_name = {
            name: raw
            for fields, raw in self._assets
            for name in (fields.id, fields.cusip)
            if name is not None
        }

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._symbols

    def find(self, name: str) -> tuple[str, bytes] | None:
        """Return symbol and text of the asset with symbol, id or CUSIP *name*."""
        raw = self._symbols.get(name) or self._by_name.get(name)
        return (msgspec.json.decode(raw, type=_Fields).symbol, raw) if raw is not None else None

    def select(self, wanted: AssetFilter) -> Sequence[tuple[str, bytes]]:
        """Return symbol and text of every asset that *wanted* admits."""
        return [(fields.symbol, raw) for fields, raw in self._assets if wanted.admits(fields)]


def built_in_assets() -> list[bytes]:
    """Return the assets of a sandbox without recordings."""
    return [listing(symbol, exchange, name) for symbol, exchange, name in _BUILT_IN]


def listing_on_tape(symbol: str, tape: str) -> bytes:
    """Return an asset for a symbol of which only recordings are known.

    Args:
        symbol: The symbol.
        tape: The tape letter of its records, which names the listing exchange.
    """
    return listing(symbol, _LISTING_EXCHANGES.get(tape, ""), symbol)


def listing(symbol: str, exchange: str, name: str) -> bytes:
    """Return an active US equity as `/v2/assets` shows it.

    The id depends on nothing but the symbol, so two runs agree on it.
    """
    return msgspec.json.encode(
        {
            "id": str(uuid.uuid5(_ID_NAMESPACE, symbol)),
            "class": "us_equity",
            "exchange": exchange,
            "symbol": symbol,
            "name": name,
            "status": "active",
            "tradable": True,
            "marginable": True,
            "maintenance_margin_requirement": 30,
            "margin_requirement_long": "30",
            "margin_requirement_short": "30",
            "shortable": True,
            "easy_to_borrow": True,
            "borrow_status": "easy_to_borrow",
            "fractionable": True,
            "attributes": ["fractional_eh_enabled", "has_options"],
        }
    )


def told_when_options_close(asset: bytes) -> bytes:
    """Return *asset* with the attribute that says that its options close late, if they do.

    Every other value stays the text it was: recordings are older than the attribute.
    """
    fields = msgspec.json.decode(asset, type=_Fields)
    if fields.symbol not in LATE_CLOSING or _LATE_CLOSE in fields.attributes:
        return asset
    attributes = msgspec.json.encode([*fields.attributes, _LATE_CLOSE])
    return msgspec.json.encode(_OBJECT.decode(asset) | {"attributes": msgspec.Raw(attributes)})
