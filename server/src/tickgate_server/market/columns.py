"""Values of the past as columns: all of one field together, exact, and small.

A year of minute bars is a hundred thousand rows. As objects they would be half a million decimals; as columns they are
arrays of integers with one power of ten each, which travel from the store to the caller without being looked at.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from .provenance import DataSource, Feed, Tier

K = TypeVar("K")

_MOST_DIGITS: Final = 18
"""Digits that fit into a column's integer, whichever they are."""

_TENS: Final = tuple(10**power for power in range(_MOST_DIGITS + 1))
_STARTS: Final = frozenset({b"-", *(b"%d" % digit for digit in range(10))})
"""What a number of JSON begins with. Python's decimals also read spaces, underscores between digits and words."""

_ROOM: Final = Context(prec=2 * _MOST_DIGITS)
"""For numbers with so many digits before the point at most, and so many behind it: nothing is rounded but zeros."""


class Decimals(Struct, frozen=True):
    """A column of decimals: entry i is `values[i]` times ten to the power of `exponent`."""

    exponent: int
    values: array[int]
    """Type code q. 0 stands where a row has no value."""

    unset: tuple[int, ...] = ()
    """Rows without a value, in order."""

    wide: tuple[Decimal | None, ...] | None = None
    """In place of the values where one of them does not fit; `values` is empty then."""

    def __len__(self) -> int:
        return len(self.values) if self.wide is None else len(self.wide)

    def __iter__(self) -> Iterator[Decimal | None]:
        if self.wide is not None:
            yield from self.wide
            return
        unset, exponent = frozenset(self.unset), self.exponent
        for row, value in enumerate(self.values):
            yield None if row in unset else Decimal(value).scaleb(exponent)

    def part(self, start: int, end: int) -> Decimals:
        """Return the rows from *start* up to and without *end*."""
        if self.wide is not None:
            return Decimals(0, array("q"), wide=self.wide[start:end])
        return Decimals(self.exponent, self.values[start:end], _shifted(self.unset, start, end))

    def reverse(self) -> Decimals:
        """Return the rows in the other order."""
        if self.wide is not None:
            return Decimals(0, array("q"), wide=self.wide[::-1])
        return Decimals(self.exponent, self.values[::-1], _mirrored(self.unset, len(self.values)))


class Counts(Struct, frozen=True):
    """A column of whole numbers that are not negative."""

    values: array[int]
    """Type code q. 0 stands where a row has no value."""

    unset: tuple[int, ...] = ()
    """Rows without a value, in order."""

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[int | None]:
        unset = frozenset(self.unset)
        for row, value in enumerate(self.values):
            yield None if row in unset else value

    def part(self, start: int, end: int) -> Counts:
        """Return the rows from *start* up to and without *end*."""
        return Counts(self.values[start:end], _shifted(self.unset, start, end))

    def reverse(self) -> Counts:
        """Return the rows in the other order."""
        return Counts(self.values[::-1], _mirrored(self.unset, len(self.values)))


class Codes(Struct, frozen=True):
    """A column of codes, or of lists of codes, each written once."""

    known: tuple[str | tuple[str, ...], ...]
    """The codes that occur; the lists, for conditions."""

    places: array[int]
    """Type code I. 0 where a row has none, otherwise the code's place, counted from 1."""

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[str | tuple[str, ...] | None]:
        values = (None, *self.known)
        for place in self.places:
            yield values[place]

    def part(self, start: int, end: int) -> Codes:
        """Return the rows from *start* up to and without *end*."""
        return Codes(self.known, self.places[start:end])

    def reverse(self) -> Codes:
        """Return the rows in the other order."""
        return Codes(self.known, self.places[::-1])


Column: TypeAlias = Decimals | Counts | Codes


class Origin(Struct, frozen=True):
    """Where all rows of a block came from."""

    source: DataSource
    feed: Feed | None
    receive_time: int
    """When the answer that carried them was complete, nanoseconds of the wall clock; of the newest row where each was
    received by itself."""

    upstream_request_id: str
    served_from: Tier


class _Block(Struct, frozen=True):
    origin: Origin
    times: array[int]
    """Type code q, nanoseconds, in the order of the rows: starts of bars, stamps of trades and quotes."""

    @property
    def columns(self) -> dict[str, Column | None]:
        """The columns beside the times, by the names of the fields; None where no row has a value."""
        return {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if name not in ("origin", "times", "receive_times")
        }

    def __len__(self) -> int:
        return len(self.times)


class BarBlock(_Block, frozen=True, kw_only=True):
    """Bars of one symbol."""

    open: Decimals
    high: Decimals
    low: Decimals
    close: Decimals
    volume: Counts | None
    trade_count: Counts | None
    vwap: Decimals | None
    receive_times: array[int] | None = None
    """When each row was received, where each was by itself."""


class TradeBlock(_Block, frozen=True, kw_only=True):
    """Trades of one symbol."""

    price: Decimals
    size: Counts | None
    exchange: Codes | None
    conditions: Codes | None
    id: Counts | None
    tape: Codes | None
    amendment: Codes | None
    receive_times: array[int] | None = None
    """When each row was received, where each was by itself."""


class QuoteBlock(_Block, frozen=True, kw_only=True):
    """Quotes of one symbol. A side without a price has neither size nor exchange."""

    bid_price: Decimals | None
    bid_size: Counts | None
    bid_exchange: Codes | None
    ask_price: Decimals | None
    ask_size: Counts | None
    ask_exchange: Codes | None
    conditions: Codes | None
    tape: Codes | None
    receive_times: array[int] | None = None
    """When each row was received, where each was by itself."""


Block: TypeAlias = BarBlock | TradeBlock | QuoteBlock


def part(block: Block, start: int, end: int) -> Block:
    """Return the rows of *block* from *start* up to and without *end*."""
    if start == 0 and end >= len(block):
        return block
    received = block.receive_times
    columns = {
        name: None if column is None else column.part(start, end)
        for name, column in block.columns.items()
    }
    return type(block)(
        origin=block.origin,
        times=block.times[start:end],
        receive_times=None if received is None else received[start:end],
        **columns,  # type: ignore[arg-type]  # each column comes back as what it was
    )


def reversed_block(block: Block) -> Block:
    """Return the rows of *block* in the other order."""
    received = block.receive_times
    columns = {
        name: None if column is None else column.reverse() for name, column in block.columns.items()
    }
    return type(block)(
        origin=block.origin,
        times=block.times[::-1],
        receive_times=None if received is None else received[::-1],
        **columns,  # type: ignore[arg-type]  # as above
    )


def decimals(numbers: Sequence[Decimal | None]) -> Decimals | None:
    """Return *numbers*, all of them finite, as a column, or None when there is none among them."""
    return _column(numbers, _scaled, lambda number: number)


def parse_decimals(texts: Sequence[bytes | None]) -> Decimals | None:
    """Return the numbers that *texts* write, as JSON does, as a column, or None when there is none among them.

    It is the column of the `Decimal` of each text, at a tenth of the cost: digits become integers without more ado.

    Raises:
        ValueError: a text writes no finite number, or one of thousands of digits.
    """
    return _column(texts, _read, _number)


def _column(
    keys: Sequence[K | None],
    scale: Callable[[K], tuple[int, int] | None],
    number: Callable[[K], Decimal],
) -> Decimals | None:
    """Return the column of what *keys* stand for.

    Args:
        keys: one a row.
        scale: tells the integer and the power of ten of a key, or None when it has too many digits.
        number: tells the number of a key.
    """
    # Prices repeat, and a look into a table is cheaper than anything that could be done to one of them.
    distinct = [key for key in dict.fromkeys(keys) if key is not None]
    if not distinct:
        return None
    scaled = [scale(key) for key in distinct]
    fitting = [one for one in scaled if one is not None]
    exponent = min((exponent for _, exponent in fitting), default=0)
    values = [digits * _TENS[own - exponent] for digits, own in fitting]
    if len(fitting) < len(scaled) or max(map(abs, values)) >= _TENS[_MOST_DIGITS]:
        numbers: dict[K | None, Decimal | None] = {key: number(key) for key in distinct}
        return Decimals(0, array("q"), wide=tuple(map(numbers.get, keys)))
    table: dict[K | None, int] = dict(zip(distinct, values, strict=True))
    table[None] = 0
    return Decimals(exponent, array("q", map(table.__getitem__, keys)), _unset(keys))


def _scaled(number: Decimal) -> tuple[int, int] | None:
    """Return an integer and the power of ten that it counts, which is not above 0, or None for too many digits.

    Zeros that say nothing are left out, for 498.30 and 498.3 are one number.
    """
    _, digits, exponent = number.as_tuple()
    if isinstance(exponent, str):
        msg = f"not a finite number: {number}"
        raise ValueError(msg)  # noqa: TRY004 - the type is right
    if number == 0:
        return 0, 0
    # 5E+2 is 500: a column of dollars counts dollars.
    power, count = min(exponent, 0), len(digits)
    while power < 0 and digits[count - 1] == 0:
        power, count = power + 1, count - 1
    if power < -_MOST_DIGITS or number.adjusted() >= _MOST_DIGITS:
        return None
    return int(number.scaleb(-power, _ROOM)), power


def _read(text: bytes) -> tuple[int, int] | None:
    whole, _, fraction = text.partition(b".")
    if not whole.isdigit() or not (fraction.isdigit() or not fraction):
        # A sign, an exponent, or no number at all.
        return _scaled(_number(text))
    fraction = fraction.rstrip(b"0")
    return (int(whole + fraction), -len(fraction)) if len(fraction) <= _MOST_DIGITS else None


def _number(text: bytes) -> Decimal:
    if text[:1] not in _STARTS:
        msg = f"not a number: {text[:40]!r}"
        raise ValueError(msg)
    try:
        return Decimal(text.decode("ascii"))
    except (InvalidOperation, UnicodeDecodeError) as error:
        msg = f"not a number: {text[:40]!r}"
        raise ValueError(msg) from error


def counts(numbers: Sequence[int | None]) -> Counts | None:
    """Return *numbers* as a column, or None when there is none among them."""
    unset = _unset(numbers)
    if len(unset) == len(numbers):
        return None
    return Counts(array("q", [number or 0 for number in numbers]), unset)


def codes(texts: Sequence[str | tuple[str, ...] | None]) -> Codes | None:
    """Return *texts* as a column, or None when no row has any."""
    # An empty list of conditions is none.
    known = [text for text in dict.fromkeys(texts) if text]
    if not known:
        return None
    places = dict.fromkeys(dict.fromkeys(texts), 0)
    places |= {text: place for place, text in enumerate(known, 1)}
    return Codes(tuple(known), array("I", map(places.__getitem__, texts)))


def _unset(values: Sequence[object | None]) -> tuple[int, ...]:
    if None not in values:
        return ()
    return tuple(row for row, value in enumerate(values) if value is None)


def _shifted(rows: Iterable[int], start: int, end: int) -> tuple[int, ...]:
    return tuple(row - start for row in rows if start <= row < end)


def _mirrored(rows: Sequence[int], count: int) -> tuple[int, ...]:
    return tuple(count - 1 - row for row in reversed(rows))
