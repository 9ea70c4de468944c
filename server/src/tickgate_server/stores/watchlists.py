"""Watchlists without a store: they last as long as the process."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ..market.watchlist import Watchlist


class MemoryWatchlists:
    """The `Watchlists` port where there is no PostgreSQL."""

    def __init__(self) -> None:
        """Begin without any."""
        self._lists: dict[str, Watchlist] = {}

    async def put(self, watchlist: Watchlist) -> None:
        """Keep *watchlist*, in place of the one of the same name."""
        self._lists[watchlist.name] = watchlist

    async def get(self, name: str) -> Watchlist | None:
        """Return the watchlist *name*, or None."""
        return self._lists.get(name)

    async def everything(self) -> Sequence[Watchlist]:
        """Return all watchlists, by name."""
        return [self._lists[name] for name in sorted(self._lists)]

    async def delete(self, name: str) -> bool:
        """Delete the watchlist *name*; tell whether there was one."""
        return self._lists.pop(name, None) is not None

    async def refreshed(self, name: str, time: int) -> None:
        """Note that a refresh of *name* ended at *time*, nanoseconds of the wall clock."""
        if name in self._lists:
            self._lists[name] = replace(self._lists[name], refresh_time=time)
