"""Alpaca's endpoints of the past as pages: complete, in order, or refused; each page tells exactly what is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.errors import (
    NotEntitled,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamUnreadable,
)
from tickgate_server.guards.entitled import EntitledRequests, Entitlements
from tickgate_server.ingress.gate import Gate, Policy
from tickgate_server.ingress.sparing import SparingNotes
from tickgate_server.market.columns import BarBlock, TradeBlock
from tickgate_server.market.entitlement import Standing
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import Adjustment, SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS, format_rfc3339, parse_rfc3339
from tickgate_server.market.timeframe import parse_timeframe
from tickgate_server.market.unavailable import Reason
from tickgate_server.ports import (
    ErrorEntry,
    Group,
    Priority,
    Reply,
    Request,
    SeriesPart,
    Upstream,
    Walk,
)
from tickgate_server.upstream.alpaca.history import AlpacaHistory

from ...support.fakes import NOW, HandClock
from ...support.history_pages import RECENT
from ...support.history_upstream import PagedRequests
from ...support.options import CALL, PUT, ScriptedRequests

START = parse_rfc3339("2024-02-20T09:00:00Z")
MINUTE = 60 * NANOS
RANGE = Interval(START, START + 60 * MINUTE)
BARS = SeriesKey(SeriesKind.BARS, "AAPL", Feed.SIP, parse_timeframe("1Min"))
TRADES = SeriesKey(SeriesKind.TRADES, "AAPL", Feed.SIP)
QUOTES = SeriesKey(SeriesKind.QUOTES, "AAPL", Feed.SIP)
WALK = Walk(TRADES, ("AAPL",), RANGE, False, 1000, Priority.HISTORY, 10.0)


def at(minute: float) -> int:
    """An instant of the range."""
    return START + round(minute * MINUTE)


def a_bar(minute: float, **other: Any) -> str:
    """A bar."""
    stamp = {"t": format_rfc3339(at(minute))}
    return json.dumps(
        stamp | {"o": 1.5, "h": 2, "l": 1, "c": 1.5, "v": 10, "n": 2, "vw": 1.4} | other
    )


def a_trade(minute: float, price: float = 1.5, **other: Any) -> str:
    """A trade."""
    return json.dumps({"t": format_rfc3339(at(minute)), "p": price, "s": 1, "x": "Q"} | other)


def page(
    series: dict[str, Sequence[str] | None] | None, token: str | None = None, kind: str = "trades"
) -> bytes:
    """A page of records."""
    if series is None:
        return json.dumps({kind: None, "next_page_token": token}).encode()
    each = ",".join(
        f'"{symbol}":{"null" if records is None else "[" + ",".join(records) + "]"}'
        for symbol, records in series.items()
    )
    return f'{{"{kind}":{{{each}}},"next_page_token":{json.dumps(token)}}}'.encode()


class Setup:
    """Alpaca's past over requests, and what is counted and noted of it."""

    def __init__(self, requests: Any, clock: HandClock) -> None:
        self.clock = clock
        self.requests = requests
        self.refused: dict[str, int] = {}
        self.noted: list[ErrorEntry] = []
        policy = Policy(refuse_crossed=True, future_tolerance=5 * NANOS)
        notes = SparingNotes(self.noted.append, clock, most=3)
        gate = Gate(policy, clock, self.refused, note=notes)
        self.history = AlpacaHistory(requests, DataSource.SANDBOX, gate, clock)

    async def walk(self, walk: Walk = WALK, **changed: Any) -> list[SeriesPart]:
        """Read a walk to its end."""
        told: list[SeriesPart] = []
        await self.into(told, walk, **changed)
        return told

    async def into(self, told: list[SeriesPart], walk: Walk = WALK, **changed: Any) -> None:
        """Read a walk to its end, and keep what it tells until it fails."""
        async with aclosing(self.history.walk(replace(walk, **changed))) as pages:  # type: ignore[type-var]  # a generator
            async for parts in pages:
                told.extend(parts)


def scripted(*script: Any) -> Setup:
    """Alpaca's past over answers by a script."""
    clock = HandClock()
    return Setup(ScriptedRequests(clock, script), clock)


def paged(series: dict[str, list[tuple[int, str]]]) -> Setup:
    """Alpaca's past over an upstream that cuts series into pages."""
    clock = HandClock()
    return Setup(PagedRequests(clock, series), clock)


def times(part: SeriesPart) -> list[float]:
    """Minutes of a part's values."""
    return [(time - START) / MINUTE for block in part.blocks for time in block.times]


def told(parts: Sequence[SeriesPart]) -> list[tuple[str, float, float, list[float]]]:
    """Symbol, range and values of each part, in minutes."""
    return [
        (part.symbol, (part.interval.start - START) / MINUTE, (part.interval.end - START) / MINUTE,
         times(part))
        for part in parts
    ]  # fmt: skip


NANO = 1 / MINUTE

# ------------------------------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("changed", "path", "params"),
    [
        (
            {"key": BARS, "symbols": ("MSFT", "AAPL")},
            "/v2/stocks/bars",
            {"symbols": "AAPL,MSFT", "timeframe": "1Min", "adjustment": "raw", "feed": "sip"},
        ),
        (
            {"key": replace(BARS, adjustments=frozenset({Adjustment.SPLIT, Adjustment.DIVIDEND}))},
            "/v2/stocks/bars",
            {"timeframe": "1Min", "adjustment": "dividend,split", "feed": "sip"},
        ),
        (
            {"key": replace(BARS, adjustments=frozenset(Adjustment), feed=Feed.IEX)},
            "/v2/stocks/bars",
            {"timeframe": "1Min", "adjustment": "all", "feed": "iex"},
        ),
        ({"key": TRADES}, "/v2/stocks/trades", {"feed": "sip"}),
        (
            {"key": replace(QUOTES, symbol_date=date(2021, 6, 1)), "newest_first": True, "page": 10},
            "/v2/stocks/quotes",
            {"feed": "sip", "asof": "2021-06-01", "sort": "desc", "limit": "10"},
        ),
        (
            {"key": replace(TRADES, exact_symbol=True)},
            "/v2/stocks/trades",
            {"feed": "sip", "asof": "-"},
        ),
        (
            {"key": SeriesKey(SeriesKind.BARS, CALL, None, parse_timeframe("1Day")),
             "symbols": (PUT, CALL)},
            "/v1beta1/options/bars",
            {"symbols": f"{CALL},{PUT}", "timeframe": "1Day"},
        ),
        (
            {"key": SeriesKey(SeriesKind.TRADES, CALL, None), "symbols": (CALL,)},
            "/v1beta1/options/trades",
            {"symbols": CALL},
        ),
    ],
)  # fmt: skip
async def test_what_is_asked(changed: dict[str, Any], path: str, params: dict[str, str]) -> None:
    """A walk asks for all of its symbols at once, in Alpaca's words, and leaves nothing to a default."""
    kind = changed["key"].kind.value
    setup = scripted(page({}, kind=kind))
    await setup.walk(**changed)
    (sent,) = setup.requests.sent
    base = {
        "symbols": "AAPL",
        "start": "2024-02-20T09:00:00Z",
        "end": "2024-02-20T09:59:59.999999999Z",
        "limit": "1000",
        "sort": "asc",
    }
    assert dict(sent.params) == base | params
    assert (sent.upstream, sent.group, sent.path) == (Upstream.DATA, Group.HISTORY, path)


async def test_every_page_is_asked_for_alike() -> None:
    """Each page is one request in the name of the walk, with the token of the page before and its own patience."""
    setup = scripted(page({}, "MQ=="), page({}, "Mg=="), page({}))
    setup.requests.seconds = 7.0
    await setup.walk(priority=Priority.BACKFILL)
    first, *others = setup.requests.sent
    assert "page_token" not in first.params
    assert [sent.params for sent in others] == [
        {**first.params, "page_token": token} for token in ("MQ==", "Mg==")
    ]
    assert [sent.deadline for sent in setup.requests.sent] == [1010.0, 1017.0, 1024.0]
    assert {sent.priority for sent in setup.requests.sent} == {Priority.BACKFILL}
    assert len({id(sent.effort) for sent in setup.requests.sent}) == 3


async def test_nobody_asks_further_than_somebody_reads() -> None:
    """The next page is asked for when its reader is there for it, so that one who has enough costs nothing more."""
    setup = scripted(page({"AAPL": [a_trade(1)]}, "MQ=="), page({}))
    async with aclosing(setup.history.walk(WALK)) as pages:  # type: ignore[type-var]  # a generator
        await anext(pages)
        assert len(setup.requests.sent) == 1
    assert len(setup.requests.sent) == 1


# -------------------------------------------------------------------------------- what pages tell


async def test_a_symbol_straddles_pages() -> None:
    """What a page leaves open is told by the next: the instant at its end in a part of its own, with its own origin."""
    setup = scripted(
        page({"AAPL": [a_trade(1), a_trade(2), a_trade(2, 1.6)]}, "MQ=="),
        page({"AAPL": [a_trade(3)]}),
    )
    parts = await setup.walk()
    assert told(parts) == [
        ("AAPL", 0, 2, [1]),
        ("AAPL", 2, 2 + NANO, [2, 2]),
        ("AAPL", 2 + NANO, 60, [3]),
    ]
    origins = [block.origin for part in parts for block in part.blocks]
    assert [origin.upstream_request_id for origin in origins] == ["up-1", "up-1", "up-2"]
    assert {(one.source, one.feed, one.served_from) for one in origins} == {
        (DataSource.SANDBOX, Feed.SIP, Tier.UPSTREAM)
    }


async def test_an_instant_straddles_pages() -> None:
    """Trades of one instant that came on three pages are one part, and each says which answer brought it, and when."""
    setup = scripted(
        page({"AAPL": [a_trade(1), a_trade(2, 1.1)]}, "MQ=="),
        page({"AAPL": [a_trade(2, 1.2)]}, "Mg=="),
        page({"AAPL": [a_trade(2, 1.3), a_trade(3)]}),
    )
    setup.requests.seconds = 1.0
    parts = await setup.walk()
    assert told(parts) == [
        ("AAPL", 0, 2, [1]),
        ("AAPL", 2, 2 + NANO, [2, 2, 2]),
        ("AAPL", 2 + NANO, 60, [3]),
    ]
    blocks = [block for block in parts[1].blocks if isinstance(block, TradeBlock)]
    assert [str(price) for block in blocks for price in block.price] == ["1.1", "1.2", "1.3"]
    assert [
        ((block.origin.receive_time - NOW) // NANOS, block.origin.upstream_request_id)
        for block in blocks
    ] == [(1, "up-1"), (2, "up-2"), (3, "up-3")]
    assert all(block.receive_times is None for block in blocks)


async def test_newest_first_is_the_mirror() -> None:
    """With newest first the parts go from the end of the range to its start."""
    setup = scripted(
        page({"AAPL": [a_trade(3), a_trade(2)]}, "MQ=="),
        page({"AAPL": [a_trade(2), a_trade(1)]}, "Mg=="),
        page({"AAPL": [a_trade(0)]}),
    )
    parts = await setup.walk(newest_first=True)
    assert told(parts) == [
        ("AAPL", 2 + NANO, 60, [3]),
        ("AAPL", 2, 2 + NANO, [2, 2]),
        ("AAPL", 1 + NANO, 2, []),
        ("AAPL", 1, 1 + NANO, [1]),
        ("AAPL", 0, 1, [0]),
    ]


async def test_a_bar_is_alone_at_its_time() -> None:
    """Bars never share a time, so a page tells all it has, up to behind its last bar."""
    first = page({"AAPL": [a_bar(1), a_bar(2)]}, "MQ==", "bars")
    setup = scripted(first, page({"AAPL": [a_bar(3)]}, "Mg==", "bars"), page({}, kind="bars"))
    parts = await setup.walk(key=BARS)
    assert told(parts) == [
        ("AAPL", 0, 2 + NANO, [1, 2]),
        ("AAPL", 2 + NANO, 3 + NANO, [3]),
        ("AAPL", 3 + NANO, 60, []),
    ]
    assert all(isinstance(block, BarBlock) for part in parts for block in part.blocks)
    backwards = page({"AAPL": [a_bar(2), a_bar(1)]}, "MQ==", "bars")
    setup = scripted(backwards, page({"AAPL": [a_bar(0)]}, None, "bars"))
    assert told(await setup.walk(key=BARS, newest_first=True)) == [
        ("AAPL", 1, 60, [2, 1]),
        ("AAPL", 0, 1, [0]),
    ]


async def test_symbols_that_a_page_passes_by_are_finished() -> None:
    """Pages come in alphabetical order: whatever stands before the last symbol of a page is known whole then."""
    setup = scripted(
        page({"B": [a_trade(1)], "D": [a_trade(1), a_trade(2)]}, "MQ=="),
        page({"D": [a_trade(5)], "F": [a_trade(9)]}, "Mg=="),
        page({}),
    )
    pages = []
    async with aclosing(setup.history.walk(replace(WALK, symbols=tuple("GFEDCBA")))) as walk:  # type: ignore[type-var]  # a generator
        async for parts in walk:
            pages.append(told(parts))  # noqa: PERF401 - a generator is closed
    assert pages == [
        [("A", 0, 60, []), ("B", 0, 60, [1]), ("C", 0, 60, []), ("D", 0, 2, [1])],
        [
            ("D", 2, 2 + NANO, [2]),
            ("D", 2 + NANO, 60, [5]),
            ("E", 0, 60, []),
            ("F", 0, 9, []),
        ],
        [("F", 9, 9 + NANO, [9]), ("F", 9 + NANO, 60, []), ("G", 0, 60, [])],
    ]


async def test_pages_with_nothing_on_them() -> None:
    """A page may be short, empty or null and still lead on: only a null token ends the walk."""
    setup = scripted(
        page({}, "MQ=="),
        page({"AAPL": [a_trade(1)]}, "Mg=="),
        page(None, "Mw=="),
        page({"AAPL": None, "IBM": []}, "NA=="),
        page({"AAPL": [a_trade(1)]}, "NQ=="),
        page({}),
    )
    parts = await setup.walk(symbols=("IBM", "AAPL"))
    assert told(parts) == [
        ("AAPL", 0, 1, []),
        ("AAPL", 1, 1 + NANO, [1, 1]),
        ("AAPL", 1 + NANO, 60, []),
        ("IBM", 0, 60, []),
    ]


async def test_options_belong_to_no_feed() -> None:
    """The past of options names no feed, neither in its origin nor in evidence against its records."""
    key = SeriesKey(SeriesKind.TRADES, CALL, None)
    setup = scripted(page({CALL: [a_trade(1, c="I"), a_trade(2, -1)]}))
    (part,) = await setup.walk(key=key, symbols=(CALL,))
    (block,) = part.blocks
    assert isinstance(block, TradeBlock)
    assert block.origin.feed is None
    assert block.conditions is not None
    assert list(block.conditions) == [("I",)]
    (entry,) = setup.noted
    assert "feed" not in entry.context
    assert (entry.context["symbol"], entry.context["rule"]) == (CALL, "negative_price")


SERIES = st.dictionaries(
    st.sampled_from("ABCD"), st.lists(st.integers(0, 5), max_size=8).map(sorted), max_size=4
)


@given(SERIES, st.integers(1, 4), st.booleans(), st.booleans(), st.lists(st.integers(0, 3)))
@settings(deadline=None)  # the loop is shared with others
async def test_however_pages_fall(
    series: dict[str, list[int]], size: int, newest_first: bool, of_bars: bool, short: list[int]
) -> None:
    """However pages fall, short or empty, values come once and in order, and a part holds all of its interval."""
    if of_bars:
        series = {symbol: sorted(set(minutes)) for symbol, minutes in series.items()}
    record = a_bar if of_bars else a_trade
    setup = paged(
        {s: [(at(minute), record(minute)) for minute in minutes] for s, minutes in series.items()}
    )
    sizes = iter(short)
    setup.requests.shortened = lambda limit: min(limit, next(sizes, limit))
    parts = await setup.walk(
        symbols=("D", "B", "A", "C"), key=BARS if of_bars else TRADES, page=size,
        newest_first=newest_first,
    )  # fmt: skip
    assert [part.symbol for part in parts] == sorted(part.symbol for part in parts)
    for symbol in "ABCD":
        its = [part for part in parts if part.symbol == symbol]
        minutes = series.get(symbol, [])
        found = [minute for part in its for minute in times(part)]
        assert found == (minutes[::-1] if newest_first else minutes)
        ordered = its[::-1] if newest_first else its
        edges = [RANGE.start, *(part.interval.end for part in ordered)]
        assert [part.interval.start for part in ordered] == edges[:-1]
        assert edges[-1] == RANGE.end
        for part in its:
            assert not part.interval.empty
            assert sorted(times(part)) == [one for one in minutes if at(one) in part.interval]


# -------------------------------------------------------------------------------- what is refused


async def test_refused_records_are_told_with_their_interval() -> None:
    """A record that breaks a rule costs itself; its part says how many, and why the first."""
    setup = scripted(
        page({"AAPL": [a_trade(1), a_trade(2, -1), a_trade(2, 0), a_trade(3)]}, "MQ=="),
        page({"AAPL": [a_trade(4, -1)]}, "Mg=="),
        page({}),
    )
    parts = await setup.walk()
    assert told(parts) == [
        ("AAPL", 0, 3, [1]),
        ("AAPL", 3, 3 + NANO, [3]),
        ("AAPL", 3 + NANO, 4, []),
        ("AAPL", 4, 4 + NANO, []),
        ("AAPL", 4 + NANO, 60, []),
    ]
    assert [part.refused for part in parts] == [2, 0, 0, 1, 0]
    why = parts[0].refusal
    assert why is not None
    assert (why.reason, why.last_event_time) == (Reason.INVALID_DATA, at(2))
    assert why.refusal is not None
    assert why.refusal.rule == "negative_price"
    assert why.message.startswith("trade of AAPL: refused by rule negative_price, price -1")
    assert setup.refused == {"negative_price": 2, "zero_price": 1}
    assert {entry.request_id for entry in setup.noted} == {"up-1", "up-2"}


async def test_records_that_cannot_be_read_are_told_too() -> None:
    """Where a record would have been nobody knows if it cannot be read: it counts in the next part that is told."""
    setup = scripted(page({"AAPL": [a_trade(1), "7", '{"t":"never","p":1}', a_trade(2)]}))
    (part,) = await setup.walk()
    assert (told([part]), part.refused) == ([("AAPL", 0, 60, [1, 2])], 2)
    assert setup.refused == {"wrong_type": 1, "malformed_time": 1}
    setup = scripted(page({"AAPL": ["7"]}, "MQ=="), page({"AAPL": ["8", a_trade(2)]}))
    (part,) = await setup.walk()
    assert (told([part]), part.refused) == ([("AAPL", 0, 60, [2])], 2)


async def test_records_outside_of_the_range() -> None:
    """A record of another time is none of this range: refused, counted, and no reason to claim more than was asked."""
    late = [a_trade(60), a_trade(61)]
    setup = scripted(page({"AAPL": [a_trade(-1), a_trade(0), a_trade(59), *late]}))
    (part,) = await setup.walk()
    assert (told([part]), part.refused) == ([("AAPL", 0, 60, [0, 59])], 3)
    assert part.refusal is not None
    assert "2024-02-20T08:59:00Z" in part.refusal.message
    assert setup.refused == {"outside_range": 3}
    setup = scripted(page({"AAPL": [*late[::-1], a_trade(1), a_trade(-1)]}, "MQ=="), page({}))
    parts = await setup.walk(newest_first=True)
    assert (told(parts), parts[0].refused) == ([("AAPL", 0, 60, [1])], 3)
    setup = scripted(page({"AAPL": [a_trade(1), *late]}, "MQ=="), page({"AAPL": [a_trade(62)]}))
    assert told(await setup.walk()) == [("AAPL", 0, 60, [1])]
    assert setup.refused == {"outside_range": 3}


async def test_a_flood_of_refusals_leaves_few_notes() -> None:
    """Thousands of records refused alike are all counted, and a few of them are kept as evidence."""
    setup = scripted(page({"AAPL": [a_trade(1, -1)] * 3000}))
    (part,) = await setup.walk()
    assert (part.blocks, part.refused) == ((), 3000)
    assert (setup.refused, len(setup.noted)) == ({"negative_price": 3000}, 3)


@pytest.mark.parametrize(
    ("script", "changed", "rule"),
    [
        ([page({"AAPL": [a_trade(2), a_trade(1)]})], {}, "out_of_order"),
        ([page({"AAPL": [a_trade(1), a_trade(2)]})], {"newest_first": True}, "out_of_order"),
        ([page({"AAPL": [a_bar(1), a_bar(1)]}, None, "bars")], {"key": BARS}, "out_of_order"),
        ([page({"IBM": [a_trade(1)]})], {}, "symbol_mismatch"),
        ([page({"AAPL": [a_trade(1)], "IBM": [a_trade(1)]})], {}, "symbol_mismatch"),
    ],
)
async def test_pages_that_are_none(script: list[bytes], changed: dict[str, Any], rule: str) -> None:
    """A page out of order, or about others than were asked for, is refused as a whole: nobody knows what it lacks."""
    setup = scripted(*script)
    with pytest.raises(UpstreamUnreadable) as failure:
        await setup.walk(**changed)
    assert failure.value.refusal.rule == rule
    assert setup.refused == {rule: 1}
    assert len(setup.noted) == 1


@pytest.mark.parametrize(
    ("second", "changed", "rule"),
    [
        (page({"B": [a_trade(1)]}, "Mg=="), {}, "out_of_order"),
        (page({"B": [a_trade(2, -1)], "C": [a_trade(1)]}, "Mg=="), {}, None),
        (page({"A": [a_trade(9)]}, "Mg=="), {}, "out_of_order"),
        (page({"B": [a_trade(3)]}, "MQ=="), {}, "repeated_page"),
        (page({"B": [a_trade(3)]}, "Mg=="), {"newest_first": True}, "out_of_order"),
        (b"<html>", {}, "unreadable"),
    ],
)
async def test_a_later_page_is_none(
    second: bytes, changed: dict[str, Any], rule: str | None
) -> None:
    """A later page that goes back, or leads back, is refused; what was told before stands."""
    setup = scripted(
        page({"A": [a_trade(1)], "B": [a_trade(2)]}, "MQ=="), second, page({}), page({})
    )
    told: list[SeriesPart] = []
    if rule is None:
        await setup.into(told, symbols=("A", "B", "C"), **changed)
        return
    with pytest.raises(UpstreamUnreadable) as failure:
        await setup.into(told, symbols=("A", "B", "C"), **changed)
    assert failure.value.refusal.rule == rule
    assert [part.symbol for part in told] == ["A", "B"]
    assert setup.refused[rule] == 1


async def test_a_bar_that_comes_again_on_the_next_page() -> None:
    """Pages that overlap are no pages: a bar that comes twice is refused with its page."""
    first = page({"AAPL": [a_bar(1), a_bar(2)]}, "MQ==", "bars")
    setup = scripted(first, page({"AAPL": [a_bar(2)]}, None, "bars"))
    with pytest.raises(UpstreamUnreadable, match="out_of_order"):
        await setup.walk(key=BARS)


async def test_pages_without_end() -> None:
    """An upstream that leads from one empty page to the next is left after a hundred."""
    setup = scripted(*(page({}, f"t-{number}") for number in range(200)))
    with pytest.raises(UpstreamUnreadable, match="barren_pages"):
        await setup.walk()
    assert len(setup.requests.sent) == 101
    some = [page({}, f"t-{number}") for number in range(100)]
    setup = scripted(*some, page({"AAPL": [a_trade(1)]}, "u"), page({}))
    await setup.walk()


# -------------------------------------------------------------------------------------- failures


async def test_what_was_told_before_a_failure_stands() -> None:
    """When a page cannot be had the walk says why, and claims nothing that it did not tell."""
    setup = scripted(page({"AAPL": [a_trade(1), a_trade(2)]}, "MQ=="), UpstreamBroken("no"))
    parts: list[SeriesPart] = []
    with pytest.raises(UpstreamBroken):
        await setup.into(parts)
    assert told(parts) == [("AAPL", 0, 2, [1])]


@pytest.mark.parametrize(
    ("said", "symbol"),
    [
        ("invalid symbol: IBM", "IBM"),
        ("invalid symbol: XYZ", ""),
        ("invalid symbol: ", ""),
        ("invalid timeframe: 7Min", ""),
    ],
)
async def test_which_symbol_is_invalid(said: str, symbol: str) -> None:
    """A symbol that Alpaca names as the reason is named, if it is one of the walk's."""
    setup = scripted(UpstreamRejected(f"answered 400: {said}", said=said))
    with pytest.raises(UpstreamRejected) as failure:
        await setup.walk(symbols=("AAPL", "IBM"))
    assert (failure.value.said, failure.value.symbol) == (said, symbol)
    assert failure.value.message == f"answered 400: {said}"


class RecentRefused:
    """Alpaca on the free plan: the past of SIP up to a quarter of an hour ago, and nothing of it that is newer."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock

    async def send(self, request: Request) -> Reply:
        """Refuse what is recent."""
        end = request.params.get("end")
        if end is None or parse_rfc3339(end) > self._clock.market() - 15 * MINUTE:
            raise NotEntitled(f"answered 403: {RECENT}", said=RECENT, about_feed=True)
        return Reply(page({}), "up-1", NOW, self._clock.monotonic())


async def test_recent_history_says_nothing_of_the_feed() -> None:
    """An account may read all of a feed's past but the last minutes: neither tells anything about the other."""
    clock = HandClock()
    entitlements = Entitlements(clock, 300.0)
    setup = Setup(EntitledRequests(RecentRefused(clock), entitlements), clock)
    recent = Interval(NOW - 60 * MINUTE, NOW)
    with pytest.raises(NotEntitled) as failure:
        await setup.walk(interval=recent)
    assert failure.value.said == RECENT
    assert entitlements.of(Feed.SIP).standing is Standing.UNKNOWN
    assert entitlements.refusal(Feed.SIP) is None
    await setup.walk(interval=Interval(recent.start, NOW - 15 * MINUTE))
    assert entitlements.of(Feed.SIP).standing is Standing.UNKNOWN
    # The latest value of the feed is refused, which says nothing of its past.
    latest = Request(
        Upstream.DATA, Group.LATEST, "/v2/stocks/trades/latest", {"feed": "sip"}, 1010.0
    )
    with pytest.raises(NotEntitled):
        await EntitledRequests(RecentRefused(clock), entitlements).send(latest)
    assert entitlements.of(Feed.SIP).standing is Standing.DENIED
    await setup.walk(interval=Interval(recent.start, NOW - 15 * MINUTE))


async def test_large_pages_are_read_besides() -> None:
    """A large page comes out as a small one does, though it is read in another thread."""
    minutes = [number / 100 for number in range(3000)]
    records = [a_trade(minute, 1 + minute, i=7) for minute in minutes]
    setup = scripted(page({"AAPL": records[:2000]}, "MQ=="), page({"AAPL": records[2000:]}))
    parts = await setup.walk()
    assert [time for part in parts for block in part.blocks for time in block.times] == [
        at(minute) for minute in minutes
    ]


async def test_a_peek_is_cheap() -> None:
    """To see whether a feed has a past costs one bar of the least urgent class, of an age that everybody may read."""
    setup = scripted(page({}, kind="bars"), UpstreamBroken("answered 500"))
    await setup.history.peek("AAPL", Feed.SIP, 1010.0)
    (request,) = setup.requests.sent
    assert (request.group, request.priority) == (Group.HISTORY, Priority.BACKFILL)
    assert (request.path, request.deadline) == ("/v2/stocks/bars", 1010.0)
    assert request.params["limit"] == "1"
    assert parse_rfc3339(request.params["end"]) == NOW - 16 * MINUTE

    with pytest.raises(UpstreamBroken):
        await setup.history.peek("AAPL", Feed.SIP, 1010.0)
