"""Values that arrived live, against those that are held: which take the place of which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from ....market.columns import Block
from ....market.series import SeriesKind
from .rows_in import line
from .tables import Table

Values: TypeAlias = tuple[Any, ...]
"""The fields of a value, in the table's order."""


class Row(Struct):
    """A value, held or new."""

    time: int
    ordinal: int
    values: Values
    known_from: int
    known_until: int | None = None
    write: int | None = None
    receive_time: int | None = None
    is_new: bool = True


class Recording:
    """What a batch changes in a series."""

    def __init__(self, table: Table, held: Iterable[Row]) -> None:
        """Begin with what is *held* at the times of the batch."""
        self._table = table
        self._now: dict[int, list[Row]] = {}
        for row in held:
            self._now.setdefault(row.time, []).append(row)
        # Two equal trades in one nanosecond are legal, so a value is held already only as often as it was.
        self._before = Counter(
            (row.time, row.values) for rows in self._now.values() for row in rows
        )
        self.new: list[Row] = []
        self.superseded: list[Row] = []
        """Values that were held, and now are so only until their `known_until`."""

        self.net: Counter[int] = Counter()
        """How many more values there are at an instant than before."""

    def add(self, row: Row) -> None:
        """Take *row*, which arrived after all that were added before."""
        twin = self._twin(row)
        if twin is not None:
            if twin.values != row.values and twin.known_from <= row.known_from:
                self._put(row, twin)
        elif self._before[row.time, row.values] > 0:
            self._before[row.time, row.values] -= 1
        else:
            there = self._now.setdefault(row.time, [])
            row.ordinal = max((other.ordinal for other in there), default=-1) + 1
            there.append(row)
            self.new.append(row)
            self.net[row.time] += 1

    def lines(self, series: int) -> Iterator[bytes]:
        """Yield what COPY takes for the new rows."""
        for row in sorted(self.new, key=lambda row: (row.time, row.ordinal)):
            kept = (
                series, row.time, row.ordinal, row.known_from, row.known_until, row.write, row.receive_time,
            )  # fmt: skip
            yield line(kept, row.values)

    def _put(self, row: Row, twin: Row) -> None:
        row.ordinal, twin.known_until = twin.ordinal, row.known_from
        there = self._now[row.time]
        there[there.index(twin)] = row
        self.new.append(row)
        if not twin.is_new:
            self.superseded.append(twin)

    def _twin(self, row: Row) -> Row | None:
        """Return the value that *row* would take the place of."""
        there = self._now.get(row.time, ())
        if self._table.kind is SeriesKind.BARS:
            return next(iter(there), None)
        if self._table.kind is SeriesKind.TRADES:
            number, exchange = self._identity(row)
            if number is not None:
                same = (one for one in there if self._identity(one) == (number, exchange))
                return next(same, None)
        return None

    def _identity(self, row: Row) -> tuple[Any, Any]:
        fields = self._table.fields
        return row.values[fields.index("id")], row.values[fields.index("exchange")]


def rows_of(table: Table, block: Block, write: int | None) -> Iterator[Row]:
    """Yield the rows of *block*, which came with the answer *write*, or by themselves."""
    columns = block.columns
    each = (
        [None] * len(block) if columns[name] is None else columns[name] for name in table.fields
    )
    received: Sequence[int] = block.receive_times or [block.origin.receive_time] * len(block)
    for time, receive_time, values in zip(
        block.times, received, zip(*each, strict=True), strict=True
    ):
        yield Row(
            time, 0, _alike(table, values), receive_time, None, write, None if write is not None else receive_time
        )  # fmt: skip


def held_row(table: Table, found: Sequence[Any]) -> Row:
    """Return a row that `Table.rows_at` has *found*."""
    time, ordinal, known_from, *values = found
    return Row(time, ordinal, _alike(table, values), known_from, is_new=False)


def _alike(table: Table, values: Sequence[Any]) -> Values:
    """Return *values* such that equal ones are equal, wherever they come from."""
    plain, lists = len(values) - len(table.lists), values[len(values) - len(table.lists) :]
    return (*values[:plain], *map(_list, lists))


def _list(codes: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if not codes:
        return None
    return (codes,) if isinstance(codes, str) else tuple(codes)
