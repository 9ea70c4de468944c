"""API keys, as they are made and revoked while the gateway runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from ..access.keys import KeyDoor
from ..errors import StoreDown, StoreUnusable
from ..observe.counters import KeyCounts
from ..ports import KeyStore

_log = structlog.get_logger(__name__)

_PATIENCE: Final = 10.0
"""Seconds that a look may take: where a file on a network hangs, revocations would be missed in silence."""


class KeyWatch:
    """Shows the door the newest keys. Where they cannot be had, those that it knows stay good until they expire."""

    def __init__(
        self,
        store: KeyStore,
        door: KeyDoor,
        counts: KeyCounts,
        every: float,
        patience: float = _PATIENCE,
    ) -> None:
        """Look every so many seconds, *patience* seconds long at most; say in *counts* how that went."""
        self._store = store
        self._door = door
        self._counts = counts
        self._every = every
        self._patience = patience
        self.known = asyncio.Event()
        """Set once the keys were read for the first time."""

        self._why = ""
        """What was last wrong."""

        self.on_look: Callable[[], None] = lambda: None
        """Told after each look: somebody's key may have ended."""

    async def begin(self, *, needed: bool) -> None:
        """Look for the first time.

        Args:
            needed: whether there must be keys to be had; otherwise they may come later.

        Raises:
            StoreUnusable: what is there are no keys, or they are needed and cannot be had.
        """
        try:
            await self._load()
        except StoreDown as down:
            if needed:
                raise StoreUnusable(str(down)) from down
            self._failed(down)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        try:
            await self._load()
        except (StoreDown, StoreUnusable) as why:
            self._failed(why)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not let revoked keys live on unsaid
            _log.exception("keys_failed")
            self._failed(error)
        # Also when nothing new is known: what has expired has.
        self._door.look()
        self.on_look()

    async def _load(self) -> None:
        before = self._counts.keys
        try:
            async with asyncio.timeout(self._patience):
                self._door.load(await self._store.everything())
        except TimeoutError as late:
            msg = f"the keys could not be read within {self._patience:g} s"
            raise StoreDown(msg) from late
        self.known.set()
        if self._counts.store != "up" or before != self._counts.keys:
            # No key at all lets nobody in, which is hardly what somebody wants.
            tell = _log.info if self._counts.keys else _log.warning
            tell("keys_read", valid=self._counts.keys)
        self._counts.store = "up"
        self._counts.awaited = False
        self._why = ""

    def _failed(self, error: Exception) -> None:
        self._counts.store = "down"
        self._counts.awaited = not self._door.is_ready
        self._counts.failures += 1
        why = str(error) or type(error).__name__
        if why != self._why:
            self._why = why
            _log.warning("keys_not_read", why=why, valid=self._counts.keys)
