"""The rules of the edge, each with the name under which it is counted, logged and told to callers.

A rule looks at raw numbers and returns a `Refusal`, or None when there is nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ..market.occ import is_occ_symbol
from ..market.symbol import is_stock_symbol
from ..market.time import NANOS, format_rfc3339
from ..market.unavailable import Refusal

HIGHEST_PRICE: Final = Decimal(1_000_000_000)
"""Prices from here on are refused. The dearest US share has cost about a million dollars; this leaves room and still
stops numbers that only a fault can produce."""

MOST_DECIMALS: Final = 20
"""Digits behind the point that a price may have. US markets print six at most, but an average that passed through a
binary float may be sent with seventeen."""

LARGEST_COUNT: Final = 2**63 - 1
"""Sizes, counts and ids beyond it are refused: no contract has room for them."""

_LONGEST_CODE: Final = 16
"""Characters of a venue, tape, condition or amendment; the longest that Alpaca sends is "incorrect"."""

_MOST_CONDITIONS: Final = 32
"""Conditions of one record; SIPs send four at most."""

_LONGEST_TEXT: Final = 256
"""Characters of a message for people, such as why trading was halted; the longest that Alpaca documents has 80."""

_LEGIBLE: Final = 256
"""Bits of a bad number that is shown as it is."""

_SHOWN: Final = 40
"""Characters of a bad number or code that are shown as evidence."""


def check_symbol(seen: str, asked: str) -> Refusal | None:
    """`symbol_mismatch`: the record is not about the symbol that was asked."""
    if seen == asked:
        return None
    return Refusal("symbol_mismatch", f"asked {asked}, answered {seen[:20]!r}")


def check_stock_symbol(symbol: str) -> Refusal | None:
    """`malformed_symbol`: the record says itself what it is about, and that is no stock's symbol."""
    if is_stock_symbol(symbol):
        return None
    return Refusal("malformed_symbol", f"symbol {symbol[:20]!r}")


def check_occ_symbol(symbol: str) -> Refusal | None:
    """`malformed_symbol`: the record says itself what it is about, and that is no option contract."""
    if is_occ_symbol(symbol):
        return None
    return Refusal("malformed_symbol", f"symbol {symbol[:30]!r}")


def check_terms(name: str, seen: object, said: object) -> Refusal | None:
    """`contract_mismatch`: a contract's terms are not what its OCC symbol says."""
    if seen == said:
        return None
    return Refusal("contract_mismatch", f"{name} {str(seen)[:_SHOWN]}, and the symbol says {said}")


def check_finite(name: str, number: float) -> Refusal | None:
    """`not_finite`: a number of a model that is none."""
    if math.isfinite(number):
        return None
    return Refusal("not_finite", f"{name} {number}")


def check_volatility(volatility: float) -> Refusal | None:
    """`negative_volatility`: a spread of returns that cannot be."""
    if volatility >= 0:
        return None
    return Refusal("negative_volatility", f"implied volatility {volatility}")


def check_time(event_time: int, now: int, tolerance: int) -> Refusal | None:
    """`future_time`: the record is stamped later than now plus a tolerance, all in nanoseconds of market time."""
    if event_time <= now + tolerance:
        return None
    ahead = (event_time - now) / NANOS
    evidence = f"stamped {format_rfc3339(event_time)}, {ahead:.3f} s ahead of the market's time"
    return Refusal("future_time", evidence, event_time)


def check_past(event_time: int, now: int, tolerance: int) -> Refusal | None:
    """`past_time`: the record is stamped earlier than now minus a tolerance, all in nanoseconds of market time."""
    if event_time >= now - tolerance:
        return None
    behind = (now - event_time) / NANOS
    evidence = f"stamped {format_rfc3339(event_time)}, {behind:.0f} s behind the market's time"
    return Refusal("past_time", evidence, event_time)


def check_price(name: str, price: Decimal, event_time: int) -> Refusal | None:
    """`negative_price`, `zero_price`, `price_out_of_range`: a price that no share can have."""
    if 0 < price < HIGHEST_PRICE and _has_few_decimals(price):
        return None
    if price < 0:
        return Refusal("negative_price", f"{name} {str(price)[:_SHOWN]}", event_time)
    if price == 0:
        return Refusal("zero_price", f"{name} {str(price)[:_SHOWN]}", event_time)
    return Refusal("price_out_of_range", f"{name} {str(price)[:_SHOWN]}", event_time)


def _has_few_decimals(price: Decimal) -> bool:
    # This runs for every price that arrives, and taking a Decimal apart is slow. Nearly always its text is too short to
    # hold many decimals.
    text = str(price)
    if len(text) <= MOST_DECIMALS and "E" not in text:
        return True
    exponent = price.as_tuple().exponent
    # It is a string for NaN and infinities.
    return isinstance(exponent, int) and -exponent <= MOST_DECIMALS


def check_count(name: str, count: int | None, event_time: int) -> Refusal | None:
    """`negative_size`, `size_out_of_range`: a number of shares or trades that cannot be."""
    if count is None or 0 <= count <= LARGEST_COUNT:
        return None
    rule = "negative_size" if count < 0 else "size_out_of_range"
    # Python writes out no numbers of thousands of digits, and nobody would read them.
    shown = str(count)[:30] if count.bit_length() < _LEGIBLE else f"of {count.bit_length()} bits"
    return Refusal(rule, f"{name} {shown}", event_time)


def check_codes(name: str, codes: Sequence[str | None], event_time: int) -> Refusal | None:
    """`odd_code`: a code, or a number of conditions, that no market uses and that would only swell the answer."""
    if len(codes) > _MOST_CONDITIONS:
        return Refusal("odd_code", f"{len(codes)} {name}", event_time)
    for code in codes:
        if code is not None and not (len(code) <= _LONGEST_CODE and code.isprintable()):
            return Refusal("odd_code", f"{name} {code[:_SHOWN]!r}", event_time)
    return None


def check_text(name: str, text: str | None, event_time: int) -> Refusal | None:
    """`odd_code`: a message for people that is none and would only swell the answer."""
    if text is None or (len(text) <= _LONGEST_TEXT and text.isprintable()):
        return None
    return Refusal("odd_code", f"{name} {text[:_SHOWN]!r}", event_time)


def check_crossed(bid: Decimal, ask: Decimal, event_time: int) -> Refusal | None:
    """`crossed`: the bid is above the ask."""
    return Refusal("crossed", f"bid {bid} above ask {ask}", event_time) if bid > ask else None


def check_bar_order(
    low: Decimal, open_: Decimal, close: Decimal, high: Decimal, event_time: int
) -> Refusal | None:
    """`bar_order`: not low ≤ open, close ≤ high."""
    if low <= open_ <= high and low <= close <= high:
        return None
    evidence = f"open {open_}, high {high}, low {low}, close {close}"
    return Refusal("bar_order", evidence, event_time)


def check_band_order(down: Decimal, up: Decimal, event_time: int) -> Refusal | None:
    """`band_order`: the lower limit is above the upper."""
    if down <= up:
        return None
    return Refusal("band_order", f"limit down {down} above limit up {up}", event_time)
