"""What the error log keeps of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..ingress.sparing import SparingNotes
from ..market.unavailable import Reason
from ..ports import Clock, ErrorEntry

_OF_ONE: Final = 5
"""Entries a minute that say that one consumer was refused one method for one of `_CHEAP`."""

_CHEAP: Final = (Reason.LIMIT_EXCEEDED, Reason.UNAUTHENTICATED)
"""Reasons that cost a caller nothing to be given."""


def sparing(note: Callable[[ErrorEntry], None], clock: Clock) -> Callable[[ErrorEntry], None]:
    """Return what passes entries of calls on to *note*, but of those that cost a caller nothing only the first few.

    Whoever calls far beyond a limit, or with a key that has ended, would fill the log and the database behind it.
    All of them are counted, and the next entry says how many were left out. Who shows no key gets no entry at all
    (`rpc/calls`).
    """
    few = {
        reason.name: SparingNotes(note, clock, ("endpoint", "consumer"), _OF_ONE)
        for reason in _CHEAP
    }

    def keep(entry: ErrorEntry) -> None:
        few.get(entry.reason, note)(entry)

    return keep
