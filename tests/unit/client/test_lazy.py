"""Contracts of a chain are read when they are looked at."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import tickgate
from tests.unit.client import option_messages as own
from tickgate import _convert as convert
from tickgate.v1 import option_pb2


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, replace, lambda each: pickle.loads(pickle.dumps(each))]
)
def test_a_contract_is_a_value_before_it_is_looked_at(twin: Callable[[Any], Any]) -> None:
    """Copied, pickled, hashed, compared and printed it is what it would be if all of it had been read at once."""

    def unread() -> tickgate.OptionQuote:
        return convert.option_chain(own.HEADER, [own.CALL], None).option_quotes[0]

    whole = own.CHAIN_READ.option_quotes[0]
    assert twin(unread()) == whole == unread()
    assert hash(unread()) == hash(whole)
    assert repr(unread()) == repr(whole)
    assert not hasattr(unread(), "no_such_field")


def test_what_breaks_the_contract_in_a_chain_is_raised_where_it_is_looked_at() -> None:
    """A part that the contract rules out is a fault of the gateway that names the call, and harms no other part."""
    call = option_pb2.OptionQuote()
    call.CopyFrom(own.CALL)
    call.quote.bid.price.value = "much"
    (option,) = convert.option_chain(own.HEADER, [call], None, "mine").option_quotes
    assert option.quote is not None
    assert option.quote.ask is not None
    with pytest.raises(
        tickgate.GatewayError, match="breaks the contract: a price is 'much'"
    ) as caught:
        assert option.quote.bid
    assert caught.value.request_id == "mine"
