"""Fetches history into the store: what was started goes on until it is done, over restarts and failures."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog
from msgspec.structs import replace

from ..errors import NotFound, StoreDown
from ..history.waiting import closing
from ..market.backfill import Backfill, BackfillFailure, BackfillState
from ..market.interval import Interval
from ..market.series import SeriesKey
from ..ports import BackfillLog, Clock
from .fetcher import Advance, Fetcher

_log = structlog.get_logger(__name__)

GROUP: Final = 50
"""Symbols that are asked for together: a page of daily bars holds forty of them."""

_SAVE_EVERY: Final = 1.0
"""Seconds between two notes of how far a backfill is."""

_LOOK_EVERY: Final = 5.0
"""Seconds between looks for backfills that other processes have started."""

Report = Callable[[Backfill], Awaitable[None]]
"""Is told how a backfill gets on."""


def new_backfill(
    key: SeriesKey, symbols: Sequence[str], interval: Interval, clock: Clock
) -> Backfill:
    """Return a backfill that begins now."""
    return Backfill(
        secrets.token_hex(8),
        key.about(symbols[0]),
        tuple(symbols),
        interval,
        BackfillState.RUNNING,
        clock.wall(),
    )


class Backfilling:
    """Carries backfills out."""

    def __init__(self, fetcher: Fetcher, clock: Clock) -> None:
        """Fetch with *fetcher*."""
        self._fetcher = fetcher
        self._clock = clock

    async def carry_out(self, backfill: Backfill, report: Report) -> Backfill:
        """Fetch what is still missing of *backfill*, and return it when it is done.

        Args:
            backfill: as it stood when it was left, or as it was started.
            report: told of every step.
        """
        # A group that was left half done is begun anew: what the store holds of it costs nothing.
        begun = backfill.symbols_done // GROUP * GROUP
        course = _Course(backfill, begun)
        for start in range(begun, len(backfill.symbols), GROUP):
            group = backfill.symbols[start : start + GROUP]
            fetching = self._fetcher.fetch(backfill.key, group, backfill.interval)
            async with closing(fetching) as advances:
                async for advance in advances:
                    course.take(advance)
                    await report(course.backfill)
        done = replace(
            course.backfill, state=BackfillState.DONE, progress=1.0, end_time=self._clock.wall()
        )
        _log.info(
            "backfill_done", id=done.id, symbols=len(done.symbols), fetched=done.fetched,
            failed=len(done.failures),
        )  # fmt: skip
        return done


class _Course:
    """How far a backfill is."""

    def __init__(self, backfill: Backfill, begun: int) -> None:
        before = frozenset(backfill.symbols[:begun])
        failures = tuple(one for one in backfill.failures if one.symbol in before)
        self.backfill = replace(backfill, symbols_done=begun, failures=failures)
        self._parts: dict[str, float] = {}

    def take(self, advance: Advance) -> None:
        """Take notice of a step."""
        state = self.backfill
        start, end = state.interval
        failures, done = state.failures, state.symbols_done
        if advance.finished:
            self._parts.pop(advance.symbol, None)
            done += 1
            if advance.why is not None:
                failures = (*failures, BackfillFailure(advance.symbol, advance.why))
        else:
            part = (advance.time - start) / (end - start)
            # What is asked for again lies behind how far it was.
            self._parts[advance.symbol] = max(part, self._parts.get(advance.symbol, 0.0))
        self.backfill = replace(
            state,
            symbols_done=done,
            fetched=state.fetched + advance.fetched,
            failures=failures,
            progress=min(1.0, (done + sum(self._parts.values())) / len(state.symbols)),
        )


class BackfillJobs:
    """Keeps and carries out backfills, one after the other: the `Backfills` port.

    Whichever process runs the job works on all that the log holds; one that does not can still start and stop them.
    """

    def __init__(self, log: BackfillLog, backfilling: Backfilling, clock: Clock) -> None:
        """Keep backfills in *log*."""
        self._log = log
        self._backfilling = backfilling
        self._clock = clock
        self._wake = asyncio.Event()
        self._current: tuple[str, asyncio.Task[None]] | None = None
        self._saved_at = 0.0

    async def start(self, key: SeriesKey, symbols: Sequence[str], interval: Interval) -> Backfill:
        """Begin, and return it as it stands."""
        backfill = new_backfill(key, symbols, interval, self._clock)
        await self._log.put(backfill)
        self._wake.set()
        return backfill

    async def get(self, backfill_id: str) -> Backfill:
        """Return the backfill *backfill_id*."""
        backfill = await self._log.get(backfill_id)
        if backfill is None:
            msg = f"there is no backfill {backfill_id!r}"
            raise NotFound(msg)
        return backfill

    async def newest(self, before: tuple[int, str] | None, limit: int) -> Sequence[Backfill]:
        """Return at most *limit* backfills, newest first."""
        return await self._log.newest(before, limit)

    async def cancel(self, backfill_id: str) -> Backfill:
        """Stop the backfill *backfill_id*, and return it."""
        backfill = await self.get(backfill_id)
        if backfill.state is not BackfillState.RUNNING:
            return backfill
        if self._current is not None and self._current[0] == backfill_id:
            task = self._current[1]
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
            # It may have been further than when it was last noted, or even have come to its end.
            backfill = await self.get(backfill_id)
            if backfill.state is not BackfillState.RUNNING:
                return backfill
        stopped = replace(backfill, state=BackfillState.CANCELLED, end_time=self._clock.wall())
        await self._log.put(stopped)
        _log.info("backfill_cancelled", id=backfill_id, fetched=stopped.fetched)
        return stopped

    async def run(self) -> None:
        """Carry out what there is until cancelled; what is under way then goes on with the next start."""
        while True:
            self._wake.clear()
            try:
                for backfill in await self._log.running():
                    await self._work(backfill)
            except StoreDown as down:
                _log.warning("backfills_wait", message=str(down))
            except Exception:  # noqa: BLE001 - a fault of ours in one must not end all that are still to come
                _log.exception("backfill_failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _LOOK_EVERY)

    async def _work(self, backfill: Backfill) -> None:
        task = asyncio.create_task(self._carry_out(backfill))
        self._current = backfill.id, task
        try:
            await asyncio.wait([task])
        finally:
            self._current = None
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def _carry_out(self, backfill: Backfill) -> None:
        # Stopped by another process, be it at the last step, it stays as that one has noted it.
        with suppress(_Stopped):
            await self._note(await self._backfilling.carry_out(backfill, self._save))

    async def _save(self, backfill: Backfill) -> None:
        now = self._clock.monotonic()
        if now - self._saved_at < _SAVE_EVERY:
            return
        self._saved_at = now
        try:
            await self._note(backfill)
        except StoreDown as down:
            # Nothing is fetched in vain: whether it was kept is judged where it is fetched.
            _log.warning("backfill_not_noted", id=backfill.id, message=str(down))

    async def _note(self, backfill: Backfill) -> None:
        held = await self._log.get(backfill.id)
        if held is not None and held.state is BackfillState.CANCELLED:
            # By another process.
            raise _Stopped
        await self._log.put(backfill)


class _Stopped(Exception):
    """Somebody has stopped the backfill."""
