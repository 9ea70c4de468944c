"""Columns of the past as pandas takes them. Needs pandas, from the extra of that name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import _exact as exact
from ._chunks import Kind, first_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .v1 import history_pb2 as pb

Part = Any
"""A part of a column: a numpy array, or an array of pandas where numpy's cannot say that something is absent."""


def times(column: pb.TimeColumn) -> Part:
    """Instants, as integers until they are joined."""
    since = np.array(column.deltas[:], dtype=np.int64).cumsum() * 10**column.exponent
    return since + first_ns(column)


def same_time(ns: int, count: int) -> Part:
    """The same instant for each row."""
    return np.full(count, ns, dtype=np.int64)


def floats(column: pb.DecimalColumn) -> Part:
    """Prices as the nearest floating-point numbers, NaN where there is none."""
    if exact.divisible(column):
        values = np.array(column.values[:], dtype=np.int64)
        if max(-int(values.min()), int(values.max())) <= exact.EXACT:
            found = values / float(10**-column.exponent)
            found[column.unset_rows[:]] = np.nan
            return found
    return np.array(
        [np.nan if each is None else each for each in exact.floats(column)], dtype=np.float64
    )


def decimals(column: pb.DecimalColumn | None, count: int, _: int) -> Part:
    """Prices as they are: objects, each with its own digits."""
    found = np.full(count, None, dtype=object)
    if column is not None:
        found[:] = exact.numbers(column)
    return found


def counts(column: pb.CountColumn) -> Part:
    """Whole numbers, signed: a difference of two volumes may be negative."""
    return _integers(column, np.int64)


def ids(column: pb.CountColumn) -> Part:
    """Whole numbers of all 64 bits."""
    return _integers(column, np.uint64)


def _integers(column: pb.CountColumn, dtype: Any) -> Part:
    absent = np.zeros(len(column.values), dtype=bool)
    absent[column.unset_rows[:]] = True
    return pd.arrays.IntegerArray(np.array(column.values[:], dtype=dtype), absent)


def codes(column: pb.TextColumn) -> Part:
    """Codes, absent where a row has none."""
    return _objects([None, *column.codes])[np.array(column.places[:], dtype=np.intp)]


def lists(column: pb.TextsColumn) -> Part:
    """Lists of codes, empty where a row has none."""
    known = _objects([[], *(list(each.codes) for each in column.lists)])
    return known[np.array(column.places[:], dtype=np.intp)]


def _objects(values: Sequence[object]) -> Part:
    found = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        found[place] = value
    return found


def nothing(kind: Kind, count: int) -> Part:
    """A column that no row has a value for."""
    if kind is Kind.PRICE:
        return np.full(count, np.nan)
    if kind in (Kind.COUNT, Kind.ID):
        dtype = np.int64 if kind is Kind.COUNT else np.uint64
        return pd.arrays.IntegerArray(np.zeros(count, dtype=dtype), np.ones(count, dtype=bool))
    return _objects([[] if kind is Kind.CODES else None])[np.zeros(count, dtype=np.intp)]


def repeated(word: str | None, count: int) -> Part:
    """The same word for each row."""
    return np.full(count, word, dtype=object)


def joined(kind: Kind, parts: Sequence[Part]) -> Any:
    """The parts of a column, one after the other."""
    parts = parts or [np.empty(0, dtype=np.int64) if kind is Kind.TIME else nothing(kind, 0)]
    if kind in (Kind.COUNT, Kind.ID):
        return pd.concat([pd.Series(part) for part in parts], ignore_index=True)
    whole = np.concatenate(parts)
    if kind is Kind.TIME:
        return pd.Series(pd.to_datetime(whole, unit="ns", utc=True))
    return pd.Series(whole, dtype="str" if kind in (Kind.TEXT, Kind.CODE) else whole.dtype)


def joined_decimals(parts: Sequence[Part], _: int) -> Any:
    """The parts of a column of exact prices."""
    return pd.Series(np.concatenate(parts) if parts else np.empty(0, dtype=object))


def table(columns: Mapping[str, Any]) -> pd.DataFrame:
    """The columns as a frame."""
    return pd.DataFrame(columns)
