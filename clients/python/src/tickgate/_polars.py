"""Columns of the past as polars takes them. Needs polars, from the extra of that name."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from . import _exact as exact
from ._chunks import Kind, first_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .v1 import history_pb2 as pb

TIME = pl.Datetime("ns", "UTC")

TYPES: dict[Kind, Any] = {
    Kind.TEXT: pl.String(),
    Kind.TIME: TIME,
    Kind.PRICE: pl.Float64(),
    Kind.COUNT: pl.Int64(),
    Kind.ID: pl.UInt64(),
    Kind.CODE: pl.String(),
    Kind.CODES: pl.List(pl.String()),
}


def _integers(column: Any, dtype: Any) -> pl.Series:
    """The integers of a column; a slice of a repeated field is a list, and comes quicker than its items."""
    values = column.values[:]
    for row in column.unset_rows:
        values[row] = None
    return pl.Series(values, dtype=dtype)


def times(column: pb.TimeColumn) -> pl.Series:
    """Instants."""
    since = pl.Series(column.deltas[:], dtype=pl.Int64).cum_sum()
    instants: pl.Series = since * 10**column.exponent + first_ns(column)
    return instants.cast(TIME)


def same_time(ns: int, count: int) -> pl.Series:
    """The same instant for each row."""
    return pl.repeat(ns, count, dtype=pl.Int64, eager=True).cast(TIME)


def floats(column: pb.DecimalColumn) -> pl.Series:
    """Prices as the nearest floating-point numbers."""
    if exact.divisible(column):
        values = _integers(column, pl.Int64)
        lowest, highest = cast("tuple[int | None, int | None]", (values.min(), values.max()))
        # A column of nulls has neither.
        if lowest is None or highest is None or max(-lowest, highest) <= exact.EXACT:
            # By one number polars would not divide, but multiply by its inverse, which rounds twice: 65 / 10,000 would
            # be 0.006500000000000001. By a column it divides.
            unit = pl.repeat(10.0**-column.exponent, len(values), dtype=pl.Float64, eager=True)
            return values.cast(pl.Float64) / unit
    return pl.Series(exact.floats(column), dtype=pl.Float64)


def decimals(column: pb.DecimalColumn | None, count: int, scale: int) -> pl.Series:
    """Prices as they are, with *scale* digits behind the point."""
    dtype = pl.Decimal(exact.DIGITS, scale)
    if column is None:
        return pl.repeat(None, count, dtype=dtype, eager=True)
    if exact.shiftable(column, scale):
        # Multiplied by the cast and divided back: the quotient has as many digits as the type, and so is exact.
        values = _integers(column, pl.Int64).cast(pl.Decimal(exact.DIGITS, -column.exponent))
        whole = pl.Series([Decimal(10**-column.exponent)], dtype=pl.Decimal(exact.DIGITS, 0))
        return (values / whole).cast(dtype)
    return pl.Series(exact.numbers(column), dtype=dtype)


def counts(column: pb.CountColumn) -> pl.Series:
    """Whole numbers, signed: a difference of two volumes may be negative."""
    return _integers(column, pl.Int64)


def ids(column: pb.CountColumn) -> pl.Series:
    """Whole numbers of all 64 bits."""
    return _integers(column, pl.UInt64)


def codes(column: pb.TextColumn) -> pl.Series:
    """Codes, null where a row has none."""
    return _chosen(pl.Series([None, *column.codes], dtype=pl.String), column.places)


def lists(column: pb.TextsColumn) -> pl.Series:
    """Lists of codes, empty where a row has none."""
    known = [[], *(list(each.codes) for each in column.lists)]
    return _chosen(pl.Series(known, dtype=pl.List(pl.String)), column.places)


def _chosen(known: pl.Series, places: Any) -> pl.Series:
    return known.gather(pl.Series(places[:], dtype=pl.UInt32))


def nothing(kind: Kind, count: int) -> pl.Series:
    """A column that no row has a value for."""
    absent = pl.Series([[] if kind is Kind.CODES else None], dtype=TYPES[kind])
    return absent.new_from_index(0, count)


def repeated(word: str | None, count: int) -> pl.Series:
    """The same word for each row."""
    return pl.repeat(word, count, dtype=pl.String, eager=True)


def joined(kind: Kind, parts: Sequence[pl.Series]) -> pl.Series:
    """The parts of a column, one after the other."""
    return pl.concat(parts, rechunk=True) if parts else pl.Series([], dtype=TYPES[kind])


def joined_decimals(parts: Sequence[pl.Series], scale: int) -> pl.Series:
    """The parts of a column of exact prices."""
    dtype = pl.Decimal(exact.DIGITS, scale)
    return pl.concat(parts, rechunk=True) if parts else pl.Series([], dtype=dtype)


def table(columns: Mapping[str, pl.Series]) -> pl.DataFrame:
    """The columns as a frame."""
    return pl.DataFrame(columns)
