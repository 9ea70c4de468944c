"""Values on their way out of PostgreSQL: arrays of a whole block, which become columns without a look at each value."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import psycopg
from msgspec import Struct, json
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format

from ....market.columns import Block, Codes, Counts, Decimals, Origin, codes, decimals, part
from ....market.provenance import DataSource, Feed, Tier
from .tables import Table

_BIGINTS: Final = 1016
"""Number of the type bigint[] in PostgreSQL."""

_HEAD: Final = struct.Struct("!iiIii")
"""Of an array: dimensions, whether there are NULLs, type, length, first index."""

_LENGTH: Final = struct.Struct("!i")
_BIGINT: Final = struct.Struct("!q")
_WORD: Final = array("i").itemsize


class _Bigints(Loader):
    """Reads an array of bigints as a column."""

    format = Format.BINARY

    def load(self, data: Buffer) -> Counts:
        body = bytes(data)
        dimensions, has_unset, _, rows, _ = (
            _HEAD.unpack_from(body) if len(body) >= _HEAD.size else (0, 0, 0, 0, 0)
        )
        if not dimensions:
            return Counts(array("q"))
        if has_unset:
            return _sparse(body, rows)
        # Each number stands behind its length, in words of four bytes: length, upper half, lower half.
        words, halves = array("i", body[_HEAD.size :]), array("i", bytes(2 * _WORD * rows))
        halves[0::2], halves[1::2] = words[1::3], words[2::3]
        values = array("q", halves.tobytes())
        if sys.byteorder == "little":
            values.byteswap()
        return Counts(values)


def _sparse(body: bytes, rows: int) -> Counts:
    values, unset, place = array("q", bytes(8 * rows)), [], _HEAD.size
    for row in range(rows):
        (length,) = _LENGTH.unpack_from(body, place)
        place += _LENGTH.size
        if length < 0:
            unset.append(row)
        else:
            (values[row],) = _BIGINT.unpack_from(body, place)
            place += _BIGINT.size
    return Counts(values, tuple(unset))


def prepare(connection: psycopg.AsyncConnection[Any]) -> None:
    """Let *connection* read arrays of bigints as columns."""
    connection.adapters.register_loader(_BIGINTS, _Bigints)


class Rows(Struct, frozen=True):
    """What a statement of `Table.block_of` has found."""

    count: int
    last: tuple[int, int]
    """Time and ordinal of the last row."""

    fit: bool
    """Whether all prices fit into integers; otherwise they were not read."""

    write: int | None
    """The answer that brought all rows; None where it was none, or several."""

    times: array[int]
    writes: Counts | None
    """The answers, where they differ from row to row."""

    received: Counts | None
    """When each row was received, where some were by themselves."""

    columns: Mapping[str, Any]

    @property
    def answers(self) -> set[int]:
        """Ids of the answers that the rows came with."""
        if self.writes is None:
            return set() if self.write is None else {self.write}
        return {write for write in self.writes if write is not None}


def rows_of(table: Table, found: Sequence[Any], *, scaled: bool) -> Rows | None:
    """Return what a statement of `Table.block_of` has *found*, or None when that is nothing."""
    count, last_time, write, mixed, fit, *rest = found
    if not count:
        return None
    prices = len(table.prices)
    powers, (ordinal, times, writes, received, *arrays) = rest[:prices], rest[prices:]
    columns: dict[str, Any] = {}
    for name, power, values in zip(table.prices, powers, arrays, strict=False):
        columns[name] = _decimals(power, values) if scaled else _texts(values)
    rest = arrays[prices:]
    for name in table.counts:
        columns[name] = _counts(rest.pop(0))
    for name in table.texts:
        columns[name] = _codes(rest.pop(0))
    for name in table.lists:
        columns[name] = _lists(rest.pop(0))
    return Rows(
        count,
        (last_time, ordinal),
        fit,
        None if mixed else write,
        times.values,
        writes,
        received,
        columns,
    )


def blocks_of(
    table: Table,
    rows: Rows,
    source: DataSource,
    feed: Feed | None,
    answers: Mapping[int, tuple[int, str]],
) -> Iterator[Block]:
    """Yield *rows* as blocks of one origin each.

    Args:
        table: that they are of.
        rows: what was read.
        source: provider of all of them.
        feed: that they belong to.
        answers: receive time and request id of each answer.
    """
    nowhere = Origin(source, feed, 0, "", Tier.STORE)
    whole: Block = table.block(
        origin=nowhere,
        times=rows.times,
        receive_times=None if rows.received is None else rows.received.values,
        **rows.columns,
    )
    for start, end, write in _runs(rows):
        block = part(whole, start, end)
        if write is None:
            assert block.receive_times is not None, "what came by itself says when"
            received, request, each = max(block.receive_times), "", block.receive_times
        else:
            (received, request), each = answers[write], None
        yield _with(block, Origin(source, feed, received, request, Tier.STORE), each)


def _runs(rows: Rows) -> Iterator[tuple[int, int, int | None]]:
    """Yield first and last row of each run of one origin, and the answer that it came with."""
    if rows.writes is None:
        yield 0, rows.count, rows.write
        return
    start, current = 0, None
    for row, write in enumerate(rows.writes):
        if row and write != current:
            yield start, row, current
            start = row
        current = write
    yield start, rows.count, current


def _with(block: Block, origin: Origin, received: array[int] | None) -> Block:
    known: Any = {name: getattr(block, name) for name in block.__struct_fields__}
    return type(block)(**(known | {"origin": origin, "receive_times": received}))


def _decimals(power: int | None, values: Counts | None) -> Decimals | None:
    if power is None or values is None:
        return None
    return Decimals(-power, values.values, values.unset)


def _texts(values: Sequence[str | None]) -> Decimals | None:
    return decimals([None if text is None else Decimal(text) for text in values])


def _counts(values: Counts) -> Counts | None:
    return None if len(values.unset) == len(values.values) else values


def _codes(values: Sequence[str | None]) -> Codes | None:
    return codes(values)


def _lists(values: Sequence[str | None]) -> Codes | None:
    column = codes(values)
    if column is None:
        return None
    known = tuple(
        json.decode(text, type=tuple[str, ...]) for text in column.known if isinstance(text, str)
    )
    return Codes(known, column.places)
