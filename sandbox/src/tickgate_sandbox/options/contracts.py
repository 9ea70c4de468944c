"""The option contracts of the trading API."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from http import HTTPStatus
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from ..answers import NOT_FOUND, Refusal, json_response, unprocessable
from ..assets import AssetDirectory
from ..calendar import ExchangeCalendar
from ..clock import MarketClock
from ..parameters import token
from ..pins import Pins
from ..timestamps import days_after
from .chain import TermsFilter
from .market import Listing, OptionMarket
from .occ import Terms, read_terms, underlying_of
from .parameters import OptionParameters

_PAGE = 100
_TOO_MANY: Final = 10_000
_STATUSES = ("active", "inactive")
_STYLES = ("american", "european")
_BOOLEANS = ("true", "false")

_FRIDAY = 4

_SIZE: Final = "100"
"""Shares to a contract that no corporate action has changed."""

_ID_NAMESPACE: Final = uuid.UUID("4f6c1f0e-5a0b-4a0e-9f3e-0d6a3b1c7e52")

_UNKNOWN: Final = ("open_interest", "open_interest_date", "close_price", "close_price_date")
"""What nobody can tell from a symbol: null unless it was recorded."""


class _Asset(msgspec.Struct):
    id: str


class _Contract(NamedTuple):
    """A contract, and what is known of it."""

    symbol: str
    terms: Terms
    underlying: str
    today: date
    """The day by which it has expired or not."""
    entry: Mapping[str, Any]
    """What is known of it beyond its terms."""

    @property
    def id(self) -> str:
        """Depends on nothing but the symbol, so two runs agree on it."""
        return str(uuid.uuid5(_ID_NAMESPACE, self.symbol))

    @property
    def status(self) -> str:
        """A contract stays active through its last day."""
        return "active" if self.today <= self.terms.expiry else "inactive"

    @property
    def style(self) -> str:
        """Options on shares are American, unless recorded otherwise."""
        style: bytes | str = self.entry.get("style", b'"american"')
        return msgspec.json.decode(style, type=str)

    def facts(self, asset_id: str | None) -> dict[str, Any]:
        """Return what follows from the symbol and the market, in Alpaca's order."""
        terms = self.terms
        name = f"{terms.expiry:%b %d %Y} {terms.strike_price} {terms.right.title()}"
        size = {} if terms.adjusted else {"size": _SIZE}
        return {
            "id": self.id,
            "symbol": terms.symbol,
            "name": f"{self.underlying} {name}",
            "status": self.status,
            "tradable": self.status == "active",
            "expiration_date": terms.expiry.isoformat(),
            "root_symbol": terms.root,
            "underlying_symbol": self.underlying,
            "underlying_asset_id": asset_id,
            "type": terms.right,
            "style": "american",
            "strike_price": terms.strike_price,
            "multiplier": _SIZE,
            **size,
            **dict.fromkeys(_UNKNOWN),
        }


class ContractsApi:
    """Option contracts. Its errors carry a `code`."""

    def __init__(
        self,
        market: OptionMarket,
        assets: AssetDirectory,
        calendar: ExchangeCalendar,
        clock: MarketClock,
        pins: Pins,
    ) -> None:
        """Answer from *market* at the time of *clock*, from *pins* first.

        Args:
            market: The options.
            assets: Their underlyings, and everything else that has none.
            calendar: Tells how soon a delivery settles.
            clock: Market time.
            pins: Contracts in the place of the market's own.
        """
        self._market = market
        self._assets = assets
        self._calendar = calendar
        self._clock = clock
        self._pins = pins

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes of this API."""
        return [
            web.get("/v2/options/contracts", self._list),
            web.get("/v2/options/contracts/{contract}", self._one),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        parameters = OptionParameters(request.query, unprocessable)
        wanted = parameters.terms()
        underlyings = self._underlyings(parameters, wanted.root)
        status = parameters.choice("status", _STATUSES) or "active"
        style = parameters.choice("style", _STYLES)
        deliverables = parameters.choice("show_deliverables", _BOOLEANS) == "true"
        limit = parameters.whole_number("limit", _PAGE)
        if limit >= _TOO_MANY:
            raise unprocessable(f"limit must be less than {_TOO_MANY}")
        offset = parameters.offset()
        known = [
            contract
            for contract in await self._known(underlyings)
            if contract.status == status
            and style in (None, contract.style)
            and _by_default(wanted, contract.today).admits(contract.terms)
        ]
        selected = [*known, *self._pinned(underlyings, known)]
        selected.sort(key=attrgetter("symbol"))
        page = [
            self._served(one, deliverables=deliverables)
            for one in selected[offset : offset + limit]
        ]
        more = len(selected) > offset + limit
        return json_response(
            {"option_contracts": page, "next_page_token": token(offset + limit) if more else None}
        )

    async def _one(self, request: web.Request) -> web.Response:
        name = request.match_info["contract"]
        pinned = self._pins.get("contracts", name)
        if pinned is not None:
            return json_response(msgspec.Raw(pinned))
        terms = read_terms(name)
        underlyings = self._market.underlyings
        # An id tells nothing of what it is the id of.
        if terms is not None:
            underlyings &= {underlying_of(terms.root, underlyings)}
        for contract in await self._known(sorted(underlyings)):
            if name in (contract.terms.symbol, contract.id):
                deliverables = request.query.get("show_deliverables") == "true"
                return json_response(self._served(contract, deliverables=deliverables))
        raise Refusal(HTTPStatus.NOT_FOUND, f"option contract {name} not found", NOT_FOUND)

    def _underlyings(self, parameters: OptionParameters, root: str | None) -> list[str]:
        """Return the underlyings asked for; when none is named that of *root*, and all there are without one."""
        text = parameters.text("underlying_symbols")
        if text is None:
            known = self._market.underlyings
            return sorted(known) if root is None else [underlying_of(root, known)]
        asked = dict.fromkeys(text.split(","))
        unknown = [
            one for one in asked if one not in self._assets and one not in self._market.underlyings
        ]
        if unknown:
            raise unprocessable(f"invalid underlying symbols: {','.join(unknown)}")
        return list(asked)

    async def _known(self, underlyings: Sequence[str]) -> list[_Contract]:
        """Return every contract of *underlyings*, whatever its status."""
        found: list[_Contract] = []
        for underlying in underlyings:
            listing = await self._market.listing(underlying, self._clock.now())
            if listing is not None:
                found += _contracts(listing)
        return found

    def _pinned(
        self, underlyings: Sequence[str], known: Sequence[_Contract]
    ) -> Iterator[_Contract]:
        """Yield the contracts of *underlyings* that nobody knows but are pinned."""
        listed = {contract.terms.symbol for contract in known}
        for symbol in self._pins.of_kind("contracts"):
            terms = read_terms(symbol)
            if terms is None or symbol in listed:
                continue
            underlying = underlying_of(terms.root, self._market.underlyings)
            if underlying in underlyings:
                yield _Contract(symbol, terms, underlying, terms.expiry, {})

    def _served(self, contract: _Contract, *, deliverables: bool) -> msgspec.Raw | dict[str, Any]:
        """Return a contract as it is sent: pinned, or recorded and completed by what is a fact."""
        pinned = self._pins.get("contracts", contract.symbol)
        if pinned is not None:
            return msgspec.Raw(pinned)
        asset_id = self._asset_id(contract.underlying)
        fields = {**contract.facts(asset_id), **contract.entry}
        if deliverables and not contract.terms.adjusted:
            fields.setdefault("deliverables", [self._delivery(contract, asset_id)])
        elif not deliverables:
            fields.pop("deliverables", None)
        return fields

    def _asset_id(self, underlying: str) -> str | None:
        found = self._assets.find(underlying)
        return msgspec.json.decode(found[1], type=_Asset).id if found is not None else None

    def _delivery(self, contract: _Contract, asset_id: str | None) -> dict[str, Any]:
        """Return what a contract that no corporate action has changed delivers."""
        days = self._calendar.settlement_cycle(contract.today)
        return {
            "type": "equity",
            "symbol": contract.underlying,
            "asset_id": asset_id,
            "amount": _SIZE,
            "allocation_percentage": "100",
            "settlement_type": f"T+{days}",
            "settlement_method": "CCC",
            "delayed_settlement": False,
        }


def _contracts(listing: Listing) -> Iterator[_Contract]:
    for symbol, entry in listing.contracts.items():
        terms = read_terms(symbol)
        if terms is not None:
            yield _Contract(symbol, terms, listing.underlying, listing.today, entry)


def _by_default(wanted: TermsFilter, today: date) -> TermsFilter:
    """Return *wanted*, up to the next weekend unless it names a last expiry itself."""
    if wanted.last is not None:
        return wanted
    friday = days_after(today, (_FRIDAY - today.weekday()) % 7)
    return replace(wanted, last=days_after(friday, 2))
