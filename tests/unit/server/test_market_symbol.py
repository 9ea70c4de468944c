"""The grammar of stock symbols."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.market.symbol import STOCK_SYMBOL_RULE, is_stock_symbol

NEAR_MISSES = st.text(alphabet="AZ.az09- \u0391\u00c4\n\x00", max_size=12)


def follows_the_rule(text: str) -> bool:
    """The rule's sentence, word by word, without a regular expression."""
    parts = text.split(".")
    upper = all(part and all(char in string.ascii_uppercase for char in part) for part in parts)
    return 1 <= len(text) <= 10 and len(parts) <= 2 and upper


@given(st.text() | NEAR_MISSES | st.text(alphabet="ABZ.", max_size=12))
def test_a_symbol_is_what_the_rule_says(text: str) -> None:
    """A text is a symbol exactly when the sentence that callers get is true of it."""
    assert is_stock_symbol(text) is follows_the_rule(text)


@pytest.mark.parametrize("text", ["A", "IBM", "BRK.B", "ABCDEFGHIJ", "ABCD.EFGHI"])
def test_symbols(text: str) -> None:
    """Letters, with at most one part after a dot, up to ten characters."""
    assert is_stock_symbol(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "A.", ".A", "A..B", "A.B.C", "ibm", " IBM", "IBM ", "IBM\n", "BRK/B", "A1", "ÄPPL",
     "\u0391\u0391PL", "ABCDEFGHIJK", "A\x00", "AAPL,MSFT", "\u212b"],
)  # fmt: skip
def test_texts_that_are_no_symbols(text: str) -> None:
    """Nothing is corrected: other letters, other places of the dot and other lengths are refused."""
    assert not is_stock_symbol(text)


def test_the_rule_names_its_examples() -> None:
    """The examples in the rule's own sentence follow it."""
    assert "IBM or BRK.B" in STOCK_SYMBOL_RULE
    assert is_stock_symbol("IBM")
    assert is_stock_symbol("BRK.B")
