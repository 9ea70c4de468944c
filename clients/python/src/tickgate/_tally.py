"""The account of one symbol's records: each number that was given is found again. Knows no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._models import Counts, SymbolStatus
from .v1 import stream_service_pb2 as pb

if TYPE_CHECKING:
    from ._unread import Entry


def is_numbered(update: pb.Update) -> bool:
    """Whether the number of an update is its own.

    A snapshot bears the number of the record that stood before, which it supersedes or repeats.
    """
    return update.kind in {pb.UPDATE_KIND_LIVE, pb.UPDATE_KIND_REPLAY}


class Tally:
    """Counts by number, so that what comes twice is not counted twice."""

    def __init__(self) -> None:
        self._base = 0
        """Number from which the gateway counts on the stream."""
        self._mark = 0
        """Highest number of the stream that is among `_numbered`."""
        self._taken = ("", 0)
        """Epoch and number of the last record that was taken."""
        self._left = ("", 0)
        """The same, when the stream before had ended."""
        self._numbered = self._delivered = self._conflated = self._refused = self._lost = 0

    def begin(self) -> None:
        """Note that a stream begins."""
        self._left = self._taken

    def was_taken(self, update: pb.Update, epoch: str) -> bool:
        """Whether a replayed record was taken before the connection was lost."""
        if update.kind != pb.UPDATE_KIND_REPLAY:
            return False
        left_epoch, left = self._left
        return epoch == left_epoch and update.sequence <= left

    def take(self, entry: Entry[Any]) -> None:
        """Count what was taken."""
        if entry.update is not None:
            self._take_update(entry, entry.update)
        elif isinstance(entry.event, SymbolStatus):
            self._take_status(entry.event, begins=entry.begins)

    def _take_update(self, entry: Entry[Any], update: pb.Update) -> None:
        numbered = is_numbered(update)
        self._delivered += numbered
        self._conflated += entry.conflated
        if numbered:
            self._taken = entry.epoch, update.sequence
        if numbered and update.sequence <= self._base:
            # It got its number before the stream began to count.
            self._numbered += 1 + entry.conflated
        else:
            self._advance(update.sequence)

    def _take_status(self, status: SymbolStatus, *, begins: bool) -> None:
        if begins:
            self._base = self._mark = status.sequence
            # What the stream before has left open comes again on this one, or stands in a gap.
            self._numbered = self._delivered + self._conflated + self._refused + self._lost
        self._refused += sum(each.count for each in status.refusals)
        for loss in status.losses:
            self._lost += loss.count
            if loss.last_sequence <= self._base:
                self._numbered += loss.count
        self._advance(status.sequence)

    def _advance(self, sequence: int) -> None:
        self._numbered += max(0, sequence - self._mark)
        self._mark = max(self._mark, sequence)

    def counts(self) -> Counts:
        """The account so far."""
        return Counts(
            numbered=self._numbered,
            delivered=self._delivered,
            conflated=self._conflated,
            refused=self._refused,
            lost=self._lost,
        )
