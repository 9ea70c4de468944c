"""Prices adjusted for splits and dividends, computed by what is known of them.

Alpaca adjusts by its own books. A stand-in has no books: it takes the corporate actions that it
knows, and what it does not know of it does not adjust for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import prod

import msgspec

from ..bars import in_plain_digits
from ..market import Due

_CENTS_OF_CENTS = Decimal("0.0001")
_MILLIONTHS = Decimal("0.000001")

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Factor:
    """What one corporate action does to the bars before it."""

    before: int
    """Midnight in New York of the ex-day; bars that begin earlier are multiplied."""
    price: Fraction
    volume: Fraction


@dataclass(frozen=True, slots=True)
class Adjustment:
    """All the factors of one symbol."""

    factors: tuple[Factor, ...] = ()
    """In the order of their days."""

    def apply(self, bars: Iterable[Due]) -> Iterator[Due]:
        """Yield *bars* adjusted; a bar that nothing came after is left as the text it was."""
        days = [factor.before for factor in self.factors]
        prices = [
            prod((one.price for one in self.factors[at:]), start=Fraction(1))
            for at in range(len(days))
        ]
        volumes = [
            prod((one.volume for one in self.factors[at:]), start=Fraction(1))
            for at in range(len(days))
        ]
        for start, record in bars:
            index = bisect_right(days, start)
            if index == len(days):
                yield start, record
            else:
                yield start, _scaled(record, prices[index], volumes[index])


def _scaled(record: bytes, price: Fraction, volume: Fraction) -> bytes:
    fields = _FIELDS.decode(record)
    changed: dict[str, object] = dict(fields)
    for name, step in (
        ("o", _CENTS_OF_CENTS),
        ("h", _CENTS_OF_CENTS),
        ("l", _CENTS_OF_CENTS),
        ("c", _CENTS_OF_CENTS),
        ("vw", _MILLIONTHS),
    ):
        if name in fields:
            value = Fraction(msgspec.json.decode(fields[name], type=Decimal)) * price
            exact = Decimal(value.numerator) / Decimal(value.denominator)
            changed[name] = in_plain_digits(exact, step)
    if volume != 1:
        changed["v"] = round(msgspec.json.decode(fields["v"], type=int) * volume)
    return _ENCODER.encode(changed)
