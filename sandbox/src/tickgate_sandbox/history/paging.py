"""Pages: symbol after symbol, and within each in order of time, a symbol straddling two if need be."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
from aiohttp import web

from ..market import Due
from ..parameters import Parameters, token
from .span import Span

Read = Callable[[str, Span], list[Due]]
"""Gives a symbol's records in a span, in its order."""

_SEPARATOR: Final = "|"


@dataclass(frozen=True, slots=True)
class PageOddity:
    """What a fault does to a page, within what Alpaca may do as well."""

    most: int | None = None
    """So many records at most, whatever the limit; None leaves it."""
    empty: bool = False
    """Whether nothing is on the page, though the walk goes on where it was."""
    same_token: bool = False
    """Whether the next page is this one again, and so on without an end."""


ODDITY: Final = web.RequestKey("page_oddity", PageOddity)
"""Where a request carries what a fault wants done to its page."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a walk stands: behind some record of some symbol."""

    symbol: str = ""
    """The symbol of the last record that was given; empty before the first."""
    instant: int | None = None
    """Its time, or None when none of the symbol was given yet."""
    given: int = 0
    """So many of the symbol's records of that very time were given: times are not unique."""
    page: int = 1
    """Which page of the walk comes next, from 1."""

    def __str__(self) -> str:
        instant = "" if self.instant is None else self.instant
        return _SEPARATOR.join(map(str, (self.symbol, instant, self.given, self.page)))

    def behind(self, symbol: str, taken: Sequence[Due]) -> Position:
        """Return the position behind the last of the records *taken* of *symbol*."""
        last = taken[-1][0]
        given = sum(1 for instant, _ in taken if instant == last)
        if symbol == self.symbol and last == self.instant:
            given += self.given
        return replace(self, symbol=symbol, instant=last, given=given)


@dataclass(slots=True)
class Page:
    """Some records by symbol, each as the text it is served as."""

    records: dict[str, list[bytes]] = field(default_factory=dict)
    next: Position | None = None
    """Where the next page goes on; None on the last one."""

    @property
    def token(self) -> str | None:
        """The token that makes the next page go on there."""
        return token(str(self.next)) if self.next is not None else None

    def of(self, symbol: str) -> msgspec.Raw | None:
        """Return the records of *symbol* as a JSON array, or None when there are none."""
        found = self.records.get(symbol)
        return _array(found) if found is not None else None

    def by_symbol(self) -> dict[str, msgspec.Raw]:
        """Return the records of each symbol as a JSON array; a symbol without any is not there."""
        return {symbol: _array(found) for symbol, found in self.records.items()}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One page of a walk through some symbols' records."""

    symbols: Sequence[str]
    """In the order of the answer."""
    span: Span
    limit: int
    """Records on the page at most, over all symbols together."""
    position: Position
    """Where the page before ended."""
    oddity: PageOddity = PageOddity()
    """What a fault wants done to the page."""

    def left(self) -> Sequence[str]:
        """Return the symbols that the walk is not yet done with."""
        return [symbol for symbol in self.symbols if symbol >= self.position.symbol]


def turn_page(asked: PageRequest, read: Read) -> Page:
    """Return the page that is asked for, out of the records that *read* gives."""
    oddity = asked.oddity
    if oddity.empty:
        return Page(next=replace(asked.position, page=asked.position.page + 1))
    page = _true_page(asked, min(asked.limit, oddity.most or asked.limit), read)
    if oddity.same_token:
        page.next = asked.position
    return page


def _true_page(asked: PageRequest, limit: int, read: Read) -> Page:
    page = Page()
    room, span = limit, asked.span
    here = position = asked.position
    for symbol in asked.left():
        resumed = symbol == position.symbol
        rest = span.resumed(position.instant) if resumed else span
        given = position.given if resumed else 0
        # One more than there is room for tells whether anything is left.
        found = read(symbol, rest.wanting(given + room + 1))[given:]
        if taken := found[:room]:
            page.records[symbol] = [record for _, record in taken]
            here = here.behind(symbol, taken)
        if len(found) > room:
            page.next = replace(here, page=position.page + 1)
            break
        room -= len(taken)
    return page


def read_position(parameters: Parameters) -> Position:
    """Return where the walk stands that the token of a request goes on with.

    Raises:
        Refusal: no page has given such a token.
    """
    held = parameters.resume()
    if not held:
        return Position()
    position = parse_position(held)
    if position is None:
        raise parameters.no_token()
    return position


def parse_position(text: str) -> Position | None:
    """Return the position that *text* tells of, or None when it tells of none."""
    parts = text.split(_SEPARATOR)
    if len(parts) != 4:
        return None
    symbol, instant, given, page = parts
    try:
        position = Position(symbol, int(instant) if instant else None, int(given), int(page))
    except ValueError:
        return None
    return position if position.given >= 0 and position.page >= 1 else None


def page_number(page_token: str | None) -> int | None:
    """Return which page of a walk a request with *page_token* is for; None where it is not told.

    The first page has no token; a token of other answers than these tells nothing.
    """
    if not page_token:
        return 1
    try:
        position = parse_position(base64.b64decode(page_token, validate=True).decode())
    except ValueError:
        return None
    return position.page if position is not None else None


def _array(records: Sequence[bytes]) -> msgspec.Raw:
    return msgspec.Raw(b"[" + b",".join(records) + b"]")
