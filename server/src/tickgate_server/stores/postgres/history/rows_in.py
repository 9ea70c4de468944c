"""Values on their way into PostgreSQL: lines of text, as COPY reads them.

Text is quicker here than COPY's binary form: a price is written as an integer and a power of ten, which PostgreSQL puts
together itself, exactly, and Python formats a row of integers at once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import repeat
from typing import Any, Final

from msgspec import Struct

from ....market.columns import Block, Codes, Column, Counts, Decimals, part
from ....market.interval import Interval
from .tables import Table

_SLICE: Final = 1000
"""Rows that are written out before others get the event loop: about a millisecond."""

_UNSET: Final = r"\N"
_ESCAPED: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_QUOTED: Final = str.maketrans({"\\": r"\\", '"': r"\""})


class Destination(Struct, frozen=True):
    """What rows get besides their values."""

    series: int
    known_from: int
    """Nanoseconds."""

    write: int | None
    """Id of the answer that brought them; None where each says itself when it was received."""


def cut(block: Block, interval: Interval) -> Block | None:
    """Return the rows of *block*, which is oldest first, that lie in *interval*, or None when there are none."""
    start = bisect_left(block.times, interval.start)
    end = bisect_left(block.times, interval.end)
    return part(block, start, end) if start < end else None


def lines(table: Table, blocks: Iterable[tuple[Block, Destination]]) -> Iterator[bytes]:
    """Yield what COPY takes for *blocks*, oldest first, some rows at a time."""
    last, ordinal = None, -1
    for block, destination in blocks:
        for start in range(0, len(block), _SLICE):
            some = part(block, start, start + _SLICE)
            ordinals = _ordinals(some.times, last, ordinal)
            last, ordinal = some.times[-1], ordinals[-1]
            yield _text(table, some, ordinals, destination).encode("utf-8", "surrogatepass")


def line(kept: Sequence[int | None], values: Sequence[Any]) -> bytes:
    """Return what COPY takes for one row: what each table has, and then the values of its fields."""
    texts = [_UNSET if one is None else str(one) for one in kept]
    texts += map(_field, values)
    return ("\t".join(texts) + "\n").encode("utf-8", "surrogatepass")


def _ordinals(times: array[int], last: int | None, ordinal: int) -> array[int]:
    """Return the place of each row among those of its time, of which *last* has had one up to *ordinal*."""
    if len(set(times)) == len(times) and times[0] != last:
        return array("q", bytes(8 * len(times)))
    found = array("q")
    for time in times:
        ordinal = ordinal + 1 if time == last else 0
        last = time
        found.append(ordinal)
    return found


def _text(table: Table, block: Block, ordinals: array[int], to: Destination) -> str:
    write, received = str(to.write), _UNSET
    columns: list[Iterable[Any]] = [block.times, ordinals]
    if to.write is None:
        write, received = _UNSET, "%d"
        columns.append(block.receive_times or repeat(block.origin.receive_time))
    formats = [str(to.series), "%d", "%d", str(to.known_from), _UNSET, write, received]
    named = block.columns
    for name in table.fields:
        form, values = _format(named[name])
        formats.append(form)
        if values is not None:
            columns.append(values)
    row = "\t".join(formats) + "\n"
    # Of a column that has but one value there is no end.
    return "".join([row % values for values in zip(*columns, strict=False)])


def _format(column: Column | None) -> tuple[str, Iterable[Any] | None]:
    """Return how a value of *column* is written, and the values, None where all are the same."""
    match column:
        case None:
            return _UNSET, None
        case Codes():
            texts = [_UNSET, *map(_field, column.known)]
            return "%s", map(texts.__getitem__, column.places)
        case Counts():
            return ("%s", map(_field, column)) if column.unset else ("%d", column.values)
        case Decimals():
            if column.wide is not None or column.unset:
                return "%s", map(_field, column)
            return f"%de{column.exponent}", column.values


def _field(value: Any) -> str:
    if value is None or value == ():
        return _UNSET
    if isinstance(value, tuple):
        return _list(value)
    if isinstance(value, str):
        return value.translate(_ESCAPED)
    assert isinstance(value, int | Decimal)
    return str(value)


def _list(codes: tuple[str, ...]) -> str:
    quoted = (f'"{code.translate(_QUOTED)}"' for code in codes)
    return f"{{{','.join(quoted)}}}".translate(_ESCAPED)
