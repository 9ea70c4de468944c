"""How the query of a request is read; each API refuses in its own form."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import TypeVar

from aiohttp import web

from .answers import Refusal, bad_request
from .symbols import well_formed
from .timestamps import days_after, new_york, parse

_S = TypeVar("_S", bound=str)

_CURRENCY = re.compile(r"[A-Z]{3}")


class Parameters:
    """The parameters of one request."""

    def __init__(self, query: Mapping[str, str], refuse: Callable[[str], Refusal]) -> None:
        """Read *query*; what makes no sense in it is raised as *refuse* makes it."""
        self._query = query
        self.refuse = refuse

    def text(self, name: str) -> str | None:
        """Return a parameter as it is, or None when it is missing or empty."""
        return self._query.get(name) or None

    def required(self, name: str) -> str:
        """Return a parameter that has to be there.

        Raises:
            Refusal: it is missing or empty.
        """
        value = self.text(name)
        if value is None:
            reason = f"query parameter '{name}' is required"
            raise self.refuse(f"Invalid format for parameter {name}: {reason}")
        return value

    def choice(self, name: str, choices: Collection[_S]) -> _S | None:
        """Return a parameter that is one of *choices*, or None when it is missing.

        Raises:
            Refusal: it is none of them.
        """
        value = self.text(name)
        for known in choices:
            if known == value:
                return known
        if value is not None:
            raise self.refuse(f"invalid {name}: {value}")
        return None

    def day(self, name: str) -> date | None:
        """Return a date, or None when it is missing.

        Raises:
            Refusal: it is no `YYYY-MM-DD`.
        """
        value = self.text(name)
        if value is None:
            return None
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise self.refuse(f"invalid {name}: {value}") from error

    def instant(self, name: str) -> int | None:
        """Return a time in nanoseconds since the epoch; a date is its midnight in New York.

        Raises:
            Refusal: it is neither RFC 3339 nor a date.
        """
        return self._instant(name, days=0)

    def last_instant(self, name: str) -> int | None:
        """Return a time as `instant` does, but for a date the last nanosecond of its day.

        Raises:
            Refusal: it is neither RFC 3339 nor a date.
        """
        return self._instant(name, days=1)

    def _instant(self, name: str, days: int) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            if "T" in value:
                return parse(value)
            return new_york(days_after(date.fromisoformat(value), days)) - days
        except (ValueError, OverflowError) as error:
            why = f"error parsing '{value}' as RFC3339 or 2006-01-02 time: {error}"
            raise self.refuse(f"Invalid format for parameter {name}: {why}") from error

    def whole_number(self, name: str, default: int) -> int:
        """Return a number of 1 or more, *default* when it is missing.

        Raises:
            Refusal: it is none.
        """
        value = self.text(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdecimal()) or int(value) < 1:
            raise self.refuse(f"invalid {name}: {value}")
        return int(value)

    def limit(self, default: int, most: int) -> int:
        """Return how much may stand on a page, *default* when nothing is said of it.

        Raises:
            Refusal: it is no number of 1 or more, or greater than *most*.
        """
        limit = self.whole_number("limit", default)
        if limit > most:
            raise self.refuse(f"invalid limit: larger than the allowed maximum of {most}")
        return limit

    def resume(self) -> str:
        """Return what the token of a page holds; empty for the first page.

        Raises:
            Refusal: it is no token.
        """
        token = self.text("page_token")
        if token is None:
            return ""
        try:
            return base64.b64decode(token, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise self.no_token() from error

    def offset(self) -> int:
        """Return the offset that the token of a page holds; 0 for the first page.

        Raises:
            Refusal: it is no such token.
        """
        held = self.resume()
        if not held:
            return 0
        if not (held.isascii() and held.isdecimal()):
            raise self.no_token()
        return int(held)

    def no_token(self) -> Refusal:
        """Return the refusal of a token that no page has given."""
        return self.refuse(f"invalid page_token: {self.text('page_token')}")


def token(resume: str | int) -> str:
    """Return the token that makes the next page resume there."""
    return base64.b64encode(str(resume).encode()).decode()


def data_parameters(request: web.Request) -> Parameters:
    """Return the parameters of a request for data, whose refusals carry no code."""
    return Parameters(request.query, bad_request)


def asked_symbols(request: web.Request) -> list[str]:
    """Return the stock symbols asked for, sorted as Alpaca sorts its answers.

    Raises:
        Refusal: none is named, or one is malformed: Alpaca refuses the whole request for it.
    """
    symbols = data_parameters(request).required("symbols").split(",")
    for symbol in symbols:
        _check(symbol)
    return sorted(set(symbols))


def asked_symbol(request: web.Request) -> str:
    """Return the stock symbol in the path.

    Raises:
        Refusal: it is malformed.
    """
    symbol = request.match_info["symbol"]
    _check(symbol)
    return symbol


def _check(symbol: str) -> None:
    if not well_formed(symbol):
        raise bad_request(f"invalid symbol: {symbol}")


def echoed_currency(request: web.Request) -> dict[str, str]:
    """Return the currency to echo. Amounts stay in US dollars: no rates are recorded.

    Raises:
        Refusal: it is no currency.
    """
    currency = request.query.get("currency", "USD")
    if not _CURRENCY.fullmatch(currency):
        raise bad_request(f"invalid currency: {currency}")
    return {} if currency == "USD" else {"currency": currency}
