"""One reader's place in a fetch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..errors import UpstreamTimeout
from ..market.interval import Interval
from .ledger import Entry, Stored

if TYPE_CHECKING:
    from .fills import Fill


class Seat:
    """Reads along in a fetch, at its own pace. Whoever has it leaves it."""

    def __init__(
        self,
        fill: Fill,
        wants: dict[str, Interval],
        *,
        eager: bool,
        uses_store: bool,
        deadline: float | None,
    ) -> None:
        """Sit in *fill*.

        Args:
            fill: the fetch.
            wants: what is still to be read, by symbol.
            eager: whether more is fetched before it is asked for.
            uses_store: whether what has been let go may be read from the store.
            deadline: when who sits here goes, seconds of the monotonic clock; None stays as long as anything comes.
        """
        self.fill = fill
        self.eager = eager
        self.uses_store = uses_store
        self.deadline = deadline
        self.waiting = False
        self._wants = wants

    def needs(self, entry: Entry) -> bool:
        """Tell whether *entry* must not be let go yet."""
        rest = self._wants.get(entry.symbol)
        if rest is None or rest.intersection(entry.interval).empty:
            return False
        return not (entry.kept and self.uses_store)

    def reaches(self, symbol: str, instant: int) -> bool:
        """Tell whether *instant* of *symbol* is among what is read here."""
        return instant in self._wants.get(symbol, _NOTHING)

    async def next(self, symbol: str, rest: Interval, patience: float) -> Entry | Stored | None:
        """Return what comes first of *rest*, which is what is still wanted of *symbol*.

        None means that it has been let go and cannot be had here any more.

        Args:
            symbol: whose.
            rest: must not be empty.
            patience: seconds to wait for each page.

        Raises:
            UpstreamFailure: it will not come; `UpstreamTimeout`, it did not come in time.
        """
        fill = self.fill
        first = fill.course.first(rest)
        entry = await self.arrival(symbol, rest, patience)
        if entry is None:
            return None
        if not entry.gone:
            self._wants[symbol] = fill.course.behind(rest, entry.interval)
            return entry
        return fill.ledger(symbol).stored(first) if self.uses_store else None

    async def arrival(self, symbol: str, rest: Interval, patience: float) -> Entry | None:
        """Wait for what comes first of *rest*, and leave it to be read later. Parameters and failures as for `next`."""
        fill = self.fill
        first = fill.course.first(rest)
        self._wants[symbol] = rest
        fill.moved()
        while (entry := fill.entry(symbol, first)) is None and not fill.closed:
            await self._wait(patience)
        return entry

    def finish(self, symbol: str) -> None:
        """Want no more of *symbol*."""
        self._wants.pop(symbol, None)
        self.fill.moved()

    def leave(self) -> None:
        """Want nothing more."""
        self.fill.leave(self)

    async def _wait(self, patience: float) -> None:
        self.waiting = True
        self.fill.moved()
        try:
            async with asyncio.timeout(max(0.0, patience)):
                await self.fill.arrived.wait()
        except TimeoutError:
            message = f"nothing came of the upstream's history for {patience:.3g} s"
            raise UpstreamTimeout(message) from None
        finally:
            self.waiting = False


_NOTHING = Interval(0, 0)
