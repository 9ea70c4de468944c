"""Values of the past as they travel: all values of one field together. Knows no I/O.

Read as rows they are the values of `_models`, exact; made into tables they never pass through Python one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from importlib import import_module
from itertools import accumulate, chain, groupby, repeat
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, final

from . import _convert as convert
from . import _models as models
from ._enums import SeriesKind
from ._time import rounded_instant
from .v1 import history_pb2 as pb

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from ._models import Bar, Missing, Provenance, Quote, SeriesEnd, Trade

Item = TypeVar("Item")
ChunkMessage: TypeAlias = pb.BarChunk | pb.TradeChunk | pb.QuoteChunk

_SMALL = 1000
"""Rows of a chunk for which a library's call costs more than what it does."""


class Kind(Enum):
    """What a column of a table holds."""

    TEXT = auto()
    """A word that is always there."""
    TIME = auto()
    """An instant."""
    PRICE = auto()
    """A decimal."""
    COUNT = auto()
    """A whole number."""
    ID = auto()
    """A whole number with which nobody calculates."""
    CODE = auto()
    """A code."""
    CODES = auto()
    """A list of codes."""


@dataclass(frozen=True, slots=True)
class Layout(Generic[Item]):
    """The columns of one kind of series."""

    kind: SeriesKind
    times: str
    """Field that holds the times."""
    columns: Mapping[str, Kind]
    """All other columns, by their fields, in the order of a table."""
    rows: Callable[[str, Iterator[tuple[Any, ...]]], Iterator[Item]]
    """Makes the rows of a symbol, of each one's provenance, its time, and its columns in their order."""


@final
class Chunk(Generic[Item]):
    """Some values of one symbol, one after the other, as columns.

    Iterating yields them as rows: `Bar`, `Trade` or `Quote`. `polars`, `pandas` and `arrow` make a table of them
    without looking at each.
    """

    __slots__ = (
        "_layout",
        "cursor",
        "first_time_ns",
        "last_time_ns",
        "message",
        "provenance",
        "symbol",
    )

    symbol: str
    """Symbol as asked."""
    message: ChunkMessage
    """The columns as they came, a message of `tickgate.v1`."""
    provenance: Provenance
    """Origin of all rows, without an event time. Where each row was received by itself, the newest receipt."""
    first_time_ns: int
    """Time of the first row: start of its interval for a bar."""
    last_time_ns: int
    """Time of the last row."""
    cursor: str
    """Ask with it as `cursor`, and with everything else unchanged, to go on behind this chunk."""

    first_time = rounded_instant()
    last_time = rounded_instant()

    def __init__(self, symbol: str, message: ChunkMessage, layout: Layout[Item]) -> None:
        _check(message, layout)
        times = getattr(message, layout.times)
        self._layout = layout
        self.message = message
        self.symbol = symbol
        self.provenance = convert.chunk_provenance(message.provenance, _newest_receipt(message))
        self.first_time_ns = _moment(times, times.deltas[0])
        self.last_time_ns = _moment(times, sum(times.deltas))
        self.cursor = message.cursor

    def __len__(self) -> int:
        return self.message.count

    def __iter__(self) -> Iterator[Item]:
        return self._layout.rows(self.symbol, _values(self, self._layout))

    def __repr__(self) -> str:
        word = self._layout.kind.lower()
        return f"<Chunk of {len(self):,} {word} of {self.symbol} from {self.first_time} to {self.last_time}>"

    def polars(self, *, exact: bool = False, origin: bool = False) -> polars.DataFrame:
        """Make a polars DataFrame. Needs `tickgate[polars]`.

        Args:
            exact: Prices as `Decimal`, digit for digit. Otherwise as the nearest floating-point numbers.
            origin: Add where each row came from: source, feed, tier, the upstream's id, time of receipt.

        Returns:
            The frame: `symbol`, `time` (nanoseconds, UTC), then a column for each field. Absent is null.
        """
        frame: polars.DataFrame = _table(
            "polars", self._layout, (self,), exact=exact, origin=origin
        )
        return frame

    def pandas(self, *, exact: bool = False, origin: bool = False) -> pandas.DataFrame:
        """Make a pandas DataFrame, with the columns of `polars`. Needs `tickgate[pandas]`."""
        frame: pandas.DataFrame = _table(
            "pandas", self._layout, (self,), exact=exact, origin=origin
        )
        return frame

    def arrow(self, *, exact: bool = False, origin: bool = False) -> pyarrow.Table:
        """Make an Arrow table, with the columns of `polars`. Needs `tickgate[arrow]`."""
        return _table("arrow", self._layout, (self,), exact=exact, origin=origin)


@final
class Records(Generic[Item]):
    """All that has come of some series: bars, trades or quotes of one symbol after the other.

    Iterating yields rows, in the order of the symbols. Nothing is made of them before it is asked for.
    """

    __slots__ = ("_layout", "chunks", "ends", "missing")

    chunks: tuple[Chunk[Item], ...]
    """The rows, as they came."""
    missing: tuple[Missing, ...]
    """Each symbol that is not whole, or of which there is nothing, with the reason."""
    ends: tuple[SeriesEnd, ...]
    """Each symbol that is whole, and what its rows do not show."""

    def __init__(
        self,
        layout: Layout[Item],
        chunks: Iterable[Chunk[Item]],
        missing: Iterable[Missing],
        ends: Iterable[SeriesEnd],
    ) -> None:
        self._layout = layout
        self.chunks = tuple(chunks)
        self.missing = tuple(missing)
        self.ends = tuple(ends)

    def __len__(self) -> int:
        return sum(map(len, self.chunks))

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self.chunks)

    def __repr__(self) -> str:
        lacking = (
            f", {', '.join(each.symbol for each in self.missing)} not whole" if self.missing else ""
        )
        return f"<Records: {len(self):,} {self._layout.kind.lower()} of {', '.join(self.symbols)}{lacking}>"

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of which there are rows, in their order."""
        return tuple(dict.fromkeys(chunk.symbol for chunk in self.chunks))

    @property
    def whole(self) -> bool:
        """Whether nothing is missing: a symbol of which nothing happened in the range is whole."""
        return all(each.nothing_happened for each in self.missing)

    def of(self, symbol: str) -> Records[Item]:
        """The part about one symbol."""
        return Records(
            self._layout,
            [each for each in self.chunks if each.symbol == symbol],
            [each for each in self.missing if each.symbol == symbol],
            [each for each in self.ends if each.symbol == symbol],
        )

    def polars(self, *, exact: bool = False, origin: bool = False) -> polars.DataFrame:
        """Make a polars DataFrame. Needs `tickgate[polars]`.

        Args:
            exact: Prices as `Decimal`, digit for digit. Otherwise as the nearest floating-point numbers.
            origin: Add where each row came from: source, feed, tier, the upstream's id, time of receipt.

        Returns:
            The frame: `symbol`, `time` (nanoseconds, UTC), then a column for each field. Absent is null.
        """
        frame: polars.DataFrame = _table(
            "polars", self._layout, self.chunks, exact=exact, origin=origin
        )
        return frame

    def pandas(self, *, exact: bool = False, origin: bool = False) -> pandas.DataFrame:
        """Make a pandas DataFrame, with the columns of `polars`. Needs `tickgate[pandas]`."""
        frame: pandas.DataFrame = _table(
            "pandas", self._layout, self.chunks, exact=exact, origin=origin
        )
        return frame

    def arrow(self, *, exact: bool = False, origin: bool = False) -> pyarrow.Table:
        """Make an Arrow table, with the columns of `polars`. Needs `tickgate[arrow]`."""
        return _table("arrow", self._layout, self.chunks, exact=exact, origin=origin)


# ---------------------------------------------------------------------------------- as a table


def _table(
    library: str, layout: Layout[Any], chunks: Iterable[Chunk[Any]], *, exact: bool, origin: bool
) -> Any:
    """Make a table with *library*: gather the parts of each column, and let it put them together."""
    maker = maker_of(library)
    chunks = tuple(chunks)
    return maker.table(
        {
            "symbol": _parts(maker, Kind.TEXT, ((each.symbol, len(each)) for each in chunks)),
            "time": maker.joined(
                Kind.TIME, [maker.times(getattr(each.message, layout.times)) for each in chunks]
            ),
            **{
                name: _column(maker, name, kind, chunks, exact=exact)
                for name, kind in layout.columns.items()
            },
            **(_origins(maker, chunks) if origin else {}),
        }
    )


def maker_of(library: str) -> Any:
    """What makes tables with *library*.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to.
    """
    # Each is an extra, and who needs none of them has none.
    try:
        return import_module(f"._{library}", __package__)
    except ModuleNotFoundError as absent:
        missing = (absent.name or "").partition(".")[0]
        if missing not in {"polars", "pandas", "pyarrow", "numpy"}:
            raise
        message = f"{missing} is not installed: pip install 'tickgate[{library}]'"
        raise ModuleNotFoundError(message, name=absent.name) from absent


def _column(
    maker: Any, name: str, kind: Kind, chunks: tuple[Chunk[Any], ...], *, exact: bool
) -> Any:
    columns = list(_gathered((_field(each.message, name), len(each)) for each in chunks))
    if kind is Kind.PRICE and exact:
        # One scale for all: that of the price with the most digits behind the point.
        scale = max((_scale(each) for each, _ in columns if each is not None), default=0)
        parts = [maker.decimals(column, count, scale) for column, count in columns]
        return maker.joined_decimals(parts, scale)
    read = {
        Kind.PRICE: maker.floats,
        Kind.COUNT: maker.counts,
        Kind.ID: maker.ids,
        Kind.CODE: maker.codes,
        Kind.CODES: maker.lists,
    }[kind]
    parts = [
        maker.nothing(kind, count) if column is None else read(column) for column, count in columns
    ]
    return maker.joined(kind, parts)


def _gathered(columns: Iterable[tuple[Any, int]]) -> Iterator[tuple[Any, int]]:
    """Put small columns of numbers together with their neighbours; each comes with its number of rows.

    What comes day by day, as from Redis, would otherwise cost a library a hundred calls where one is enough.
    """
    for unit, run in groupby(columns, _unit):
        small = list(run)
        if unit is None or len(small) == 1:
            yield from small
            continue
        gathered = type(small[0][0])()
        if unit:
            gathered.exponent = small[0][0].exponent
        rows = 0
        for column, count in small:
            gathered.values.extend(column.values)
            gathered.unset_rows.extend(row + rows for row in column.unset_rows)
            rows += count
        yield gathered, rows


def _unit(column: tuple[Any, int]) -> int | None:
    """What the numbers of a small column count, a power of ten; None where it is to stay alone."""
    message, rows = column
    if rows > _SMALL:
        return None
    match message:
        case pb.DecimalColumn() if not message.decimals:
            return message.exponent
        case pb.CountColumn():
            return 0
    return None


def _parts(maker: Any, kind: Kind, runs: Iterable[tuple[str | None, int]]) -> Any:
    return maker.joined(kind, [maker.repeated(word, count) for word, count in runs])


def _origins(maker: Any, chunks: tuple[Chunk[Any], ...]) -> dict[str, Any]:
    def words(read: Callable[[Provenance], str | None]) -> Any:
        runs = ((read(each.provenance), len(each)) for each in chunks)
        return _parts(maker, Kind.TEXT, runs)

    def received(chunk: Chunk[Any]) -> Any:
        own = _field(chunk.message, "receive_times")
        if own is not None:
            return maker.times(own)
        return maker.same_time(chunk.provenance.receive_time_ns, len(chunk))

    return {
        "source": words(lambda origin: str(origin.source)),
        "feed": words(lambda origin: None if origin.feed is None else str(origin.feed)),
        "served_from": words(
            lambda origin: None if origin.served_from is None else str(origin.served_from)
        ),
        "upstream_request_id": words(lambda origin: origin.upstream_request_id),
        "receive_time": maker.joined(Kind.TIME, list(map(received, chunks))),
    }


def _scale(column: pb.DecimalColumn) -> int:
    if not column.decimals:
        return max(0, -column.exponent)
    return max(-_exponent(each) for each in prices(column) if each is not None)


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int), "what is no number was refused"
    return min(0, exponent)


# --------------------------------------------------------------------------------- as numbers


def moments(column: pb.TimeColumn) -> Iterator[int]:
    """The instants of a column, nanoseconds since 1970."""
    first, unit = first_ns(column), 10**column.exponent
    return (first + delta * unit for delta in accumulate(column.deltas))


def first_ns(column: pb.TimeColumn) -> int:
    """The instant that the deltas of a column are added to."""
    return column.first_time.seconds * 1_000_000_000 + column.first_time.nanos


def _moment(column: pb.TimeColumn, delta: int) -> int:
    unit: int = 10**column.exponent
    return first_ns(column) + delta * unit


def prices(column: pb.DecimalColumn) -> list[Decimal | None]:
    """The numbers of a column, exact, without zeros that say nothing: 498.3 also where 498.25 stands beside it."""
    if column.decimals:
        return [_number(each.value) for each in column.decimals]
    # Prices repeat, and to make one takes longer than to look it up.
    made = {value: _decimal(value, column.exponent) for value in set(column.values)}
    numbers: list[Decimal | None] = [made[value] for value in column.values]
    return _without(numbers, column.unset_rows)


def _number(text: str) -> Decimal | None:
    return None if not text else convert.number(text)


def _decimal(value: int, exponent: int) -> Decimal:
    while exponent < 0 and value % 10 == 0:
        value, exponent = value // 10, exponent + 1
    # Reading text is exact; arithmetic would be as exact as the caller's context.
    return Decimal(f"{value}E{exponent}") if exponent < 0 else Decimal(value * 10**exponent)


def counts(column: pb.CountColumn) -> list[int | None]:
    """The whole numbers of a column."""
    numbers: list[int | None] = [*column.values]
    return _without(numbers, column.unset_rows)


def _without(values: list[Any], rows: Iterable[int]) -> list[Any]:
    for row in rows:
        values[row] = None
    return values


def _codes(column: pb.TextColumn) -> Iterator[str | None]:
    return map([None, *column.codes].__getitem__, column.places)


def _lists(column: pb.TextsColumn) -> Iterator[tuple[str, ...]]:
    return map([(), *(tuple(each.codes) for each in column.lists)].__getitem__, column.places)


_READ: dict[Kind, Callable[[Any], Iterable[Any]]] = {
    Kind.PRICE: prices,
    Kind.COUNT: counts,
    Kind.ID: counts,
    Kind.CODE: _codes,
    Kind.CODES: _lists,
}


def _field(message: ChunkMessage, name: str) -> Any:
    """A column, None where no row has a value."""
    return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------- as rows


def _values(chunk: Chunk[Any], layout: Layout[Any]) -> Iterator[tuple[Any, ...]]:
    """Of each row, its provenance, its time, and its columns in the order of the layout."""
    message = chunk.message
    times = list(moments(getattr(message, layout.times)))
    received = _field(message, "receive_times")
    receipts: Iterable[int | None] = repeat(None) if received is None else moments(received)
    columns = []
    for name, kind in layout.columns.items():
        column = _field(message, name)
        nothing: Any = () if kind is Kind.CODES else None
        columns.append(repeat(nothing) if column is None else _READ[kind](column))
    origins = (
        models.lazy(models.Provenance, _origin, (chunk.provenance, time, receipt))
        for time, receipt in zip(times, receipts, strict=False)
    )
    return zip(origins, times, *columns, strict=False)


def _origin(own: tuple[Provenance, int, int | None], name: str) -> Any:
    """A field of the provenance of one row: what its chunk says for all, and what is its own."""
    everyones, time, receipt = own
    if name == "event_time_ns":
        return time
    if receipt is not None and name == "receive_time_ns":
        return receipt
    if receipt is not None and name == "receive_age_ns":
        return everyones.serve_time_ns - receipt
    return getattr(everyones, name)


def _bars(symbol: str, values: Iterator[tuple[Any, ...]]) -> Iterator[Bar]:
    for origin, time, open_, high, low, close, volume, trade_count, vwap in values:
        yield models.Bar(
            symbol=symbol,
            start_time_ns=time,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            trade_count=trade_count,
            vwap=vwap,
            provenance=origin,
            rule_flags=(),
        )


def _trades(symbol: str, values: Iterator[tuple[Any, ...]]) -> Iterator[Trade]:
    for origin, _, price, size, exchange, conditions, id_, tape, amendment in values:
        yield models.Trade(
            symbol=symbol,
            price=price,
            size=size,
            exchange=exchange,
            conditions=conditions,
            id=id_,
            tape=tape,
            amendment=amendment,
            provenance=origin,
            market_session=None,
            rule_flags=(),
        )


def _quotes(symbol: str, values: Iterator[tuple[Any, ...]]) -> Iterator[Quote]:
    for origin, _, *sides, conditions, tape in values:
        yield models.Quote(
            symbol=symbol,
            bid=_side(*sides[:3]),
            ask=_side(*sides[3:]),
            conditions=conditions,
            tape=tape,
            provenance=origin,
            market_session=None,
            derived=None,
            quality=None,
            latest_trade=None,
            latest_trade_unavailable=None,
            rule_flags=(),
        )


def _side(price: Decimal | None, size: int | None, exchange: str | None) -> models.QuoteSide | None:
    return None if price is None else models.QuoteSide(price=price, size=size, exchange=exchange)


BARS: Layout[Bar] = Layout(
    SeriesKind.BARS,
    "start_times",
    {
        "open": Kind.PRICE,
        "high": Kind.PRICE,
        "low": Kind.PRICE,
        "close": Kind.PRICE,
        "volume": Kind.COUNT,
        "trade_count": Kind.COUNT,
        "vwap": Kind.PRICE,
    },
    _bars,
)
TRADES: Layout[Trade] = Layout(
    SeriesKind.TRADES,
    "event_times",
    {
        "price": Kind.PRICE,
        "size": Kind.COUNT,
        "exchange": Kind.CODE,
        "conditions": Kind.CODES,
        "id": Kind.ID,
        "tape": Kind.CODE,
        "amendment": Kind.CODE,
    },
    _trades,
)
QUOTES: Layout[Quote] = Layout(
    SeriesKind.QUOTES,
    "event_times",
    {
        "bid_price": Kind.PRICE,
        "bid_size": Kind.COUNT,
        "bid_exchange": Kind.CODE,
        "ask_price": Kind.PRICE,
        "ask_size": Kind.COUNT,
        "ask_exchange": Kind.CODE,
        "conditions": Kind.CODES,
        "tape": Kind.CODE,
    },
    _quotes,
)

_ALWAYS = frozenset({"open", "high", "low", "close", "price"})
"""Columns that no row is without a value of."""


# ------------------------------------------------------------------------------------- checks


def _check(message: ChunkMessage, layout: Layout[Any]) -> None:
    """Refuse columns that are not one value for each row.

    Raises:
        BrokenContract: some column is longer or shorter, or names a row or a code that is not there.
    """
    count = message.count
    if not count:
        raise convert.BrokenContract("a chunk holds no rows")
    _check_length(layout.times, len(getattr(message, layout.times).deltas), count)
    received = _field(message, "receive_times")
    if received is not None:
        _check_length("receive_times", len(received.deltas), count)
    for name, kind in layout.columns.items():
        column = _field(message, name)
        if column is not None:
            _check_column(name, kind, column, count)
        elif name in _ALWAYS:
            raise convert.BrokenContract(f"a chunk has no {name}")


def _check_column(name: str, kind: Kind, column: Any, count: int) -> None:
    if kind in (Kind.CODE, Kind.CODES):
        known = len(column.codes if kind is Kind.CODE else column.lists)
        _check_length(name, len(column.places), count)
        if max(column.places) > known:
            raise convert.BrokenContract(f"{name} names a code that is not there")
        return
    wide = kind is Kind.PRICE and column.decimals
    _check_length(name, len(column.decimals if wide else column.values), count)
    if max(column.unset_rows, default=-1) >= count:
        raise convert.BrokenContract(f"{name} names a row that is not there")
    if name in _ALWAYS and column.unset_rows:
        raise convert.BrokenContract(f"{name} is unset in some row")


def _check_length(name: str, length: int, count: int) -> None:
    if length != count:
        raise convert.BrokenContract(f"{name} has {length} entries for {count} rows")


def _newest_receipt(message: ChunkMessage) -> int | None:
    received = _field(message, "receive_times")
    return None if received is None else max(moments(received))
