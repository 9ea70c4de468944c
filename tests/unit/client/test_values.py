"""Values: exact, absent where absent, and convenient beside."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

import tickgate
from tickgate import _convert as convert
from tickgate import _time
from tickgate.v1 import provenance_pb2, quote_pb2, trade_pb2

from . import messages

YEAR_10000 = 253_402_300_800 * messages.SECOND
INSTANTS = st.integers(min_value=0, max_value=YEAR_10000 - 1)
LENGTHS = st.integers(min_value=-(10**17), max_value=10**17)
PRICES = st.decimals(min_value=Decimal("0.000000001"), max_value=Decimal(10) ** 12, allow_nan=False)


def received(at_ns: int) -> provenance_pb2.Provenance:
    """A provenance whose event happened at that instant."""
    changed = provenance_pb2.Provenance()
    changed.CopyFrom(messages.PROVENANCE)
    changed.event_time.CopyFrom(messages.at(at_ns))
    return changed


@given(INSTANTS)
def test_an_instant_keeps_every_nanosecond(ns: int) -> None:
    """The integer is what the exchange stamped; the datetime is it, down to the microsecond."""
    provenance = convert.provenance(received(ns))
    assert provenance.event_time_ns == ns
    assert provenance.event_time is not None
    assert provenance.event_time.tzinfo is UTC
    since = provenance.event_time - datetime(1970, 1, 1, tzinfo=UTC)
    assert since // timedelta(microseconds=1) == ns // 1_000


@given(INSTANTS)
def test_an_instant_as_text_keeps_every_nanosecond(ns: int) -> None:
    """The text of an instant is the one that protobuf reads back to the same nanosecond."""
    again = Timestamp()
    again.FromJsonString(_time.rfc3339(ns))
    assert again.ToNanoseconds() == ns


@given(LENGTHS)
def test_a_length_of_time_keeps_every_nanosecond(ns: int) -> None:
    """An age may be negative, and is still exact as an integer."""
    message = received(0)
    message.event_age.FromNanoseconds(ns)
    provenance = convert.provenance(message)
    assert provenance.event_age_ns == ns
    assert provenance.event_age == timedelta(microseconds=ns // 1_000)


@given(LENGTHS)
def test_a_bound_is_sent_exactly(ns: int) -> None:
    """A timedelta in a request arrives to the microsecond, whatever its size."""
    bound = timedelta(microseconds=ns // 1_000)
    message = convert.duration(bound)
    assert message is not None
    assert message.ToNanoseconds() == ns // 1_000 * 1_000


def test_seconds_are_rounded_to_the_nearest_nanosecond() -> None:
    """A bound in seconds means the decimal number that was written, not its binary neighbour."""
    assert _time.nanoseconds(0.1) == 100_000_000
    assert _time.nanoseconds(2.3) == 2_300_000_000


@given(PRICES)
def test_a_price_is_the_number_that_was_sent(price: Decimal) -> None:
    """No digit of a price is lost or made up."""
    message = quote_pb2.QuoteSide(price=messages.dollars(str(price)))
    side = convert._side(message)
    assert side.price == price
    assert str(side.price) == str(price)


@pytest.mark.parametrize("text", ["", "abc", "NaN", "Infinity", "1,5"])
def test_what_is_no_number_is_no_price(text: str) -> None:
    """A price that is not a finite number breaks the contract and is never passed on."""
    with pytest.raises(convert.BrokenContract):
        convert._side(quote_pb2.QuoteSide(price=messages.dollars(text)))


def test_zero_and_absent_differ() -> None:
    """A size of zero was sent; an absent one is None."""
    bare = trade_pb2.Trade(
        symbol="AAPL", price=messages.dollars("1"), provenance=messages.PROVENANCE
    )
    assert convert.trade(messages.TRADE).size == 0
    assert convert.trade(bare).size is None


def test_ok_tells_a_value_from_a_reason() -> None:
    """`ok` asks whether there is a value, of every kind that a batch returns."""
    results: list[tickgate.Quote | tickgate.Trade | tickgate.Snapshot | tickgate.Unavailable] = [
        messages.QUOTE_READ,
        messages.unavailable_read("ZZZZ"),
        messages.TRADE_READ,
        messages.SNAPSHOT_READ,
    ]
    assert [result.ok for result in results] == [True, False, True, True]


def test_results_read_well_in_a_match() -> None:
    """A match statement tells value from reason and takes the fields apart."""
    told = []
    for result in (messages.QUOTE_READ, messages.unavailable_read("ZZZZ")):
        match result:
            case tickgate.Quote(symbol=symbol, bid=tickgate.QuoteSide(price=bid)):
                told.append(f"{symbol} {bid}")
            case tickgate.Unavailable(symbol=symbol, reason=tickgate.Reason.TOO_STALE):
                told.append(f"{symbol} too stale")
    assert told == ["AAPL 182.05", "ZZZZ too stale"]


def test_values_are_frozen_and_hashable() -> None:
    """A value can be shared, kept in a set, and compared by content."""
    quote = messages.QUOTE_READ
    assert len({quote, replace(quote), messages.BARE_QUOTE_READ}) == 2
    with pytest.raises(FrozenInstanceError):
        quote.symbol = "MSFT"  # type: ignore[misc]  # what is tested


def test_a_status_is_looked_up_by_name() -> None:
    """One tier or one group of endpoints is found without a loop; what is not there is a KeyError."""
    status = messages.STATUS_READ
    assert status.tier(tickgate.Tier.REDIS) is status.tiers[0]
    assert status.upstream("alpaca.data", "latest") is status.upstreams[0]
    with pytest.raises(KeyError):
        status.tier(tickgate.Tier.STORE)
    with pytest.raises(KeyError):
        status.upstream("alpaca.data", "options")


def test_an_error_record_is_hashable_too() -> None:
    """A record with its context can stand in a set, and differs where its context differs."""
    record = messages.error_record_read(7)
    assert len({record, messages.error_record_read(7), replace(record, context={})}) == 2


def test_convenient_times_stand_beside_the_exact() -> None:
    """What may be absent is None in both forms."""
    why = messages.unavailable_read("ZZZZ")
    assert why.retry_delay == timedelta(seconds=2)
    assert replace(why, retry_delay_ns=None).retry_delay is None
    assert messages.LIST_PROVENANCE_READ.event_time is None
    assert messages.LIST_PROVENANCE_READ.feed_delay is None
    assert messages.PROVENANCE_READ.feed_delay == timedelta(0)


def test_what_no_tier_has_served_says_none() -> None:
    """Reference data names no tier, which is not a tier that this client is too old to know."""
    listed = provenance_pb2.Provenance()
    listed.CopyFrom(messages.PROVENANCE)
    listed.ClearField("served_from")
    assert convert.provenance(listed).served_from is None
