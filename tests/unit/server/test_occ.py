"""OCC symbols: their grammar, exact strikes, and the order in which a desk reads contracts."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.market.chain import in_order
from tickgate_server.market.occ import (
    OCC_SYMBOL_RULE,
    Occ,
    OptionType,
    is_occ_symbol,
    is_root,
    parse_occ,
)

from ...support.options import name_of

SYMBOL = "SPY220715C00380000"
ROOTS = st.from_regex(r"[A-Z]{1,5}[0-9]?", fullmatch=True)
DATES = st.dates(datetime.date(2000, 1, 1), datetime.date(2099, 12, 31))
TYPES = st.sampled_from(OptionType)
THOUSANDTHS = st.integers(1, 99_999_999)


def why_not(text: str) -> str:
    """What is said of a text that is no symbol."""
    with pytest.raises(ValueError, match=re.escape(OCC_SYMBOL_RULE)) as refused:
        parse_occ(text)
    assert not is_occ_symbol(text)
    return str(refused.value)


def test_a_symbol_says_what_its_contract_is() -> None:
    """Root, expiration date, right and strike stand in the symbol."""
    assert parse_occ(SYMBOL) == Occ(
        "SPY", datetime.date(2022, 7, 15), OptionType.CALL, Decimal(380)
    )
    assert parse_occ("A220715P00000001").type is OptionType.PUT


@given(ROOTS, DATES, TYPES, THOUSANDTHS)
def test_a_symbol_is_read_exactly(
    root: str, expiry: datetime.date, type_: OptionType, thousandths: int
) -> None:
    """Whatever root, date, right and strike a symbol is made of are read back, the strike to the thousandth."""
    symbol = f"{root}{expiry:%y%m%d}{type_.value}{thousandths:08}"
    occ = parse_occ(symbol)
    assert (occ.root, occ.expiry, occ.type) == (root, expiry, type_)
    assert occ.strike * 1000 == thousandths
    assert is_occ_symbol(symbol)
    assert name_of(occ) == symbol


@given(THOUSANDTHS)
def test_a_strike_is_written_as_people_write_it(thousandths: int) -> None:
    """A strike has no exponent, no zero behind its last digit after the point, and those before the point stay."""
    text = str(parse_occ(f"SPY220715C{thousandths:08}").strike)
    assert re.fullmatch(r"(0|[1-9]\d*)(\.\d{0,2}[1-9])?", text)
    assert Decimal(text) == Decimal(thousandths).scaleb(-3)


@pytest.mark.parametrize(
    ("digits", "strike"),
    [
        ("00100000", "100"),
        ("00062500", "62.5"),
        ("00000001", "0.001"),
        ("99999999", "99999.999"),
        ("00000100", "0.1"),
        ("10000000", "10000"),
    ],
)
def test_a_strike_never_passes_through_a_float(digits: str, strike: str) -> None:
    """Strikes at the ends of the range, and such as no float holds, are exact."""
    found = parse_occ(f"SPY220715C{digits}").strike
    assert isinstance(found, Decimal)
    assert str(found) == strike


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAPL",
        "220715C00380000",  # no root
        "1220715C00380000",  # a root of a digit alone
        "1SPY220715C00380000",  # the digit stands last
        "SPY12220715C00380000",  # two digits
        "ABCDEF220715C00380000",  # six letters
        "spy220715C00380000",
        "SPY220715c00380000",
        "SPY   220715C00380000",  # padded, as OCC itself writes it
        " SPY220715C00380000",
        "SPY220715C00380000 ",
        "SPY220715C00380000\n",
        "BRK.B220715C00380000",
        "SPY20220715C00380000",  # a year of four digits
        "SPY2207C00380000",
        "SPY220715X00380000",
        "SPY22071500380000",
        "SPY220715C0380000",  # seven digits
        "SPY220715C000380000",  # nine digits
        "SPY220715C00380.00",
        "SPY220715C-0380000",
        "SPY220715C003800\u0660\u0660",  # digits of another script
        "ŚPY220715C00380000",
        "SPY220715C00380000C00380000",
    ],
)
def test_what_has_another_form_is_told_the_rule(text: str) -> None:
    """A text of another form is refused with the rule itself: nothing is cut, padded or capitalised."""
    assert why_not(text) == OCC_SYMBOL_RULE


@pytest.mark.parametrize("date", ["220230", "220015", "221315", "220700", "220732", "210229"])
def test_a_date_that_is_none_is_named(date: str) -> None:
    """A symbol of the right form with a day that no calendar has is refused with that day."""
    said = why_not(f"SPY{date}C00380000")
    assert said == f"{date} is no date as YYMMDD; {OCC_SYMBOL_RULE}"


def test_a_leap_day_is_a_date() -> None:
    """The 29th of February is a day in 2024, and in 2000."""
    assert parse_occ("SPY240229C00380000").expiry == datetime.date(2024, 2, 29)
    assert parse_occ("SPY000229C00380000").expiry == datetime.date(2000, 2, 29)


def test_a_strike_of_zero_is_none() -> None:
    """A symbol of the right form without a strike is refused with that reason."""
    assert why_not("SPY220715C00000000") == f"a strike is above zero; {OCC_SYMBOL_RULE}"


@given(st.text(max_size=24) | st.from_regex(r"[A-Z]{1,6}[0-9]{6,7}[CPX][0-9]{8}", fullmatch=True))
def test_any_text_is_a_symbol_or_is_refused(text: str) -> None:
    """Whatever text comes is read back as it was, or refused with the rule."""
    if is_occ_symbol(text):
        assert name_of(parse_occ(text)) == text
    else:
        assert why_not(text).endswith(OCC_SYMBOL_RULE)


@pytest.mark.parametrize(
    ("root", "underlying"), [("SPY", "SPY"), ("AAPL1", "AAPL"), ("BRKB", "BRKB"), ("A9", "A")]
)
def test_the_underlying_as_far_as_the_root_tells(root: str, underlying: str) -> None:
    """An adjusted series is of the underlying without its digit."""
    assert parse_occ(f"{root}220715C00380000").underlying == underlying


@given(st.text("AZa1. ", max_size=8) | ROOTS)
def test_a_root_follows_the_grammar(text: str) -> None:
    """A root is what a symbol may begin with."""
    assert is_root(text) == is_occ_symbol(f"{text}220715C00380000")


def test_a_desk_reads_by_expiry_strike_right_and_root() -> None:
    """Contracts are in order of date, then strike as a number, then calls before puts, then root."""
    ordered = [
        "ZZ220715C00009000",
        "AA220715C00100000",
        "AA1220715C00100000",
        "AA220715P00100000",
        "AA220715C01000000",
        "AA220716C00001000",
        "AA230101C00001000",
    ]
    found = in_order([*ordered[3:], *reversed(ordered[:3])])
    assert [symbol for symbol, _ in found] == ordered
    assert [occ for _, occ in found] == [parse_occ(symbol) for symbol in ordered]


@given(st.lists(st.tuples(ROOTS, DATES, TYPES, THOUSANDTHS), max_size=8, unique=True))
def test_no_two_contracts_share_a_place(
    contracts: list[tuple[str, datetime.date, OptionType, int]],
) -> None:
    """The order tells any two contracts apart."""
    orders = {
        Occ(root, expiry, type_, Decimal(strike).scaleb(-3)).order
        for root, expiry, type_, strike in contracts
    }
    assert len(orders) == len(contracts)
