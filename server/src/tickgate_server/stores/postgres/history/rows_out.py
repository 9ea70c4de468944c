"""Values on their way out of PostgreSQL: arrays of a whole block, which become columns without a look at each value."""

from __future__ import annotations

import asyncio
import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, repeat
from typing import Any, Final

import psycopg
from msgspec import Struct, json
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format

from ....market.columns import (
    Block,
    Codes,
    Counts,
    Decimals,
    Origin,
    codes,
    parse_decimals,
    part,
)
from ....market.provenance import DataSource, Feed, Tier
from .tables import Table

_BIGINTS: Final = 1016
"""Number of the type bigint[] in PostgreSQL."""

_HEAD: Final = struct.Struct("!iiIii")
"""Of an array: dimensions, whether there are NULLs, type, length, first index."""

_LENGTH: Final = struct.Struct("!i")
_BIGINT: Final = struct.Struct("!q")
_WORD: Final = array("i").itemsize
_DIGITS_AS_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")


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
        # 0 stands where a row came with none: ids begin at 1.
        return set(self.writes.values) - {0}


async def rows_of(table: Table, found: Sequence[Any]) -> Rows | None:
    """Return what a statement of `Table.block_of` has *found*, or None when that is nothing."""
    count, ordinal, times, write, writes, received, *values = found
    if not count:
        return None
    makers: tuple[Callable[[Any], Any], ...] = (
        *repeat(_prices, len(table.prices)),
        *repeat(_counts, len(table.counts)),
        *repeat(codes, len(table.texts)),
        *repeat(_lists, len(table.lists)),
    )
    columns: dict[str, Any] = {}
    for name, make, value in zip(table.fields, makers, values, strict=True):
        columns[name] = make(value)
        # Each takes about a millisecond: others get the event loop before the next.
        await asyncio.sleep(0)
    return Rows(
        count,
        (times.values[-1], ordinal),
        write if writes is None else None,
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
    start = 0
    for write, run in groupby(rows.writes.values):
        end = start + len(list(run))
        yield start, end, write or None
        start = end


def _with(block: Block, origin: Origin, received: array[int] | None) -> Block:
    known: Any = {name: getattr(block, name) for name in block.__struct_fields__}
    return type(block)(**(known | {"origin": origin, "receive_times": received}))


def _prices(text: str) -> Decimals | None:
    """Return the numbers that stand in *text*, with commas between them, as a column."""
    data = text.encode()
    texts = data.split(b",")
    unset = tuple(row for row, one in enumerate(texts) if not one) if b"" in texts else ()
    if len(unset) == len(texts):
        return None
    if unset:
        data = b",".join(filter(None, texts))
        texts = [one or b"0" for one in texts]
    power = _power(data, len(texts) - len(unset))
    if power is not None:
        with suppress(OverflowError):
            digits = b",".join(texts).replace(b".", b"").split(b",") if power else texts
            return Decimals(-power, array("q", map(int, digits)), unset)
    # Prices of many kinds, or with more digits than an integer holds.
    return parse_decimals([None if row in unset else one for row, one in enumerate(texts)])


def _power(data: bytes, rows: int) -> int | None:
    """Return how many decimal places all of *rows* numbers have, or None where that differs."""
    points = data.count(b".")
    if points == 0:
        return 0
    shape = data.translate(_DIGITS_AS_ZEROS)
    last = shape[shape.rindex(b".") :]
    alike = points == rows and shape.endswith(last) and shape.count(last + b",") == rows - 1
    return len(last) - 1 if alike else None


def _counts(values: Counts) -> Counts | None:
    return None if len(values.unset) == len(values.values) else values


def _lists(values: Sequence[str | None]) -> Codes | None:
    column = codes(values)
    if column is None:
        return None
    known = tuple(
        json.decode(text, type=tuple[str, ...]) for text in column.known if isinstance(text, str)
    )
    return Codes(known, column.places)
