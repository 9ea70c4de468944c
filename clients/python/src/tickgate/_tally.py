"""The account of one symbol's records: each number that was given is found again. Knows no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._models import Counts, SymbolStatus
from .v1 import provenance_pb2
from .v1 import stream_service_pb2 as pb

if TYPE_CHECKING:
    from ._unread import Entry


class Tally:
    """Counts by number, so that what comes twice is not counted twice."""

    def __init__(self) -> None:
        self._newest = 0
        """Highest number of a record that has come."""
        self._base = 0
        """Number from which the gateway counts on the stream."""
        self._mark = 0
        """Highest number of the stream that is among `_numbered`."""
        self._taken = ("", 0)
        """Epoch and number of the last record that was taken."""
        self._numbered = self._delivered = self._conflated = self._refused = self._lost = 0

    def begin(self, sequence: int) -> None:
        """Note the first status of a stream."""
        self._newest = sequence

    def was_taken(self, update: pb.Update, epoch: str) -> bool:
        """Whether a replayed record was taken before the connection was lost."""
        if update.kind != pb.UPDATE_KIND_REPLAY:
            return False
        taken_epoch, taken = self._taken
        return epoch == taken_epoch and update.sequence <= taken

    def arrived(self, update: pb.Update, served_from: int) -> bool:
        """Note that a record has come; return whether it has a number of its own.

        What the gateway asked for over HTTP bears the number of the live record before it, and so
        does the snapshot of a value that was counted already.
        """
        if update.kind == pb.UPDATE_KIND_REPLAY:
            return True
        numbered = served_from == provenance_pb2.TIER_BOOK and update.sequence > self._newest
        self._newest = max(self._newest, update.sequence)
        return numbered

    def take(self, entry: Entry[Any]) -> None:
        """Count what was taken."""
        if entry.update is not None:
            self._take_update(entry, entry.update)
        elif isinstance(entry.event, SymbolStatus):
            self._take_status(entry.event, begins=entry.begins)

    def _take_update(self, entry: Entry[Any], update: pb.Update) -> None:
        self._taken = entry.epoch, update.sequence
        self._delivered += entry.numbered
        self._conflated += entry.conflated
        if update.kind == pb.UPDATE_KIND_REPLAY and update.sequence <= self._base:
            # It got its number before the stream began, which counts from then on.
            self._numbered += entry.numbered + entry.conflated
        else:
            self._advance(update.sequence)

    def _take_status(self, status: SymbolStatus, *, begins: bool) -> None:
        if begins:
            self._base = self._mark = status.sequence
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
