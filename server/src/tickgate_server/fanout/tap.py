"""A follower inside the house: what arrives is handed over at once, and nothing waits to be read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ..book import NEVER, Entry, Update
from ..market.live import Channel, Gap, LiveValue, RecordKind, SymbolState, UpdateKind
from ..market.unavailable import Unavailable
from .box import Box, Terms
from .hub import Hub


class TapListener(Protocol):
    """Is told what happens on the symbols that a tap follows, always from the serving loop. Nothing here waits."""

    def take(self, kind: RecordKind, symbol: str, value: LiveValue) -> None:
        """Take a valid record. The hot path: called for each."""
        ...

    def begun(self, channel: Channel, symbol: str) -> None:
        """Take notice that every record of *symbol* is told from now on; also where that is known already."""
        ...

    def broken(self, channel: Channel, symbol: str) -> None:
        """Take notice that a record of *symbol* was no value, or may have been missed: there may be holes."""
        ...

    def ended(self, channel: Channel, symbol: str, why: Unavailable | None) -> None:
        """Take notice that *symbol* is no longer followed, or cannot be, and *why*; None where that was asked for."""
        ...


class Tap(Box):
    """Follows symbols of one feed like any follower, so that however many want a symbol it is subscribed to once."""

    def __init__(self, hub: Hub, channels: tuple[Channel, ...], listener: TapListener) -> None:
        """Follow nothing yet; what is followed is on all of *channels*."""
        terms = Terms(
            id="tap",
            channels=channels,
            interval=0.0,
            heartbeat=0.0,
            stale_after=NEVER,
            unread_age=0.0,
            queue=0,
        )
        super().__init__(terms, hub)
        self._source = hub
        self._listener = listener

    def join(self, symbols: Iterable[str]) -> None:
        """Follow *symbols*, those that are followed already too: then how they stand is told again."""
        self._source.join(self, symbols)

    def leave(self, symbols: Iterable[str]) -> None:
        """Follow *symbols* no longer."""
        self._source.leave(self, symbols)

    def follow(self, entry: Entry) -> None:
        """Begin to follow *entry*; how it stands is told next."""
        self.followed[entry] = entry.ordinal

    def queue(self, entry: Entry, update: Update) -> None:
        """Hand a record over, unless it is only told again."""
        if update.origin is UpdateKind.LIVE:
            self._listener.take(update.kind, entry.symbol, update.value)

    def notice(
        self,
        entry: Entry,
        *,
        why: Unavailable | None = None,
        gaps: tuple[Gap, ...] = (),
        since: int = NEVER,
        urgent: bool = False,
    ) -> None:
        """Hand over how *entry* stands."""
        # A status accounts for a record when that was refused: then nothing was lost, and yet not all is here.
        if gaps or since != NEVER or not entry.confirmed:
            self._listener.broken(entry.channel, entry.symbol)
        if entry.confirmed:
            self._listener.begun(entry.channel, entry.symbol)

    def end(
        self,
        channel: Channel,
        symbol: str,
        state: SymbolState,
        now: int,
        why: Unavailable | None = None,
    ) -> None:
        """Hand over that *symbol* is not followed."""
        self._listener.ended(channel, symbol, why)

    def end_entry(
        self, entry: Entry, state: SymbolState, now: int, why: Unavailable | None = None
    ) -> None:
        """Hand over that *entry* is no longer followed."""
        self.followed.pop(entry, None)
        self._listener.ended(entry.channel, entry.symbol, why)

    def seal(self) -> None:
        """Nothing waits here."""
