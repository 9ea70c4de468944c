"""Columns on the wire: the very numbers, times and codes, each where it belongs."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate.v1 import history_pb2, provenance_pb2
from tickgate_server.market.bar import Bar
from tickgate_server.market.columns import (
    BarBlock,
    Block,
    Origin,
    QuoteBlock,
    TradeBlock,
    codes,
    counts,
    decimals,
    part,
    reversed_block,
)
from tickgate_server.market.history_rows import rows
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import SeriesKind
from tickgate_server.market.time import NANOS
from tickgate_server.rpc import encode_history
from tickgate_server.rpc.convert import Moment

from ...support.fakes import NOW
from ...support.history_wire import value_of, values_of

MOMENT = Moment("call-1", NOW + 9, 1002.5, NOW + 7, None)
ORIGIN = Origin(DataSource.SANDBOX, Feed.SIP, NOW - 5, "up-1", Tier.STORE)
MINUTE = 60 * NANOS

PRICES = st.decimals(Decimal("0.0001"), Decimal(99999), places=4) | st.sampled_from(
    ["0.10", "1E+2", "498.33", "0.00000000000000000001", "123456789.12345678901234567890"]
).map(Decimal)
COUNTS = st.integers(0, 2**63 - 1) | st.integers(0, 900)
CODES = st.sampled_from(["A", "Q", "", "@", "TI"])
LISTS = st.lists(CODES, max_size=3).map(tuple)


def column(values: st.SearchStrategy[Any], count: int) -> st.SearchStrategy[list[Any]]:
    """As many values, some missing."""
    return st.lists(st.none() | values, min_size=count, max_size=count)


def all_of(numbers: Sequence[Decimal]) -> Any:
    """A column without holes."""
    return decimals(numbers)


@st.composite
def blocks(draw: st.DrawFn, most: int = 40) -> Block:
    """Blocks of every kind, of which any subset of values is there, in either order."""
    count = draw(st.integers(1, most))
    kind = draw(st.sampled_from([BarBlock, TradeBlock, QuoteBlock]))
    unit = draw(st.sampled_from([1, 1000, NANOS, MINUTE]))
    least = 1 if kind is BarBlock else 0
    steps = draw(st.lists(st.integers(least, 4), min_size=count, max_size=count))
    times = array("q", (NOW + step * unit for step in accumulate(steps)))
    received = draw(st.none() | st.lists(st.integers(0, 2**61), min_size=count, max_size=count))
    known: dict[str, Any] = {"origin": ORIGIN, "times": times}
    if received is not None:
        known["receive_times"] = array("q", received)
    full = st.lists(PRICES, min_size=count, max_size=count)
    if kind is BarBlock:
        known |= {name: all_of(draw(full)) for name in ("open", "high", "low", "close")}
        known |= {name: counts(draw(column(COUNTS, count))) for name in ("volume", "trade_count")}
        known["vwap"] = decimals(draw(column(PRICES, count)))
    elif kind is TradeBlock:
        known["price"] = all_of(draw(full))
        known |= {name: counts(draw(column(COUNTS, count))) for name in ("size", "id")}
        known |= {
            name: codes(draw(column(CODES, count))) for name in ("exchange", "tape", "amendment")
        }
        known["conditions"] = codes(draw(column(LISTS, count)))
    else:
        for side in ("bid", "ask"):
            prices = draw(column(PRICES, count))
            there = [price is not None for price in prices]
            known[f"{side}_price"] = decimals(prices)
            known[f"{side}_size"] = counts(_where(there, draw(column(COUNTS, count))))
            known[f"{side}_exchange"] = codes(_where(there, draw(column(CODES, count))))
        known["conditions"] = codes(draw(column(LISTS, count)))
        known["tape"] = codes(draw(column(CODES, count)))
    block: Block = kind(**known)
    return reversed_block(block) if draw(st.booleans()) else block


def _where(there: list[bool], values: list[Any]) -> list[Any]:
    return [value if here else None for here, value in zip(there, values, strict=True)]


@given(blocks(), st.data())
def test_what_is_encoded_is_what_is_read(block: Block, data: st.DataObject) -> None:
    """Any part of any block, read by the contract's words, gives the same values, digit for digit."""
    start = data.draw(st.integers(0, len(block) - 1))
    some = part(block, start, data.draw(st.integers(start + 1, len(block))))
    message = encode_history.chunk(some, "c", MOMENT)
    read = type(message).FromString(message.SerializeToString())
    assert (read.count, read.cursor) == (len(some), "c")
    assert values_of(read, "AAPL") == list(rows(some, "AAPL"))


@given(blocks())
def test_a_column_holds_no_more_than_its_rows(block: Block) -> None:
    """A column without a value is unset, and codes that no row has are not sent."""
    for row in range(len(block)):
        some = part(block, row, row + 1)
        message = encode_history.chunk(some, "", MOMENT)
        for name, values in some.columns.items():
            there = values is not None and any(value is not None for value in values)
            assert message.HasField(name) == there  # type: ignore[arg-type]  # each has it
            sent = getattr(message, name)
            if isinstance(sent, history_pb2.TextColumn):
                assert len(sent.codes) == there
            if isinstance(sent, history_pb2.TextsColumn):
                assert len(sent.lists) == there


@given(blocks())
def test_rows_say_the_same_as_columns(block: Block) -> None:
    """A row is the value that its place in the columns is, with origin, tier and age."""
    kinds = {BarBlock: "bars", TradeBlock: "trades", QuoteBlock: "quotes"}
    shape = encode_history.SHAPES[SeriesKind(kinds[type(block)])]
    encoded = [encode_history.row(shape, value, Tier.STORE, MOMENT) for value in rows(block, "A")]
    result = encode_history.page_result(shape, "A", encoded, None)
    answer = shape.response.FromString(encode_history.response(shape, [result], "next"))
    assert answer.next_page_token == "next"
    (page,) = answer.results
    assert page.symbol == "A"
    told = getattr(page.page, kinds[type(block)])
    assert [value_of(one) for one in told] == list(rows(block, "A"))
    for one in told:
        said = one.provenance
        assert said.served_from == provenance_pb2.TIER_STORE
        assert said.serve_time.ToNanoseconds() == MOMENT.wall
        assert said.event_age.ToNanoseconds() == MOMENT.market - said.event_time.ToNanoseconds()
        receive_age = MOMENT.wall - said.receive_time.ToNanoseconds()
        assert said.receive_age.ToNanoseconds() == max(0, receive_age)
        assert not one.rule_flags


def bars(*starts: int, **changed: Any) -> BarBlock:
    """Bars that begin at *starts*."""
    price = all_of([Decimal("498.33")] * len(starts))
    known: dict[str, Any] = {
        "origin": ORIGIN,
        "times": array("q", starts),
        "open": price,
        "high": price,
        "low": price,
        "close": price,
        "volume": None,
        "trade_count": None,
        "vwap": None,
    }
    return BarBlock(**(known | changed))


@pytest.mark.parametrize(
    ("steps", "exponent", "deltas"),
    [
        ([0, MINUTE, 2 * MINUTE], 10, [0, 6, 6]),
        ([0, 1, 11], 0, [0, 1, 10]),
        ([0, 100, 300], 2, [0, 1, 2]),
        ([3 * NANOS, 2 * NANOS, 0], 9, [0, -1, -2]),
        ([0], 0, [0]),
        ([5, 5, 5], 0, [0, 0, 0]),
        ([0, 24 * 3600 * NANOS], 11, [0, 864]),
    ],
)
def test_times_are_counted_in_the_largest_unit(
    steps: list[int], exponent: int, deltas: list[int]
) -> None:
    """Deltas are counted in the largest power of ten that divides all of them, so that they are short."""
    sent = encode_history.chunk(bars(*(NOW + step for step in steps)), "", MOMENT)
    assert isinstance(sent, history_pb2.BarChunk)
    assert sent.start_times.exponent == exponent
    assert list(sent.start_times.deltas) == deltas


def test_numbers_of_many_digits_travel_as_text() -> None:
    """A column of which one number does not fit into 64 bits travels as decimals, a row without a value as none."""
    numbers = [Decimal("1E-20"), None, Decimal(99999)]
    block = bars(NOW, NOW + 1, NOW + 2, vwap=decimals(numbers))
    sent = encode_history.chunk(block, "", MOMENT)
    assert isinstance(sent, history_pb2.BarChunk)
    assert [one.value for one in sent.vwap.decimals] == ["0.00000000000000000001", "", "99999"]
    assert not sent.vwap.values
    assert [bar.vwap for bar in values_of(sent, "A") if isinstance(bar, Bar)] == numbers


def test_a_chunk_says_where_it_came_from() -> None:
    """All rows of a chunk have one origin, and the tier and the moment that served it; times stand with the rows."""
    said = encode_history.chunk(bars(NOW), "", MOMENT).provenance
    assert said.source == provenance_pb2.DATA_SOURCE_SANDBOX
    assert said.feed == provenance_pb2.FEED_SIP
    assert said.served_from == provenance_pb2.TIER_STORE
    assert said.upstream_request_id == "up-1"
    assert said.receive_time.ToNanoseconds() == NOW - 5
    assert said.serve_time.ToNanoseconds() == MOMENT.wall
    assert said.receive_age.ToNanoseconds() == 14
    assert said.feed_delay.ToNanoseconds() == 0
    for field in ("event_time", "event_age"):
        assert not said.HasField(field)


def test_rows_that_came_by_themselves_have_their_own_times() -> None:
    """What was recorded live says of each row when it was received, and of all of them nothing."""
    block = replace(bars(NOW, NOW + 1), receive_times=array("q", [NOW + 3, NOW + 2]))
    sent = encode_history.chunk(block, "", MOMENT)
    assert [value.provenance.receive_time for value in values_of(sent, "A")] == [NOW + 3, NOW + 2]
    for field in ("receive_time", "receive_age"):
        assert not sent.provenance.HasField(field)


def test_options_belong_to_no_feed() -> None:
    """The past of options is kept on no feed in particular, and says so by leaving it out."""
    block = replace(bars(NOW), origin=replace(ORIGIN, feed=None))
    assert not encode_history.chunk(block, "", MOMENT).provenance.HasField("feed")
