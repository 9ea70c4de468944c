"""What can be said about a quote from the quote alone: spread, mid, score and flags.

The score is the gateway's own convention (design, section 4): 100, minus a point for each second of event age above
30 s while the market is open (at most 50), minus 30 for a missing side, minus 20 for a spread above 5 % of the ask,
minus 10 for a size that is missing or zero, never below 0.
"""

from __future__ import annotations

from decimal import Context, Decimal
from enum import Enum, auto
from typing import Final

from msgspec import Struct

from .quote import Quote, QuoteSide
from .session import MarketSession
from .time import NANOS

_AGED_AFTER: Final = 30 * NANOS
_MOST_FOR_AGE: Final = 50
_FOR_MISSING_SIDE: Final = 30
_FOR_WIDE: Final = 20
_FOR_ZERO_SIZE: Final = 10
_WIDE: Final = Decimal("0.05")
"""Share of the ask above which a spread is wide."""

_EXACT: Final = Context(prec=40)
"""Enough digits for sums, halves and twentieths of all prices that the gate lets in. The usual 28 would round the
longest."""


class QuoteFlag(Enum):
    """Something unusual about a quote."""

    ONE_SIDED = auto()
    WIDE = auto()
    LOCKED = auto()
    CROSSED = auto()
    AGED = auto()
    ZERO_SIZE = auto()


class Quality(Struct, frozen=True, gc=False):
    """How much a quote can be leant on."""

    score: int
    """0 to 100."""

    flags: tuple[QuoteFlag, ...]


class Derived(Struct, frozen=True, gc=False):
    """Numbers computed from two real sides, exact."""

    spread: Decimal
    """Ask minus bid: zero when locked, negative when crossed."""

    mid: Decimal


def derive(quote: Quote) -> Derived | None:
    """Return spread and mid of *quote*, or None when a side is missing."""
    if quote.bid is None or quote.ask is None:
        return None
    bid, ask = quote.bid.price, quote.ask.price
    return Derived(
        spread=_EXACT.subtract(ask, bid), mid=_EXACT.divide(_EXACT.add(bid, ask), Decimal(2))
    )


def assess(quote: Quote, event_age: int | None, session: MarketSession | None) -> Quality:
    """Return score and flags of *quote*.

    Args:
        quote: the quote.
        event_age: nanoseconds since its event; None when unknown, which counts as young.
        session: phase of the market; an unknown one counts as open, the stricter case.
    """
    flags: list[QuoteFlag] = []
    lost = _lose_for_age(event_age, session, flags) + _lose_for_sides(quote, flags)
    return Quality(score=max(0, 100 - lost), flags=tuple(flags))


def _lose_for_age(age: int | None, session: MarketSession | None, flags: list[QuoteFlag]) -> int:
    if age is None or age <= _AGED_AFTER or session not in (None, MarketSession.OPEN):
        return 0
    flags.append(QuoteFlag.AGED)
    return min(_MOST_FOR_AGE, (age - _AGED_AFTER) // NANOS)


def _lose_for_sides(quote: Quote, flags: list[QuoteFlag]) -> int:
    lost = 0
    if quote.bid is None or quote.ask is None:
        flags.append(QuoteFlag.ONE_SIDED)
        lost += _FOR_MISSING_SIDE
    else:
        bid, ask = quote.bid.price, quote.ask.price
        if bid == ask:
            flags.append(QuoteFlag.LOCKED)
        elif bid > ask:
            flags.append(QuoteFlag.CROSSED)
        elif _EXACT.subtract(ask, bid) > _EXACT.multiply(ask, _WIDE):
            flags.append(QuoteFlag.WIDE)
            lost += _FOR_WIDE
    if _lacks_size(quote.bid) or _lacks_size(quote.ask):
        flags.append(QuoteFlag.ZERO_SIZE)
        lost += _FOR_ZERO_SIZE
    return lost


def _lacks_size(side: QuoteSide | None) -> bool:
    return side is not None and not side.size
