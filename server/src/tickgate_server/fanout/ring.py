"""The newest records of the channels that are queued, for followers who come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..book import Entry, Update


class Ring:
    """Keeps so many records, for so long."""

    def __init__(self, most: int, keep: int) -> None:
        """Keep at most *most* records, none for longer than *keep* nanoseconds after its receipt."""
        self._most = most
        self._keep = keep
        self._records: deque[tuple[Entry, Update]] = deque()
        self._complete_from = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def complete_from(self) -> int:
        """Position from behind which nothing is missing."""
        return self._complete_from

    def put(self, entry: Entry, update: Update) -> None:
        """Keep *update*; the oldest makes room."""
        self._records.append((entry, update))
        if len(self._records) > self._most:
            self._drop_oldest()

    def expire(self, now: int) -> None:
        """Drop what was received more than `keep` before *now*, nanoseconds of the wall clock."""
        oldest = now - self._keep
        while self._records and self._records[0][1].value.provenance.receive_time < oldest:
            self._drop_oldest()

    def after(self, position: int) -> Iterator[tuple[Entry, Update]]:
        """Return the records kept behind *position*, oldest first."""
        return (kept for kept in self._records if kept[1].position > position)

    def _drop_oldest(self) -> None:
        _, update = self._records.popleft()
        self._complete_from = update.position
