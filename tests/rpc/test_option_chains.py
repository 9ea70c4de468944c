"""What a caller gets from GetOptionChain and StreamOptionChain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.decimal_pb2 import Decimal as Number

from tickgate.v1 import admin_service_pb2 as admin_pb
from tickgate.v1 import market_session_pb2, option_pb2, provenance_pb2
from tickgate.v1 import option_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_sandbox import Plan, faults

from ..support.option_market import (
    CALL,
    CHAIN_PATH,
    CONTRACTS,
    EXPIRED,
    EXPIRY_DAY,
    FULL,
    INDICATIVE,
    NOW,
    OPRA,
    PARTS,
    PUT,
    QUOTE,
    SIGNED,
    THURSDAY,
    TRADE,
    WEEKEND,
    WORTHLESS,
    chain,
    contract_entry,
    failure,
    lists_asked,
    origins,
    page,
    pages,
    pages_asked,
    read_chain,
    reason_of,
    record,
    refusal,
    symbol_of,
    trading,
)
from ..support.outages import nothing_left, own_tasks
from ..support.page_tokens import forged, opened
from ..support.running import FROZEN, Stack, running
from ..support.waiting import until

EXPIRIES = ["261002", "261009", "261016", "261023", "261030", "261120", "261218", "270115"]
STRIKES = range(130, 331, 5)

ALL = [
    symbol_of(strike, right, expiry) for expiry in EXPIRIES for strike in STRIKES for right in "CP"
]
"""Every contract of the market, in the order that is promised: by expiration date, strike, and calls first."""

CALLS, PUTS = option_pb2.OPTION_TYPE_CALL, option_pb2.OPTION_TYPE_PUT


def number(value: int) -> Any:
    """*value* where the stubs want a member: it is none, which is the point."""
    return value


def expiry(symbol: str) -> str:
    """Return the date of a contract of AAPL, as its symbol spells it."""
    return symbol[4:10]


def strike(symbol: str) -> Decimal:
    """Return the strike of a contract."""
    return Decimal(symbol[-8:]) / 1000


def day(text: str) -> Date:
    """Return the date that "2026-11-20" names."""
    year, month, day_ = map(int, text.split("-"))
    return Date(year=year, month=month, day=day_)


def instant(text: str) -> Timestamp:
    """Return a time."""
    stamp = Timestamp()
    stamp.FromJsonString(text)
    return stamp


def trade_at(price: str, time: str = "2026-10-01T14:59:58.123456789Z") -> str:
    """Return a trade in the underlying."""
    return f'{{"t":"{time}","x":"V","p":{price},"s":100,"c":["@"],"i":7,"z":"C"}}'


async def counted(stack: Stack) -> status_pb.OptionChainsStatus:
    """Return what the gateway says of the chains that it holds."""
    return (await stack.status.GetStatus(status_pb.GetStatusRequest())).option_chains


# --------------------------------------------------------------------------------- a whole chain


async def test_a_chain_is_streamed_whole_and_in_order() -> None:
    """First comes a header, then chunks of which the first is small, then the count; every contract once, in order."""
    async with trading(THURSDAY) as stack:
        whole = await chain(stack)
        asked = pages_asked(stack)

    assert whole.symbols == ALL
    assert whole.chunks[0] == 50
    assert all(count <= 500 for count in whole.chunks)
    header = whole.header
    assert (header.underlying_symbol, header.feed) == ("AAPL", INDICATIVE)
    assert (header.total_size, header.chain_size, header.expired, header.refused) == (
        CONTRACTS, CONTRACTS, 0, 0,
    )  # fmt: skip
    assert header.served_from == provenance_pb2.TIER_UPSTREAM
    assert header.load_time == header.confirm_time
    assert header.load_time.ToNanoseconds() <= header.serve_time.ToNanoseconds()
    assert header.market_time.ToJsonString() == "2026-10-01T15:00:00Z"
    assert header.market_session == market_session_pb2.MARKET_SESSION_OPEN
    assert not header.HasField("underlying_price")
    assert not header.HasField("contracts_unavailable")
    assert asked == 1


async def test_contracts_of_a_chain_are_what_was_sent() -> None:
    """A contract is in a chain what it is alone; what depends on the serving stands in the header, once."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", CALL, record(**PARTS))
        whole = await chain(stack)
        request = pb.GetOptionQuotesRequest(symbols=[CALL, PUT, WORTHLESS])
        alone = (await stack.options.GetOptionQuotes(request)).results

    for result in alone:
        single, listed = result.option_quote, whole.by_symbol[result.symbol]
        for part, origin in origins(listed).items():
            assert origin.source == provenance_pb2.DATA_SOURCE_SANDBOX
            assert origin.feed == INDICATIVE
            assert origin.upstream_request_id
            assert origin.HasField("receive_time")
            assert origin.HasField("event_time") is (part != "model")
            assert not origin.HasField("serve_time")
            assert not origin.HasField("receive_age")
        for option in (single, listed):
            option.quote.ClearField("provenance")
            option.latest_trade.ClearField("provenance")
            option.ClearField("model_provenance")
        single.ClearField("market_session")
        assert listed == single


async def test_gaps_are_counted() -> None:
    """The header counts, of the contracts that match, those without quote, trade, greeks and volatility."""
    no_quote, no_greeks = symbol_of(225), symbol_of(235)
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", no_quote, record(latestTrade=TRADE))
        stack.sandbox.pins.put("options", no_greeks, record(latestQuote=QUOTE, greeks="7"))
        whole = await chain(stack)
        some = await chain(
            stack, filter=option_pb2.OptionChainFilter(expiry_date=day("2026-11-20"))
        )

    for found in (whole, some):
        missing = found.header.missing
        lacking = {
            field: sum(not option.HasField(field) for option in found.options)
            for field in ("quote", "latest_trade", "greeks", "implied_volatility")
        }
        assert missing.quotes == lacking["quote"] == 1
        assert missing.latest_trades == lacking["latest_trade"] > 1
        assert missing.greeks == lacking["greeks"] > 1
        assert missing.implied_volatilities == lacking["implied_volatility"] > 1
        assert missing.open_interests == 0
    assert some.header.chain_size == CONTRACTS
    (refused,) = whole.by_symbol[no_greeks].missing_parts
    assert refused.part == option_pb2.OPTION_PART_GREEKS
    assert refused.unavailable.refusal.rule == "wrong_type"


async def test_a_contract_of_garbage_is_counted_and_left_out() -> None:
    """A contract of which nothing is a market value is in no other count than that of the refused."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", CALL, record(latestQuote="[]", greeks="7"))
        whole = await chain(stack)

    assert whole.symbols == [symbol for symbol in ALL if symbol != CALL]
    assert (whole.header.refused, whole.header.chain_size) == (1, CONTRACTS - 1)


async def test_a_name_that_is_no_contract_is_refused_alone() -> None:
    """What the upstream sends under a name that is no OCC symbol is counted as refused, and the rest is served."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.faults.add(faults.WrongSymbol(symbol="AAPL 261002C", path=CHAIN_PATH))
        whole = await chain(stack)

    assert (whole.header.refused, whole.header.total_size) == (1, CONTRACTS - 1)


async def test_a_full_view_joins_open_interest_with_its_own_day() -> None:
    """FULL adds bars, terms and open interest, each with its own day and origin, and counts where there is none."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("contracts", CALL, contract_entry())
        stack.sandbox.pins.put(
            "contracts", PUT, contract_entry(PUT, type="put", open_interest=None)
        )
        basic = await chain(stack)
        full = await chain(stack, view=FULL)
        again = await chain(stack, view=FULL)
        lists = lists_asked(stack)

    option = full.by_symbol[CALL]
    assert (option.open_interest.contracts, option.open_interest.date) == (464, day("2026-09-30"))
    assert option.open_interest.provenance.source == provenance_pb2.DATA_SOURCE_SANDBOX
    assert option.open_interest.provenance.HasField("receive_time")
    assert option.contract.close_price.value == "9.50"
    assert option.contract.last_trading_time.ToJsonString() == "2026-11-20T21:00:00Z"
    assert option.minute_bar.close.value
    assert not full.by_symbol[PUT].HasField("open_interest")
    assert full.by_symbol[PUT].HasField("contract")
    without = sum(not one.HasField("open_interest") for one in full.options)
    assert full.header.missing.open_interests == without > CONTRACTS / 10
    assert not full.header.HasField("contracts_unavailable")
    assert full.symbols == basic.symbols == ALL
    assert again.options == full.options
    assert lists == 1
    for one in basic.options:
        for field in ("minute_bar", "daily_bar", "contract", "open_interest"):
            assert not one.HasField(field)


# ---------------------------------------------------------------------------------------- filters


FILTERS: dict[str, tuple[dict[str, Any], Callable[[str], bool]]] = {
    "calls": ({"type": CALLS}, lambda one: one[10] == "C"),
    "puts": ({"type": PUTS}, lambda one: one[10] == "P"),
    "one date": ({"expiry_date": day("2026-11-20")}, lambda one: expiry(one) == "261120"),
    "from a date": ({"start_expiry_date": day("2026-11-20")}, lambda one: expiry(one) >= "261120"),
    "up to a date": ({"end_expiry_date": day("2026-11-20")}, lambda one: expiry(one) < "261120"),
    "between dates": (
        {"start_expiry_date": day("2026-10-03"), "end_expiry_date": day("2026-10-17")},
        lambda one: expiry(one) in ("261009", "261016"),
    ),
    "from a strike": ({"min_strike_price": Number(value="230")}, lambda one: strike(one) >= 230),
    "up to a strike": ({"max_strike_price": Number(value="230.0")}, lambda one: strike(one) <= 230),
    "just above a strike": (
        {"min_strike_price": Number(value="230.001")},
        lambda one: strike(one) > 230,
    ),
    "one strike": (
        {"min_strike_price": Number(value="230"), "max_strike_price": Number(value="230")},
        lambda one: strike(one) == 230,
    ),
    "the root": ({"root_symbol": "AAPL"}, lambda _: True),
    "all at once": (
        {
            "type": PUTS,
            "start_expiry_date": day("2026-11-20"),
            "end_expiry_date": day("2027-01-15"),
            "min_strike_price": Number(value="200"),
            "max_strike_price": Number(value="250"),
            "root_symbol": "AAPL",
        },
        lambda one: (
            one[10] == "P" and "261120" <= expiry(one) < "270115" and 200 <= strike(one) <= 250
        ),
    ),
}


async def test_filters_take_just_what_matches() -> None:
    """Each filter takes the contracts that match and no other, in order; the header counts them beside the chain."""
    async with trading(THURSDAY) as stack:
        for case, (terms, matches) in FILTERS.items():
            wanted = option_pb2.OptionChainFilter(**terms)
            streamed = await chain(stack, filter=wanted)
            paged = (await page(stack, filter=wanted, page_size=1000)).page
            expected = [symbol for symbol in ALL if matches(symbol)]
            assert streamed.symbols == expected, case
            assert [option.symbol for option in paged.option_quotes] == expected, case
            for header in (streamed.header, paged.header):
                sizes = header.total_size, header.chain_size
                assert sizes == (len(expected), CONTRACTS), case
        asked = pages_asked(stack)

    assert asked == 1


async def test_adjusted_series_are_chosen_by_their_root() -> None:
    """An adjusted series stands in the chain of its underlying, behind the usual one, and its root picks it out."""
    adjusted = symbol_of(230, root="AAPL1")
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", adjusted, record(latestQuote=QUOTE))
        whole = await chain(stack)
        alone = await chain(stack, filter=option_pb2.OptionChainFilter(root_symbol="AAPL1"))
        usual = await chain(stack, filter=option_pb2.OptionChainFilter(root_symbol="AAPL"))

    at = ALL.index(CALL) + 1
    assert whole.symbols == [*ALL[:at], adjusted, *ALL[at:]]
    assert alone.symbols == [adjusted]
    assert (alone.options[0].root_symbol, alone.options[0].underlying_symbol) == ("AAPL1", "AAPL")
    assert usual.symbols == ALL


async def test_updated_since_takes_what_was_stamped_later() -> None:
    """Only contracts whose quote or trade is stamped after the time match: one stamped at it does not."""
    stamp = "2026-10-03T14:00:00Z"
    late_quote, late_trade = (
        text.replace("2026-10-01T14:59:59.123456789Z", stamp).replace(
            "2026-10-01T14:49:32.65584574Z", stamp
        )
        for text in (QUOTE, TRADE)
    )
    async with trading(WEEKEND) as stack:
        stack.sandbox.pins.put("options", CALL, record(latestQuote=late_quote))
        stack.sandbox.pins.put("options", PUT, record(latestQuote=QUOTE, latestTrade=late_trade))
        found = [
            await chain(stack, filter=option_pb2.OptionChainFilter(updated_since=instant(since)))
            for since in ("2026-10-03T00:00:00Z", "2026-10-03T13:59:59.999999999Z", stamp)
        ]

    assert [one.symbols for one in found] == [[CALL, PUT], [CALL, PUT], []]
    assert found[-1].reason == "NO_DATA"


BANDS: dict[str, tuple[dict[str, float], float, float]] = {
    "between": ({"min": 0.3, "max": 0.7}, 0.3, 0.7),
    "below": ({"max": -0.5}, -1, -0.5),
    "just one": ({"min": 0.4832, "max": 0.4832}, 0.4832, 0.4832),
    "any": ({}, -1, 1),
}


async def test_a_band_of_delta_counts_those_that_have_none() -> None:
    """Both ends belong to a band; contracts without a delta are left out, and those that match all else are counted."""
    near = option_pb2.OptionChainFilter(min_strike_price=Number(value="180"))
    async with trading(THURSDAY) as stack:
        whole = await chain(stack, filter=near)
        found = {}
        for case, (ends, _, _) in BANDS.items():
            wanted = option_pb2.OptionChainFilter(delta=option_pb2.DeltaBand(**ends))
            wanted.MergeFrom(near)
            found[case] = await chain(stack, filter=wanted)

    deltas = {one.symbol: one.greeks.delta for one in whole.options if one.greeks.HasField("delta")}
    for case, (_, low, high) in BANDS.items():
        expected = [one for one in whole.symbols if low <= deltas.get(one, 9) <= high]
        assert found[case].symbols == expected, case
        assert found[case].header.without_delta == len(whole.options) - len(deltas) > 0, case
        assert found[case].header.missing.greeks == 0, case
    assert CALL in found["just one"].symbols


# --------------------------------------------------------------------------- around the money


NEAR: list[tuple[str, dict[str, Any], set[int]]] = [
    ("231.37", {"strikes": 2}, {225, 230, 235, 240}),
    ("230", {"strikes": 2}, {225, 230, 235, 240}),
    ("229.9999", {"strikes": 1}, {225, 230}),
    ("130", {"strikes": 3}, {130, 135, 140, 145}),
    ("100", {"strikes": 2}, {130, 135}),
    ("230", {"strikes": 1000}, set(STRIKES)),
    ("230", {"percent": Number(value="1")}, {230}),
    ("200", {"percent": Number(value="10")}, {180, 185, 190, 195, 200, 205, 210, 215, 220}),
    ("200", {"percent": Number(value="9.999")}, {185, 190, 195, 200, 205, 210, 215}),
    ("330", {"percent": Number(value="1000")}, set(STRIKES)),
]


async def test_strikes_around_a_real_price() -> None:
    """Strikes around the underlying's trade, counted or within percent of it, and the header shows that trade."""
    async with trading(THURSDAY, memory={"keep_open": 0.0}) as stack:
        for price, width, near in NEAR:
            wanted = option_pb2.OptionChainFilter(around=option_pb2.AroundTheMoney(**width))
            stack.sandbox.pins.put("trades", "AAPL", trade_at(price))
            found = await chain(stack, filter=wanted)
            expected = [symbol for symbol in ALL if strike(symbol) in near]
            assert found.symbols == expected, (price, width)
            used = found.header.underlying_price
            assert (used.symbol, used.price.value, used.size) == ("AAPL", price, 100)
            origin = used.provenance
            assert origin.source == provenance_pb2.DATA_SOURCE_SANDBOX
            assert origin.feed == provenance_pb2.FEED_IEX
            assert origin.event_time.ToJsonString() == "2026-10-01T14:59:58.123456789Z"
            assert origin.upstream_request_id
            assert origin.HasField("receive_time")


async def test_pages_keep_the_price() -> None:
    """All pages are around the price of the first, though it moves meanwhile; who begins anew gets the new one."""
    wanted = option_pb2.OptionChainFilter(around=option_pb2.AroundTheMoney(strikes=2))
    async with trading(THURSDAY, memory={"keep_open": 0.0}) as stack:
        stack.sandbox.pins.put("trades", "AAPL", trade_at("231.37"))
        first = (await page(stack, filter=wanted, page_size=30)).page
        stack.sandbox.pins.put("trades", "AAPL", trade_at("300"))
        second = (
            await page(stack, filter=wanted, page_size=30, page_token=first.next_page_token)
        ).page
        third = (
            await page(stack, filter=wanted, page_size=30, page_token=second.next_page_token)
        ).page
        anew = (await page(stack, filter=wanted, page_size=1000)).page

    prices = [one.header.underlying_price for one in (first, second, third)]
    assert [one.price.value for one in prices] == ["231.37"] * 3
    assert prices[0] == prices[1] == prices[2]
    symbols = [option.symbol for one in (first, second, third) for option in one.option_quotes]
    assert symbols == [one for one in ALL if strike(one) in (225, 230, 235, 240)]
    assert not third.next_page_token
    assert anew.header.underlying_price.price.value == "300"


PRICELESS: dict[str, tuple[str, str]] = {
    "never traded": ("null", "NO_DATA"),
    "traded long ago": (trade_at("230", "2026-10-01T14:00:00Z"), "TOO_STALE"),
    "traded for nothing": (trade_at("0"), "INVALID_DATA"),
}


async def test_without_a_price_there_is_nothing_around_it() -> None:
    """Where the underlying has no usable trade, the chain is unavailable for that reason, unless nobody needs it."""
    wanted = option_pb2.OptionChainFilter(around=option_pb2.AroundTheMoney(strikes=2))
    strict = pb.GetOptionChainRequest(underlying_symbol="AAPL", filter=wanted, strict=True)
    async with trading(THURSDAY, memory={"keep_open": 0.0}) as stack:
        for text, reason in PRICELESS.values():
            stack.sandbox.pins.put("trades", "AAPL", text)
            found = await chain(stack, filter=wanted)
            answer = (await page(stack, filter=wanted)).unavailable
            _, info = await failure(stack.options.GetOptionChain(strict))
            assert found.reason == reason_of(answer) == info.reason == reason
            assert "AAPL" in answer.message
        whole = await chain(stack)

    assert whole.symbols == ALL


# ------------------------------------------------------------------------------------------ pages


@pytest.mark.parametrize(
    ("size", "first", "terms"),
    [
        (1, 1, {"filter": option_pb2.OptionChainFilter(expiry_date=day("2026-11-20"))}),
        (7, 7, {}),
        (0, 100, {}),
        (1000, CONTRACTS, {}),
        (2**31 - 1, CONTRACTS, {}),
        (100, 100, {"view": FULL}),
        (1000, None, {"view": FULL}),
    ],
)
async def test_pages_join_to_the_whole_chain(
    size: int, first: int | None, terms: dict[str, Any]
) -> None:
    """Whatever the size of a page, all pages together hold each contract once, in order, at the cost of one reading."""
    async with trading(THURSDAY) as stack:
        found = await pages(stack, page_size=size, **terms)
        asked = pages_asked(stack)

    date = terms.get("filter", option_pb2.OptionChainFilter()).HasField("expiry_date")
    expected = [symbol for symbol in ALL if not date or expiry(symbol) == "261120"]
    assert [option.symbol for one in found for option in one.option_quotes] == expected
    if first is not None:
        assert {len(one.option_quotes) for one in found[:-1]} <= {first}
        assert len(found) == -(-len(expected) // first)
    for one in found:
        assert one.ByteSize() < 2**20
        assert one.header.total_size == len(expected)
    assert [one.header.served_from for one in found] == [
        provenance_pb2.TIER_UPSTREAM,
        *[provenance_pb2.TIER_MEMORY] * (len(found) - 1),
    ]
    assert asked == 1


async def test_pages_go_on_where_they_ended_whatever_was_refreshed() -> None:
    """A page token goes on behind the last contract, though that one, and those before it, are gone meanwhile."""
    date = option_pb2.OptionChainFilter(expiry_date=day("2026-11-20"))
    of_date = [symbol for symbol in ALL if expiry(symbol) == "261120"]
    async with trading(THURSDAY) as stack:
        first = (await page(stack, filter=date, page_size=20, max_age=NOW)).page
        for symbol in of_date[10:20]:
            stack.sandbox.pins.put("options", symbol, record(latestQuote="7"))
        rest = (
            await page(
                stack, filter=date, page_size=1000, max_age=NOW, page_token=first.next_page_token
            )
        ).page

    assert [option.symbol for option in first.option_quotes] == of_date[:20]
    assert [option.symbol for option in rest.option_quotes] == of_date[20:]
    assert rest.header.total_size == len(of_date) - 10


async def test_a_page_behind_all_that_is_left_is_empty() -> None:
    """Where everything behind a page is gone by the time of the next, the next is an empty last page, no failure."""
    date = option_pb2.OptionChainFilter(expiry_date=day("2026-11-20"))
    of_date = [symbol for symbol in ALL if expiry(symbol) == "261120"]
    async with trading(THURSDAY) as stack:
        first = (await page(stack, filter=date, page_size=len(of_date) - 1, max_age=NOW)).page
        assert first.next_page_token
        stack.sandbox.pins.put("options", of_date[-1], record(latestQuote="7"))
        rest = (await page(stack, filter=date, max_age=NOW, page_token=first.next_page_token)).page

    assert list(rest.option_quotes) == []
    assert not rest.next_page_token
    assert rest.header.total_size == len(of_date) - 1


async def test_page_tokens_that_are_none_are_refused() -> None:
    """Garbage, tokens of another method and forged ones are INVALID_ARGUMENT by their field, never a fault of ours."""
    async with trading(THURSDAY) as stack:
        token = (await page(stack, page_size=10)).page.next_page_token
        contracts = await stack.options.ListOptionContracts(
            pb.ListOptionContractsRequest(underlying_symbol="AAPL", page_size=10)
        )
        query, _ = opened(token)
        wrong = [
            "junk",
            "\N{SNOWMAN}",
            token[:-4],
            contracts.page.next_page_token,
            forged(query, "ChainPosition", [7, None]),
            forged(query, "ChainPosition", ["AAPL", None]),
            forged(query, "ChainPosition", ["", None]),
        ]
        broken = [await refusal(page(stack, page_size=10, page_token=one)) for one in wrong]

    assert [list(one) for one in broken] == [["page_token"]] * len(wrong)


FORGED = [
    {"price": "NaN"},
    {"price": "sNaN"},
    {"price": "Infinity"},
    {"price": "-5"},
    {"price": "0"},
    {"price": "1E+999999"},
    {"symbol": "MSFT"},
]


async def test_a_forged_price_is_refused() -> None:
    """A token with a price that no trade of the underlying can have is INVALID_ARGUMENT, and costs nobody anything."""
    wanted = option_pb2.OptionChainFilter(around=option_pb2.AroundTheMoney(strikes=2))
    async with trading(THURSDAY) as stack:
        token = (await page(stack, filter=wanted, page_size=3)).page.next_page_token
        query, (after, price) = opened(token)
        for change in FORGED:
            wrong = forged(query, "ChainPosition", [after, price | change])
            broken = await refusal(page(stack, filter=wanted, page_size=3, page_token=wrong))
            assert list(broken) == ["page_token"], change


async def test_a_page_token_belongs_to_its_query() -> None:
    """A token with another filter, view, feed, age or underlying is refused; with another page size it goes on."""
    others: list[dict[str, Any]] = [
        {"filter": option_pb2.OptionChainFilter(type=CALLS)},
        {"view": FULL},
        {"feed": OPRA},
        {"max_age": Duration(seconds=1)},
        {"underlying": "MSFT"},
    ]
    async with trading(THURSDAY) as stack:
        token = (await page(stack, page_size=10)).page.next_page_token
        for other in others:
            broken = await refusal(page(stack, page_size=10, page_token=token, **other))
            assert "another query" in broken["page_token"]
        on = await page(stack, page_size=5, page_token=token)

    assert [option.symbol for option in on.page.option_quotes] == ALL[10:15]


# -------------------------------------------------------------------------------- what is shared


async def test_a_crowd_costs_one_reading() -> None:
    """A hundred who ask for a chain at the same time, streamed, paged and filtered, cost one reading of it."""
    some = option_pb2.OptionChainFilter(type=CALLS)
    async with trading(THURSDAY) as stack:
        streamed, paged = await asyncio.gather(
            asyncio.gather(*(chain(stack, filter=some) for _ in range(50))),
            asyncio.gather(*(page(stack) for _ in range(50))),
        )
        asked, counts = pages_asked(stack), await counted(stack)

    headers = [one.header for one in streamed] + [one.page.header for one in paged]
    assert {header.chain_size for header in headers} == {CONTRACTS}
    assert asked == 1
    assert (counts.chains, counts.contracts, counts.loads, counts.refreshes) == (1, CONTRACTS, 1, 0)
    assert counts.capacity == 100_000


async def test_memory_answers_until_somebody_wants_it_newer() -> None:
    """A chain that is fresh enough is answered from memory; `max_age` zero asks what has moved, every time."""
    asked_for: list[dict[str, Any]] = [
        {}, {}, {"max_age": NOW}, {"max_age": NOW}, {"max_age": Duration(seconds=60)},
    ]  # fmt: skip
    async with trading(THURSDAY) as stack:
        found = [await chain(stack, **terms) for terms in asked_for]
        asked, counts = pages_asked(stack), await counted(stack)

    upstream, memory = provenance_pb2.TIER_UPSTREAM, provenance_pb2.TIER_MEMORY
    assert [one.header.served_from for one in found] == [
        upstream, memory, upstream, upstream, memory,
    ]  # fmt: skip
    assert asked == 3
    assert (counts.hits, counts.loads, counts.refreshes) == (2, 1, 2)
    assert len({one.header.load_time.ToNanoseconds() for one in found}) == 1
    confirmed = [one.header.confirm_time.ToNanoseconds() for one in found]
    assert confirmed == sorted(confirmed)
    assert confirmed[0] == confirmed[1] < confirmed[2] < confirmed[3] == confirmed[4]


async def test_a_refreshed_chain_holds_what_has_moved() -> None:
    """A contract that has moved is new, one that has not keeps its receive time, and one gone bad is gone."""
    moved = QUOTE.replace("10-01T14:59:59.123456789", "10-03T14:59:59").replace("9.4,", "9.5,")
    async with trading(WEEKEND) as stack:
        before = await chain(stack)
        stack.sandbox.pins.put("quotes", PUT, moved)
        stack.sandbox.pins.put("options", symbol_of(200), record(latestQuote="7"))
        after = await chain(stack, max_age=NOW)
        counts = await counted(stack)

    old, new = before.by_symbol, after.by_symbol
    assert new[PUT].quote.bid.price.value == "9.5"
    assert new[PUT].quote.provenance.receive_time != old[PUT].quote.provenance.receive_time
    assert after.symbols == [one for one in before.symbols if one != symbol_of(200)]
    assert after.header.refused == 1
    untouched = [one for one in after.symbols if one != PUT]
    assert all(new[one] == old[one] for one in untouched)
    assert after.header.load_time == before.header.load_time
    assert (counts.loads, counts.refreshes) == (1, 1)


async def test_a_chain_is_read_anew_after_a_while() -> None:
    """After `load_every` all pages of a chain are read again, and every contract of it is new."""
    async with trading(WEEKEND, options={"load_every": 0.001}) as stack:
        before = await chain(stack)
        after = await chain(stack, max_age=NOW)
        counts = await counted(stack)

    assert (counts.loads, counts.refreshes) == (2, 0)
    assert before.header.load_time.ToNanoseconds() < after.header.load_time.ToNanoseconds()
    for one in after.options:
        assert one.quote.provenance != before.by_symbol[one.symbol].quote.provenance


async def test_each_day_has_its_own_chain() -> None:
    """What was read yesterday answers nobody today, however old it may be: others are listed."""
    patient = Duration(seconds=3600)
    async with trading(THURSDAY) as stack:
        before = await chain(stack, max_age=patient)
        stack.sandbox.clock.seek(stack.sandbox.clock.now() + 3 * 86_400 * 10**9)
        await stack.refresh()
        after = await chain(stack, max_age=patient)
        counts = await counted(stack)

    assert before.symbols == ALL
    assert after.header.served_from == provenance_pb2.TIER_UPSTREAM
    assert expiry(after.symbols[0]) == "261009"
    assert counts.loads == 2


async def test_contracts_leave_a_chain_when_they_expire() -> None:
    """Behind their last trading moment contracts are counted as expired, whoever holds or sends them."""
    just_before = replace(EXPIRY_DAY, at="2026-10-02T20:00:00Z")
    patient = Duration(seconds=3600)
    async with trading(just_before) as stack:
        before = await chain(stack, max_age=patient)
        stack.sandbox.clock.seek(stack.sandbox.clock.now() + 1)
        await stack.refresh()
        held = await chain(stack, max_age=patient)
        anew = await chain(stack, max_age=NOW)

    today = [symbol for symbol in ALL if expiry(symbol) == "261002"]
    assert before.symbols[:82] == today
    assert before.header.expired == 0
    assert held.header.served_from == provenance_pb2.TIER_MEMORY
    for found in (held, anew):
        assert found.symbols == before.symbols[82:]
        assert (found.header.expired, found.header.chain_size) == (82, len(found.symbols))


async def test_chains_can_be_dropped() -> None:
    """InvalidateCache of OPTION_CHAIN drops chains and lists of an underlying, or a feed's chains, and nothing else."""
    two = replace(FROZEN, symbols=("AAPL", "MSFT"))
    chains = {"kinds": [admin_pb.VALUE_KIND_OPTION_CHAIN]}
    async with trading(two) as stack:

        async def drop(**terms: Any) -> int:
            request = admin_pb.InvalidateCacheRequest(**terms)
            return (await stack.admin.InvalidateCache(request)).memory_entries

        async def tiers() -> list[str]:
            found = [await chain(stack, one, view=FULL) for one in ("AAPL", "MSFT")]
            return [
                provenance_pb2.Tier.Name(one.header.served_from).removeprefix("TIER_")
                for one in found
            ]

        first = await tiers()
        others = await drop(kinds=[admin_pb.VALUE_KIND_OPTION_QUOTE, admin_pb.VALUE_KIND_QUOTE])
        of_opra = await drop(feed=OPRA, **chains)
        none = await tiers()
        of_aapl = await drop(symbols=["AAPL"], **chains)
        aapl, lists = await tiers(), lists_asked(stack)
        of_feed = await drop(feed=INDICATIVE, **chains)
        both, lists_after = await tiers(), lists_asked(stack)
        rest = await drop(**chains)
        counts = await counted(stack)

    assert [others, of_opra, of_aapl, of_feed, rest] == [0, 0, 2, 2, 4]
    assert [first, none, aapl, both] == [
        ["UPSTREAM", "UPSTREAM"], ["MEMORY", "MEMORY"], ["UPSTREAM", "MEMORY"], ["UPSTREAM", "UPSTREAM"],
    ]  # fmt: skip
    # A list of contracts is of no feed.
    assert (lists, lists_after) == (3, 3)
    assert (counts.chains, counts.contracts, counts.loads) == (0, 0, 5)


async def test_what_was_dropped_does_not_come_back() -> None:
    """A refresh that was under way when a chain was dropped does not bring back what was read before."""
    kinds = [admin_pb.VALUE_KIND_OPTION_CHAIN]
    async with trading(WEEKEND) as stack:
        first = await chain(stack)
        stack.sandbox.faults.add(faults.Latency(seconds=60, times=1, path=CHAIN_PATH))
        refreshing = asyncio.create_task(chain(stack, max_age=NOW))
        await until(lambda: pages_asked(stack) == 2)
        await stack.admin.InvalidateCache(admin_pb.InvalidateCacheRequest(kinds=kinds))
        stack.sandbox.faults.clear()
        await refreshing
        after = await chain(stack)

    assert first.header.load_time.ToNanoseconds() < after.header.load_time.ToNanoseconds()


async def test_what_a_caller_did_not_get_can_be_looked_up() -> None:
    """Why there was no chain is found in the error log under the id that the answer named."""
    async with trading(THURSDAY) as stack:
        why = (await page(stack, "ZZZZ")).unavailable
        request = admin_pb.ListErrorsRequest(request_id=why.request_id)
        (error,) = (await stack.admin.ListErrors(request)).errors

    context = MessageToDict(error.context)
    assert (error.reason, error.message) == (why.reason, why.message)
    assert (context["endpoint"], context["symbols"]) == ("OptionService/GetOptionChain", ["ZZZZ"])


async def test_the_chain_that_nobody_asks_for_makes_room() -> None:
    """Beyond their capacity chains make room, the one first that was asked for longest ago, and that is counted."""
    two = replace(FROZEN, symbols=("AAPL", "MSFT"))
    async with trading(two, options={"contracts": 1000}) as stack:
        for underlying in ("AAPL", "MSFT"):
            assert (await chain(stack, underlying)).header.total_size == CONTRACTS
        counts = await counted(stack)
        again = await chain(stack, "MSFT")
        gone = await chain(stack, "AAPL")

    assert (counts.chains, counts.contracts, counts.capacity) == (1, CONTRACTS, 1000)
    assert counts.evictions == 1
    assert again.header.served_from == provenance_pb2.TIER_MEMORY
    assert gone.header.served_from == provenance_pb2.TIER_UPSTREAM


async def test_a_clock_set_back_forgets_chains() -> None:
    """When somebody sets a replay back, no chain of its future answers."""
    async with trading(THURSDAY) as stack:
        await chain(stack)
        stack.sandbox.clock.seek(stack.sandbox.clock.now() - 600 * 10**9)
        await stack.refresh()
        found = await chain(stack)

    now = found.header.market_time.ToNanoseconds()
    assert found.header.served_from == provenance_pb2.TIER_UPSTREAM
    assert all(one.quote.provenance.event_time.ToNanoseconds() <= now for one in found.options)


async def test_who_leaves_midway_harms_nobody() -> None:
    """A caller who cancels a stream after its first chunk leaves nothing behind; those beside him get all of it."""
    async with trading(THURSDAY) as stack:
        await chain(stack)
        before = own_tasks()
        request = pb.StreamOptionChainRequest(underlying_symbol="AAPL", view=FULL)
        leavers: list[Any] = [stack.options.StreamOptionChain(request) for _ in range(10)]
        staying = asyncio.gather(*(chain(stack, view=FULL) for _ in range(5)))
        for call in leavers:
            events = [(await call.read()).WhichOneof("event") for _ in range(2)]
            assert events == ["header", "chunk"]
            call.cancel()
        stayed = await staying
        await nothing_left(stack.gateway, before)
        await until(lambda: stack.gateway.counters.calls_in_flight == 0)

    assert [one.symbols for one in stayed] == [ALL] * 5


# --------------------------------------------------------------------------- what there is not


async def test_nothing_that_matches_says_so() -> None:
    """Where no contract matches, NO_DATA says of how many, and how many only lack the delta that was asked for."""
    far = option_pb2.OptionChainFilter(min_strike_price=Number(value="5000"))
    no_delta = option_pb2.OptionChainFilter(
        expiry_date=day("2026-10-02"), delta=option_pb2.DeltaBand(min=0.1, max=0.9)
    )
    async with trading(EXPIRY_DAY) as stack:
        answer = await page(stack, filter=far)
        streamed = await chain(stack, filter=far)
        judged = await page(stack, filter=no_delta)

    assert reason_of(answer.unavailable) == streamed.reason == "NO_DATA"
    assert f"none of its {CONTRACTS} contracts matches the filter" in answer.unavailable.message
    assert reason_of(judged.unavailable) == "NO_DATA"
    assert "82 match but for the band of delta" in judged.unavailable.message


async def test_an_unknown_underlying_is_remembered() -> None:
    """An underlying that the upstream does not know is SYMBOL_UNKNOWN, found out once."""
    async with trading(THURSDAY) as stack:
        answers = [await page(stack, "ZZZZ") for _ in range(3)]
        streamed = await chain(stack, "ZZZZ")
        asked = pages_asked(stack), lists_asked(stack)

    assert [reason_of(one.unavailable) for one in answers] == ["SYMBOL_UNKNOWN"] * 3
    assert streamed.reason == "SYMBOL_UNKNOWN"
    assert "ZZZZ" in answers[0].unavailable.message
    assert asked == (1, 1)


async def test_a_stock_without_options_is_told_apart() -> None:
    """A stock on which no option is listed is NO_DATA, and says so; that is remembered as well."""
    async with trading(THURSDAY) as stack:
        answers = [await page(stack, one) for one in ("QUIET", "BRK.B", "QUIET")]
        asked = pages_asked(stack), lists_asked(stack)

    for answer in answers:
        assert reason_of(answer.unavailable) == "NO_DATA"
        assert "no option on it is listed" in answer.unavailable.message
    assert asked == (2, 2)


async def test_a_date_whose_contracts_have_expired_says_so() -> None:
    """Where a filter finds nothing in a chain of which contracts have expired today, NO_DATA says how many have."""
    today = option_pb2.OptionChainFilter(expiry_date=day("2026-10-02"))
    async with trading(replace(EXPIRY_DAY, at="2026-10-02T20:30:00Z")) as stack:
        answer = await page(stack, filter=today)

    assert reason_of(answer.unavailable) == "NO_DATA"
    assert answer.unavailable.message.endswith("; 82 others have expired")


async def test_a_chain_of_expired_contracts_is_no_chain() -> None:
    """Where all that the upstream sends has expired, NO_DATA says how many."""
    body = f'{{"snapshots":{{"{EXPIRED}":{record(latestQuote=QUOTE)}}},"next_page_token":null}}'
    async with trading(THURSDAY) as stack:
        stack.sandbox.faults.add(faults.Reply(body=body, path=CHAIN_PATH))
        answer = await page(stack)

    assert reason_of(answer.unavailable) == "NO_DATA"
    assert "all 1 contracts that the upstream sent have expired" in answer.unavailable.message


async def test_listed_contracts_of_which_none_is_sent_are_told_of() -> None:
    """Where contracts are listed and the upstream sends none of them, NO_DATA says how many are listed."""
    body = '{"snapshots":{},"next_page_token":null}'
    async with trading(THURSDAY) as stack:
        stack.sandbox.faults.add(faults.Reply(body=body, path=CHAIN_PATH))
        answer = await page(stack)

    assert reason_of(answer.unavailable) == "NO_DATA"
    assert f"{CONTRACTS} contracts are listed" in answer.unavailable.message


async def test_a_feed_beyond_the_plan_names_one_that_would_work() -> None:
    """OPRA without an agreement is NOT_ENTITLED and names the open feed; the account is asked once."""
    async with trading(THURSDAY) as stack:
        first = await page(stack, feed=OPRA)
        second = await chain(stack, feed=OPRA)
        asked = pages_asked(stack)
        told = await stack.status.GetEntitlements(status_pb.GetEntitlementsRequest())
        request = pb.StreamOptionChainRequest(underlying_symbol="AAPL", feed=OPRA, strict=True)
        code, info = await failure(read_chain(stack.options.StreamOptionChain(request)))

    assert reason_of(first.unavailable) == second.reason == "NOT_ENTITLED"
    assert second.unavailable is not None
    for message in (first.unavailable.message, second.unavailable.message):
        assert SIGNED in message
        assert "feed indicative is open to every account" in message
    assert asked == 1
    (opra,) = [entry for entry in told.feeds if entry.feed == OPRA]
    assert (opra.state, opra.message) == (status_pb.ENTITLEMENT_STATE_DENIED, SIGNED)
    assert (code, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ENTITLED")


async def test_feeds_have_chains_of_their_own() -> None:
    """The feed asked for is echoed, without one the configured option feed; each feed is read for itself."""
    plus: dict[str, Any] = {"plan": "plus", "option_feed": "opra"}
    async with trading(replace(THURSDAY, plan=Plan.PLUS), alpaca=plus) as stack:
        default = await chain(stack)
        named = await chain(stack, feed=INDICATIVE)
        asked = pages_asked(stack)

    assert (default.header.feed, named.header.feed) == (OPRA, INDICATIVE)
    for found in (default, named):
        feeds = {one.feed for option in found.options for one in origins(option).values()}
        assert feeds == {found.header.feed}
    assert asked == 2


STRICT: dict[str, tuple[dict[str, Any], grpc.StatusCode]] = {
    "SYMBOL_UNKNOWN": ({"underlying_symbol": "ZZZZ"}, grpc.StatusCode.NOT_FOUND),
    "NO_DATA": ({"underlying_symbol": "QUIET"}, grpc.StatusCode.NOT_FOUND),
    "NOT_ENTITLED": ({"underlying_symbol": "AAPL", "feed": OPRA}, grpc.StatusCode.PERMISSION_DENIED),
}  # fmt: skip


async def test_strict_fails_with_the_status_of_the_reason() -> None:
    """With `strict` both calls fail with the reason's status, and ErrorInfo names reason and underlying."""
    async with running(THURSDAY) as stack:
        for reason, (terms, expected) in STRICT.items():
            paged = pb.GetOptionChainRequest(strict=True, **terms)
            streamed = pb.StreamOptionChainRequest(strict=True, **terms)
            for call in (
                stack.options.GetOptionChain(paged),
                read_chain(stack.options.StreamOptionChain(streamed)),
            ):
                code, info = await failure(call)
                assert (info.reason, info.metadata["symbol"]) == (
                    reason,
                    terms["underlying_symbol"],
                )
                assert code is expected


# -------------------------------------------------------------------------------- wrong requests


def around(**terms: Any) -> dict[str, Any]:
    """Return a filter of strikes around the money."""
    return {"filter": option_pb2.OptionChainFilter(around=option_pb2.AroundTheMoney(**terms))}


def band(**terms: Any) -> dict[str, Any]:
    """Return a filter of a band of delta."""
    return {"filter": option_pb2.OptionChainFilter(delta=option_pb2.DeltaBand(**terms))}


def filtered(**terms: Any) -> dict[str, Any]:
    """Return a filter."""
    return {"filter": option_pb2.OptionChainFilter(**terms)}


def strikes(lowest: str, highest: str) -> dict[str, Any]:
    """Return a filter of strikes."""
    return filtered(min_strike_price=Number(value=lowest), max_strike_price=Number(value=highest))


WRONG: dict[str, tuple[dict[str, Any], Iterable[str]]] = {
    "no underlying": ({"underlying_symbol": ""}, ["underlying_symbol"]),
    "lower case": ({"underlying_symbol": "aapl"}, ["underlying_symbol"]),
    "a contract": ({"underlying_symbol": CALL}, ["underlying_symbol"]),
    "a path": ({"underlying_symbol": "../A"}, ["underlying_symbol"]),
    "everything": ({"underlying_symbol": "*"}, ["underlying_symbol"]),
    "no feed": ({"feed": number(0)}, ["feed"]),
    "a stock feed": ({"feed": provenance_pb2.FEED_SIP}, ["feed"]),
    "an unknown feed": ({"feed": number(77)}, ["feed"]),
    "no view": ({"view": number(0)}, ["view"]),
    "an unknown view": ({"view": number(9)}, ["view"]),
    "a negative age": ({"max_age": Duration(nanos=-1)}, ["max_age"]),
    "an endless age": ({"max_age": Duration(seconds=3660 * 86_400, nanos=1)}, ["max_age"]),
    "no type": (filtered(type=number(0)), ["filter.type"]),
    "an unknown type": (filtered(type=number(3)), ["filter.type"]),
    "no date": (filtered(expiry_date=Date(year=2026, month=2, day=29)), ["filter.expiry_date"]),
    "half a date": (filtered(start_expiry_date=Date(year=2026)), ["filter.start_expiry_date"]),
    "a date long ago": (filtered(end_expiry_date=day("1999-12-31")), ["filter.end_expiry_date"]),
    "a date and a range": (
        filtered(expiry_date=day("2026-10-02"), start_expiry_date=day("2026-10-02")),
        ["filter.start_expiry_date"],
    ),
    "a range without a day": (
        filtered(start_expiry_date=day("2026-10-02"), end_expiry_date=day("2026-10-02")),
        ["filter.end_expiry_date"],
    ),
    "a negative strike": (strikes("-1", "5"), ["filter.min_strike_price"]),
    "strikes upside down": (strikes("200", "199.999"), ["filter.max_strike_price"]),
    "a strike beyond all": (strikes("0", "100000"), ["filter.max_strike_price"]),
    "a strike in words": (strikes("ten", "1e3"), ["filter.min_strike_price", "filter.max_strike_price"]),
    "no number": (strikes("NaN", "Infinity"), ["filter.min_strike_price", "filter.max_strike_price"]),
    "an empty strike": (strikes("", "٣"), ["filter.min_strike_price", "filter.max_strike_price"]),
    "no root": (filtered(root_symbol="aapl"), ["filter.root_symbol"]),
    "two digits": (filtered(root_symbol="AAPL12"), ["filter.root_symbol"]),
    "no instant": (filtered(updated_since=Timestamp(seconds=-1)), ["filter.updated_since"]),
    "a broken instant": (
        filtered(updated_since=Timestamp(nanos=10**9)),
        ["filter.updated_since"],
    ),
    "around nothing": (around(), ["filter.around"]),
    "no strikes": (around(strikes=0), ["filter.around.strikes"]),
    "too many strikes": (around(strikes=1001), ["filter.around.strikes"]),
    "no percent": (around(percent=Number(value="0")), ["filter.around.percent"]),
    "negative percent": (around(percent=Number(value="-5")), ["filter.around.percent"]),
    "too much percent": (around(percent=Number(value="1000.01")), ["filter.around.percent"]),
    "percent in words": (around(percent=Number(value="5 %")), ["filter.around.percent"]),
    "delta beyond one": (band(min=-1.01, max=2), ["filter.delta.min", "filter.delta.max"]),
    "delta upside down": (band(min=0.5, max=0.4), ["filter.delta.max"]),
    "no delta": (band(min=float("nan")), ["filter.delta.min"]),
    "endless delta": (band(max=float("inf")), ["filter.delta.max"]),
}  # fmt: skip


@pytest.mark.parametrize(("terms", "fields"), WRONG.values(), ids=WRONG)
async def test_wrong_requests_are_refused(terms: dict[str, Any], fields: Iterable[str]) -> None:
    """A request that breaks a rule is INVALID_ARGUMENT by its field, paged or streamed, and nobody is asked."""
    terms = {"underlying_symbol": "AAPL"} | terms
    async with running(THURSDAY) as stack:
        paged = await refusal(stack.options.GetOptionChain(pb.GetOptionChainRequest(**terms)))
        call = stack.options.StreamOptionChain(pb.StreamOptionChainRequest(**terms))
        streamed = await refusal(read_chain(call))
        asked = pages_asked(stack)

    assert list(paged) == list(streamed) == list(fields)
    assert all(paged.values())
    assert asked == 0


async def test_every_mistake_is_told_at_once() -> None:
    """A request that breaks several rules names each of them in one answer."""
    async with running(THURSDAY) as stack:
        broken = await refusal(
            page(
                stack,
                "aapl",
                feed=number(7),
                view=number(0),
                max_age=Duration(seconds=-1),
                page_size=-1,
                page_token="junk",
                **around(strikes=0),
            )
        )

    assert {
        "underlying_symbol", "view", "filter.around.strikes", "max_age", "page_size", "page_token",
    } <= set(broken)  # fmt: skip
