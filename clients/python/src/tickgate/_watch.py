"""How `tickgate watch` follows: a table that moves on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live

from . import _tables as tables
from ._enums import SymbolState
from ._errors import rejected_error
from ._models import Disconnected, SymbolStatus, Update
from ._time import length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta
    from types import FrameType

    from rich.console import Console, RenderableType

    from ._models import Counts, Quote, Reconnected, Unavailable
    from ._sync_subscription import SyncSubscription

    Happening = Update[Quote] | SymbolStatus | Disconnected | Reconnected
    Show = Callable[[Happening], object]

RECENT = 5.0
"""Seconds over which updates a second are counted."""


def watch(
    quotes: SyncSubscription[Quote], symbols: Sequence[str], show: Show, most: int | None
) -> bool:
    """Show what happens: *most* updates, or until the subscription is closed.

    Returns:
        Whether every symbol is followed.

    Raises:
        TickgateError: following has ended, or none of the *symbols* is followed.
    """
    updates, rejected = 0, set()
    for each in quotes.with_events():
        show(each)
        updates += isinstance(each, Update)
        if updates == most:
            break
        if isinstance(each, SymbolStatus):
            rejected.discard(each.symbol)
            if each.state is SymbolState.REJECTED and each.unavailable:
                rejected.add(each.symbol)
                if rejected.issuperset(symbols):
                    raise rejected_error(each.unavailable)
    return not rejected


@contextmanager
def closing_on_interrupt(quotes: SyncSubscription[Quote]) -> Iterator[None]:
    """Close the subscription on Ctrl-C, which is how a person ends it: nothing to complain about."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread is told of signals
        return

    def close(_number: int, _frame: FrameType | None) -> None:
        # An exception could come up anywhere, also where it is swallowed, and whoever is interrupted may hold the
        # subscription's lock.
        threading.Thread(target=quotes.close, daemon=True).start()

    before = signal.signal(signal.SIGINT, close)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def closing_after(quotes: SyncSubscription[Quote], seconds: float | None) -> Iterator[None]:
    """Close the subscription after so many seconds; None for never."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, quotes.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def board(
    console: Console, quotes: SyncSubscription[Quote], symbols: Sequence[str]
) -> Iterator[Show]:
    """A table with a row for each symbol as they were asked for, drawn anew four times a second."""
    shown = _Board(quotes, symbols)
    with Live(get_renderable=shown.table, console=console, refresh_per_second=4):
        yield shown.show


class _Board:
    """What the table needs to know besides the subscription. Drawn by a thread of rich's."""

    def __init__(self, quotes: SyncSubscription[Quote], symbols: Sequence[str]) -> None:
        self._quotes = quotes
        self._symbols = symbols
        self._lock = threading.Lock()
        self._recent: dict[str, deque[float]] = {}
        self._gaps: Counter[str] = Counter()
        self._reasons: dict[str, Unavailable] = {}
        self._lost: Disconnected | None = None

    def show(self, each: Happening) -> None:
        """Take one more thing into account."""
        with self._lock:
            if isinstance(each, Update):
                self._recent.setdefault(each.symbol, deque()).append(time.monotonic())
            elif isinstance(each, SymbolStatus):
                self._gaps[each.symbol] += each.state is SymbolState.GAP
                self._reasons.pop(each.symbol, None)
                if each.unavailable is not None:
                    self._reasons[each.symbol] = each.unavailable
            else:
                self._lost = each if isinstance(each, Disconnected) else None

    def table(self) -> RenderableType:
        """The table as things stand."""
        with self._lock:
            counts = self._quotes.counts
            # "*" has no row itself, and those of all that come.
            symbols = dict.fromkeys([*self._symbols, *counts])
            rows = [self._row(each, counts[each]) for each in symbols if each in counts]
            return tables.watched(rows, tuple(self._reasons.values()), self._lost)

    def _row(self, symbol: str, counts: Counts) -> tables.Watched:
        status, quote = self._quotes.states.get(symbol), self._quotes.latest(symbol)
        recent = self._recent.get(symbol, deque())
        return tables.Watched(
            symbol=symbol,
            quote=quote,
            state=status and status.state,
            age=_age(quote, recent[-1]) if quote and recent else None,
            per_second=self._rate(recent),
            conflated=counts.conflated,
            gaps=self._gaps[symbol],
        )

    @staticmethod
    def _rate(recent: deque[float]) -> float:
        now = time.monotonic()
        # The newest stays, for the age.
        while len(recent) > 1 and recent[0] < now - RECENT:
            recent.popleft()
        return sum(at >= now - RECENT for at in recent) / RECENT


def _age(quote: Quote, shown: float) -> timedelta:
    """How long ago the gateway received a quote: what it said, and the time since it was shown."""
    return length(quote.provenance.receive_age_ns + int((time.monotonic() - shown) * 1e9))
