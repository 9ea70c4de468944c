"""OCC symbols, and the terms that can be read off them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

Right = Literal["call", "put"]

RIGHTS: Final[tuple[Right, ...]] = ("call", "put")

THOUSANDTHS: Final = 1_000
"""An OCC symbol counts strikes in thousandths of a dollar."""

_OCC = re.compile(r"(?P<root>[A-Z]{1,5}\d?)(?P<expiry>\d{6})(?P<right>[CP])(?P<strike>\d{8})")

_CENTURY = "20"


@dataclass(frozen=True, slots=True)
class Terms:
    """What an option's symbol says."""

    symbol: str
    root: str
    """Mostly the underlying without its dot; a digit at the end is an adjusted series."""
    expiry: date
    """The last day on which it trades."""
    right: Right
    strike: int
    """In thousandths of a dollar."""

    @property
    def adjusted(self) -> bool:
        """Whether a corporate action has changed what it delivers."""
        return self.root[-1].isdigit()

    @property
    def strike_price(self) -> str:
        """The strike in dollars with no trailing zeros, as Alpaca writes it."""
        return dollars(self.strike)


def dollars(thousandths: int) -> str:
    """Return an amount in dollars with no trailing zeros."""
    return f"{(Decimal(thousandths) / THOUSANDTHS).normalize():f}"


@lru_cache(maxsize=131_072)
def read_terms(symbol: str) -> Terms | None:
    """Return what the OCC symbol says, or None when it is none."""
    match = _OCC.fullmatch(symbol)
    if match is None:
        return None
    year, month, day = (match["expiry"][index : index + 2] for index in (0, 2, 4))
    try:
        expiry = date(int(_CENTURY + year), int(month), int(day))
    except ValueError:
        return None
    right: Right = "call" if match["right"] == "C" else "put"
    return Terms(symbol, match["root"], expiry, right, int(match["strike"]))


def is_occ(symbol: str) -> bool:
    """Return whether *symbol* has the form of an OCC symbol."""
    return read_terms(symbol) is not None


def occ_symbol(root: str, expiry: date, right: Right, strike: int) -> str:
    """Return the symbol of a contract; *strike* is in thousandths of a dollar."""
    return f"{root}{expiry:%y%m%d}{right[0].upper()}{strike:08}"


def underlying_of(root: str, known: Collection[str]) -> str:
    """Return the underlying that *root* stands for: out of *known* where it is among them.

    A root has lost the dot of its underlying, and may have gained a digit by an adjustment.
    """
    plain = root.rstrip("0123456789")
    if plain in known:
        return plain
    return next((symbol for symbol in known if symbol.replace(".", "") == plain), plain)
