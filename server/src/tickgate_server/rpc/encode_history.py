"""The past to bytes: blocks as chunks of columns, which nobody looks at value by value, and rows for people.

A column goes from its array into a message in one call. A year of minute bars takes some tens of milliseconds this way,
where a message for each bar would take seconds.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from math import gcd
from operator import sub
from typing import Any, Final, TypeAlias

from google.protobuf import timestamp_pb2

from tickgate.v1 import history_pb2 as pb
from tickgate.v1 import history_service_pb2

from ..market.bar import Bar
from ..market.columns import (
    BarBlock,
    Block,
    Codes,
    Column,
    Counts,
    Decimals,
    QuoteBlock,
    TradeBlock,
)
from ..market.provenance import Provenance, Tier
from ..market.quote import Quote
from ..market.series import SeriesKind
from ..market.time import NANOS
from ..market.trade import Trade
from . import convert
from .convert import Moment
from .wire import field_of, tag, text_field, varint

Row: TypeAlias = Bar | Trade | Quote
Chunk: TypeAlias = pb.BarChunk | pb.TradeChunk | pb.QuoteChunk

_CHUNKS: Final[Mapping[type[Block], type[Chunk]]] = {
    BarBlock: pb.BarChunk,
    TradeBlock: pb.TradeChunk,
    QuoteBlock: pb.QuoteChunk,
}


class Shape:
    """How the messages of one kind of series are put together. All kinds have the same fields of the same numbers."""

    def __init__(self, page: Any, response: Any, event: Any, rows: str, convert_row: Any) -> None:
        """Take the messages of the kind: a symbol's *page*, the *response* of pages, the *event* of a stream.

        Args:
            page: the result of a symbol in a page.
            response: holds such results.
            event: one message of a stream.
            rows: field of a page that holds rows.
            convert_row: makes a message of a row.
        """
        rows_of = page.DESCRIPTOR.fields_by_name["page"].message_type
        self.page: Any = page
        self.response: Any = response
        self.event: Any = event
        self.convert_row = convert_row
        self.row = varint(rows_of.fields_by_name[rows].number << 3 | 2)
        self.note = varint(rows_of.fields_by_name["note"].number << 3 | 2)
        self.inner_page = tag(page, "page")
        self.result = tag(response, "results")
        self.token = field_of(response, "next_page_token")
        self.page_symbol = field_of(page, "symbol")
        self.event_symbol = field_of(event, "symbol")
        self.inner_chunk = tag(event, "chunk")


_service = history_service_pb2

SHAPES: Final[Mapping[SeriesKind, Shape]] = {
    SeriesKind.BARS: Shape(
        pb.BarPageResult,
        _service.ListBarsResponse,
        _service.StreamBarsResponse,
        "bars",
        convert.bar,
    ),
    SeriesKind.TRADES: Shape(
        pb.TradePageResult,
        _service.ListTradesResponse,
        _service.StreamTradesResponse,
        "trades",
        convert.trade,
    ),
    SeriesKind.QUOTES: Shape(
        pb.QuotePageResult,
        _service.ListQuotesResponse,
        _service.StreamQuotesResponse,
        "quotes",
        convert.quote,
    ),
}

# ---------------------------------------------------------------------------------------- columns


def chunk(block: Block, cursor: str, moment: Moment) -> Chunk:
    """Return *block*, which has rows, as it is served at *moment*; *cursor* goes on behind it."""
    message = _CHUNKS[type(block)](count=len(block), cursor=cursor)
    _fill_origin(message, block, moment)
    _fill_times(
        message.start_times if isinstance(message, pb.BarChunk) else message.event_times,
        block.times,
    )
    if block.receive_times is not None:
        _fill_times(message.receive_times, block.receive_times)
    for name, column in block.columns.items():
        if column is not None:
            _fill(getattr(message, name), column)
    return message


def chunk_event(shape: Shape, symbol: str, message: Chunk) -> bytes:
    """Return the encoded message of a stream that holds a chunk of *symbol*."""
    body = message.SerializeToString()
    return b"".join(
        (text_field(shape.event_symbol, symbol), shape.inner_chunk, varint(len(body)), body)
    )


def _fill_origin(message: Chunk, block: Block, moment: Moment) -> None:
    origin = block.origin
    known = Provenance(
        origin.source, origin.feed, None, origin.receive_time, origin.upstream_request_id
    )
    message.provenance.CopyFrom(convert.provenance(known))
    serve(message.provenance, known, origin.served_from, moment)
    if block.receive_times is not None:
        # Each row has its own, and its own age.
        message.provenance.ClearField("receive_time")
        message.provenance.ClearField("receive_age")


def _fill_times(column: pb.TimeColumn, times: array[int]) -> None:
    _set_time(column.first_time, times[0])
    deltas = list(map(sub, times[1:], times))
    unit = _largest_unit(gcd(*deltas))
    column.exponent = len(str(unit)) - 1
    column.deltas.append(0)
    column.deltas.extend(deltas if unit == 1 else [delta // unit for delta in deltas])


def _largest_unit(step: int) -> int:
    """Return the largest power of ten that divides *step*; 1 for 0, which all of them divide."""
    unit = 1
    while step and step % (unit * 10) == 0:
        unit *= 10
    return unit


def _fill(message: Any, column: Column) -> None:
    match column:
        case Decimals():
            _fill_decimals(message, column)
        case Counts():
            if len(column.unset) < len(column):
                message.values.extend(column.values)
                message.unset_rows.extend(column.unset)
        case Codes():
            _fill_codes(message, column)


def _fill_decimals(message: pb.DecimalColumn, column: Decimals) -> None:
    if column.wide is not None:
        if any(number is not None for number in column.wide):
            for number in column.wide:
                message.decimals.add(value="" if number is None else format(number, "f"))
        return
    if len(column.unset) < len(column):
        message.exponent = column.exponent
        message.values.extend(column.values)
        message.unset_rows.extend(column.unset)


def _fill_codes(message: Any, column: Codes) -> None:
    known, places = _occurring(column)
    if not known:
        return
    if isinstance(message, pb.TextsColumn):
        for codes in known:
            message.lists.add(codes=(codes,) if isinstance(codes, str) else codes)
    else:
        message.codes.extend(known)
    message.places.extend(places)


def _occurring(column: Codes) -> tuple[Sequence[Any], Iterable[int]]:
    """Return the codes of *column* that occur, and the rows' places among them: it may be a part of a larger one."""
    used = sorted({*column.places} - {0})
    if len(used) == len(column.known):
        return column.known, column.places
    renumbered = {old: new for new, old in enumerate((0, *used))}
    return [column.known[old - 1] for old in used], [renumbered[old] for old in column.places]


def _set_time(message: timestamp_pb2.Timestamp, instant: int) -> None:
    message.seconds, message.nanos = divmod(instant, NANOS)


# ------------------------------------------------------------------------------------------- rows


def row(shape: Shape, value: Row, tier: Tier, moment: Moment) -> bytes:
    """Return *value* as an element of a page's rows, encoded, as *tier* serves it at *moment*."""
    message = shape.convert_row(value)
    serve(message.provenance, value.provenance, tier, moment)
    body: bytes = message.SerializeToString()
    return shape.row + varint(len(body)) + body


def page_result(
    shape: Shape, symbol: str, rows: Sequence[bytes], note: pb.SeriesNote | None
) -> bytes:
    """Return a symbol's page of encoded *rows* as an element of a response's results, encoded."""
    body = b"".join(rows)
    if note is not None:
        noted = note.SerializeToString()
        body += shape.note + varint(len(noted)) + noted
    return _result(
        shape, text_field(shape.page_symbol, symbol) + shape.inner_page + varint(len(body)) + body
    )


def lacking_result(shape: Shape, message: Any) -> bytes:
    """Return a symbol's result without a page, *message*, as an element of a response's results, encoded."""
    return _result(shape, message.SerializeToString())


def response(shape: Shape, results: Iterable[bytes], token: str) -> bytes:
    """Return the encoded response of encoded *results*; *token* leads to the next page, if there is one."""
    body = b"".join(results)
    return body + text_field(shape.token, token) if token else body


def serve(message: Any, origin: Provenance, tier: Tier, moment: Moment) -> None:
    """Add to the provenance *message* of a value of the past what depends on who serves it, and when."""
    message.served_from = convert.TIERS[tier]
    _set_time(message.serve_time, moment.wall)
    convert.set_duration(message.receive_age, max(0, moment.wall - origin.receive_time))
    message.receive_age.SetInParent()
    if origin.event_time is not None:
        convert.set_duration(message.event_age, moment.market - origin.event_time)
        message.event_age.SetInParent()


def _result(shape: Shape, body: bytes) -> bytes:
    return shape.result + varint(len(body)) + body
