"""The kinds of value that tiers hold."""

from __future__ import annotations

from enum import StrEnum


class ValueKind(StrEnum):
    """A kind of value. The text stands in the keys of the shared cache; the names are those of the contract."""

    QUOTE = "quote"
    TRADE = "trade"
    SNAPSHOT = "snapshot"
    OPTION_QUOTE = "option_quote"
    OPTION_CHAIN = "option_chain"
