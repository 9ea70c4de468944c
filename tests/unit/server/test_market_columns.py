"""Columns of the past: exact, canonical, and taken apart and put together without loss."""

from __future__ import annotations

from array import array
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tickgate_server.market.columns import (
    BarBlock,
    Block,
    Codes,
    Column,
    Counts,
    Decimals,
    Origin,
    TradeBlock,
    codes,
    counts,
    decimals,
    parse_decimals,
    part,
    reversed_block,
)
from tickgate_server.market.provenance import DataSource, Feed, Tier

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=6)  # fmt: skip
ODD_NUMBERS = st.decimals(allow_nan=False, allow_infinity=False)
PRICES = st.lists(st.none() | NUMBERS | ODD_NUMBERS, max_size=12)
COUNTS = st.lists(st.none() | st.integers(0, 2**63 - 1), max_size=12)
CODES = st.lists(st.none() | st.sampled_from(["", "Q", "V", " "]), max_size=12)
LISTS = st.lists(st.sampled_from([(), ("@",), ("@", "T"), ("T", "@")]), max_size=12)


def listed(column: Column | None, rows: int) -> list[object]:
    """The values of a column; a column that is left out has none in any row."""
    return [None] * rows if column is None else list(column)


# ------------------------------------------------------------------------------------- exactness


@given(PRICES)
def test_decimals_come_back_as_they_were(numbers: list[Decimal | None]) -> None:
    """A column of decimals gives back every number exactly, however far apart they are, and None for none."""
    column = decimals(numbers)
    assert (column is None) == (not any(number is not None for number in numbers))
    assert listed(column, len(numbers)) == numbers
    assert column is None or len(column) == len(numbers)


@given(PRICES)
def test_texts_make_the_column_of_their_numbers(numbers: list[Decimal | None]) -> None:
    """Numbers as JSON writes them become the very column that their decimals do."""
    texts = [None if number is None else str(number).encode() for number in numbers]
    plain = [None if number is None else f"{number:f}".encode() for number in numbers
             if number is None or abs(number.adjusted()) < 300]  # fmt: skip
    assert parse_decimals(texts) == decimals(numbers)
    assert listed(parse_decimals(plain), len(plain)) == [
        None if text is None else Decimal(text.decode()) for text in plain
    ]


@given(st.lists(NUMBERS, min_size=1, max_size=12), st.integers(1, 5))
def test_equal_numbers_make_equal_columns(numbers: list[Decimal], zeros: int) -> None:
    """Zeros that say nothing make no difference: a column has the fewest digits that hold it."""
    padded = [Decimal(f"{number:f}" + ("" if "." in f"{number:f}" else ".") + "0" * zeros)
              for number in numbers]  # fmt: skip
    column = decimals(padded)
    assert column == decimals([number.normalize() for number in numbers])
    assert column is not None
    assert column.wide is None
    assert column.exponent == min(0, *(_own_exponent(number) for number in numbers), 0)


def _own_exponent(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent if number else 0


@pytest.mark.parametrize(
    ("texts", "exponent", "values"),
    [
        ([b"498.33", b"498.4"], -2, [49833, 49840]),
        ([b"498.30", b"498.0"], -1, [4983, 4980]),
        ([b"5e2", b"7"], 0, [500, 7]),
        ([b"0", b"0.00", b"-0.5"], -1, [0, 0, -5]),
        ([b"1e-6", None], -6, [1, 0]),
        ([b"999999999999999999"], 0, [10**18 - 1]),
    ],
)
def test_what_columns_look_like(
    texts: list[bytes | None], exponent: int, values: list[int]
) -> None:
    """A column is integers and the power of ten that they count, the highest that holds all of them."""
    column = parse_decimals(texts)
    assert isinstance(column, Decimals)
    assert (column.exponent, list(column.values), column.wide) == (exponent, values, None)


@pytest.mark.parametrize(
    "texts",
    [
        [b"1000000000000000000"],
        [b"0.0000000000000000001"],
        [b"1e-300", b"1"],
        [b"1E+999999", b"1"],
        [b"1E-999999", None, b"2"],
        [b"123456789012", b"0.0000001"],
    ],
)
def test_numbers_that_do_not_fit_stay_whole(texts: list[bytes | None]) -> None:
    """Where one number of a column needs more digits than an integer has, all stay decimals, at once and exact."""
    column = parse_decimals(texts)
    assert isinstance(column, Decimals)
    assert column.wide == tuple(None if one is None else Decimal(one.decode()) for one in texts)
    assert (len(column), list(column.values)) == (len(texts), [])


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b'"1.5"', b"true", b"NaN", b"Infinity", b" 1", b"1,5", b"--1", b"+1", b".5",
     b"\xff", b"[1]", b"9" * 5000],
)  # fmt: skip
def test_what_is_no_number(text: bytes) -> None:
    """A text that writes no number makes no column."""
    with pytest.raises(ValueError, match=r"not a|Exceeds"):
        parse_decimals([b"1.5", text])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_only_finite_numbers_make_a_column(number: str) -> None:
    """What is no finite number makes no column."""
    with pytest.raises(ValueError, match="not a finite number"):
        decimals([Decimal(number)])


@given(COUNTS)
def test_counts_come_back_as_they_were(numbers: list[int | None]) -> None:
    """A column of counts gives back every number, and None where there is none."""
    assert listed(counts(numbers), len(numbers)) == numbers


@given(CODES | LISTS)
def test_codes_come_back_as_they_were(texts: list[str | tuple[str, ...] | None]) -> None:
    """A column of codes gives back every code or list of codes; an empty one is none."""
    column = codes(texts)
    assert listed(column, len(texts)) == [text or None for text in texts]
    assert column is None or len(set(column.known)) == len(column.known)


# ----------------------------------------------------------------------- parts, reverses, joints


def origin(received: int = 7, request: str = "up-1") -> Origin:
    """Where a block came from."""
    return Origin(DataSource.SANDBOX, Feed.SIP, received, request, Tier.UPSTREAM)


COLUMNS = st.one_of(PRICES.map(decimals), COUNTS.map(counts), CODES.map(codes))


@given(COLUMNS, st.data())
def test_a_part_is_its_rows(column: Column | None, data: st.DataObject) -> None:
    """A part of a column holds the rows of its range, whatever kind it is."""
    assume(column is not None)
    assert column is not None
    start = data.draw(st.integers(0, len(column)))
    end = data.draw(st.integers(start, len(column)))
    assert list(column.part(start, end)) == list(column)[start:end]
    assert len(column.part(start, end)) == end - start


@given(COLUMNS)
def test_a_reverse_is_the_other_order(column: Column | None) -> None:
    """A reverse has the same rows in the other order, and its reverse is the column."""
    assume(column is not None)
    assert column is not None
    assert list(column.reverse()) == list(column)[::-1]
    assert column.reverse().reverse() == column


TRADES = st.lists(
    st.tuples(
        st.integers(0, 50), NUMBERS, st.none() | st.integers(0, 900),
        st.sampled_from([None, "Q", "V"]), st.sampled_from([(), ("@",), ("@", "T")]),
        st.none() | st.integers(1, 99),
    ),
    min_size=1, max_size=8,
)  # fmt: skip
Rows = list[tuple[int, Decimal, int | None, str | None, tuple[str, ...], int | None]]


def trades(rows: Rows, received: int = 7, request: str = "up-1") -> TradeBlock:
    """A block of trades."""
    price = decimals([row[1] for row in rows])
    assert price is not None
    return TradeBlock(
        origin=origin(received, request),
        times=array("q", sorted(row[0] for row in rows)),
        price=price,
        size=counts([row[2] for row in rows]),
        exchange=codes([row[3] for row in rows]),
        conditions=codes([row[4] for row in rows]),
        id=counts([row[5] for row in rows]),
        tape=None,
        amendment=None,
    )


def table(block: Block) -> list[tuple[object, ...]]:
    """The rows of a block."""
    received = block.receive_times or [block.origin.receive_time] * len(block)
    every = [listed(column, len(block)) for column in block.columns.values()]
    return list(zip(block.times, received, *every, strict=True))


@given(TRADES, st.data())
def test_parts_of_a_block(rows: Rows, data: st.DataObject) -> None:
    """A block cut anywhere is the same rows of the same origin."""
    block = trades(rows)
    cut = data.draw(st.integers(0, len(block)))
    pieces = [part(block, 0, cut), part(block, cut, len(block))]
    assert [row for piece in pieces for row in table(piece)] == table(block)
    assert {piece.origin for piece in pieces} == {block.origin}


@given(TRADES)
def test_the_reverse_of_a_block(rows: Rows) -> None:
    """A block in the other order has all of its columns in the other order."""
    block = trades(rows)
    assert table(reversed_block(block)) == table(block)[::-1]
    assert reversed_block(reversed_block(block)) == block


def test_a_part_of_everything_is_the_block_itself() -> None:
    """Nothing is copied where nothing is cut."""
    price = decimals([Decimal(1)])
    assert price is not None
    block = BarBlock(
        origin=origin(), times=array("q", [1]), open=price, high=price, low=price, close=price,
        volume=None, trade_count=None, vwap=None, receive_times=array("q", [5]),
    )  # fmt: skip
    assert part(block, 0, 1) is block
    assert part(block, 1, 1).receive_times == array("q")
    assert isinstance(codes(["Q"]), Codes)
    assert isinstance(counts([1]), Counts)
