"""Answers about the past, cut into pages of rows and chunks of columns: where each ends, and how to go on behind it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Final

from tickgate.v1 import history_pb2 as pb

from ..history.course import Course
from ..market.columns import Block, part
from ..market.history_rows import rows
from ..market.interval import Interval
from ..market.provenance import Feed, Tier
from ..market.series import SeriesPosition
from ..market.unavailable import Unavailable
from ..ports import SeriesBroken, SeriesChunk, SeriesDone, SeriesEvent
from . import convert, encode_history
from .call import Call
from .convert import Moment
from .convert_history import series_unavailable
from .encode_history import Shape
from .history_requests import Asked
from .paging import encode_token

LARGEST_PAGE: Final = 900 * 1024
"""Bytes of rows after which a page ends early: answers stay below a megabyte."""

CHUNK: Final = 8000
"""Rows of a chunk: a quarter of a megabyte, encoded in a few milliseconds."""

FIRST_CHUNK: Final = 500
"""Rows of the first one of a stream, so that its reader has something to do at once."""

LARGEST_CHUNK: Final = 1000 * 1024
"""Bytes of a chunk beyond which it is halved: its numbers have more digits than numbers usually have."""


def behind(before: SeriesPosition | None, symbol: str, times: array[int]) -> SeriesPosition:
    """Return where a reader stands who stood at *before* and has taken values of *symbol* with *times*."""
    last = times[-1]
    taken = sum(1 for _ in takewhile(last.__eq__, reversed(times)))
    if before is None or before.symbol != symbol:
        return SeriesPosition(symbol, last, taken, len(times))
    if taken == len(times) and before.time == last:
        taken += before.taken
    return SeriesPosition(symbol, last, taken, before.count + len(times))


class Tally:
    """What a call has told of its symbols so far."""

    def __init__(self) -> None:
        """Start without a word."""
        self._asked: set[str] = set()
        self._given: set[str] = set()
        """Symbols of which there were values, or the word that there are no more."""

        self._from_upstream: set[str] = set()
        self._tiers: dict[str, Tier] = {}
        """The farthest tier that values of each symbol came from."""

        self._missing: list[tuple[str, Unavailable]] = []

    def add(self, event: SeriesEvent) -> None:
        """Count *event*."""
        symbol = event.symbol
        self._asked.add(symbol)
        if isinstance(event, SeriesBroken):
            self._given.discard(symbol)
            self._tiers.pop(symbol, None)
            self._missing.append((symbol, event.why))
            return
        self._given.add(symbol)
        if not isinstance(event, SeriesChunk):
            return
        tier = event.block.origin.served_from
        if tier is Tier.UPSTREAM:
            self._from_upstream.add(symbol)
        if self._tiers.get(symbol) is not Tier.UPSTREAM:
            self._tiers[symbol] = tier

    def note(self, call: Call, feed: Feed | None, *, strict: bool) -> None:
        """Note in *call* what its answer was like."""
        call.asked, call.given = len(self._asked), len(self._given)
        call.from_upstream = len(self._from_upstream)
        call.feed, call.tiers = feed, tuple(self._tiers.values())
        if self._missing:
            call.strict, call.missing = strict, self._missing
            call.reason = self._missing[0][1].reason.name


class Page:
    """A page of rows, while it is filled."""

    def __init__(self, shape: Shape, asked: Asked, size: int) -> None:
        """Fill a page of the answer to *asked* with at most *size* rows."""
        self.lacking: list[tuple[str, Unavailable]] = []
        """Symbols of which the page has nothing, and why."""

        self._shape = shape
        self._asked = asked
        self._size = size
        self._position = asked.after
        self._results: list[bytes] = []
        self._rows: list[bytes] = []
        """Of the symbol that is being told."""

        self._symbol = ""
        self._count = 0
        self._bytes = 0
        self._next: SeriesPosition | None = None

    @property
    def _full(self) -> bool:
        return self._count >= self._size or self._bytes >= LARGEST_PAGE

    @property
    def count(self) -> int:
        """Rows that it has."""
        return self._count

    def take(self, event: SeriesEvent, moment: Moment) -> bool:
        """Take *event* in as far as there is room, and tell whether another is wanted."""
        match event:
            case SeriesChunk():
                return self._take_rows(event, moment)
            case SeriesDone():
                return self._take_end(event)
            case SeriesBroken():
                return self._take_break(event, moment)

    def response(self) -> bytes:
        """Return the page, encoded."""
        if self._rows:
            self._close(self._symbol, None)
        token = ""
        if self._next is not None:
            token = encode_token(self._asked.query, self._asked.place(self._next))
        return encode_history.response(self._shape, self._results, token)

    def _take_rows(self, chunk: SeriesChunk, moment: Moment) -> bool:
        block, tier = chunk.block, chunk.block.origin.served_from
        self._symbol = chunk.symbol
        taken = 0
        for value in rows(block, chunk.symbol):
            if self._full:
                break
            row = encode_history.row(self._shape, value, tier, moment)
            self._rows.append(row)
            self._bytes += len(row)
            self._count += 1
            taken += 1
        if taken == len(block):
            # Whether these were the last of them is only heard from what comes next.
            self._position = chunk.position
            return True
        if taken:
            self._position = behind(self._position, chunk.symbol, block.times[:taken])
        self._next = self._position
        return False

    def _take_end(self, done: SeriesDone) -> bool:
        note = None
        if done.refused or done.clamped_end is not None:
            note = pb.SeriesNote(refused_count=done.refused)
            if done.clamped_end is not None:
                note.clamped_end_time.CopyFrom(convert.timestamp(done.clamped_end))
        self._close(done.symbol, note)
        return self._go_on_behind(done.symbol)

    def _take_break(self, broken: SeriesBroken, moment: Moment) -> bool:
        if self._rows:
            self._close(broken.symbol, pb.SeriesNote(broken=self._broken(broken, moment)))
            self._next = broken.position
            return False
        # A page before may have had some of it, and its token tries again. This one goes on: a walk comes to its end.
        self.lacking.append((broken.symbol, broken.why))
        why = convert.unavailable(broken.why, moment)
        result = self._shape.page(symbol=broken.symbol, unavailable=why)
        self._results.append(encode_history.lacking_result(self._shape, result))
        return self._go_on_behind(broken.symbol)

    def _broken(self, broken: SeriesBroken, moment: Moment) -> pb.SeriesUnavailable:
        return series_unavailable(
            broken.why,
            broken.missing,
            len(self._rows),
            encode_token(self._asked.query, self._asked.place(broken.position)),
            moment,
            newest_first=self._asked.question.newest_first,
        )

    def _close(self, symbol: str, note: pb.SeriesNote | None) -> None:
        self._results.append(encode_history.page_result(self._shape, symbol, self._rows, note))
        self._rows = []

    def _go_on_behind(self, symbol: str) -> bool:
        self._position = SeriesPosition(symbol, done=True)
        if self._full and symbol != self._asked.question.symbols[-1]:
            self._next = self._position
        return not self._full


class Columns:
    """Makes the messages of one stream."""

    def __init__(self, shape: Shape, asked: Asked, moment: Callable[[], Moment]) -> None:
        """Make messages of the answer to *asked*, each as it is at its *moment*."""
        self._shape = shape
        self._asked = asked
        self._moment = moment
        self._position = asked.after
        self._begun = False
        self._symbol = ""
        self._sent = 0
        """Values of the symbol."""

    def messages(self, event: SeriesEvent) -> Iterator[bytes]:
        """Yield what is said of *event*, encoded."""
        if event.symbol != self._symbol:
            self._symbol, self._sent = event.symbol, 0
        match event:
            case SeriesChunk():
                yield from self._chunks(event)
            case SeriesDone():
                yield self._end(event)
            case SeriesBroken():
                yield self._broken(event)

    def broken_off(self, symbol: str, why: Unavailable) -> Iterator[SeriesBroken]:
        """Yield that *why* ends the answer before what comes next of *symbol*, and so before all behind it."""
        question, stands = self._asked.question, self._position
        for one in question.symbols[question.symbols.index(symbol) :]:
            begun = stands is not None and stands.symbol == one
            position = stands if begun and stands is not None else SeriesPosition(one)
            yield SeriesBroken(one, why, position, self._left(position), count=0)

    def _left(self, position: SeriesPosition) -> Interval:
        question = self._asked.question
        course, whole, time = Course(question.newest_first), question.interval, position.time
        if time is None:
            return whole
        if question.key.timeframe is not None:
            return course.behind(whole, Interval(time, time + 1))
        # Of the instant of the last value there may be more.
        return course.onward(whole, time)

    def _chunks(self, chunk: SeriesChunk) -> Iterator[bytes]:
        start, end = 0, len(chunk.block)
        while start < end:
            most = CHUNK if self._begun else FIRST_CHUNK
            self._begun = True
            piece = part(chunk.block, start, start + most)
            start += most
            after = (
                chunk.position
                if start >= end
                else behind(self._position, self._symbol, piece.times)
            )
            yield from self._small_enough(piece, after)

    def _small_enough(self, block: Block, after: SeriesPosition) -> Iterator[bytes]:
        message = encode_history.chunk(block, self._cursor(after), self._moment())
        encoded = encode_history.chunk_event(self._shape, self._symbol, message)
        if len(encoded) > LARGEST_CHUNK and len(block) > 1:
            middle = len(block) // 2
            first = part(block, 0, middle)
            yield from self._small_enough(first, behind(self._position, self._symbol, first.times))
            yield from self._small_enough(part(block, middle, len(block)), after)
            return
        self._position = after
        self._sent += len(block)
        yield encoded

    def _end(self, done: SeriesDone) -> bytes:
        self._position = SeriesPosition(done.symbol, done=True)
        end = pb.SeriesEnd(
            count=self._sent, cursor=self._cursor(self._position), refused_count=done.refused
        )
        if done.clamped_end is not None:
            end.clamped_end_time.CopyFrom(convert.timestamp(done.clamped_end))
        message: bytes = self._shape.event(symbol=done.symbol, end=end).SerializeToString()
        return message

    def _broken(self, broken: SeriesBroken) -> bytes:
        unavailable = series_unavailable(
            broken.why,
            broken.missing,
            self._sent,
            self._cursor(broken.position),
            self._moment(),
            newest_first=self._asked.question.newest_first,
        )
        message = self._shape.event(symbol=broken.symbol, unavailable=unavailable)
        encoded: bytes = message.SerializeToString()
        return encoded

    def _cursor(self, position: SeriesPosition) -> str:
        return encode_token(self._asked.query, self._asked.place(position))
