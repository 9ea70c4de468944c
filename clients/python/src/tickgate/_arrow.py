"""Columns of the past as Arrow takes them. Needs pyarrow, from the extra `arrow`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from . import _exact as exact
from ._chunks import Kind, first_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .v1 import history_pb2 as pb

TIME = pa.timestamp("ns", tz="UTC")

TYPES: dict[Kind, Any] = {
    Kind.TEXT: pa.string(),
    Kind.TIME: TIME,
    Kind.PRICE: pa.float64(),
    Kind.COUNT: pa.int64(),
    Kind.ID: pa.uint64(),
    Kind.CODE: pa.string(),
    Kind.CODES: pa.list_(pa.string()),
}


def _integers(column: Any, kind: Any) -> Any:
    """The integers of a column; a slice of a repeated field is a list, and comes quicker than its items."""
    values = column.values[:]
    for row in column.unset_rows:
        values[row] = None
    return pa.array(values, kind)


def times(column: pb.TimeColumn) -> Any:
    """Instants."""
    since = pc.cumulative_sum(pa.array(column.deltas[:], pa.int64()))
    return pc.add(pc.multiply(since, 10**column.exponent), first_ns(column)).cast(TIME)


def same_time(ns: int, count: int) -> Any:
    """The same instant for each row."""
    return pa.repeat(pa.scalar(ns, pa.int64()), count).cast(TIME)


def floats(column: pb.DecimalColumn) -> Any:
    """Prices as the nearest floating-point numbers."""
    if exact.divisible(column):
        values = _integers(column, pa.int64())
        ends = pc.min_max(values).as_py()
        if max(abs(ends["min"] or 0), abs(ends["max"] or 0)) <= exact.EXACT:
            return pc.divide(values.cast(pa.float64()), float(10**-column.exponent))
    return pa.array(exact.floats(column), pa.float64())


def decimals(column: pb.DecimalColumn | None, count: int, scale: int) -> Any:
    """Prices as they are, with *scale* digits behind the point."""
    dtype = pa.decimal128(exact.DIGITS, scale)
    if column is None:
        return pa.nulls(count, dtype)
    if exact.shiftable(column, scale):
        # A decimal is an integer and a scale: the same integers under another scale are other numbers.
        whole = _integers(column, pa.int64()).cast(pa.decimal128(exact.DIGITS, 0))
        own = pa.decimal128(exact.DIGITS, -column.exponent)
        return pa.Array.from_buffers(own, count, whole.buffers(), whole.null_count).cast(dtype)
    return pa.array(exact.numbers(column), dtype)


def counts(column: pb.CountColumn) -> Any:
    """Whole numbers, signed: a difference of two volumes may be negative."""
    return _integers(column, pa.int64())


def ids(column: pb.CountColumn) -> Any:
    """Whole numbers of all 64 bits."""
    return _integers(column, pa.uint64())


def codes(column: pb.TextColumn) -> Any:
    """Codes, null where a row has none."""
    return pa.array([None, *column.codes], pa.string()).take(_places(column))


def lists(column: pb.TextsColumn) -> Any:
    """Lists of codes, empty where a row has none."""
    known = [[], *(list(each.codes) for each in column.lists)]
    return pa.array(known, TYPES[Kind.CODES]).take(_places(column))


def _places(column: pb.TextColumn | pb.TextsColumn) -> Any:
    return pa.array(column.places[:], pa.uint32())


def nothing(kind: Kind, count: int) -> Any:
    """A column that no row has a value for."""
    absent = pa.scalar([] if kind is Kind.CODES else None, TYPES[kind])
    return pa.repeat(absent, count)


def repeated(word: str | None, count: int) -> Any:
    """The same word for each row."""
    return pa.repeat(pa.scalar(word, pa.string()), count)


def joined(kind: Kind, parts: Sequence[Any]) -> Any:
    """The parts of a column, one after the other."""
    return pa.chunked_array(parts, TYPES[kind])


def joined_decimals(parts: Sequence[Any], scale: int) -> Any:
    """The parts of a column of exact prices."""
    return pa.chunked_array(parts, pa.decimal128(exact.DIGITS, scale))


def table(columns: Mapping[str, Any]) -> pa.Table:
    """The columns as a table."""
    return pa.table(dict(columns))
