"""Enums: the same words as the contract's, and open to the words of tomorrow."""

from __future__ import annotations

from typing import Any

import pytest

import tickgate
from tickgate import _convert as convert

REQUEST_ONLY = {
    *(tickgate.View, tickgate.OptionView, tickgate.CodeKind, tickgate.ValueKind, tickgate.Sort),
}


def name_of(twin: convert._Twin[Any]) -> str:
    """Name a pair after the contract's enum."""
    return str(twin._wire.DESCRIPTOR.name)


@pytest.mark.parametrize("twin", convert.TWINS, ids=name_of)
def test_every_word_of_the_contract_is_known(twin: convert._Twin[Any]) -> None:
    """Each number of the contract's enum reads as the member of its name and writes back."""
    for name, number in twin._wire.items():
        if number:
            member = twin.member(number)
            assert name == f"{twin._prefix}{member.name}"
            assert member == member.name
            assert twin.number(member) == number


@pytest.mark.parametrize("twin", convert.TWINS, ids=name_of)
def test_no_word_is_made_up(twin: convert._Twin[Any]) -> None:
    """A Python enum has the contract's words, and UNRECOGNIZED where the gateway sends it."""
    python = type(twin.member(1))
    contract = {name.removeprefix(twin._prefix) for name, number in twin._wire.items() if number}
    extra = set() if python in REQUEST_ONLY else {"UNRECOGNIZED"}
    assert set(python.__members__) == contract | extra


@pytest.mark.parametrize("number", [0, 99, -1])
def test_a_number_of_tomorrow_is_unrecognized(number: int) -> None:
    """A number that this client has no name for is not a reason to fail."""
    for twin in convert.TWINS:
        if type(twin.member(1)) not in REQUEST_ONLY:
            assert twin.member(number).name == "UNRECOGNIZED"


def test_the_unrecognized_cannot_be_asked_for() -> None:
    """UNRECOGNIZED stands for no number, so it cannot be sent."""
    with pytest.raises(ValueError, match="'UNRECOGNIZED' is no Feed: there are SIP"):
        convert.FEED.number(tickgate.Feed.UNRECOGNIZED)


@pytest.mark.parametrize("members", ["SPLIT", tickgate.Adjustment.SPLIT, None, 7])
def test_one_word_is_not_several(members: Any) -> None:
    """A member where a list is due is never taken for the list of its letters, and the sentence shows a list."""
    with pytest.raises(TypeError, match=r"given in a list, such as \[SPLIT\], not "):
        convert.ADJUSTMENT.numbers(members)


def test_a_word_reads_as_itself() -> None:
    """In a log line or an f-string a member is its own name."""
    assert f"{tickgate.Feed.DELAYED_SIP}" == "DELAYED_SIP"
    assert tickgate.Reason("NO_DATA") is tickgate.Reason.NO_DATA
