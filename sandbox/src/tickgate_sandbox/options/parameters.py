"""How the query of a request for options is read; each API refuses in its own form."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import TypeVar

from ..answers import Refusal
from ..timestamps import new_york, parse
from .chain import TermsFilter
from .occ import RIGHTS, THOUSANDTHS

_S = TypeVar("_S", bound=str)

_LONGEST_STRIKE = 99_999_999


class Parameters:
    """The parameters of one request."""

    def __init__(self, query: Mapping[str, str], refuse: Callable[[str], Refusal]) -> None:
        """Read *query*; what makes no sense in it is raised as *refuse* makes it."""
        self._query = query
        self.refuse = refuse

    def text(self, name: str) -> str | None:
        """Return a parameter as it is, or None when it is missing or empty."""
        return self._query.get(name) or None

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
        value = self.text(name)
        if value is None:
            return None
        try:
            return parse(value) if "T" in value else new_york(date.fromisoformat(value))
        except ValueError as error:
            why = f'error parsing "{value}" as RFC3339 or 2006-01-02 time'
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

    def terms(self) -> TermsFilter:
        """Return the filters that chains and contracts have in common.

        Raises:
            Refusal: one of them makes no sense.
        """
        exactly = self.day("expiration_date")
        return TermsFilter(
            right=self.choice("type", RIGHTS),
            root=self.text("root_symbol"),
            lowest=self._strike("strike_price_gte", ROUND_CEILING),
            highest=self._strike("strike_price_lte", ROUND_FLOOR),
            first=_latest(exactly, self.day("expiration_date_gte")),
            last=_earliest(exactly, self.day("expiration_date_lte")),
        )

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
            raise self.refuse(f"invalid page_token: {token}") from error

    def offset(self) -> int:
        """Return the offset that the token of a page holds; 0 for the first page.

        Raises:
            Refusal: it is no such token.
        """
        held = self.resume()
        if not held:
            return 0
        if not (held.isascii() and held.isdecimal()):
            raise self.refuse(f"invalid page_token: {self.text('page_token')}")
        return int(held)

    def _strike(self, name: str, rounding: str) -> int | None:
        """Return a strike in thousandths of a dollar."""
        value = self.text(name)
        if value is None:
            return None
        try:
            strike = Decimal(value)
        except InvalidOperation as error:
            raise self.refuse(f"invalid {name}: {value}") from error
        if not strike.is_finite():
            raise self.refuse(f"invalid {name}: {value}")
        # Beyond what a symbol can say there is nothing to tell apart.
        bounded = min(max(strike * THOUSANDTHS, Decimal(-1)), Decimal(_LONGEST_STRIKE + 1))
        return int(bounded.to_integral_value(rounding))


def token(resume: str | int) -> str:
    """Return the token that makes the next page resume there."""
    return base64.b64encode(str(resume).encode()).decode()


def _latest(*days: date | None) -> date | None:
    return max((day for day in days if day is not None), default=None)


def _earliest(*days: date | None) -> date | None:
    return min((day for day in days if day is not None), default=None)
