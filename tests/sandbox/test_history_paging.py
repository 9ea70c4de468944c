"""Laws of paging: whatever the size of a page, a walk sees every record once and in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from tickgate_sandbox.history.paging import (
    PageOddity,
    PageRequest,
    Position,
    page_number,
    parse_position,
    turn_page,
)
from tickgate_sandbox.history.span import Span
from tickgate_sandbox.market import Due
from tickgate_sandbox.series import Series

Market = Mapping[str, Sequence[Due]]

SYMBOLS = ["A", "AA", "B", "C"]


@st.composite
def markets(draw: st.DrawFn) -> Market:
    """Return records of some symbols; many of them share their time."""
    market: dict[str, Sequence[Due]] = {}
    for symbol in draw(st.lists(st.sampled_from(SYMBOLS), unique=True)):
        times = sorted(draw(st.lists(st.integers(0, 6), max_size=12)))
        market[symbol] = [(time, b"%d" % index) for index, time in enumerate(times)]
    return market


def walked(
    market: Market, span: Span, limit: int, oddities: Mapping[int, PageOddity] | None = None
) -> tuple[list[tuple[str, bytes]], list[int]]:
    """Return every record of a walk in the order it was seen, and the sizes of the pages."""
    series = {
        symbol: Series([time for time, _ in records], [record for _, record in records])
        for symbol, records in market.items()
    }
    seen: list[tuple[str, bytes]] = []
    sizes: list[int] = []
    position: Position | None = Position()
    while position is not None:
        oddity = (oddities or {}).get(position.page, PageOddity())
        asked = PageRequest(SYMBOLS, span, limit, position, oddity)
        page = turn_page(
            asked, lambda symbol, rest: rest.of_series(series.get(symbol, Series([], [])))
        )
        seen += [(symbol, one) for symbol, records in page.records.items() for one in records]
        sizes.append(sum(map(len, page.records.values())))
        assert len(sizes) < 200, "the walk has no end"
        position = parse_position(str(page.next)) if page.next is not None else None
    return seen, sizes


def expected(market: Market, span: Span) -> list[tuple[str, bytes]]:
    """Return the same, the slow sure way."""
    seen = []
    for symbol in sorted(market):
        records = [one for time, one in market[symbol] if span.start <= time <= span.end]
        seen += [(symbol, one) for one in (records[::-1] if span.newest_first else records)]
    return seen


spans = st.builds(Span, st.integers(-1, 7), st.integers(-1, 7), st.booleans())


@given(market=markets(), span=spans, limit=st.integers(1, 9))
def test_any_page_size_walks_to_the_same_records(market: Market, span: Span, limit: int) -> None:
    """Every record of the interval is seen once, and every page but the last is full."""
    seen, sizes = walked(market, span, limit)

    assert seen == expected(market, span)
    assert all(size == limit for size in sizes[:-1])
    assert len(seen) == 0 or sizes[-1] > 0


@given(market=markets(), span=spans, limit=st.integers(1, 9))
def test_orders_mirror_each_other(market: Market, span: Span, limit: int) -> None:
    """Downwards each symbol's records are those of upwards, turned round."""
    other = Span(span.start, span.end, not span.newest_first)
    one, _ = walked(market, span, limit)
    mirrored, _ = walked(market, other, 3)

    for symbol in SYMBOLS:
        records = [record for of, record in one if of == symbol]
        assert records[::-1] == [record for of, record in mirrored if of == symbol]


@given(
    market=markets(),
    span=spans,
    limit=st.integers(1, 5),
    oddities=st.dictionaries(
        st.integers(1, 6),
        st.one_of(
            st.just(PageOddity(empty=True)),
            st.builds(PageOddity, most=st.integers(1, 3)),
        ),
    ),
)
def test_oddities_lose_nothing(
    market: Market, span: Span, limit: int, oddities: Mapping[int, PageOddity]
) -> None:
    """Short and empty pages in the middle of a walk change nothing of what is seen in the end."""
    seen, _ = walked(market, span, limit, oddities)

    assert seen == expected(market, span)


@given(
    st.builds(
        Position,
        st.sampled_from(["", *SYMBOLS, "BRK.B"]),
        st.none() | st.integers(-(2**63), 2**63),
        st.integers(0, 10**6),
        st.integers(1, 10**6),
    )
)
def test_positions_are_read_back(position: Position) -> None:
    """What a token holds is the position that was put into it."""
    assert parse_position(str(position)) == position


def test_what_is_no_token_tells_no_page() -> None:
    """A request without a token is for the first page; a token that no walk gave tells nothing."""
    assert page_number(None) == page_number("") == 1
    assert page_number("eA==") is None
    assert page_number("%%%") is None
    assert page_number("//79/A==") is None
    assert parse_position("A|1|-1|1") is None
    assert parse_position("A|1|0|0") is None
