"""Fetches history for the store's sake: nobody reads it, and what the store holds already costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Final, Protocol

import structlog
from msgspec import Struct

from ..history.waiting import closing
from ..market.interval import Interval, without
from ..market.provenance import Tier
from ..market.series import HistoryQuestion, SeriesKey
from ..market.unavailable import OUTAGES, Reason, Unavailable
from ..ports import Clock, HistorySource, Priority, SeriesBroken, SeriesChunk, SeriesEvent

_log = structlog.get_logger(__name__)

_ROWS: Final = 10_000
"""Values of a chunk: as many as the upstream sends at once."""

_AGAIN: Final = 3
"""Times that a symbol is asked for again after a failure that may pass."""

_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 60.0
"""Seconds before that, where the failure does not say how many; each time twice as many."""


class Advance(Struct, frozen=True):
    """How far a symbol has come."""

    symbol: str
    time: int
    """Up to where its values have been told, nanoseconds."""

    fetched: int = 0
    """Values that this step brought from the upstream."""

    finished: bool = False
    why: Unavailable | None = None
    """Why not all of it could be had, where it is finished; None when it could."""


class _Missing(Struct, frozen=True):
    """What a symbol lacks, and may be had by asking again."""

    symbol: str
    interval: Interval
    why: Unavailable


class KeepingSource(HistorySource, Protocol):
    """Knows the past, and writes into a store what it tells, by and by."""

    async def written(self, keys: Collection[SeriesKey]) -> None:
        """Wait until all that was told of *keys* is in the store, as far as it can be."""
        ...


class Fetcher:
    """Reads history in the name of the least urgent class, and lets go of what it reads: whoever is read writes it."""

    def __init__(
        self,
        history: KeepingSource,
        clock: Clock,
        *,
        settle: int,
        keeps: bool,
        pause: float = _PAUSE,
    ) -> None:
        """Fetch from *history*.

        Args:
            history: writes what it fetches into the store.
            clock: tells what is final.
            settle: nanoseconds after which what has happened is.
            keeps: whether there is a store, so that what was fetched must be in it.
            pause: seconds before a symbol is asked for again.
        """
        self._history = history
        self._clock = clock
        self._settle = settle
        self._keeps = keeps
        self._pause = pause

    async def fetch(
        self, key: SeriesKey, symbols: Sequence[str], interval: Interval
    ) -> AsyncGenerator[Advance, None]:
        """Yield how *symbols* get on, each of which is finished once; a failure of one is not one of the others."""
        left = dict.fromkeys(symbols, interval)
        pause = self._pause
        for number in range(_AGAIN + 1):
            passing: dict[str, _Missing] = {}
            for part, asked in _alike(left):
                async with closing(self._attempt(key, asked, part)) as advances:
                    async for step in advances:
                        if isinstance(step, _Missing):
                            passing[step.symbol] = step
                        else:
                            yield step
            if not passing:
                return
            if number == _AGAIN:
                for symbol, missing in passing.items():
                    yield Advance(symbol, missing.interval.start, finished=True, why=missing.why)
                return
            await asyncio.sleep(_wait(passing, pause))
            pause = min(2 * pause, _LONGEST_PAUSE)
            left = {symbol: missing.interval for symbol, missing in passing.items()}

    async def _attempt(
        self, key: SeriesKey, symbols: Sequence[str], interval: Interval
    ) -> AsyncGenerator[Advance | _Missing, None]:
        question = HistoryQuestion(key.about(symbols[0]), tuple(symbols), interval, clamp=True)
        untold = set(symbols)
        told: dict[str, int] = {}
        # Before anything is asked for: what becomes final on the way need not be held.
        settled_before = key.settled_before(self._clock.market() - self._settle)
        reading = self._history.read(question, rows=_ROWS, priority=Priority.BACKFILL)
        try:
            async with closing(reading) as events:
                async for event in events:
                    step = _step(interval, event)
                    if isinstance(step, _Missing) or step.finished:
                        untold.discard(step.symbol)
                    elif not isinstance(event, SeriesChunk):
                        untold.discard(step.symbol)
                        told[step.symbol] = step.time
                    yield step
            lost = await self._not_kept(
                key,
                {
                    symbol: Interval(interval.start, min(end, settled_before))
                    for symbol, end in told.items()
                },
            )
        except Exception:  # noqa: BLE001 - a fault of ours costs these symbols, and not all that is still to come
            _log.exception("fetch_failed", symbols=sorted(untold)[:10])
            untold.update(told)
        else:
            for symbol, end in told.items():
                missing = lost.get(symbol)
                # Who had begun to fetch before us gives up the newest of it as not final; asked again, it is kept.
                # Not so where a store keeps nothing at all.
                if missing is not None and missing.interval.start > interval.start:
                    yield missing
                else:
                    yield Advance(
                        symbol, end, finished=True, why=None if missing is None else missing.why
                    )
        for symbol in sorted(untold):
            yield Advance(symbol, interval.start, finished=True, why=_fault(symbol))

    async def _not_kept(
        self, key: SeriesKey, final: Mapping[str, Interval]
    ) -> Mapping[str, _Missing]:
        """Return what of *final*, which was told of each symbol, is not in the store."""
        if not self._keeps or not final:
            return {}
        keys = {symbol: key.about(symbol) for symbol in final}
        await self._history.written(keys.values())
        whole = Interval(
            min(one.start for one in final.values()), max(one.end for one in final.values())
        )
        covered = await self._history.coverage(tuple(keys.values()), whole, None)
        lost: dict[str, _Missing] = {}
        for symbol, interval in final.items():
            if isinstance(covered, Unavailable):
                lost[symbol] = _Missing(symbol, interval, covered)
                continue
            gaps = without(interval, (one.interval for one in covered.get(keys[symbol], ())))
            if gaps:
                missing = Interval(gaps[0].start, gaps[-1].end)
                lost[symbol] = _Missing(symbol, missing, _lost(symbol))
        return lost


def _step(interval: Interval, event: SeriesEvent) -> Advance | _Missing:
    if isinstance(event, SeriesChunk):
        block = event.block
        is_new = block.origin.served_from is Tier.UPSTREAM
        return Advance(event.symbol, block.times[-1], len(block) if is_new else 0)
    end = interval.end
    if isinstance(event, SeriesBroken):
        if event.why.reason in OUTAGES:
            return _Missing(event.symbol, event.missing, event.why)
        if event.why.reason is not Reason.NO_DATA:
            return Advance(event.symbol, event.missing.start, finished=True, why=event.why)
    elif event.clamped_end is not None:
        end = event.clamped_end
    return Advance(event.symbol, end)


def _lost(symbol: str) -> Unavailable:
    message = f"{symbol}: it could be had, and the store could not keep it"
    return Unavailable(reason=Reason.STORE_UNAVAILABLE, message=message, passing=True)


def _alike(left: dict[str, Interval]) -> list[tuple[Interval, list[str]]]:
    """Return the symbols that lack the same, together."""
    groups: dict[Interval, list[str]] = {}
    for symbol, interval in left.items():
        groups.setdefault(interval, []).append(symbol)
    return list(groups.items())


def _wait(passing: Mapping[str, _Missing], pause: float) -> float:
    named = [one.why.retry_delay for one in passing.values() if one.why.retry_delay is not None]
    return min(max([pause, *named]), _LONGEST_PAUSE)


def _fault(symbol: str) -> Unavailable:
    message = f"{symbol}: the gateway could not ask, for a fault of its own"
    return Unavailable(reason=Reason.UPSTREAM_ERROR, message=message)
