"""OCC symbols: every contract has one name, and no name is corrected."""

from __future__ import annotations

import datetime
import decimal
import random
from dataclasses import FrozenInstanceError, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickgate
from tickgate import Occ, OptionType

from .option_messages import OCC, SYMBOL

ROOTS = st.from_regex(r"[A-Z]{1,5}[0-9]?", fullmatch=True)
EXPIRIES = st.dates(min_value=datetime.date(2000, 1, 1), max_value=datetime.date(2099, 12, 31))
STRIKES = st.integers(min_value=1, max_value=99_999_999).map(
    lambda thousandths: Decimal(f"{thousandths // 1000}.{thousandths % 1000:03}")
)
CONTRACTS = st.builds(
    Occ,
    root=ROOTS,
    expiry=EXPIRIES,
    type=st.sampled_from([OptionType.CALL, OptionType.PUT]),
    strike=STRIKES,
)


@given(CONTRACTS)
def test_a_symbol_reads_back(contract: Occ) -> None:
    """What is written is read again as the same contract, and the symbol is the only one it has."""
    assert Occ.parse(str(contract)) == contract
    assert str(Occ.parse(contract.symbol)) == contract.symbol
    assert hash(Occ.parse(str(contract))) == hash(contract)


@given(CONTRACTS)
def test_a_symbol_has_its_form(contract: Occ) -> None:
    """Root, date, C or P, and the strike times 1,000 as 8 digits."""
    tail = f"{contract.expiry:%y%m%d}{contract.type[0]}{int(contract.strike * 1000):08}"
    assert str(contract) == contract.root + tail


@given(CONTRACTS)
def test_the_callers_arithmetic_changes_nothing(contract: Occ) -> None:
    """A decimal context with few digits, or one that traps, neither rounds a strike nor breaks it."""
    narrow = decimal.Context(prec=2, traps=[decimal.Inexact, decimal.Rounded])
    with decimal.localcontext(narrow):
        assert Occ.parse(str(contract)) == contract


def test_a_symbol_is_taken_apart() -> None:
    """A symbol says root, expiry, type and strike; a strike reads as people write it."""
    assert Occ.parse(SYMBOL) == OCC
    assert str(Occ.parse(SYMBOL).strike) == "380"
    assert str(Occ.parse("AAPL1220715P00012500").strike) == "12.5"
    assert str(Occ.parse("X991231P00100000").strike) == "100"
    assert Occ.parse("AAPL1220715P00012500").root == "AAPL1"


@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        ("SPY   220715C00380000", "it has no blanks, also where the root is short"),
        ("SPY220715C00380000\n", "it has no blanks"),
        ("spy220715C00380000", "its letters are capitals"),
        ("SPY220715c00380000", "its letters are capitals"),
        ("SPY220231C00380000", "220231 is no date as YYMMDD"),
        ("SPY221315C00380000", "221315 is no date as YYMMDD"),
        ("SPY2207A5C00380000", "its date is 6 digits, YYMMDD, not '2207A5'"),
        ("SPY220715X00380000", "before the strike stands C or P, not 'X'"),
        ("SPY220715C0038000A", "the strike times 1,000 is 8 digits, not '0038000A'"),
        ("SPY220715C0038000", "the strike times 1,000 is 8 digits, not '0038000'"),
        ("SPY220715C003800000", "the strike times 1,000 is 8 digits, not '003800000'"),
        ("SPY220715C0038\N{ARABIC-INDIC DIGIT ONE}000", "the strike times 1,000 is 8 digits"),
        ("SPY220715C00000000", "a strike is a multiple of 0.001 from 0.001 to 99999.999, not 0"),
        ("SPYSPY220715C00380000", "1 to 5 capital letters and at most one digit, not 'SPYSPY'"),
        ("SPY12220715C00380000", "at most one digit, not 'SPY12'"),
        ("BRK.B220715C00380000", "at most one digit, not 'BRK.B'"),
        ("1220715C00380000", "at most one digit, not '1'"),
        ("220715C00380000", "it is root, date as YYMMDD, C or P"),
        ("AAPL", "such as SPY220715C00380000"),
        ("", "it is root"),
    ],
)
def test_what_is_no_symbol_says_why(symbol: str, said: str) -> None:
    """A wrong symbol is refused with the symbol and the very rule that it breaks."""
    with pytest.raises(ValueError, match="is no OCC symbol: ") as caught:
        Occ.parse(symbol)
    assert str(caught.value).startswith(repr(symbol))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        *(("root", root, "a root is 1 to 5") for root in ["", "spy", "ABCDEF", "A12", "1A", "A\n"]),
        *(
            ("strike", Decimal(strike), "a strike is a multiple of 0.001")
            for strike in ["0", "-1", "0.0005", "100000", "99999.9995", "NaN", "Infinity", "1E-9"]
        ),
        *(
            ("expiry", datetime.date(year, 1, 1), "in the years 2000 to 2099")
            for year in [1999, 2100]
        ),
        ("type", OptionType.UNRECOGNIZED, "a call or a put, not"),
    ],
)
def test_what_no_symbol_can_say_is_no_contract(field: str, value: Any, said: str) -> None:
    """A part that breaks its rule is refused when the contract is made."""
    with pytest.raises(ValueError, match=said):
        replace(OCC, **{field: value})


def test_a_strike_may_be_written_in_any_way() -> None:
    """The same number is the same strike, whatever its digits."""
    for strike in ("380", "380.000", "380.00000", "3.8E+2"):
        contract = replace(OCC, strike=Decimal(strike))
        assert contract == OCC
        assert str(contract) == SYMBOL
    assert str(replace(OCC, strike=Decimal("0.001"))) == "SPY220715C00000001"
    assert str(replace(OCC, strike=Decimal("99999.999"))) == "SPY220715C99999999"


def test_contracts_stand_in_the_order_of_a_chain() -> None:
    """By expiry, strike, calls first, root."""
    ordered = [
        "SPY220715C00099500",
        "SPY220715C00380000",
        "SPY1220715C00380000",
        "SPY220715P00380000",
        "SPY220715C00380500",
        "AAPL220716C00001000",
    ]
    contracts = [Occ.parse(symbol) for symbol in ordered]
    shuffled = random.Random(1).sample(contracts, len(contracts))
    assert list(map(str, sorted(shuffled))) == ordered


def test_a_contract_is_a_value() -> None:
    """It is frozen, hashable, and prints as its symbol."""
    assert len({OCC, Occ.parse(SYMBOL)}) == 1
    assert f"{OCC}" == SYMBOL
    with pytest.raises(FrozenInstanceError):
        OCC.root = "QQQ"  # type: ignore[misc]  # what is tested
    assert tickgate.Occ is Occ
