"""OCC symbols: the names of listed option contracts, taken apart and put together. Knows no I/O."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Self, final

from ._enums import OptionType
from ._rules import refused

LETTERS = {"C": OptionType.CALL, "P": OptionType.PUT}

FORM = "root, date as YYMMDD, C or P, and the strike times 1,000 as 8 digits, such as SPY220715C00380000"

TAIL = len("220715C00380000")
"""Characters behind the root."""


@final
@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Occ:
    """A listed option contract, as its OCC symbol names it.

    Methods that take an option's symbol take one of these as well. In order they stand as a chain
    does: by expiry, strike, calls first, root.
    """

    expiry: datetime.date
    """Expiration date, in the years 2000 to 2099."""
    strike: Decimal
    """US dollars a share: 0.001 to 99,999.999, a multiple of 0.001."""
    type: OptionType
    """Call or put."""
    root: str
    """1 to 5 capital letters and at most one digit. The digit is an adjusted series': "AAPL1"."""

    def __post_init__(self) -> None:
        """Refuse what no symbol can say.

        Raises:
            ValueError: a part breaks its rule, which the message names.
        """
        if not re.fullmatch(r"[A-Z]{1,5}[0-9]?", self.root):
            raise ValueError(
                f"a root is 1 to 5 capital letters and at most one digit, not {self.root!r}"
            )
        if self.type not in LETTERS.values():
            raise ValueError(f"an option is a call or a put, not {self.type!r}")
        if not 2000 <= self.expiry.year <= 2099:
            raise ValueError(f"an expiry is in the years 2000 to 2099, not {self.expiry}")
        # A comparison and this format are exact; arithmetic would be as exact as the caller's context.
        if not (
            self.strike.is_finite()
            and 0 < self.strike < 100_000
            and Decimal(f"{self.strike:.3f}") == self.strike
        ):
            raise ValueError(
                f"a strike is a multiple of 0.001 from 0.001 to 99999.999, not {self.strike}"
            )

    @classmethod
    def parse(cls, symbol: str) -> Self:
        """Take an OCC symbol apart. Nothing is corrected.

        Args:
            symbol: OCC symbol without blanks, such as "SPY220715C00380000".

        Raises:
            ValueError: it is none; the message says what is wrong.
        """
        try:
            return cls._parsed(symbol)
        except ValueError as error:
            raise ValueError(f"{symbol!r} is no OCC symbol: {error}") from None

    @classmethod
    def _parsed(cls, symbol: str) -> Self:
        if any(map(str.isspace, symbol)):
            raise ValueError("it has no blanks, also where the root is short")
        if symbol != symbol.upper():
            raise ValueError("its letters are capitals")
        if len(symbol) <= TAIL:
            raise ValueError(f"it is {FORM}")
        root, day, letter, strike = symbol[:-TAIL], symbol[-TAIL:-9], symbol[-9], symbol[-8:]
        digits = symbol[len(symbol.rstrip("0123456789")) :]
        if len(digits) != 8:
            raise ValueError(f"the strike times 1,000 is 8 digits, not {digits or strike!r}")
        if letter not in LETTERS:
            raise ValueError(f"before the strike stands C or P, not {letter!r}")
        return cls(expiry=_date(day), strike=_dollars(strike), type=LETTERS[letter], root=root)

    @property
    def symbol(self) -> str:
        """The OCC symbol, such as "SPY220715C00380000"."""
        thousandths = f"{self.strike:.3f}".replace(".", "")
        return f"{self.root}{self.expiry:%y%m%d}{self.type[0]}{thousandths:0>8}"

    def __str__(self) -> str:
        return self.symbol


def _date(digits: str) -> datetime.date:
    if not re.fullmatch(r"[0-9]{6}", digits):
        raise ValueError(f"its date is 6 digits, YYMMDD, not {digits!r}")
    year, month, day = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    try:
        return datetime.date(2000 + year, month, day)
    except ValueError:
        raise ValueError(f"{digits} is no date as YYMMDD") from None


def _dollars(thousandths: str) -> Decimal:
    """A strike as a person writes it: 380, not 380.000 or 3.8E+2."""
    whole, rest = int(thousandths[:5]), thousandths[5:].rstrip("0")
    return Decimal(f"{whole}.{rest}" if rest else whole)


def name_of(symbol: str | Occ) -> str:
    """A symbol as the gateway takes it.

    Raises:
        InvalidRequest: it is none.
    """
    match symbol:
        case Occ():
            return symbol.symbol
        case str():
            return symbol
        case _:
            raise refused("symbol", f"a symbol is text or an Occ, not {symbol!r}")


def names_of(symbols: Iterable[str | Occ]) -> list[str]:
    """Symbols as the gateway takes them.

    Raises:
        InvalidRequest: they are none, or one of them is none.
        TypeError: one symbol was given where a list of them is due.
    """
    if isinstance(symbols, str | Occ):
        # A text is a sequence too, and F, M, S and T are stocks.
        one = name_of(symbols)
        raise TypeError(f"several symbols are asked for in a list, such as [{one!r}]")
    if not isinstance(symbols, Iterable):
        raise refused("symbols", f"a list of symbols, such as ['AAPL'], not {symbols!r}")
    return list(map(name_of, symbols))
