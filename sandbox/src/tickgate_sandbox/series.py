"""Records of one kind and symbol in order of time, each kept as the very text it came in."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress

import msgspec

from .timestamps import parse_many


class _Stamp(msgspec.Struct, gc=False):
    t: str


_STAMPS = msgspec.json.Decoder(list[_Stamp])


class Series:
    """Raw JSON records by time.

    Prices must leave the sandbox as the text the recording holds, so nothing but the time is
    ever decoded here.
    """

    __slots__ = ("_records", "_times")

    def __init__(self, times: list[int], records: Sequence[bytes]) -> None:
        """Take *records* in the order they were recorded, with their *times* beside them.

        Records of equal time keep their order, so the last of them is the latest.
        """
        if sorted(times) != times:
            order = sorted(range(len(times)), key=times.__getitem__)
            times = [times[index] for index in order]
            records = [records[index] for index in order]
        self._times = array("q", times)
        self._records = records

    @classmethod
    def of(cls, records: Iterable[bytes]) -> Series:
        """Read the time `t` out of each of *records*.

        Raises:
            ValueError: a record is not a JSON object with an RFC 3339 `t`.
        """
        kept = [record for record in records if record]
        try:
            stamps = _STAMPS.decode(b"[" + b",".join(kept) + b"]")
        except msgspec.DecodeError as error:
            raise ValueError(f"not a recording: {error}") from error
        return cls(parse_many(stamp.t for stamp in stamps), kept)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records)

    @property
    def times(self) -> Sequence[int]:
        """The times of the records in nanoseconds since the epoch, oldest first."""
        return self._times

    def timed(self) -> list[tuple[int, bytes]]:
        """Return every record with its time, oldest first."""
        return list(zip(self._times, self._records, strict=True))

    def select(self, kept: Iterable[bool]) -> Series:
        """Return the records for which *kept* holds true, one flag a record."""
        flags = list(kept)
        return Series(list(compress(self._times, flags)), list(compress(self._records, flags)))

    def latest(self, instant: int) -> bytes | None:
        """Return the newest record at or before *instant*, or None before the first."""
        index = bisect_right(self._times, instant)
        return self._records[index - 1] if index else None

    def newest(self, instant: int, count: int) -> list[tuple[int, bytes]]:
        """Return up to *count* records at or before *instant* with their times, oldest first."""
        end = bisect_right(self._times, instant)
        start = max(0, end - count)
        return list(zip(self._times[start:end], self._records[start:end], strict=True))

    def between(self, start: int, end: int) -> Sequence[bytes]:
        """Return the records of the half-open interval from *start* to *end*."""
        return self._records[self._interval(start, end)]

    def timed_between(self, start: int, end: int) -> list[tuple[int, bytes]]:
        """Return the records of the interval from *start* to *end* with their times."""
        interval = self._interval(start, end)
        return list(zip(self._times[interval], self._records[interval], strict=True))

    def window(
        self, start: int, end: int, *, newest_first: bool, count: int
    ) -> list[tuple[int, bytes]]:
        """Return records from *start* to *end*, both included, with their times.

        Args:
            start: The first instant.
            end: The last instant.
            newest_first: Whether to begin at the end; records of equal time turn round as well.
            count: So many at most.
        """
        first, last = bisect_left(self._times, start), bisect_right(self._times, end)
        if newest_first:
            first = max(first, last - count)
        else:
            last = min(last, first + count)
        found = list(zip(self._times[first:last], self._records[first:last], strict=True))
        return found[::-1] if newest_first else found

    def _interval(self, start: int, end: int) -> slice:
        return slice(bisect_left(self._times, start), bisect_left(self._times, end))
