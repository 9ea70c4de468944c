"""What the error log keeps of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..ingress.sparing import SparingNotes
from ..market.unavailable import Reason
from ..ports import Clock, ErrorEntry

_OF_ONE: Final = 5
"""Entries a minute that say that one caller was at a limit with one method."""

_OF_STRANGERS: Final = 20
"""Entries a minute that say that strangers called one method."""


def sparing(note: Callable[[ErrorEntry], None], clock: Clock) -> Callable[[ErrorEntry], None]:
    """Return what passes entries of calls on to *note*, but of those that cost a caller nothing only the first few.

    Whoever calls far beyond a limit, or without a key, would fill the log and the database behind it. All of them are
    counted, and the next entry says how many were left out.
    """
    few = {
        Reason.LIMIT_EXCEEDED.name: SparingNotes(note, clock, ("endpoint", "consumer"), _OF_ONE),
        # A stranger has as many addresses as connections.
        Reason.UNAUTHENTICATED.name: SparingNotes(note, clock, ("endpoint",), _OF_STRANGERS),
    }

    def keep(entry: ErrorEntry) -> None:
        few.get(entry.reason, note)(entry)

    return keep
