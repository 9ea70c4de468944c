"""Records a session of a live feed, so that it can be lived again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct, field

from ..market.bar import Bar
from ..market.live import Channel, FeedState, GapCause, LiveValue, RecordKind
from ..market.quote import Quote
from ..market.trade import Trade
from ..market.unavailable import Unavailable
from .session_folder import SessionFolder

_log = structlog.get_logger(__name__)

CHANNELS: Final = (Channel.QUOTES, Channel.TRADES, Channel.BARS)
"""What a session is made of."""

_HOPELESS: Final = frozenset({FeedState.AUTH_FAILED, FeedState.NOT_ENTITLED})
"""States in which nothing will ever arrive."""


class Wording(Struct, frozen=True):
    """How values are written."""

    quote: Callable[[Quote], str]
    trade: Callable[[Trade], str]
    bar: Callable[[Bar], str]


class SessionCounts(Struct):
    """What was recorded."""

    quotes: int = 0
    trades: int = 0
    bars: int = 0
    held: int = 0
    """Records that the folder held already."""

    left_out: int = 0
    """Records that a recording has no place for: amendments, trades without a size, what is no value."""

    gaps: int = 0
    """Times that something may have been missed."""

    rejected: dict[str, str] = field(default_factory=dict)
    """Why symbols could not be followed."""

    @property
    def came(self) -> int:
        """Records that arrived, whatever became of them."""
        return self.quotes + self.trades + self.bars + self.held + self.left_out


class SessionRecorder:
    """Writes what a live feed brings into a folder, once a second: a `FeedListener`."""

    def __init__(self, folder: Path, wording: Wording, *, interval: float = 1.0) -> None:
        """Write into *folder* in the words of *wording*, every *interval* seconds."""
        self._folder = SessionFolder(folder)
        self._wording = wording
        self._interval = interval
        self.counts = SessionCounts()
        self.begun = asyncio.Event()
        """Set once the upstream sends all that was asked for, as far as it can be had."""

        self.hopeless: str = ""
        """Why nothing will ever arrive; empty while it may."""

        self.notes: list[str] = []
        """What whoever reads the recording should know, in sentences."""

        self._unconfirmed: set[tuple[Channel, str]] = set()
        self._had: set[tuple[Channel, str]] = set()
        """What may still arrive."""

        self.over = asyncio.Event()
        """Set when there is nothing more to be had."""

    def expect(self, symbols: Collection[str]) -> None:
        """Take notice of what was asked for."""
        self._unconfirmed = {(channel, symbol) for channel in CHANNELS for symbol in symbols}
        self._had = set(self._unconfirmed)

    def accept(self, kind: RecordKind, symbol: str, value: LiveValue) -> None:
        """Take a valid record."""
        time = value.provenance.event_time
        counts = self.counts
        if time is None:
            counts.left_out += 1
        elif isinstance(value, Quote):
            new = self._folder.line("quotes", symbol, time, self._wording.quote(value))
            counts.quotes += new
            counts.held += not new
        elif isinstance(value, Trade) and value.size is not None:
            new = self._folder.line("trades", symbol, time, self._wording.trade(value))
            counts.trades += new
            counts.held += not new
        elif isinstance(value, Bar) and kind is not RecordKind.DAILY_BAR:
            self._folder.bar(symbol, time, self._wording.bar(value))
            counts.bars += kind is RecordKind.BAR
        else:
            counts.left_out += 1

    def refuse(self, kind: RecordKind, symbol: str, why: Unavailable) -> None:
        """Take notice of a record that is no value."""
        self.counts.left_out += 1

    def settle(self) -> None:
        """What has come is written by and by."""

    def confirmed(self, channel: Channel, symbols: Collection[str]) -> None:
        """Take notice that the upstream sends *symbols*."""
        self._await_no_more(channel, symbols)

    def rejected(self, channel: Channel, symbols: Collection[str], why: Unavailable) -> None:
        """Take notice that *symbols* cannot be had."""
        self.counts.rejected |= dict.fromkeys(symbols, why.message)
        self._await_no_more(channel, symbols)
        self._had -= {(channel, symbol) for symbol in symbols}
        if not self._had:
            self.over.set()

    def missed(
        self, cause: GapCause, since: int, message: str, *, records: int | None = None
    ) -> None:
        """Take notice that records were missed."""
        self.counts.gaps += 1
        _log.warning("session_gap", cause=cause.name, message=message, records=records)

    def lost(self, cause: GapCause, since: int, message: str) -> None:
        """Take notice that the connection is gone."""
        self.missed(cause, since, message)

    def changed(self, state: FeedState, message: str) -> None:
        """Take notice of the connection's state."""
        if state in _HOPELESS:
            self.hopeless = message or state.value
            self.over.set()

    def _await_no_more(self, channel: Channel, symbols: Collection[str]) -> None:
        self._unconfirmed -= {(channel, symbol) for symbol in symbols}
        if not self._unconfirmed:
            self.begun.set()

    async def run(self) -> None:
        """Write what has come, until cancelled or until that cannot be done."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                # On this loop: a second's worth takes milliseconds, and nothing else is served here.
                self._folder.write()
            except OSError as error:
                self.hopeless = f"the recording cannot be written: {error.strerror or error}"
                self.over.set()
                return

    def finish(self) -> list[Path]:
        """Write everything in its last form, and return the files.

        Raises:
            OSError: it cannot be written.
        """
        return self._folder.finish()
