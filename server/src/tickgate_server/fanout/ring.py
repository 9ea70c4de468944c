"""The newest records of the channels that are queued, for followers who come back."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from msgspec import Struct

from ..book import Entry, Update


class Refused(Struct, frozen=True, gc=False):
    """A record that was no value."""

    sequence: int
    position: int
    rule: str
    time: int
    """When it was refused, nanoseconds of the wall clock."""


Kept: TypeAlias = Update | Refused
"""A record that is kept: it explains the number that it was given."""


class Ring:
    """Keeps so many records, for so long."""

    def __init__(self, most: int, keep: int) -> None:
        """Keep at most *most* records, none for longer than *keep* nanoseconds after its receipt."""
        self._most = most
        self._keep = keep
        self._records: deque[tuple[Entry, Kept]] = deque()

    def __len__(self) -> int:
        return len(self._records)

    def put(self, entry: Entry, record: Kept) -> None:
        """Keep *record*; the oldest makes room."""
        self._records.append((entry, record))
        if len(self._records) > self._most:
            self._drop_oldest()

    def expire(self, now: int) -> None:
        """Drop what was received more than `keep` before *now*, nanoseconds of the wall clock."""
        oldest = now - self._keep
        while self._records and _received(self._records[0][1]) < oldest:
            self._drop_oldest()

    def after(self, position: int) -> list[tuple[Entry, Kept]]:
        """Return the records kept behind *position*, oldest first."""
        found = []
        # Who comes back was away for a moment: what he missed is at the end.
        for kept in reversed(self._records):
            if kept[1].position <= position:
                break
            found.append(kept)
        found.reverse()
        return found

    def _drop_oldest(self) -> None:
        entry, record = self._records.popleft()
        entry.dropped = record.position


def _received(record: Kept) -> int:
    return record.time if isinstance(record, Refused) else record.value.provenance.receive_time
