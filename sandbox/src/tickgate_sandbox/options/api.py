"""The option endpoints of the market data API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from ..answers import Refusal, bad_request, json_response
from ..clock import MarketClock
from ..history.paging import turn_page
from ..history.request import read_bar_timeframe, read_page_request
from ..parameters import data_parameters, token
from ..pins import Pins
from ..settings import Plan
from ..symbols import well_formed
from .chain import Chain, Page, TermsFilter
from .codes import CONDITIONS, EXCHANGES
from .market import History, OptionMarket
from .occ import is_occ, read_terms, underlying_of
from .parameters import OptionParameters

MOST_SYMBOLS: Final = 100
"""Contracts in one request."""
MOST_SNAPSHOTS: Final = 1_000
"""Contracts on one page."""

_PAGE = 100

_FEEDS = frozenset({"opra", "indicative"})
_DEFAULT_FEED = {Plan.BASIC: "indicative", Plan.PLUS: "opra"}

_LATEST = {"quotes": "latestQuote", "trades": "latestTrade"}
"""Kinds of latest record: the word in path, envelope and pins, and its place in a snapshot."""

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_NOTHING = Chain(())


class OptionsApi:
    """Latest quotes and trades, snapshots, chains, bars, trades, and what their codes mean."""

    def __init__(self, market: OptionMarket, clock: MarketClock, pins: Pins, plan: Plan) -> None:
        """Answer from *market* at the time of *clock*, from *pins* first, as *plan* permits."""
        self._market = market
        self._clock = clock
        self._pins = pins
        self._plan = plan

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes of this API."""
        return [
            *(self._latest_of(kind) for kind in _LATEST),
            web.get("/v1beta1/options/snapshots", self._snapshots),
            web.get("/v1beta1/options/snapshots/{underlying}", self._chain),
            web.get("/v1beta1/options/bars", self._bars),
            web.get("/v1beta1/options/trades", self._trades),
            web.get("/v1beta1/options/meta/exchanges", _exchanges),
            web.get("/v1beta1/options/meta/conditions/{ticktype}", _conditions),
        ]

    def _latest_of(self, kind: str) -> web.RouteDef:
        return web.get(f"/v1beta1/options/{kind}/latest", partial(self._latest, kind))

    async def _latest(self, kind: str, request: web.Request) -> web.Response:
        symbols = _symbols(request)
        self._check_feed(request)
        chain = await self._standing(symbols)
        found = {}
        for symbol, snapshot, _ in chain:
            parts = _fields(snapshot)
            if _LATEST[kind] in parts:
                found[symbol] = parts[_LATEST[kind]]
        return json_response({kind: found})

    async def _snapshots(self, request: web.Request) -> web.Response:
        symbols = _symbols(request)
        self._check_feed(request)
        chain = await self._standing(symbols)
        return _page(_parameters(request), chain, TermsFilter())

    async def _chain(self, request: web.Request) -> web.Response:
        underlying = request.match_info["underlying"]
        if not well_formed(underlying):
            raise _invalid_symbol(underlying)
        parameters = _parameters(request)
        self._check_feed(request)
        wanted = parameters.terms()
        instant = self._clock.now()
        chain = await self._market.chain(underlying, instant) or _NOTHING
        pinned = self._pinned(chain)
        pinned = {one: raw for one, raw in pinned.items() if self._underlying(one) == underlying}
        return _page(parameters, chain.replaced(pinned, instant) if pinned else chain, wanted)

    async def _bars(self, request: web.Request) -> web.Response:
        timeframe = read_bar_timeframe(data_parameters(request))

        async def read(symbol: str) -> History:
            return await self._market.bars(symbol, timeframe, self._clock.now())

        return await self._history("bars", request, read)

    async def _trades(self, request: web.Request) -> web.Response:
        async def read(symbol: str) -> History:
            return await self._market.trades(symbol, self._clock.now())

        return await self._history("trades", request, read)

    async def _history(
        self, kind: str, request: web.Request, read: Callable[[str], Awaitable[History]]
    ) -> web.Response:
        """Answer with the records of an interval, symbol by symbol, a page at a time.

        There is no feed to choose, and no plan that the newest records are closed to.
        """
        symbols = _symbols(request)
        asked = read_page_request(request, symbols, self._clock.now(), delayed=False)
        known = {symbol: await read(symbol) for symbol in asked.left()}
        page = turn_page(asked, lambda symbol, span: span.of(known[symbol]))
        return json_response({kind: page.by_symbol(), "next_page_token": page.token})

    async def _standing(self, symbols: Sequence[str]) -> Chain:
        """Return those of *symbols* that have a snapshot now, pins first."""
        instant = self._clock.now()
        known: list[tuple[str, bytes, int]] = []
        for underlying in sorted({self._underlying(symbol) for symbol in symbols}):
            chain = await self._market.chain(underlying, instant)
            known += chain.only(symbols) if chain is not None else ()
        chain = Chain(known)
        return chain.replaced(self._pinned(chain), instant).only(symbols)

    def _pinned(self, chain: Chain) -> dict[str, bytes]:
        """Return the snapshots of *chain*, and beyond it, that pins have a part in."""
        pinned: dict[str, bytes] = {}
        for kind, part in _LATEST.items():
            for symbol, raw in self._pins.of_kind(kind).items():
                if is_occ(symbol):
                    below = pinned.get(symbol) or chain.snapshot(symbol) or b"{}"
                    parts = _fields(below) | {part: msgspec.Raw(raw)}
                    pinned[symbol] = msgspec.json.encode(parts)
        whole = self._pins.of_kind("options")
        return pinned | {symbol: raw for symbol, raw in whole.items() if is_occ(symbol)}

    def _underlying(self, symbol: str) -> str:
        terms = read_terms(symbol)
        return underlying_of(terms.root if terms else symbol, self._market.underlyings)

    def _check_feed(self, request: web.Request) -> None:
        """Refuse a feed that does not exist, or that the plan lacks.

        Both feeds show the same market: nothing is known of how one differs from the other.
        """
        feed = request.query.get("feed", _DEFAULT_FEED[self._plan])
        if feed not in _FEEDS:
            raise bad_request(f"invalid feed: {feed}")
        if feed == "opra" and self._plan is not Plan.PLUS:
            raise Refusal(403, "OPRA agreement is not signed")


def _page(parameters: OptionParameters, chain: Chain, wanted: TermsFilter) -> web.Response:
    limit = parameters.limit(_PAGE, MOST_SNAPSHOTS)
    since = parameters.instant("updated_since")
    page: Page = chain.page(wanted, since, parameters.resume(), limit)
    last = next(reversed(page.snapshots), "")
    return json_response(
        {"snapshots": page.snapshots, "next_page_token": token(last) if page.more else None}
    )


def _parameters(request: web.Request) -> OptionParameters:
    return OptionParameters(request.query, bad_request)


def _symbols(request: web.Request) -> list[str]:
    """Return the contracts asked for, sorted as Alpaca sorts its answers."""
    symbols = data_parameters(request).required("symbols").split(",")
    for symbol in symbols:
        if not is_occ(symbol):
            raise _invalid_symbol(symbol)
    if len(symbols) > MOST_SYMBOLS:
        raise bad_request(f"invalid symbols: more than the allowed maximum of {MOST_SYMBOLS}")
    return sorted(set(symbols))


def _invalid_symbol(symbol: str) -> Refusal:
    return bad_request(f"invalid symbol: {symbol}")


def _fields(snapshot: bytes) -> dict[str, msgspec.Raw]:
    """Return the parts of a snapshot; none of what a pin may hold in its place."""
    if not snapshot.lstrip().startswith(b"{"):
        return {}
    return _FIELDS.decode(snapshot)


async def _exchanges(_request: web.Request) -> web.Response:
    return json_response(EXCHANGES)


async def _conditions(request: web.Request) -> web.Response:
    kind = request.match_info["ticktype"]
    if kind not in CONDITIONS:
        raise bad_request(f"invalid ticktype: {kind}")
    return json_response(CONDITIONS[kind])
