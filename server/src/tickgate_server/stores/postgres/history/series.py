"""Series as rows: what names one, and the lock of who changes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from ....market.provenance import DataSource
from ....market.series import SeriesKey
from ..link import Connection

_COLUMNS: Final = "kind, symbol, feed, timeframe, adjustments, symbol_date, exact_symbol"

FIND: Final = f"""
SELECT asked.n, series.id FROM history_series series
JOIN unnest(
    %(kinds)s::text[], %(symbols)s::text[], %(feeds)s::text[], %(timeframes)s::text[], %(adjustments)s::text[],
    %(symbol_dates)s::text[], %(exact_symbols)s::boolean[]
) WITH ORDINALITY AS asked ({_COLUMNS}, n) USING ({_COLUMNS})
WHERE series.source = %(source)s
"""  # noqa: S608 - names of ours

_OF_ONE: Final = """
FROM history_series WHERE kind = %s AND symbol = %s AND feed = %s AND timeframe = %s AND adjustments = %s
    AND symbol_date = %s AND exact_symbol = %s AND source = %s
"""
_ID: Final = f"SELECT id {_OF_ONE}"
_LOCK: Final = f"{_ID} FOR UPDATE"
_ADD: Final = f"""
INSERT INTO history_series ({_COLUMNS}, source) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING RETURNING id
"""  # noqa: S608 - as above


def named(key: SeriesKey) -> tuple[str, str, str, str, str, str, bool]:
    """Return what names the series of *key*, in the order of the columns. What does not apply is empty."""
    return (
        key.kind.value,
        key.symbol,
        "" if key.feed is None else key.feed.value,
        "" if key.timeframe is None else str(key.timeframe),
        ",".join(sorted(key.adjustments)),
        "" if key.symbol_date is None else key.symbol_date.isoformat(),
        key.exact_symbol,
    )


async def find(
    connection: Connection, keys: Sequence[SeriesKey], source: DataSource
) -> dict[int, SeriesKey]:
    """Return those of *keys* of which anything was ever held, by their ids."""
    columns = zip(*map(named, keys), strict=True)
    names = (
        "kinds", "symbols", "feeds", "timeframes", "adjustments", "symbol_dates", "exact_symbols",
    )  # fmt: skip
    asked: dict[str, Any] = dict(zip(names, map(list, columns), strict=True))
    found = await connection.execute(FIND, asked | {"source": source.value})
    return {number: keys[n - 1] for n, number in await found.fetchall()}


async def find_one(connection: Connection, key: SeriesKey, source: DataSource) -> int | None:
    """Return the id of the series of *key*, or None where nothing of it was ever held."""
    return await _first(connection, _ID, (*named(key), source.value))


async def lock(connection: Connection, key: SeriesKey, source: DataSource) -> tuple[int, bool]:
    """Let nobody else change the series of *key* until this transaction ends.

    Returns:
        Its id, and whether it is new.
    """
    parameters = (*named(key), source.value)
    held = await _first(connection, _LOCK, parameters)
    if held is not None:
        return held, False
    added = await _first(connection, _ADD, parameters)
    if added is not None:
        return added, True
    # Another gateway was quicker.
    held = await _first(connection, _LOCK, parameters)
    assert held is not None, "series are never deleted"
    return held, False


async def _first(connection: Connection, statement: str, parameters: Iterable[Any]) -> int | None:
    found = await connection.execute(statement, tuple(parameters))
    row = await found.fetchone()
    return None if row is None else int(row[0])
