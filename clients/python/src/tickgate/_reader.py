"""The reading of the past: what to ask, what has come, when to give up. Knows no I/O.

The histories drive it. They carry messages and wait; it decides, so the twins cannot differ in anything that matters.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _convert as convert
from ._chunks import Chunk, Records
from ._errors import GatewayError, GatewayUnreachable, TickgateError, unavailable_error
from .v1.history_pb2 import SORT_NEWEST_FIRST

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._errors import DataUnavailableError
    from ._models import Missing, SeriesEnd
    from ._past import Past

Item = TypeVar("Item")

ATTEMPTS = 8
"""Attempts in a row that may fail without anything new, once something has come: some ten seconds, in
which a gateway is restarted. Before that, two."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before the second attempt, and before any later one; each doubles the pause."""

BROKEN = frozenset({"INTERNAL", "UNKNOWN"})
"""Statuses with which a stream that was reset ends, beside UNAVAILABLE."""


class Reader(Generic[Item]):
    """Reads what is asked for, over as many streams as it takes."""

    def __init__(self, past: Past[Item], *, chance: Callable[[], float] = random.random) -> None:
        self._past = past
        self._chance = chance
        self._cursor: str = past.request.cursor
        self._place: int | None = None if self._cursor else 0
        """Which symbol is due. Not known at first to who goes on from a cursor."""
        self._newest_first = past.request.sort == SORT_NEWEST_FIRST
        self._totals = dict.fromkeys(past.symbols, 0)
        self._counted = 0
        """Values of the symbol that is due, of this stream."""
        self._gave_up = False
        """Whether the newest word was that a symbol cannot be had."""
        self._failures = 0
        self._began = False
        self.missing: list[Missing] = []
        self.ends: list[SeriesEnd] = []

    @property
    def cursor(self) -> str:
        """Where reading would go on. Empty before anything has come."""
        return self._cursor

    @property
    def count(self) -> int:
        """Values that have come."""
        return sum(self._totals.values())

    def request(self) -> Any:
        """The request of the next stream, which goes on behind all that has come."""
        if self._gave_up and self._place:
            # The cursor leads to what could not be had: it gets another chance.
            self._place -= 1
            self.missing.pop()
        self._gave_up = False
        self._counted = 0
        request = type(self._past.request)()
        request.CopyFrom(self._past.request)
        request.cursor = self._cursor
        return request

    def receive(self, message: Any) -> Chunk[Item] | None:
        """Take in a message; return the rows in it, if it has some.

        Raises:
            GatewayError: it is not what the contract promises.
        """
        try:
            return self._received(message)
        except convert.BrokenContract as error:
            raise convert.broken(error, self._past.request_id) from error

    def _received(self, message: Any) -> Chunk[Item] | None:
        event = message.WhichOneof("event")
        if event is None:
            return None  # a word of tomorrow
        self._expect(message.symbol)
        part = getattr(message, event)
        self._began, self._failures, self._gave_up = True, 0, False
        if event == "chunk":
            chunk = Chunk(message.symbol, part, self._past.layout)
            self._totals[message.symbol] += len(chunk)
            self._counted += len(chunk)
            self._cursor = part.cursor
            return chunk
        if part.count != self._counted:
            raise convert.BrokenContract(f"{part.count} values were sent, and {self._counted} came")
        total = self._totals[message.symbol]
        if event == "end":
            self.ends.append(convert.series_end(part, message.symbol, total))
        else:
            self.missing.append(
                convert.missing(part, message.symbol, total, newest_first=self._newest_first)
            )
            self._gave_up = True
        self._cursor = part.cursor
        self._counted = 0
        self._place = self._past.symbols.index(message.symbol) + 1
        return None

    def _expect(self, symbol: str) -> None:
        """Refuse a symbol that is not due: one that was left out would be missed by nobody."""
        due = self._past.symbols[self._place or 0 :]
        if self._place is None and symbol in due:
            self._place = self._past.symbols.index(symbol)
        elif not due or symbol != due[0]:
            raise convert.BrokenContract(
                f"{symbol} came where {due[0] if due else 'nothing'} was due"
            )

    def pause(self, error: TickgateError, pushback: float | None) -> float | None:
        """Seconds until the next attempt after *error*, None when there is to be none."""
        self._failures += 1
        if self._failures >= (ATTEMPTS if self._began else 2) or (pushback or 0) < 0:
            return None
        reset = isinstance(error, GatewayError) and error.code in BROKEN
        if not isinstance(error, GatewayUnreachable) and not (reset and self._began):
            return None
        step = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._failures - 1))
        return max(step * (0.5 + 0.5 * self._chance()), pushback or 0.0)

    @property
    def complete(self) -> bool:
        """Whether each symbol has come to its end, so that there is nothing to go on with."""
        return self._place == len(self._past.symbols) and not self._gave_up

    def finish(self) -> None:
        """Judge what has come, once the stream has ended well.

        Raises:
            DataUnavailableError: some of it cannot be had, and all was asked for.
            GatewayError: it has ended before its end.
        """
        place = self._place
        if place is not None and place < len(self._past.symbols):
            error = convert.BrokenContract(
                f"the stream ended before {self._past.symbols[place]} did"
            )
            raise convert.broken(error, self._past.request_id)
        if not self._past.partial and (lacking := self._lacking()) is not None:
            raise lacking

    def _lacking(self) -> DataUnavailableError | None:
        serious = [
            each for each in self.missing if not (self._past.several and each.nothing_happened)
        ]
        if not serious:
            return None
        error = unavailable_error(serious[0].unavailable)
        for each in serious:
            came = f"{each.symbol}: {each.count:,} came"
            error.add_note(f"{came}; missing is {each.part}: {each.unavailable.message}")
        return error

    def records(self, chunks: list[Chunk[Item]]) -> Records[Item]:
        """All that has come, of which *chunks* are the rows."""
        return Records(self._past.layout, chunks, self.missing, self.ends)
