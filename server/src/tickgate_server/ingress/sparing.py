"""Evidence of what comes wrongly in large numbers, without a row for each record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ..ports import Clock, ErrorEntry

_EVERY: Final = 60.0
"""Seconds between two entries that say the same of the same symbol. A feed that is crossed before the open sends
thousands of such records, and they would push everything else out of the log."""

_MOST: Final = 10_000
"""Kinds of entry that are told apart; the one that came first makes room."""

SYMBOL_BY_SYMBOL: Final = ("feed", "subject", "symbol", "rule")
"""What two entries have in common that say the same of a live feed's symbol."""

ALL_TOGETHER: Final = ("feed", "subject", "rule")
"""What two entries have in common that say the same of contracts: a chain has thousands, and comes again and again."""


class _Noted(Struct):
    at: float
    passed: int = 1
    left_out: int = 0


class SparingNotes:
    """Passes on the first entries of each kind in a minute, with the number of those that were left out before them."""

    def __init__(
        self,
        note: Callable[[ErrorEntry], None],
        clock: Clock,
        same: Sequence[str] = SYMBOL_BY_SYMBOL,
        most: int = 1,
    ) -> None:
        """Pass entries on to *note*.

        Args:
            note: keeps them.
            clock: measures.
            same: what two entries of one kind have in common.
            most: entries of a kind in a minute.
        """
        self._note = note
        self._clock = clock
        self._same = same
        self._most = most
        self._noted: dict[tuple[Any, ...], _Noted] = {}

    def __call__(self, entry: ErrorEntry) -> None:
        """Pass *entry* on, or count it."""
        kind = tuple(entry.context.get(name) for name in self._same)
        now = self._clock.monotonic()
        noted = self._noted.get(kind)
        if noted is not None and now - noted.at < _EVERY:
            if noted.passed < self._most:
                noted.passed += 1
                self._note(entry)
            else:
                noted.left_out += 1
            return
        if noted is not None and noted.left_out:
            entry = replace(entry, context={**entry.context, "left_out_before": noted.left_out})
        self._noted.pop(kind, None)
        self._noted[kind] = _Noted(now)
        if len(self._noted) > _MOST:
            del self._noted[next(iter(self._noted))]
        self._note(entry)
