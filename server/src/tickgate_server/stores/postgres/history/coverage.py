"""What is covered of a series: now, without overlaps, and at any moment before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ....market.interval import Interval, without
from ..link import Connection
from .tables import Table

_COLUMNS: Final = "start_time, end_time, receive_time, known_from, count, refused, live"

_OVERLAPPING: Final = f"""
SELECT {_COLUMNS} FROM history_covered
WHERE series = %s AND start_time <= %s AND end_time >= %s ORDER BY start_time
"""  # noqa: S608 - names of ours

_REMOVE: Final = "DELETE FROM history_covered WHERE series = %s AND start_time = ANY (%s)"

_ADD: Final = f"""
INSERT INTO history_covered (series, {_COLUMNS})
SELECT %s, * FROM unnest(
    %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::boolean[]
)
"""  # noqa: S608 - as above

_LOG: Final = """
INSERT INTO history_coverage_log (series, start_time, end_time, receive_time, known_from, refused)
SELECT %s, * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
"""

NOW: Final = f"""
SELECT series, {_COLUMNS} FROM history_covered
WHERE series = ANY (%(series)s) AND start_time < %(end)s AND end_time > %(start)s
ORDER BY series, start_time
"""  # noqa: S608 - as above

THEN: Final = """
SELECT series, start_time, end_time, receive_time, known_from, 0, refused, false FROM history_coverage_log
WHERE series = ANY (%(series)s) AND start_time < %(end)s AND end_time > %(start)s
    AND known_from <= %(as_of)s AND (known_until IS NULL OR known_until > %(as_of)s)
"""


class Cover(Struct, frozen=True):
    """A stretch of which all is held that the upstream had."""

    interval: Interval
    receive_time: int
    """When its oldest part was received, nanoseconds."""

    known_from: int
    """Since when all of it is known, nanoseconds."""

    count: int
    refused: int
    live: bool
    """Whether it was recorded as it happened."""


def cover_of(row: Sequence[Any]) -> Cover:
    """Return a *row* of `_COLUMNS` as what it is."""
    start, end, *known = row
    return Cover(Interval(start, end), *known)


def less(cover: Cover, taken: Iterable[Interval]) -> list[Cover]:
    """Return what is left of *cover*. How many values lie in each part is for others to say."""
    # How the records that were refused are spread is not known: they stay with the first part.
    return [
        replace(cover, interval=rest, refused=0 if number else cover.refused)
        for number, rest in enumerate(without(cover.interval, taken))
    ]


def then(covers: Iterable[Cover]) -> list[Cover]:
    """Return *covers*, all known at one moment, without overlaps: of two the one that was known later."""
    found: list[Cover] = []
    for cover in sorted(covers, key=lambda cover: -cover.known_from):
        found += less(cover, [other.interval for other in found])
    return sorted(found, key=lambda cover: cover.interval)


async def around(connection: Connection, series: int, interval: Interval) -> list[Cover]:
    """Return what is covered of *interval* and right beside it."""
    found = await connection.execute(_OVERLAPPING, (series, interval.end, interval.start))
    return [cover_of(row) for row in await found.fetchall()]


async def change(
    connection: Connection, series: int, gone: Sequence[Cover], come: Sequence[Cover]
) -> None:
    """Put *come* in the place of *gone*."""
    if gone:
        starts = [cover.interval.start for cover in gone]
        await connection.execute(_REMOVE, (series, starts))
    if come:
        columns = zip(
            *(
                (*cover.interval, cover.receive_time, cover.known_from, cover.count, cover.refused, cover.live)
                for cover in come
            ),
            strict=True,
        )  # fmt: skip
        await connection.execute(_ADD, (series, *map(list, columns)))


async def note(connection: Connection, series: int, covers: Sequence[Cover]) -> None:
    """Write down since when *covers* are known."""
    if not covers:
        return
    columns = zip(
        *(
            (*cover.interval, cover.receive_time, cover.known_from, cover.refused)
            for cover in covers
        ),
        strict=True,
    )
    await connection.execute(_LOG, (series, *map(list, columns)))


async def counted(
    connection: Connection, table: Table, series: int, covers: Iterable[Cover]
) -> list[Cover]:
    """Return *covers* with the values that are held in each now."""
    found = []
    for cover in covers:
        rows = await connection.execute(table.count, (series, *cover.interval))
        row = await rows.fetchone()
        found.append(replace(cover, count=0 if row is None else row[0]))
    return found
