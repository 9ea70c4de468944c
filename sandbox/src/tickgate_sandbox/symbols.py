"""Which symbols Alpaca accepts."""

from __future__ import annotations

import re

_WELL_FORMED = re.compile(r"[A-Z]{1,5}(?:\.[A-Z]{1,3})?")


def well_formed(symbol: str) -> bool:
    """Return whether *symbol* looks like a US stock symbol; class shares have a dot."""
    return _WELL_FORMED.fullmatch(symbol) is not None
