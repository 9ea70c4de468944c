"""Recorded lines by the number that each bears on a live feed, and the comparison of what was delivered with them."""

from __future__ import annotations

import gzip
from array import array
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import msgspec

from tickgate.v1 import quote_pb2, trade_pb2
from tickgate.v1 import stream_service_pb2 as pb


class Line(msgspec.Struct):
    """A line; numbers are the text that stands there."""

    T: str
    t: str
    z: str = ""
    c: tuple[str, ...] = ()
    bp: msgspec.Raw = msgspec.Raw(b"0")
    ap: msgspec.Raw = msgspec.Raw(b"0")
    bs: msgspec.Raw = msgspec.Raw()
    as_: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="as")
    bx: str = ""
    ax: str = ""
    p: msgspec.Raw = msgspec.Raw()
    s: msgspec.Raw = msgspec.Raw()
    x: str = ""
    i: int | None = None


_as_line = msgspec.json.Decoder(Line).decode


class Tape:
    """One symbol's quotes or trades as they were recorded. The first line is number 1."""

    def __init__(self, symbol: str, lines: Iterable[bytes]) -> None:
        """Remember *lines*, which are JSON."""
        self.symbol = symbol
        self.lines = list(lines)
        self.refused: Counter[str] = Counter()
        """Lines that are refused, by the rule that does so."""

        self._valid = array("I", [0])
        # How many are valid up to each number.
        for line in self.lines:
            rule = _refused_by(_as_line(line))
            if rule is not None:
                self.refused[rule] += 1
            self._valid.append(self._valid[-1] + (rule is None))
        self.compared = 0

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def last_valid(self) -> int:
        """Number of the last line that is a value."""
        return self._valid.index(self._valid[-1])

    def line(self, number: int) -> Line:
        """Return the line of *number*."""
        return _line(self.lines[number - 1])

    def valid_between(self, first: int, last: int) -> int:
        """Return how many lines after *first* and before *last* are values."""
        return self._valid[last - 1] - self._valid[first] if last > first else 0

    def compare(self, update: pb.Update, before: int) -> None:
        """Check that *update* is the line of its number, digit for digit, and counts what came after *before*."""
        number = update.sequence
        assert self._valid[number] > self._valid[number - 1], f"{self.symbol} {number} is no value"
        assert update.conflated == self.valid_between(before, number)
        if update.WhichOneof("value") == "quote":
            self._compare_quote(update.quote, number)
        else:
            self._compare_trade(update.trade, number)
        self.compared += 1

    def _compare_quote(self, quote: quote_pb2.Quote, number: int) -> None:
        line = self.line(number)
        assert quote.symbol == self.symbol
        for name, price, size, venue in (
            ("bid", line.bp, line.bs, line.bx),
            ("ask", line.ap, line.as_, line.ax),
        ):
            text = text_of(price)
            if Decimal(text):
                side: quote_pb2.QuoteSide = getattr(quote, name)
                told = side.price.value, str(side.size), side.exchange
                assert told == (text, text_of(size), venue), f"{self.symbol} {number}"
            else:
                assert not quote.HasField("bid" if name == "bid" else "ask")
        assert (tuple(quote.conditions), quote.tape) == (line.c, line.z)
        assert quote.provenance.event_time.ToNanoseconds() == nanoseconds(line.t)

    def _compare_trade(self, trade: trade_pb2.Trade, number: int) -> None:
        line = self.line(number)
        told = trade.symbol, trade.price.value, str(trade.size), trade.exchange
        assert told == (self.symbol, text_of(line.p), text_of(line.s), line.x), number
        assert (tuple(trade.conditions), trade.tape) == (line.c, line.z)
        assert trade.HasField("id") == (line.i is not None)
        assert trade.id == (line.i or 0)
        assert trade.provenance.event_time.ToNanoseconds() == nanoseconds(line.t)


def read_tape(path: Path, symbol: str, most: int | None = None) -> Tape:
    """Return the tape of a recording, or its first *most* lines."""
    with gzip.open(path) as file:
        return Tape(symbol, file.readlines()[:most])


@lru_cache(maxsize=200_000)
def _line(text: bytes) -> Line:
    return _as_line(text)


def text_of(raw: msgspec.Raw) -> str:
    """Return the text of a number."""
    return bytes(raw).decode()


def _refused_by(line: Line) -> str | None:
    """Return the rule by which *line* is no value, worked out here and nowhere else."""
    if line.T != "q":
        return None
    bid, ask = Decimal(text_of(line.bp)), Decimal(text_of(line.ap))
    if not bid and not ask:
        return "no_sides"
    return "crossed" if bid and ask and bid > ask else None


@lru_cache(maxsize=200_000)
def nanoseconds(text: str) -> int:
    """Return an instant such as "2013-10-07T08:00:00.241Z", worked out here and nowhere else."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    day, _, clock = whole.partition("T")
    year, month, date = map(int, day.split("-"))
    hour, minute, second = map(int, clock.split(":"))
    # Days since the epoch by the civil calendar (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + date - 1
    days = era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100
    seconds = ((days + day_of_year - 719468) * 24 + hour) * 3600 + minute * 60 + second
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
