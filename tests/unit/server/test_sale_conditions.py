"""Which trades set a price."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tickgate_server.market.sale_conditions import sets_price

from ...support.fakes import trade

OPTION = "AAPL261218C00200000"


@pytest.mark.parametrize(
    "conditions",
    [(), ("@",), ("@", "F"), ("@", "T"), (" ", "O"), ("6",), ("X",), ("L",)],
    ids=str,
)
def test_a_usual_sale_sets_a_price(conditions: tuple[str, ...]) -> None:
    """So do sweeps, openings, closings, crosses, extended hours and the last one that was reported late."""
    assert sets_price(replace(trade(), conditions=conditions))


@pytest.mark.parametrize("letter", list("CGHIMNPQRUVWZ47"))
@pytest.mark.parametrize("tape", ["A", "B", "C", None])
def test_some_sales_set_none(letter: str, tape: str | None) -> None:
    """Odd lots, averages, late and contingent sales and official prices, whatever else is said of them."""
    assert not sets_price(replace(trade(), conditions=("@", "F", letter), tape=tape))


@pytest.mark.parametrize(("tape", "sets"), [("A", False), ("B", False), ("C", True), (None, False)])
def test_one_letter_means_two_things(tape: str | None, sets: bool) -> None:
    """B is an average on two tapes and a bunched sale on the third; where nothing is said it may be an average."""
    assert sets_price(replace(trade(), conditions=("B",), tape=tape)) is sets


@pytest.mark.parametrize(
    ("amendment", "sets"), [("canceled", False), ("incorrect", False), ("corrected", True)]
)
def test_what_was_taken_back_sets_none(amendment: str, sets: bool) -> None:
    """A correction itself is a trade."""
    assert sets_price(replace(trade(), amendment=amendment)) is sets


@pytest.mark.parametrize(
    ("letter", "sets"), [("A", False), ("C", False), ("E", False), ("G", False), ("I", True), ("a", True)]
)  # fmt: skip
def test_options_have_their_own_letters(letter: str, sets: bool) -> None:
    """Every trade of a contract counts but for those that take one back."""
    assert sets_price(replace(trade(OPTION), conditions=(letter,))) is sets
