"""How far backfills are, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import msgspec
from psycopg.types.json import Jsonb

from ...market.backfill import Backfill, BackfillFailure, BackfillState
from ...market.interval import Interval
from ...market.provenance import Feed
from ...market.series import Adjustment, SeriesKey, SeriesKind
from ...market.timeframe import parse_timeframe
from ...market.unavailable import Reason, TierOutcome, Unavailable
from .link import Connection, PostgresLink

_COLUMNS: Final = (
    "id, kind, feed, timeframe, adjustments, symbol_date, exact_symbol, symbols, range_start, range_end, state,"
    " start_time, end_time, symbols_done, fetched, progress, failures"
)
_MOVES: Final = ("state", "end_time", "symbols_done", "fetched", "progress", "failures")
"""Columns that change while a backfill runs."""

_PUT: Final = f"""
INSERT INTO backfills ({_COLUMNS}) VALUES ({", ".join(["%s"] * len(_COLUMNS.split(",")))})
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _MOVES)}
"""  # noqa: S608 - names of ours

_SELECT: Final = f"SELECT {_COLUMNS} FROM backfills"  # noqa: S608 - as above
_GET: Final = f"{_SELECT} WHERE id = %s"
_RUNNING: Final = f"{_SELECT} WHERE state = '{BackfillState.RUNNING}' ORDER BY start_time, id"
_NEWEST: Final = f"{_SELECT} ORDER BY start_time DESC, id DESC LIMIT %s"
_NEWEST_BEFORE: Final = (
    f"{_SELECT} WHERE (start_time, id) < (%s, %s) ORDER BY start_time DESC, id DESC LIMIT %s"
)


class PostgresBackfillLog:
    """A `BackfillLog` that all replicas share."""

    def __init__(self, link: PostgresLink) -> None:
        """Keep them over *link*."""
        self._link = link

    async def put(self, backfill: Backfill) -> None:
        """Keep *backfill* as it stands."""
        row = _row(backfill)
        await self._link.ask(lambda to: _execute(to, row))

    async def get(self, backfill_id: str) -> Backfill | None:
        """Return the backfill *backfill_id*, or None."""
        found = await self._link.ask(lambda to: _found(to, _GET, (backfill_id,)))
        return found[0] if found else None

    async def newest(self, before: tuple[int, str] | None, limit: int) -> Sequence[Backfill]:
        """Return at most *limit* backfills, newest first; *before* is start time and id of the one before the first."""
        statement, place = (_NEWEST, ()) if before is None else (_NEWEST_BEFORE, before)
        return await self._link.ask(lambda to: _found(to, statement, (*place, limit)))

    async def running(self) -> Sequence[Backfill]:
        """Return the backfills that have not ended, oldest first."""
        return await self._link.ask(lambda to: _found(to, _RUNNING, ()))


async def _execute(to: Connection, row: Sequence[Any]) -> None:
    await to.execute(_PUT, row)


async def _found(to: Connection, statement: str, parameters: Sequence[Any]) -> list[Backfill]:
    rows = await to.execute(statement, parameters)
    return [_backfill(row) for row in await rows.fetchall()]


def _row(backfill: Backfill) -> tuple[Any, ...]:
    key = backfill.key
    return (
        backfill.id,
        key.kind.value,
        "" if key.feed is None else key.feed.value,
        "" if key.timeframe is None else str(key.timeframe),
        ",".join(sorted(key.adjustments)),
        "" if key.symbol_date is None else key.symbol_date.isoformat(),
        key.exact_symbol,
        list(backfill.symbols),
        *backfill.interval,
        backfill.state.value,
        backfill.start_time,
        backfill.end_time,
        backfill.symbols_done,
        backfill.fetched,
        backfill.progress,
        Jsonb([{"symbol": one.symbol, "why": _written(one.why)} for one in backfill.failures]),
    )


def _backfill(row: Sequence[Any]) -> Backfill:
    number, kind, feed, timeframe, adjustments, symbol_date, exact, symbols, *rest = row
    start, end, state, start_time, end_time, symbols_done, fetched, progress, failures = rest
    key = SeriesKey(
        SeriesKind(kind),
        symbols[0],
        Feed(feed) if feed else None,
        parse_timeframe(timeframe),
        frozenset(map(Adjustment, adjustments.split(","))) if adjustments else frozenset(),
        date.fromisoformat(symbol_date) if symbol_date else None,
        exact,
    )
    return Backfill(
        number,
        key,
        tuple(symbols),
        Interval(start, end),
        BackfillState(state),
        start_time,
        end_time,
        symbols_done,
        fetched,
        progress,
        tuple(BackfillFailure(one["symbol"], _read(one["why"])) for one in failures),
    )


def _written(why: Unavailable) -> dict[str, Any]:
    # Reasons and outcomes by their names: their numbers are not for keeping.
    body: dict[str, Any] = msgspec.to_builtins(why)
    body["reason"] = why.reason.name
    for tier, attempt in zip(body["tiers"], why.tiers, strict=True):
        tier["outcome"] = attempt.outcome.name
    return body


def _read(body: dict[str, Any]) -> Unavailable:
    tiers = [tier | {"outcome": TierOutcome[tier["outcome"]].value} for tier in body["tiers"]]
    known = body | {"reason": Reason[body["reason"]].value, "tiers": tiers}
    return msgspec.convert(known, Unavailable)
