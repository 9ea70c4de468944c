"""Drops history that is older than it is to be kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from ..errors import StoreDown
from ..market.time import NANOS
from ..ports import Clock, HistoryStore

_log = structlog.get_logger(__name__)

_EVERY: Final = 6 * 3600.0
"""Seconds between two looks."""

_DAY: Final = 24 * 3600 * NANOS


class Retention:
    """Looks after the store's age."""

    def __init__(self, store: HistoryStore, keep_days: Mapping[str, int], clock: Clock) -> None:
        """Keep in *store* each kind of series for its days of the market's time; 0 keeps it for ever."""
        self._store = store
        self._keep_days = {kind: days for kind, days in keep_days.items() if days}
        self._clock = clock

    async def retire(self) -> int:
        """Drop what is too old, and return how many rows that were.

        Raises:
            StoreDown: the store cannot be had.
        """
        if not self._keep_days:
            return 0
        now = self._clock.market()
        return await self._store.retire(
            {kind: now - days * _DAY for kind, days in self._keep_days.items()}
        )

    async def run(self) -> None:
        """Drop what is too old, now and every few hours, until cancelled."""
        while self._keep_days:
            try:
                rows = await self.retire()
                if rows:
                    _log.info("history_retired", rows=rows)
            except StoreDown as down:
                _log.warning("history_not_retired", message=str(down))
            except Exception:  # noqa: BLE001 - a fault of ours must not take down what serves without it
                _log.exception("history_not_retired")
            await asyncio.sleep(_EVERY)
