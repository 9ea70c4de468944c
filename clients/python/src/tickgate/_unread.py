"""What has come and was not taken, between the wire and the reader. Knows no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

from ._tally import is_numbered

if TYPE_CHECKING:
    from collections.abc import Hashable

    from google.protobuf.timestamp_pb2 import Timestamp

    from .v1 import stream_service_pb2 as pb

Event = TypeVar("Event")


@dataclass(slots=True, kw_only=True)
class Entry(Generic[Event]):
    """A record or an event, in its place in line."""

    first: int
    """Number of the first message that this place stands for."""
    event: Event | None = None
    begins: bool = False
    """Whether the event is the first status of its symbol on a stream."""
    symbol: str = ""
    """Symbol that it is about, empty if none."""
    update: pb.Update | None = None
    serve_time: Timestamp | None = None
    epoch: str = ""
    conflated: int = 0
    """Records that the record supersedes, at the gateway and here."""


class Unread(Generic[Event]):
    """One line, oldest first. On a conflated channel a symbol has one place in it."""

    def __init__(self, *, conflated: bool) -> None:
        self.conflated = conflated
        self._line: dict[Hashable, Entry[Event]] = {}
        self._places = count()

    def __bool__(self) -> bool:
        return bool(self._line)

    def put(self, symbol: str, update: pb.Update, message: pb.SubscribeResponse) -> None:
        """Add a record of *message*."""
        entry: Entry[Event] = Entry(
            first=message.delivery_sequence,
            symbol=symbol,
            update=update,
            serve_time=message.serve_time,
            epoch=message.epoch,
            conflated=update.conflated,
        )
        place: Hashable = symbol if self.conflated else next(self._places)
        older = self._line.get(place)
        if older is not None and older.update is not None:
            entry.first = older.first
            entry.conflated += older.conflated + is_numbered(older.update)
        # Assigning to a key already present keeps its place in line, so a busy symbol cannot starve
        # a quiet one.
        self._line[place] = entry

    def put_event(
        self,
        event: Event,
        number: int,
        *,
        symbol: str = "",
        begins: bool = False,
        place: Hashable = None,
    ) -> None:
        """Add an event of the message with that *number*; one in the same place is superseded."""
        entry = Entry(first=number, event=event, symbol=symbol, begins=begins)
        self._line[next(self._places) if place is None else place] = entry

    def take(self) -> Entry[Event] | None:
        """Take the oldest, None if there is nothing."""
        if not self._line:
            return None
        return self._line.pop(next(iter(self._line)))

    def frontier(self, received: int) -> int:
        """Number of the newest message up to which everything was taken; *received* came last."""
        if not self._line:
            return received
        return next(iter(self._line.values())).first - 1

    def drop(self, symbol: str) -> None:
        """Forget the records of *symbol*."""
        if self.conflated:
            self._line.pop(symbol, None)
            return
        self._line = {
            place: entry
            for place, entry in self._line.items()
            if entry.update is None or entry.symbol != symbol
        }

    def carry_over(self, *, keep_records: bool) -> None:
        """Go on with a new stream, whose messages are numbered anew."""
        self._line = {
            place: entry
            for place, entry in self._line.items()
            if keep_records or entry.update is None
        }
        for entry in self._line.values():
            entry.first = 1  # before everything that is still to come
