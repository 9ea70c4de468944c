"""Where columns of integers do not do: numbers of many digits, one by one. Knows no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._chunks import prices

if TYPE_CHECKING:
    from decimal import Decimal

    from .v1 import history_pb2 as pb

EXACT = 2**53
"""Integers up to here are floating-point numbers themselves."""

LARGEST_POWER = 22
"""So are powers of ten up to this one: a quotient of two such is rounded once, and correctly."""

DIGITS = 38
"""Digits of the widest decimals that tables hold."""

_DIGITS_OF_INTEGER = 19


def divisible(column: pb.DecimalColumn) -> bool:
    """Whether a column may be divided as a whole: its integers are small, and it counts parts of a dollar."""
    return not column.decimals and -LARGEST_POWER <= column.exponent <= 0


def shiftable(column: pb.DecimalColumn, scale: int) -> bool:
    """Whether a column of integers fits a table's decimals at *scale* as a whole."""
    return not column.decimals and column.exponent <= 0 and scale + _DIGITS_OF_INTEGER <= DIGITS


def floats(column: pb.DecimalColumn) -> list[float | None]:
    """The floating-point numbers that are nearest to those of a column."""
    return [None if number is None else float(number) for number in prices(column)]


def numbers(column: pb.DecimalColumn) -> list[Decimal | None]:
    """The numbers of a column."""
    return prices(column)
