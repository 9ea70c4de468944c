"""The grammar of stock symbols."""

from __future__ import annotations

import re
from typing import Final

STOCK_SYMBOL_RULE: Final = (
    "a stock symbol is 1 to 10 characters: upper-case letters A to Z with at most one part after a dot, such as IBM or"
    " BRK.B"
)
"""The rule in the words a caller gets."""

_STOCK: Final = re.compile(r"(?=.{1,10}\Z)[A-Z]+(?:\.[A-Z]+)?", re.ASCII)


def is_stock_symbol(text: str) -> bool:
    """Tell whether *text* has the form of a stock symbol. Nothing is corrected: " ibm" is not one."""
    return _STOCK.fullmatch(text) is not None
