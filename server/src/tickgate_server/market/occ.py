"""OCC symbols: the names of listed option contracts."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Final

from msgspec import Struct

OCC_SYMBOL_RULE: Final = (
    "an OCC symbol is a root of 1 to 5 capital letters and at most one digit, a date as YYMMDD, C or P, and the strike"
    " times 1000 in 8 digits, such as SPY220715C00380000"
)
"""The rule in the words a caller gets."""

_FORM: Final = re.compile(r"([A-Z]{1,5}[0-9]?)(\d{6})([CP])(\d{8})", re.ASCII)
_ROOT: Final = re.compile(r"[A-Z]{1,5}[0-9]?", re.ASCII)
_CENTURY: Final = 2000


class OptionType(Enum):
    """The right that a contract gives; the value is its letter."""

    CALL = "C"
    PUT = "P"


class Occ(Struct, frozen=True, gc=False):
    """What an OCC symbol says of its contract (OCC, "Options Symbology Initiative")."""

    root: str
    expiry: datetime.date
    type: OptionType
    strike: Decimal
    """US dollars a share."""

    @property
    def order(self) -> tuple[datetime.date, Decimal, str, str]:
        """Key of the order in which a desk reads contracts: expiry, strike, calls first, root."""
        return self.expiry, self.strike, self.type.value, self.root

    @property
    def underlying(self) -> str:
        """Symbol of the underlying as far as the root tells: without the digit of an adjusted series."""
        return self.root.rstrip("0123456789")


# A chain is read again and again, and its symbols do not change.
@lru_cache(maxsize=1 << 16)
def parse_occ(symbol: str) -> Occ:
    """Return what *symbol* says.

    Raises:
        ValueError: it is no OCC symbol; the message is for the caller. Nothing is corrected.
    """
    match = _FORM.fullmatch(symbol)
    if match is None:
        raise ValueError(OCC_SYMBOL_RULE)
    root, date, letter, strike = match.groups()
    try:
        expiry = datetime.date(_CENTURY + int(date[:2]), int(date[2:4]), int(date[4:]))
    except ValueError as error:
        msg = f"{date} is no date as YYMMDD; {OCC_SYMBOL_RULE}"
        raise ValueError(msg) from error
    if strike == "00000000":
        msg = f"a strike is above zero; {OCC_SYMBOL_RULE}"
        raise ValueError(msg)
    return Occ(root, expiry, OptionType(letter), _strike(strike))


def is_occ_symbol(text: str) -> bool:
    """Tell whether *text* is an OCC symbol."""
    try:
        parse_occ(text)
    except ValueError:
        return False
    return True


def is_root(text: str) -> bool:
    """Tell whether *text* has the form of an OCC root."""
    return _ROOT.fullmatch(text) is not None


@lru_cache(maxsize=1 << 14)
def _strike(digits: str) -> Decimal:
    # Without the zeros behind the point that the form has, but those before it stay: 100, not 1E+2.
    thousandths = int(digits)
    whole, rest = divmod(thousandths, 1000)
    return Decimal(f"{whole}.{rest:03}".rstrip("0").rstrip("."))
