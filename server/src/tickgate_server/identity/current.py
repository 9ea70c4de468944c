"""For whom something is done."""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar
from typing import Final

from .consumer import ANYBODY, Consumer

CALLER: Final[ContextVar[Consumer]] = ContextVar("caller", default=ANYBODY)
"""The consumer whose call is being answered; `ANYBODY` also for what the gateway does by itself.

A task has the context of whoever began it: what several callers share is charged to the first who asked.
"""

PARTY: Final[ContextVar[Collection[str]]] = ContextVar("party", default=())
"""Names of all who wait for a shared call, in the order in which they came; more may come while it is under way. Empty
where one caller asks alone."""


def payers() -> Collection[str]:
    """Return the names of those for whom something is done; the first pays for it, unless he has had his share.

    A call that is shared with somebody greedy is not lost to the others: then one of them pays.
    """
    return PARTY.get() or (CALLER.get().name,)
