"""Watchlists in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...market.timeframe import Timeframe, parse_timeframe
from ...market.watchlist import Watchlist
from .link import Connection, PostgresLink

_COLUMNS: Final = (
    "name, symbols, record, refresh_timeframes, refresh_days, update_time, refresh_time"
)

_PUT: Final = f"""
INSERT INTO watchlists ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET symbols = excluded.symbols, record = excluded.record,
    refresh_timeframes = excluded.refresh_timeframes, refresh_days = excluded.refresh_days,
    update_time = excluded.update_time, refresh_time = excluded.refresh_time
"""  # noqa: S608 - names of ours

_GET: Final = f"SELECT {_COLUMNS} FROM watchlists WHERE name = %s"  # noqa: S608 - as above
_EVERYTHING: Final = f'SELECT {_COLUMNS} FROM watchlists ORDER BY name COLLATE "C"'  # noqa: S608 - as above
_DELETE: Final = "DELETE FROM watchlists WHERE name = %s"
_REFRESHED: Final = "UPDATE watchlists SET refresh_time = %s WHERE name = %s"


class PostgresWatchlists:
    """`Watchlists` that all replicas share."""

    def __init__(self, link: PostgresLink) -> None:
        """Keep them over *link*."""
        self._link = link

    async def put(self, watchlist: Watchlist) -> None:
        """Keep *watchlist*, in place of the one of the same name."""
        row = (
            watchlist.name,
            list(watchlist.symbols),
            watchlist.record,
            [str(timeframe) for timeframe in watchlist.refresh_timeframes],
            watchlist.refresh_days,
            watchlist.update_time,
            watchlist.refresh_time,
        )
        await self._link.ask(lambda to: _run(to, _PUT, row))

    async def get(self, name: str) -> Watchlist | None:
        """Return the watchlist *name*, or None."""
        found = await self._link.ask(lambda to: _found(to, _GET, (name,)))
        return found[0] if found else None

    async def everything(self) -> Sequence[Watchlist]:
        """Return all watchlists, by name."""
        return await self._link.ask(lambda to: _found(to, _EVERYTHING, ()))

    async def delete(self, name: str) -> bool:
        """Delete the watchlist *name*; tell whether there was one."""
        return await self._link.ask(lambda to: _run(to, _DELETE, (name,))) > 0

    async def refreshed(self, name: str, time: int) -> None:
        """Note that a refresh of *name* ended at *time*, nanoseconds of the wall clock."""
        await self._link.ask(lambda to: _run(to, _REFRESHED, (time, name)))


async def _run(to: Connection, statement: str, parameters: Sequence[Any]) -> int:
    done = await to.execute(statement, parameters)
    return done.rowcount


async def _found(to: Connection, statement: str, parameters: Sequence[Any]) -> list[Watchlist]:
    rows = await to.execute(statement, parameters)
    return [
        Watchlist(name, tuple(symbols), record, tuple(map(_timeframe, timeframes)), *rest)
        for name, symbols, record, timeframes, *rest in await rows.fetchall()
    ]


def _timeframe(text: str) -> Timeframe:
    timeframe = parse_timeframe(text)
    assert timeframe is not None, "only timeframes are written here"
    return timeframe
