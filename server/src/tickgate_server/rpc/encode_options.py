"""Chains to bytes. A contract is encoded when it is first served, and again only when the upstream has sent it anew."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import Final

from tickgate.v1 import option_pb2, option_service_pb2

from ..market.chain import Entry
from ..market.expiry import market_date
from ..market.option import OptionContract, OptionPart, OptionQuote
from . import convert
from . import convert_options as to
from .convert import Moment
from .convert_options import Terms, TermsBook
from .wire import tag, varint

_QUOTE: Final = tag(option_pb2.OptionQuote, "quote")
_TRADE: Final = tag(option_pb2.OptionQuote, "latest_trade")
_PAGE: Final = tag(option_service_pb2.GetOptionChainResponse, "page")
_CHUNK: Final = tag(option_service_pb2.StreamOptionChainResponse, "chunk")

# `option_quotes` stands in pages and chunks; what precedes an element differs.
IN_PAGE: Final = tag(option_pb2.OptionChainPage, "option_quotes")
IN_CHUNK: Final = tag(option_service_pb2.OptionChainChunk, "option_quotes")

_LARGEST: Final = 256 * 1024
"""Bytes of a message from which on no further contract is put into it; messages may have a megabyte."""

Encoded = Iterator[bytes]
"""Encoded messages, made one by one as they are needed."""


class Kept:
    """What one contract of a chain is made of, encoded."""

    __slots__ = (
        "_bars",
        "_basic",
        "_contract",
        "_last_trading",
        "_terms",
        "_today",
        "_underlying",
    )

    def __init__(self) -> None:
        self._basic = b""
        self._today: datetime.date | None = None
        self._underlying = ""
        self._bars: bytes | None = None
        self._contract: OptionContract | None = None
        self._last_trading: int | None = None
        self._terms = b""

    def basic(self, entry: Entry, underlying: str, today: datetime.date) -> bytes:
        """Return the basic view on *today*'s date, with which the day's volume changes."""
        if self._today != today or self._underlying != underlying:
            self._basic = _basic(entry, underlying, today)
            self._today, self._underlying = today, underlying
        return self._basic

    def full(self, value: OptionQuote, book: TermsBook | None) -> bytes:
        """Return what the full view adds; *book* is None where terms cannot be had."""
        if self._bars is None:
            message = option_pb2.OptionQuote()
            to.add_bars(message, value)
            self._bars = message.SerializeToString()
        contract = None if book is None else book.listed.get(value.symbol)
        if book is None or contract is None:
            return self._bars
        terms = book.terms(contract)
        # That a contract closes late may be learned after its terms were.
        if contract is not self._contract or terms.last_trading != self._last_trading:
            self._contract, self._last_trading = contract, terms.last_trading
            self._terms = _terms(terms)
        return self._bars + self._terms


def option_quotes(
    entries: Iterable[Entry],
    underlying: str,
    moment: Moment,
    book: TermsBook | None,
    *,
    full: bool,
) -> Encoded:
    """Yield each of *entries* as an encoded `OptionQuote`; in the *full* view with terms, where *book* has them."""
    today = market_date(moment.market)
    for entry in entries:
        held = entry.held
        if held.encoded is None:
            held.encoded = Kept()
        kept: Kept = held.encoded
        encoded = kept.basic(entry, underlying, today)
        if full:
            encoded += kept.full(held.value, book)
        missing = to.missing_parts(held.value, moment) if held.value.missing else []
        if full and book is not None and (why := book.why_missing(held.value.symbol)) is not None:
            missing.append(to.missing_part(OptionPart.CONTRACT, why, moment))
        if missing:
            # Why a part is missing names the call it is told to, so it cannot be kept.
            encoded += option_pb2.OptionQuote(missing_parts=missing).SerializeToString()
        yield encoded


def bundles(encoded: Iterable[bytes], before: bytes, most: int) -> Iterator[tuple[bytes, int]]:
    """Yield *encoded* option quotes as elements of a repeated field, and how many, in bundles of bounded size.

    Args:
        encoded: the option quotes.
        before: what stands before an element, `IN_PAGE` or `IN_CHUNK`.
        most: option quotes in one bundle.
    """
    pieces: list[bytes] = []
    size = count = 0
    for one in encoded:
        pieces += (before, varint(len(one)), one)
        size += len(one)
        count += 1
        if size >= _LARGEST or count == most:
            yield b"".join(pieces), count
            pieces, size, count = [], 0, 0
    if count:
        yield b"".join(pieces), count


def page_response(page: option_pb2.OptionChainPage, bundle: bytes) -> bytes:
    """Return an encoded `GetOptionChainResponse` of a *page*, continued by a *bundle* of page elements."""
    body = page.SerializeToString() + bundle
    return _PAGE + varint(len(body)) + body


def chunk(bundle: bytes) -> bytes:
    """Return an encoded `StreamOptionChainResponse` of a *bundle* of chunk elements."""
    return _CHUNK + varint(len(bundle)) + bundle


def _basic(entry: Entry, underlying: str, today: datetime.date) -> bytes:
    value = entry.held.value
    message = to.identity(value.symbol, entry.occ, underlying)
    to.add_model(message, value)
    convert.set_present(message, day_volume=to.day_volume(value, today))
    pieces = [message.SerializeToString()]
    if value.quote is not None:
        quote = convert.quote(value.quote).SerializeToString()
        pieces += (_QUOTE, varint(len(quote)), quote)
    if value.latest_trade is not None:
        trade = convert.trade(value.latest_trade).SerializeToString()
        pieces += (_TRADE, varint(len(trade)), trade)
    return b"".join(pieces)


def _terms(terms: Terms) -> bytes:
    return option_pb2.OptionQuote(
        contract=to.contract(terms), open_interest=to.open_interest(terms)
    ).SerializeToString()
