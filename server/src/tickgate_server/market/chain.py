"""Option chains, and which of their contracts a filter wants."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cached_property
from itertools import groupby

from msgspec import Struct

from .answer import Held
from .occ import Occ, parse_occ
from .option import ContractFilter, OptionQuote
from .provenance import Feed
from .trade import Trade

_HUNDRED = Decimal(100)


class Around(Struct, frozen=True):
    """Strikes around the underlying's price; one of the two is set."""

    strikes: int | None = None
    """So many at or below the price and so many above it, for each expiration date."""

    percent: Decimal | None = None
    """Percent of the price, below and above."""


class DeltaBand(Struct, frozen=True):
    """Bounds of delta, which belong to the band."""

    low: float
    high: float


class ChainFilter(Struct, frozen=True):
    """Which contracts of a chain are wanted; each that is set must match."""

    contracts: ContractFilter = ContractFilter()
    updated_since: int | None = None
    """Nanoseconds: only contracts whose quote or trade is stamped later."""

    around: Around | None = None
    delta: DeltaBand | None = None


class Entry(Struct, frozen=True):
    """A contract of a chain."""

    occ: Occ
    held: Held[OptionQuote]

    @property
    def quote(self) -> OptionQuote:
        """What is known of it."""
        return self.held.value


class Gaps(Struct, frozen=True):
    """How many contracts lack what."""

    quotes: int
    latest_trades: int
    greeks: int
    implied_volatilities: int


class Selection(Struct, frozen=True):
    """What a filter takes of a chain."""

    entries: Sequence[Entry]
    """In order."""

    missing: Gaps
    without_delta: int
    """Contracts that pass every other filter and have no delta to be judged by."""


class Chain(Struct, frozen=True, dict=True):
    """All contracts of an underlying on a feed that have not expired, as they stood at one moment."""

    underlying: str
    feed: Feed
    entries: Sequence[Entry]
    """By expiry, strike, calls first, root."""

    expired: int
    """Contracts that were sent although they have expired."""

    refused: int
    """Contracts of which nothing was a market value."""

    loaded_at: float
    """When all of it was last read, seconds of the monotonic clock."""

    load_time: int
    """The same moment, nanoseconds of the wall clock."""

    confirmed_at: float
    """When the upstream was last asked what has moved, seconds of the monotonic clock."""

    confirm_time: int
    """The same moment, nanoseconds of the wall clock."""

    def select(self, wanted: ChainFilter, price: Trade | None) -> Selection:
        """Return the contracts that *wanted* lets pass; *price* is the underlying's, needed for strikes around it."""
        if wanted == ChainFilter():
            return self._whole
        entries: Sequence[Entry] = self.entries
        if wanted.contracts != ContractFilter():
            entries = [entry for entry in entries if wanted.contracts.matches(entry.occ)]
        # Before what has moved: strikes are near or far whether they have or not.
        if wanted.around is not None and price is not None:
            entries = around_the_money(entries, wanted.around, price.price)
        if wanted.updated_since is not None:
            since = wanted.updated_since
            entries = [entry for entry in entries if (entry.quote.event_time or 0) > since]
        without_delta = 0
        if wanted.delta is not None:
            known = [entry for entry in entries if _delta(entry) is not None]
            without_delta = len(entries) - len(known)
            entries = [entry for entry in known if _is_in(wanted.delta, entry)]
        return Selection(entries, _gaps(entries), without_delta)

    @cached_property
    def _whole(self) -> Selection:
        """All of it, which most ask for: counted once for all of them."""
        return Selection(self.entries, _gaps(self.entries), without_delta=0)


def in_order(symbols: Iterable[str]) -> list[tuple[str, Occ]]:
    """Return *symbols* with what they say, in a chain's order."""
    read = [(symbol, parse_occ(symbol)) for symbol in symbols]
    read.sort(key=lambda each: each[1].order)
    return read


def around_the_money(entries: Sequence[Entry], around: Around, price: Decimal) -> list[Entry]:
    """Return the *entries*, which are in order, whose strikes lie around *price*.

    Strikes are counted for each expiration date by itself: dates have different ladders.
    """
    if around.percent is not None:
        width = price * around.percent / _HUNDRED
        return [entry for entry in entries if abs(entry.occ.strike - price) <= width]
    each_side = around.strikes or 0
    taken: list[Entry] = []
    for _, of_date in groupby(entries, lambda entry: entry.occ.expiry):
        date = list(of_date)
        ladder = sorted({entry.occ.strike for entry in date})
        middle = bisect_right(ladder, price)
        near = frozenset(ladder[max(0, middle - each_side) : middle + each_side])
        taken += [entry for entry in date if entry.occ.strike in near]
    return taken


def _delta(entry: Entry) -> float | None:
    greeks = entry.quote.greeks
    return None if greeks is None else greeks.delta


def _is_in(band: DeltaBand, entry: Entry) -> bool:
    delta = _delta(entry)
    return delta is not None and band.low <= delta <= band.high


def _gaps(entries: Sequence[Entry]) -> Gaps:
    quotes = [entry.quote for entry in entries]
    return Gaps(
        quotes=sum(quote.quote is None for quote in quotes),
        latest_trades=sum(quote.latest_trade is None for quote in quotes),
        greeks=sum(quote.greeks is None for quote in quotes),
        implied_volatilities=sum(quote.implied_volatility is None for quote in quotes),
    )
