"""Puts the watchlists that the settings name where watchlists are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from ..errors import StoreDown
from ..market.watchlist import Watchlist
from ..ports import Watchlists

_log = structlog.get_logger(__name__)

_AGAIN: Final = 5.0
"""Seconds until the next attempt while they cannot be kept."""


async def put_first(watchlists: Watchlists, given: Iterable[Watchlist]) -> None:
    """Keep each of *given* of whose name there is none: what somebody has changed stays as he changed it.

    Raises:
        StoreDown: they cannot be kept.
    """
    for watchlist in given:
        if await watchlists.get(watchlist.name) is None:
            await watchlists.put(watchlist)


async def keep_putting(watchlists: Watchlists, given: Iterable[Watchlist]) -> None:
    """Do so, as soon as they can be kept."""
    lists = tuple(given)
    while True:
        try:
            await put_first(watchlists, lists)
        except StoreDown as down:
            _log.warning("watchlists_wait", message=str(down))
            await asyncio.sleep(_AGAIN)
        else:
            return
