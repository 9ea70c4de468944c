"""Option contracts, chains and lists, and doubles of where they come from."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from tickgate_server.errors import UpstreamFailure
from tickgate_server.guards.expiry import KnownExpiries
from tickgate_server.market.answer import Held
from tickgate_server.market.asset import AssetList
from tickgate_server.market.chain import Chain, Entry
from tickgate_server.market.expiry import NEW_YORK, LastDay
from tickgate_server.market.occ import Occ, parse_occ
from tickgate_server.market.option import (
    ContractList,
    ContractScope,
    ContractStatus,
    Deliverable,
    Greeks,
    OptionBar,
    OptionContract,
    OptionQuote,
    OptionStyle,
)
from tickgate_server.market.provenance import DataSource, Feed, Provenance
from tickgate_server.market.quote import Quote, QuoteSide
from tickgate_server.market.session import Calendar, TradingDay
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.ports import ChainRead, Reply, Request

from .fakes import NOW, HandClock, asset, provenance, unavailable

CALL = "AAPL261120C00250000"
PUT = "AAPL261120P00250000"
"""A call and a put that trade for seven weeks after `NOW`."""

TODAY = parse_rfc3339("2026-10-01T04:00:00Z")
YESTERDAY = parse_rfc3339("2026-09-30T04:00:00Z")
"""Midnight in New York, as daily bars are stamped, on the day of `NOW` and on the day before."""


def symbol_of(
    strike: str = "250", *, root: str = "AAPL", expiry: str = "261120", letter: str = "C"
) -> str:
    """Name a contract."""
    return f"{root}{expiry}{letter}{int(Decimal(strike) * 1000):08}"


def name_of(occ: Occ) -> str:
    """Write a symbol anew from what it says."""
    return f"{occ.root}{occ.expiry:%y%m%d}{occ.type.value}{int(occ.strike * 1000):08}"


def origin(event_time: int | None = NOW, *, received: int = NOW) -> Provenance:
    """Where a part of an option comes from."""
    return Provenance(DataSource.SANDBOX, Feed.INDICATIVE, event_time, received, "upstream-1")


def option_quote(symbol: str = CALL, bid: str = "1.00", *, at: int | None = NOW) -> Quote:
    """A quote of a contract."""
    bid_side, ask_side = (
        QuoteSide(Decimal(price), size, venue)
        for price, size, venue in ((bid, 12, "A"), ("1.05", 7, "X"))
    )
    return Quote(symbol, bid_side, ask_side, (" ",), None, origin(at))


def option_trade(symbol: str = CALL, price: str = "1.02", *, at: int | None = NOW) -> Trade:
    """A trade in a contract: without id and tape."""
    return Trade(symbol, Decimal(price), 3, "I", ("f",), None, None, None, origin(at))


def option_bar(at: int | None = TODAY, *, volume: int | None = 9) -> OptionBar:
    """A bar of a contract with every field."""
    low, open_, close, high, vwap = (Decimal(text) for text in ("0.9", "1", "1.1", "1.20", "1.033"))
    return OptionBar(open_, high, low, close, volume, 2, vwap, origin(at))


def option(symbol: str = CALL, **parts: Any) -> OptionQuote:
    """A contract of which nothing is known but *parts*."""
    nothing: dict[str, Any] = dict.fromkeys(OptionQuote.__struct_fields__[1:-2])
    fields = nothing | {"provenance": origin(None), "missing": {}} | parts
    return OptionQuote(symbol, **fields)


def whole_option(symbol: str = CALL, *, at: int = NOW) -> OptionQuote:
    """A contract of which every part was sent."""
    return option(
        symbol,
        quote=option_quote(symbol, at=at),
        latest_trade=option_trade(symbol, at=at),
        greeks=Greeks(0.9879, 0.0007, -0.0411, 0.0375, 0.3149),
        implied_volatility=0.3738,
        minute_bar=option_bar(NOW),
        daily_bar=option_bar(),
        previous_daily_bar=option_bar(YESTERDAY),
    )


def quoted(symbol: str = CALL, *, at: int | None = NOW, bid: str = "1.00") -> OptionQuote:
    """A contract that was quoted and nothing else."""
    return option(symbol, quote=option_quote(symbol, bid, at=at))


def chain_of(
    values: Iterable[OptionQuote], underlying: str = "AAPL", feed: Feed = Feed.INDICATIVE
) -> Chain:
    """A chain that holds *values*, confirmed at the start of a `HandClock`."""
    entries = [Entry(parse_occ(value.symbol), Held(value, 1000.0)) for value in values]
    entries.sort(key=lambda entry: entry.occ.order)
    return Chain(
        underlying=underlying,
        feed=feed,
        entries=entries,
        expired=0,
        refused=0,
        loaded_at=1000.0,
        load_time=NOW,
        confirmed_at=1000.0,
        confirm_time=NOW,
    )


def contract(symbol: str = CALL, **changed: Any) -> OptionContract:
    """The terms of a contract, all of them."""
    known = OptionContract(
        symbol=symbol,
        occ=parse_occ(symbol),
        id=f"id-{symbol}",
        name=f"the contract {symbol}",
        underlying="AAPL",
        style=OptionStyle.AMERICAN,
        multiplier=Decimal(100),
        size=Decimal(100),
        status=ContractStatus.ACTIVE,
        tradable=True,
        open_interest=464,
        open_interest_date=date(2026, 9, 30),
        close_price=Decimal("83.70"),
        close_price_date=date(2026, 9, 30),
        deliverables=(
            Deliverable("equity", "AAPL", Decimal(100), Decimal(100), "T+1", "CCC", False),
        ),
    )
    return replace(known, **changed)


def bare_contract(symbol: str = CALL) -> OptionContract:
    """A contract of which nothing was said but its symbol."""
    optional = ("style", "multiplier", "size", "status", "tradable", "open_interest",
                "open_interest_date", "close_price", "close_price_date")  # fmt: skip
    nothing = dict.fromkeys(optional) | dict.fromkeys(("id", "name"), "") | {"deliverables": ()}
    return contract(symbol, **nothing)


def contract_list(
    contracts: Iterable[OptionContract],
    *,
    received: int = NOW,
    refused: Mapping[str, Unavailable] | None = None,
    unreadable: int = 0,
) -> ContractList:
    """A list of contracts."""
    return ContractList(list(contracts), provenance(None, received), refused, unreadable)


# -------------------------------------------------------------------------------- time and expiry


def new_york(moment: str) -> int:
    """Return the instant of "2026-10-01 16:00" on the clocks of New York."""
    local = datetime.strptime(moment, "%Y-%m-%d %H:%M").replace(tzinfo=NEW_YORK)
    return int(local.timestamp()) * NANOS


def market_day(day: str, close: str = "16:00") -> TradingDay:
    """A day of the calendar of which only the core session is known."""
    return TradingDay(
        date=date.fromisoformat(day),
        pre_market_open=None,
        open=new_york(f"{day} 09:30"),
        close=new_york(f"{day} {close}"),
        after_hours_close=None,
        settlement_date=None,
    )


def calendar_of(*days: TradingDay) -> LastDay:
    """What a calendar of *days* knows."""
    return Calendar(days, provenance(None)).last_day


def no_calendar(_: date) -> TradingDay | None:
    """Know no day."""
    return None


def late_assets(*late: str, others: Sequence[str] = ()) -> AssetList:
    """A list of assets, of which some have options that close late."""
    named = [replace(asset(one), attributes=("has_options", "options_late_close")) for one in late]
    return AssetList([*named, *(asset(one) for one in others)], provenance(None))


class AssetsToCome:
    """A list of assets that may not be there yet."""

    def __init__(self, found: AssetList | None = None) -> None:
        self.list = found
        self.deadlines: list[float] = []
        self.gates: list[asyncio.Event] = []
        """Whoever asks next waits for the first of them."""

    async def get(self, deadline: float) -> AssetList | None:
        """Return what is there."""
        self.deadlines.append(deadline)
        if self.gates:
            await self.gates.pop(0).wait()
        return self.list


def known_expiries(
    clock: HandClock,
    last_day: LastDay = no_calendar,
    assets: AssetsToCome | None = None,
    late: Collection[str] = (),
) -> KnownExpiries:
    """What tells expired contracts: by default every weekday is a usual day, and nothing closes late."""
    return KnownExpiries(last_day, (assets or AssetsToCome()).get, frozenset(late), clock)


def usual_close(occ: Occ) -> int:
    """Return four in the afternoon on the day that *occ* names, New York."""
    return int(datetime.combine(occ.expiry, time(16), NEW_YORK).timestamp()) * NANOS


# ---------------------------------------------------------------------------------------- doubles


class FakePages:
    """Chains as an upstream holds them: asked what has moved since, it sends what is stamped later."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.chains: dict[str, dict[str, OptionQuote]] = {}
        """What is held of each underlying, by symbol."""

        self.refused: set[str] = set()
        """Symbols of what is sent and is no market value."""

        self.seconds = 0.0
        """How long the pages behind the first take to come."""

        self.failure: UpstreamFailure | None = None
        self.asked: list[tuple[str, Feed, int | None]] = []
        self.deadlines: list[float] = []
        self.wanted: list[float | None] = []
        """Until when each reading was wanted, as far as was known."""

        self.open = asyncio.Event()
        """Answers wait until it is set, as it is from the start."""

        self.open.set()

    def hold(self, *values: OptionQuote, underlying: str = "AAPL") -> None:
        """Hold *values* beside what is held already, or in its place."""
        self.chains.setdefault(underlying, {}).update({value.symbol: value for value in values})

    async def read(
        self,
        underlying: str,
        feed: Feed,
        since: int | None,
        deadline: float,
        wanted_until: float | None = None,
    ) -> ChainRead:
        """Send a chain, or what has moved in it."""
        self.asked.append((underlying, feed, since))
        self.deadlines.append(deadline)
        self.wanted.append(wanted_until)
        asked_at = self._clock.market()
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        held = self.chains.get(underlying, {})
        quotes = {
            symbol: Held(value, self._clock.monotonic())
            for symbol, value in held.items()
            if symbol not in self.refused and (since is None or (value.event_time or 0) > since)
        }
        refused = {symbol for symbol in self.refused if symbol in held}
        read = ChainRead(quotes, refused, asked_at, self._clock.monotonic(), self._clock.wall())
        self._clock.advance(self.seconds)
        return read


class FakeListings:
    """A source of contracts: what it holds it lists, and underlyings that it does not know it says so of."""

    def __init__(self, *contracts: OptionContract) -> None:
        self.contracts_held = list(contracts)
        self.refused: dict[str, Unavailable] = {}
        """Contracts that are listed with terms that cannot be, and why."""

        self.underlyings: set[str] = {"AAPL"}
        """Underlyings that exist, whether or not a contract is listed."""

        self.failure: UpstreamFailure | None = None
        self.asked: list[ContractScope | str] = []
        """Scopes of lists, and names of single contracts."""

        self.deadlines: list[float] = []
        self.open = asyncio.Event()
        self.open.set()

    async def contracts(self, scope: ContractScope, deadline: float) -> ContractList | Unavailable:
        """Return the list of *scope*."""
        await self._ask(scope, deadline)
        if scope.underlying and scope.underlying not in self.underlyings:
            return unavailable(Reason.SYMBOL_UNKNOWN)
        found = [
            one
            for one in self.contracts_held
            if scope.start <= one.occ.expiry <= scope.end
            and scope.underlying in ("", one.underlying)
            and scope.root in ("", one.occ.root)
        ]
        return contract_list(found, refused=self.refused)

    async def contract(self, symbol: str, deadline: float) -> OptionContract | Unavailable | None:
        """Return one contract."""
        await self._ask(symbol, deadline)
        known = {one.symbol: one for one in self.contracts_held}
        return known.get(symbol) or self.refused.get(symbol)

    async def _ask(self, what: ContractScope | str, deadline: float) -> None:
        self.asked.append(what)
        self.deadlines.append(deadline)
        await self.open.wait()
        if self.failure is not None:
            raise self.failure


class ScriptedRequests:
    """An upstream as seen over `Requests` that answers with one body, or fails once, after the other."""

    def __init__(self, clock: HandClock, script: Iterable[bytes | UpstreamFailure] = ()) -> None:
        self._clock = clock
        self.script = list(script)
        self.seconds = 0.0
        """How long each request takes."""

        self.sent: list[Request] = []

    async def send(self, request: Request) -> Reply:
        """Answer as the script says."""
        self.sent.append(request)
        await asyncio.sleep(0)
        self._clock.advance(self.seconds)
        step = self.script.pop(0)
        if isinstance(step, UpstreamFailure):
            raise step
        clock = self._clock
        return Reply(step, f"up-{len(self.sent)}", clock.wall(), clock.monotonic())
