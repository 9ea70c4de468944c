"""Columns straight into tables: exact, absent where absent, and the same in every library."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tickgate
from tests.unit.client import history_messages as own
from tests.unit.client import messages
from tickgate import _chunks as chunks
from tickgate import _models as models
from tickgate._instants import timestamp
from tickgate._past import bars as bars_of
from tickgate._reader import Reader
from tickgate.v1 import history_pb2 as pb
from tickgate.v1 import history_service_pb2

# A wide number, an unset row and a column that is not there are rare in the wild: here each is as likely as not.
PRICES = st.one_of(
    st.decimals(min_value=0, max_value=10**6, places=2, allow_nan=False),
    st.decimals(min_value=-(10**12), max_value=10**12, places=9, allow_nan=False),
    st.integers(min_value=-(2**63), max_value=2**63 - 1).map(lambda v: Decimal(v).scaleb(-4)),
)


def column(
    draw: Callable[[Any], Any], count: int, *, absent: bool
) -> tuple[pb.DecimalColumn, list[Decimal | None]]:
    """A decimal column and its numbers: integers of one exponent, or numbers of their own."""
    if draw(st.booleans()):
        exponent = draw(st.integers(min_value=-12, max_value=2))
        values = draw(
            st.lists(
                st.integers(min_value=-(2**63), max_value=2**63 - 1), min_size=count, max_size=count
            )
        )
        numbers: list[Decimal | None] = [Decimal(f"{value}E{exponent}") for value in values]
        written = pb.DecimalColumn(exponent=exponent, values=values)
    else:
        texts = draw(st.lists(PRICES, min_size=count, max_size=count))
        numbers = list(texts)
        written = pb.DecimalColumn(decimals=[messages.dollars(f"{text:f}") for text in texts])
    for row in sorted(draw(st.sets(st.integers(0, count - 1)))) if absent else []:
        numbers[row] = None
        if written.decimals:
            written.decimals[row].value = ""
        else:
            written.values[row] = 0
            written.unset_rows.append(row)
    return written, numbers


def counted(
    draw: Callable[[Any], Any], count: int, most: int
) -> tuple[pb.CountColumn, list[int | None]]:
    """A column of whole numbers, and what they are."""
    numbers: list[int | None] = draw(
        st.lists(st.one_of(st.none(), st.integers(0, most)), min_size=count, max_size=count)
    )
    unset = [row for row, number in enumerate(numbers) if number is None]
    return pb.CountColumn(values=[number or 0 for number in numbers], unset_rows=unset), numbers


@st.composite
def some_trades(draw: Callable[[Any], Any]) -> tuple[pb.TradeChunk, list[dict[str, Any]]]:
    """A chunk of trades, and its rows as they were before they became columns."""
    count = draw(st.integers(1, 6))
    price, prices = column(draw, count, absent=False)
    size, sizes = counted(draw, count, 2**63 - 1)
    id_, ids = counted(draw, count, 2**64 - 1)
    unit = draw(st.integers(0, 9))
    deltas = [
        0,
        *draw(st.lists(st.integers(-(10**6), 10**6), min_size=count - 1, max_size=count - 1)),
    ]
    first = draw(st.integers(10**18, 2 * 10**18))
    times = [first + sum(deltas[: row + 1]) * 10**unit for row in range(count)]
    venues = draw(st.lists(st.sampled_from([None, "V", "Q", "é"]), min_size=count, max_size=count))
    known = [*dict.fromkeys(venue for venue in venues if venue)]
    lists = draw(
        st.lists(st.sampled_from([(), (" ",), ("@", "I")]), min_size=count, max_size=count)
    )
    known_lists = [*dict.fromkeys(each for each in lists if each)]
    chunk = pb.TradeChunk(
        provenance=own.ORIGIN,
        count=count,
        event_times=own.times(first, *deltas, exponent=unit),
        price=price,
        size=size,
        exchange=pb.TextColumn(
            codes=known, places=[known.index(each) + 1 if each else 0 for each in venues]
        ),
        conditions=pb.TextsColumn(
            lists=[pb.CodeList(codes=each) for each in known_lists],
            places=[known_lists.index(each) + 1 if each else 0 for each in lists],
        ),
        id=id_,
    )
    if all(each is None for each in venues):
        chunk.ClearField("exchange")
    if draw(st.booleans()):
        chunk.ClearField("size")
        sizes = [None] * count
    rows = [
        dict(zip(("time", "price", "size", "exchange", "conditions", "id"), row, strict=True))
        for row in zip(times, prices, sizes, venues, lists, ids, strict=True)
    ]
    return chunk, rows


SEVERAL = st.lists(some_trades(), min_size=1, max_size=3)
Made = list[tuple[pb.TradeChunk, list[dict[str, Any]]]]


def records(made: Made) -> tickgate.Records[tickgate.Trade]:
    """Chunks as they were fetched."""
    found = [tickgate.Chunk("SPY", chunk, chunks.TRADES) for chunk, _ in made]
    return tickgate.Records(chunks.TRADES, found, [], [])


def expected(made: Made, name: str) -> list[Any]:
    """What a column must hold."""
    return [row[name] for _, rows in made for row in rows]


@given(SEVERAL)
@settings(deadline=None)
def test_rows_are_what_the_columns_were_made_of(made: Made) -> None:
    """Columns read as rows are the numbers, instants and codes that went in, to the last digit."""
    with localcontext(prec=3):  # whatever the caller's context is
        found = list(records(made))
    assert [trade.price for trade in found] == expected(made, "price")
    assert [trade.size for trade in found] == expected(made, "size")
    assert [trade.exchange for trade in found] == expected(made, "exchange")
    assert [trade.conditions for trade in found] == expected(made, "conditions")
    assert [trade.id for trade in found] == expected(made, "id")
    assert [trade.provenance.event_time_ns for trade in found] == expected(made, "time")


def nearest(numbers: Sequence[Decimal | None]) -> list[float | None]:
    """The floating-point number that is nearest to each, which `float` of a decimal is by definition."""
    return [None if number is None else float(number) for number in numbers]


def of_polars(made: Made, *, exact: bool) -> dict[str, list[Any]]:
    """The columns of a polars frame, as Python sees them."""
    frame = records(made).polars(exact=exact)
    return frame.with_columns(pl.col("time").dt.epoch("ns")).to_dict(as_series=False)


def of_pandas(made: Made, *, exact: bool) -> dict[str, list[Any]]:
    """The columns of a pandas frame, as Python sees them."""
    frame = records(made).pandas(exact=exact)
    return {str(name): list(map(_plain, frame[name])) for name in frame}


def _plain(cell: Any) -> Any:
    if isinstance(cell, pd.Timestamp):
        return cell.value
    return cell if isinstance(cell, list) or not pd.isna(cell) else None


def of_arrow(made: Made, *, exact: bool) -> dict[str, list[Any]]:
    """The columns of an Arrow table, as Python sees them."""
    table = records(made).arrow(exact=exact)
    place = table.schema.get_field_index("time")
    return dict(table.set_column(place, "time", table["time"].cast(pa.int64())).to_pydict())


LIBRARIES = pytest.mark.parametrize("of", [of_polars, of_pandas, of_arrow])


@LIBRARIES
@given(made=SEVERAL)
@settings(deadline=None, max_examples=40)
def test_a_table_holds_the_nearest_numbers(of: Callable[..., Any], made: Made) -> None:
    """A price is the floating-point number nearest to what was sent, and what is absent is null, in every library."""
    table = of(made, exact=False)
    assert list(table) == "symbol time price size exchange conditions id tape amendment".split()
    assert table["symbol"] == ["SPY"] * len(expected(made, "time"))
    assert table["time"] == expected(made, "time")
    assert table["price"] == nearest(expected(made, "price"))
    assert table["size"] == expected(made, "size")
    assert table["exchange"] == expected(made, "exchange")
    assert table["conditions"] == [list(each) for each in expected(made, "conditions")]
    assert table["id"] == expected(made, "id")
    assert table["tape"] == [None] * len(expected(made, "time"))


@LIBRARIES
def test_a_price_of_many_digits_is_rounded_once(of: Callable[..., Any]) -> None:
    """An integer that is no floating-point number itself is not rounded on its way to the quotient."""
    value = 203_592_921_363_640_360
    assert float(value) / 1000.0 != float(Decimal(value).scaleb(-3))
    chunk = pb.TradeChunk()
    chunk.CopyFrom(own.TRADES)
    chunk.price.CopyFrom(pb.DecimalColumn(exponent=-3, values=[value, 1]))
    (price, _) = of([(chunk, [])], exact=False)["price"]
    assert price == float(Decimal(value).scaleb(-3))


def test_a_datetime_of_pandas_keeps_its_nanoseconds() -> None:
    """What a frame gives as a time can be asked with again, to the nanosecond."""
    (moment, *_) = records([(own.TRADES, [])]).pandas()["time"]
    written = timestamp("start_time", moment)
    assert written is not None
    assert written.ToNanoseconds() == messages.NOON - 100


@LIBRARIES
@given(made=SEVERAL)
@settings(deadline=None, max_examples=40)
def test_a_table_is_exact_on_request(of: Callable[..., Any], made: Made) -> None:
    """With `exact` a price is the number that was sent, in decimals."""
    assert of(made, exact=True)["price"] == expected(made, "price")


def bars(*events: pb.BarChunk) -> tickgate.Records[tickgate.Bar]:
    """Bars as they were fetched."""
    found = [tickgate.Chunk("SPY", event, chunks.BARS) for event in events]
    return tickgate.Records(chunks.BARS, found, [], [])


def test_the_types_are_the_same_whatever_comes() -> None:
    """An empty table, one with holes and one without have the same columns of the same types."""
    nothing, holes = bars(), bars(own.BARS, own.some_bars("SPY", 0, 2).chunk)
    for exact in (False, True):
        assert nothing.polars(origin=True).columns == holes.polars(origin=True).columns
        assert list(nothing.pandas(exact=exact).columns) == list(holes.pandas(exact=exact).columns)
        assert nothing.arrow(exact=exact).num_rows == 0
    assert nothing.polars(origin=True).schema == holes.polars(origin=True).schema
    assert nothing.arrow(origin=True).schema == holes.arrow(origin=True).schema
    assert (
        nothing.pandas(origin=True).dtypes.to_dict() == holes.pandas(origin=True).dtypes.to_dict()
    )
    for message, layout in ((own.TRADES, chunks.TRADES), (own.QUOTES, chunks.QUOTES)):
        kind: chunks.Layout[Any] = layout
        some = tickgate.Records(kind, [tickgate.Chunk("SPY", message, kind)], [], [])
        none = tickgate.Records(kind, (), [], [])
        assert none.polars().schema == some.polars().schema
        assert none.arrow().schema == some.arrow().schema
        assert none.pandas().dtypes.to_dict() == some.pandas().dtypes.to_dict()


def test_origin_stands_in_columns_of_its_own() -> None:
    """Source, feed, tier, the upstream's id and each row's own receipt can be had beside the values."""
    some = tickgate.Records(
        chunks.TRADES, [tickgate.Chunk("SPY", own.TRADES, chunks.TRADES)], [], []
    )
    frame = some.polars(origin=True)
    rows = frame.select("source", "feed", "served_from", "upstream_request_id").rows()
    assert rows == [("ALPACA", "SIP", "STORE", "up-7")] * 2
    alone = tickgate.Records(
        chunks.QUOTES, [tickgate.Chunk("SPY", own.QUOTES_ALONE, chunks.QUOTES)], [], []
    )
    for each in (frame, alone.polars(origin=True)):
        received = each["receive_time"].dt.epoch("ns").to_list()
        assert received == [messages.NOON - 50, messages.NOON - 30]
    one = bars(own.BARS).pandas(origin=True)
    assert one["receive_time"].astype("int64").tolist() == [messages.NOON - 10] * 3
    assert some.arrow(origin=True)["feed"].to_pylist() == ["SIP", "SIP"]


def test_a_chunk_is_a_table_of_its_own() -> None:
    """A part that has just come can be made a table without the rest."""
    chunk = tickgate.Chunk("SPY", own.BARS, chunks.BARS)
    assert len(chunk.polars()) == len(chunk.pandas()) == chunk.arrow().num_rows == 3
    assert chunk.polars(exact=True)["vwap"].to_list() == [
        Decimal("498.5012345"),
        None,
        Decimal("0.0000498"),
    ]


def test_a_difference_of_volumes_may_be_negative() -> None:
    """Volumes are signed, so that to calculate with them gives what one expects."""
    some = bars(own.some_bars("SPY", 3, 1).chunk, own.some_bars("SPY", 1, 1).chunk)
    assert some.polars()["volume"].diff().to_list() == [None, -2]
    assert some.pandas()["volume"].diff().iloc[1] == -2


def test_a_year_of_minutes_becomes_a_frame_at_once() -> None:
    """From received messages to a frame, 98,000 bars take a small part of a second: no row is looked at by itself."""
    count, size = 98_000, 4_900
    rng = np.random.default_rng(7)

    def prices(exponent: int) -> pb.DecimalColumn:
        return pb.DecimalColumn(
            exponent=exponent, values=rng.integers(40_000, 60_000, size).tolist()
        )

    raw = []
    for place in range(count // size):
        chunk = pb.BarChunk(
            provenance=own.ORIGIN,
            count=size,
            start_times=own.times(place * size * own.MINUTE, 0, *([6] * (size - 1)), exponent=10),
            open=prices(-2),
            high=prices(-2),
            low=prices(-2),
            close=prices(-2),
            volume=pb.CountColumn(values=rng.integers(0, 10**6, size).tolist()),
            trade_count=pb.CountColumn(values=rng.integers(0, 10**4, size).tolist()),
            vwap=prices(-4),
            cursor=str(place),
        )
        raw.append(
            history_service_pb2.StreamBarsResponse(symbol="SPY", chunk=chunk).SerializeToString()
        )

    def made() -> pl.DataFrame:
        reader = Reader(bars_of("SPY", "1Min", 0))
        messages_ = map(history_service_pb2.StreamBarsResponse.FromString, raw)
        found = [chunk for chunk in map(reader.receive, messages_) if chunk]
        return reader.records(found).polars()

    took = []
    for _ in range(3):
        began = time.process_time()
        assert len(made()) == count
        took.append(time.process_time() - began)
    # Some thirty milliseconds where it was written; a loop over the rows takes a second.
    assert min(took) < 0.3


def test_an_extra_that_is_absent_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the sentence names the extra, and nothing else needs it."""
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.delitem(sys.modules, "tickgate._polars", raising=False)
    some = bars(own.BARS)
    with pytest.raises(
        ModuleNotFoundError, match=r"polars is not installed: pip install 'tickgate\[polars\]'"
    ):
        some.polars()
    assert len(list(some)) == 3
    with (
        tickgate.connect_sync("127.0.0.1:1") as gateway,
        pytest.raises(ModuleNotFoundError, match="polars is not installed"),
    ):
        gateway.bars("SPY", "1Min", 0).polars()  # said before anything is asked


def test_a_lazy_origin_is_a_value_like_any_other() -> None:
    """The provenance of a row, which is read when it is looked at, compares and prints as one that was read at once."""
    (first, *_) = bars(own.BARS)
    assert first.provenance == own.BARS_READ[0].provenance
    assert repr(first.provenance) == repr(own.BARS_READ[0].provenance)
    assert isinstance(first.provenance, models.Provenance)
