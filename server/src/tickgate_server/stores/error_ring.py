"""The newest refusals and failures, in this process's memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from ..observe.counters import ErrorLogCounts
from ..ports import ErrorEntry, ErrorPlace, ErrorQuery, ErrorRecord
from .legible import legible


class ErrorRing:
    """An `ErrorLog` of fixed size: a new entry takes the place of the oldest."""

    def __init__(self, capacity: int, counts: ErrorLogCounts) -> None:
        """Hold *capacity* entries; count in *counts* what was written."""
        self._records: deque[tuple[int, ErrorEntry]] = deque(maxlen=capacity)
        self._counts = counts
        self._last_id = 0

    def note(self, entry: ErrorEntry) -> None:
        """Keep *entry*."""
        self._last_id += 1
        self._records.append((self._last_id, entry))
        self._counts.written += 1

    async def search(
        self, query: ErrorQuery, place: ErrorPlace | None
    ) -> tuple[ErrorPlace, Sequence[ErrorRecord]]:
        """Return the records that *query* selects; this is the only place there is."""
        if place is ErrorPlace.POSTGRES:
            return place, ()
        found = (
            ErrorRecord(number, legible(entry))
            for number, entry in reversed(self._records)
            if _selects(query, number, entry)
        )
        return ErrorPlace.RING, list(islice(found, query.limit))


def _selects(query: ErrorQuery, number: int, entry: ErrorEntry) -> bool:
    return (
        (query.before_id is None or number < query.before_id)
        and (not query.reasons or entry.reason in query.reasons)
        and (not query.request_id or entry.request_id == query.request_id)
        and (query.start is None or entry.time >= query.start)
        and (query.end is None or entry.time < query.end)
    )
