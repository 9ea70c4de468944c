"""What a caller gets from GetOptionQuote and GetOptionQuotes."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import grpc
import pytest
import redis.asyncio as aioredis
from google.protobuf.duration_pb2 import Duration
from google.type.date_pb2 import Date

from tickgate.v1 import admin_service_pb2 as admin_pb
from tickgate.v1 import freshness_pb2, market_session_pb2, option_pb2, provenance_pb2
from tickgate.v1 import option_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_sandbox import Plan, faults
from tickgate_server.market.occ import OCC_SYMBOL_RULE

from ..support.option_market import (
    CALL,
    DAY_BAR,
    EXPIRED,
    EXPIRY_DAY,
    FRESH,
    FULL,
    GREEKS,
    INDICATIVE,
    LIST_PATH,
    MINUTE_BAR,
    OPRA,
    PARTS,
    PUT,
    QUOTE,
    QUOTES_PATH,
    SIGNED,
    THURSDAY,
    TRADE,
    UNKNOWN,
    WORTHLESS,
    ask,
    ask_one,
    contract_entry,
    contracts_asked,
    failure,
    lists_asked,
    option_of,
    origins,
    quotes_asked,
    reason_of,
    record,
    refusal,
    symbol_of,
    told,
    trading,
)
from ..support.running import running, second_gateway
from ..support.stores import redis_url
from ..support.waiting import until_told

MEMORY_ALONE = freshness_pb2.Freshness(allowed_tiers=[provenance_pb2.TIER_MEMORY])
SYMBOLS = [symbol_of(130 + 5 * number) for number in range(41)] + [
    symbol_of(130 + 5 * number, "P") for number in range(41)
]
"""Eighty-two that expire on one day."""

WRONG_SYMBOLS = {
    "": OCC_SYMBOL_RULE,
    "AAPL": OCC_SYMBOL_RULE,
    "aapl261120C00230000": OCC_SYMBOL_RULE,
    "AAPL261120c00230000": OCC_SYMBOL_RULE,
    "AAPL  261120C00230000": OCC_SYMBOL_RULE,
    " AAPL261120C00230000": OCC_SYMBOL_RULE,
    "AAPL261120C00230000\n": OCC_SYMBOL_RULE,
    "AAPL261120X00230000": OCC_SYMBOL_RULE,
    "AAPL261120C0023000": OCC_SYMBOL_RULE,
    "AAPL261120C002300000": OCC_SYMBOL_RULE,
    "ABCDEF261120C00230000": OCC_SYMBOL_RULE,
    "AAPL12261120C00230000": OCC_SYMBOL_RULE,
    "1AAPL261120C00230000": OCC_SYMBOL_RULE,
    "261120C00230000": OCC_SYMBOL_RULE,
    "AAPL\N{FULLWIDTH DIGIT TWO}61120C00230000": OCC_SYMBOL_RULE,
    "AAPL261131C00230000": "261131 is no date",
    "AAPL260229C00230000": "260229 is no date",
    "AAPL261300C00230000": "261300 is no date",
    "AAPL261120C00000000": "a strike is above zero",
    "*": OCC_SYMBOL_RULE,
}


def number(value: int) -> Any:
    """*value* where the stubs want a member: it is none, which is the point."""
    return value


# ------------------------------------------------------------------------------ what was sent


async def test_an_option_quote_is_what_was_sent() -> None:
    """Every field leaves as it came in: prices digit for digit, times to the nanosecond, greeks bit for bit."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", CALL, record(**PARTS))
        option = await option_of(stack)

    assert (option.symbol, option.underlying_symbol, option.root_symbol) == (CALL, "AAPL", "AAPL")
    assert option.expiry_date == Date(year=2026, month=11, day=20)
    assert (option.type, option.strike_price.value) == (option_pb2.OPTION_TYPE_CALL, "230")
    quote, trade = option.quote, option.latest_trade
    assert (quote.symbol, trade.symbol) == (CALL, CALL)
    assert (quote.bid.price.value, quote.bid.size, quote.bid.exchange) == ("9.4", 169, "X")
    assert (quote.ask.price.value, quote.ask.size, quote.ask.exchange) == ("9.6500", 384, "Z")
    assert (list(quote.conditions), quote.HasField("tape")) == (["A"], False)
    assert quote.provenance.event_time.ToJsonString() == "2026-10-01T14:59:59.123456789Z"
    assert (trade.price.value, trade.size, trade.exchange) == ("9.55", 6, "W")
    assert (list(trade.conditions), trade.HasField("id"), trade.HasField("tape")) == (
        ["I"],
        False,
        False,
    )
    assert trade.provenance.event_time.ToJsonString() == "2026-10-01T14:49:32.655845740Z"
    greeks = option.greeks
    assert (greeks.delta, greeks.gamma, greeks.theta, greeks.vega, greeks.rho) == (
        0.5224, 0.0168, -0.1063, 0.3382, 0.1515,
    )  # fmt: skip
    assert option.implied_volatility == 0.3738
    assert option.day_volume == 12
    assert option.market_session == market_session_pb2.MARKET_SESSION_OPEN
    assert not option.missing_parts


async def test_each_part_carries_its_origin() -> None:
    """Quote, trade and model each say who sent them, on which feed, from which tier and when; a model bears no time."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", CALL, record(**PARTS))
        option = await option_of(stack)

    found = origins(option)
    assert set(found) == {"quote", "latest_trade", "model"}
    for origin in found.values():
        assert origin.source == provenance_pb2.DATA_SOURCE_SANDBOX
        assert origin.feed == INDICATIVE
        assert origin.served_from == provenance_pb2.TIER_UPSTREAM
        assert origin.upstream_request_id
        assert origin.receive_time.ToNanoseconds() <= origin.serve_time.ToNanoseconds()
        assert origin.receive_age.ToNanoseconds() >= 0
        assert not origin.stale
    assert len({origin.upstream_request_id for origin in found.values()}) == 1
    assert found["quote"].event_age.ToNanoseconds() == 876_543_211
    assert found["latest_trade"].event_age.ToNanoseconds() == 627_344_154_260
    assert not found["model"].HasField("event_time")
    assert not found["model"].HasField("event_age")


async def test_a_full_view_adds_bars_terms_and_open_interest() -> None:
    """FULL holds the bars, the terms, and the open interest with its own day and origin; BASIC holds none of them."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", CALL, record(**PARTS))
        stack.sandbox.pins.put("contracts", CALL, contract_entry())
        basic = await option_of(stack)
        full = await option_of(stack, view=FULL)
        lists = lists_asked(stack)

    added = {
        "open_interest", "minute_bar", "daily_bar", "previous_daily_bar", "contract",
    }  # fmt: skip
    assert {field.name for field, _ in full.ListFields()} == added | {
        field.name for field, _ in basic.ListFields()
    }
    assert lists == 1
    bars = {
        "minute_bar": ("2026-10-01T14:49:00Z", 6),
        "daily_bar": ("2026-10-01T04:00:00Z", 12),
        "previous_daily_bar": ("2026-09-30T04:00:00Z", 34),
    }
    for name, (start, volume) in bars.items():
        bar = getattr(full, name)
        assert (bar.start_time.ToJsonString(), bar.volume, bar.trade_count) == (start, volume, 5)
        prices = [getattr(bar, one).value for one in ("open", "high", "low", "close", "vwap")]
        assert prices == ["9.40", "9.8", "9.35", "9.55", "9.583333"]
        assert bar.provenance.event_time == bar.start_time
        assert bar.provenance.served_from == provenance_pb2.TIER_MEMORY
    interest = full.open_interest
    assert (interest.contracts, interest.date) == (464, Date(year=2026, month=9, day=30))
    assert interest.provenance.source == provenance_pb2.DATA_SOURCE_SANDBOX
    assert not interest.provenance.HasField("event_time")
    assert interest.provenance.upstream_request_id != full.quote.provenance.upstream_request_id
    terms = full.contract
    assert (terms.symbol, terms.underlying_symbol, terms.root_symbol) == (CALL, "AAPL", "AAPL")
    assert (terms.id, terms.name) == (
        "7d0a9c2b-7763-54da-a78e-24011f755ae7",
        "AAPL Nov 20 2026 230 Call",
    )
    assert (terms.style, terms.status, terms.tradable) == (
        option_pb2.OPTION_STYLE_AMERICAN,
        option_pb2.OPTION_CONTRACT_STATUS_ACTIVE,
        True,
    )
    assert (terms.multiplier.value, terms.size.value, terms.strike_price.value) == (
        "100", "100", "230",
    )  # fmt: skip
    assert (terms.close_price.value, terms.close_price_date) == (
        "9.50",
        Date(year=2026, month=9, day=30),
    )
    assert terms.last_trading_time.ToJsonString() == "2026-11-20T21:00:00Z"
    assert not terms.deliverables


async def test_what_was_not_sent_is_unset() -> None:
    """Each part that the upstream leaves out is simply not there: neither zero, nor named as missing."""
    fields = {
        "latestQuote": {"quote"},
        "latestTrade": {"latest_trade"},
        "greeks": {"greeks"},
        "impliedVolatility": {"implied_volatility"},
        "minuteBar": {"minute_bar"},
        "dailyBar": {"daily_bar", "day_volume"},
        "prevDailyBar": {"previous_daily_bar"},
    }
    async with trading(THURSDAY) as stack:
        for left_out, unset in fields.items():
            some = {name: text for name, text in PARTS.items() if name != left_out}
            stack.sandbox.pins.put("options", CALL, record(**some))
            option = await option_of(stack, view=FULL, freshness=FRESH)
            there = {field.name for field, _ in option.ListFields()}
            expected = set().union(*fields.values()) - unset
            assert expected <= there
            assert not there & (unset | {"missing_parts"})
        stack.sandbox.pins.put("options", CALL, record(latestTrade=TRADE))
        alone = await option_of(stack, freshness=FRESH)
        stack.sandbox.pins.put("options", CALL, record(greeks='{"delta":0.5}'))
        delta = await option_of(stack, freshness=FRESH)

    assert not alone.HasField("model_provenance")
    assert [field.name for field, _ in delta.greeks.ListFields()] == ["delta"]
    assert delta.model_provenance.upstream_request_id


async def test_a_side_without_a_bid_is_unset() -> None:
    """A worthless contract has an ask alone, and no greeks: a bid of zero is no bid."""
    async with trading(THURSDAY) as stack:
        option = await option_of(stack, WORTHLESS)

    assert option.quote.ask.price.value
    assert not option.quote.HasField("bid")
    assert not option.HasField("greeks")
    assert not option.HasField("implied_volatility")
    assert not option.missing_parts


async def test_the_last_day_has_no_greeks() -> None:
    """On the day it expires a contract is quoted, and the upstream sends no greeks: there are none."""
    async with trading(EXPIRY_DAY) as stack:
        today = await option_of(stack, symbol_of(230, expiry="261002"))
        later = await option_of(stack)

    assert today.quote.bid.price.value
    assert not today.HasField("greeks")
    assert later.greeks.HasField("delta")


DAY_VOLUMES: dict[str, tuple[str, int | None]] = {
    "today": (DAY_BAR, 12),
    "an earlier day": (DAY_BAR.replace("10-01T04:00:00Z", "09-30T04:00:00Z"), None),
    "no time": (DAY_BAR.replace('"t":"2026-10-01T04:00:00Z",', ""), None),
    "no volume": (DAY_BAR.replace('"v":12,', ""), None),
    "nothing yet": (DAY_BAR.replace('"v":12', '"v":0'), 0),
}


async def test_the_volume_of_the_day_is_of_this_day() -> None:
    """The day's volume is that of a daily bar of today; where there is no such bar it is unset, never zero."""
    found: dict[str, int | None] = {}
    async with trading(THURSDAY) as stack:
        for name, (bar, _) in DAY_VOLUMES.items():
            stack.sandbox.pins.put("options", CALL, record(latestQuote=QUOTE, dailyBar=bar))
            option = await option_of(stack, freshness=FRESH)
            found[name] = option.day_volume if option.HasField("day_volume") else None

    assert found == {name: volume for name, (_, volume) in DAY_VOLUMES.items()}


async def test_an_adjusted_series_names_root_and_underlying() -> None:
    """A contract that a corporate action has changed has its own root, and the underlying that its terms name."""
    adjusted = symbol_of(230, root="AAPL1")
    entry = contract_entry(adjusted, root_symbol="AAPL1", size=None)
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", adjusted, record(latestQuote=QUOTE))
        stack.sandbox.pins.put("contracts", adjusted, entry)
        basic = await option_of(stack, adjusted)
        full = await option_of(stack, adjusted, view=FULL)

    for option in (basic, full):
        assert (option.root_symbol, option.underlying_symbol) == ("AAPL1", "AAPL")
    assert full.contract.root_symbol == "AAPL1"
    assert not full.contract.HasField("size")


# ------------------------------------------------------------------------------ what was refused


BAD_PARTS: dict[str, tuple[str, str, str, str]] = {
    "crossed": ("latestQuote", QUOTE.replace('"bp":9.4', '"bp":9.7'), "QUOTE", "crossed"),
    "negative bid": ("latestQuote", QUOTE.replace('"bp":9.4', '"bp":-9.4'), "QUOTE", "negative_price"),
    "endless bid": ("latestQuote", QUOTE.replace('"bp":9.4', '"bp":1e300'), "QUOTE", "price_out_of_range"),
    "a text for a bid": ("latestQuote", QUOTE.replace('"bp":9.4', '"bp":"NaN"'), "QUOTE", "wrong_type"),
    "half a contract": ("latestQuote", QUOTE.replace("169", "1.5"), "QUOTE", "wrong_type"),
    "negative size": ("latestQuote", QUOTE.replace("169", "-1"), "QUOTE", "negative_size"),
    "swollen code": ("latestQuote", QUOTE.replace('"A"', f'"{"A" * 99}"'), "QUOTE", "odd_code"),
    "a list for a quote": ("latestQuote", "[1,2]", "QUOTE", "wrong_type"),
    "quote of the future": ("latestQuote", QUOTE.replace("14:59", "15:59"), "QUOTE", "future_time"),
    "quote without a time": ("latestQuote", QUOTE.replace("2026-10-01T", "soon"), "QUOTE", "malformed_time"),
    "free trade": ("latestTrade", TRADE.replace("9.55", "0"), "LATEST_TRADE", "zero_price"),
    "trade without a price": ("latestTrade", TRADE.replace('"p"', '"q"'), "LATEST_TRADE", "missing_field"),
    "a text for delta": ("greeks", GREEKS.replace("0.5224", '"NaN"'), "GREEKS", "wrong_type"),
    "negative volatility": ("impliedVolatility", "-0.37", "IMPLIED_VOLATILITY", "negative_volatility"),
    "a text for volatility": ("impliedVolatility", '"0.37"', "IMPLIED_VOLATILITY", "wrong_type"),
    "bar out of order": ("dailyBar", DAY_BAR.replace('"l":9.35', '"l":9.75'), "DAILY_BAR", "bar_order"),
    "negative volume": ("prevDailyBar", DAY_BAR.replace('"v":12', '"v":-12'), "PREVIOUS_DAILY_BAR", "negative_size"),
    "free bar": ("minuteBar", MINUTE_BAR.replace("9.40", "0"), "MINUTE_BAR", "zero_price"),
}  # fmt: skip


async def test_garbage_in_a_part_costs_that_part() -> None:
    """A part that a rule refuses is unset and named with the rule; every other part is served as it was sent."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", CALL, record(**PARTS))
        whole = bare_parts(await option_of(stack, view=FULL))
        refused = Counter[str]()
        for case, (name, text, part, rule) in BAD_PARTS.items():
            stack.sandbox.pins.put("options", CALL, record(**(PARTS | {name: text})))
            option = await option_of(stack, view=FULL, freshness=FRESH)
            (missing,) = option.missing_parts
            assert option_pb2.OptionPart.Name(missing.part) == f"OPTION_PART_{part}", case
            assert reason_of(missing.unavailable) == "INVALID_DATA", case
            assert missing.unavailable.refusal.rule == rule, case
            assert missing.unavailable.refusal.evidence, case
            expected = option_pb2.OptionQuote()
            expected.CopyFrom(whole)
            expected.missing_parts.append(missing)
            for lost in {part.lower(), "day_volume" if part == "DAILY_BAR" else part.lower()}:
                expected.ClearField(lost)  # type: ignore[arg-type]  # a name of a field
            assert bare_parts(option) == expected, case
            refused[rule] += 1
        counted = (await stack.status.GetStatus(status_pb.GetStatusRequest())).refusals

    assert {one.rule: one.count for one in counted} == refused


async def test_an_empty_quote_is_no_quote() -> None:
    """A quote of which both sides are empty is unset and named NO_DATA; the trade beside it is served."""
    empty = QUOTE.replace("9.6500", "0").replace("9.4", "0")
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", CALL, record(latestQuote=empty, latestTrade=TRADE))
        option = await option_of(stack)

    (missing,) = option.missing_parts
    assert missing.part == option_pb2.OPTION_PART_QUOTE
    assert reason_of(missing.unavailable) == "NO_DATA"
    assert option.latest_trade.price.value == "9.55"


async def test_a_contract_of_garbage_is_refused_alone() -> None:
    """A contract of which nothing is a market value is INVALID_DATA with the rule; the others of the call are there."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", PUT, record(latestQuote="7", impliedVolatility="-1"))
        results = await ask(stack, CALL, PUT, WORTHLESS)

    assert [told(result) for result in results] == ["UPSTREAM", "INVALID_DATA", "UPSTREAM"]
    assert results[1].unavailable.refusal.rule == "wrong_type"


async def test_numbers_that_no_machine_holds_cost_their_parts() -> None:
    """Of an answer with numbers beyond all bounds just the parts that hold them are refused."""
    parts = PARTS | {
        "latestQuote": QUOTE.replace("9.6500", "1e400"),
        "greeks": GREEKS.replace("0.0168", "1e999"),
        "impliedVolatility": "-1e999",
        "dailyBar": DAY_BAR.replace('"v":12', f'"v":{"9" * 5000}'),
    }
    body = f'{{"snapshots":{{"{CALL}":{record(**parts)}}}}}'
    async with trading(THURSDAY) as stack:
        stack.sandbox.faults.add(faults.Reply(body=body, path=QUOTES_PATH))
        option = await option_of(stack)

    refused = {
        option_pb2.OptionPart.Name(one.part).removeprefix("OPTION_PART_"): reason_of(
            one.unavailable
        )
        for one in option.missing_parts
    }
    assert refused == dict.fromkeys(
        ("QUOTE", "GREEKS", "IMPLIED_VOLATILITY", "DAILY_BAR"), "INVALID_DATA"
    )
    assert option.latest_trade.price.value == "9.55"


async def test_an_answer_that_is_no_json_is_no_value() -> None:
    """One NaN makes an answer unreadable: each contract of it is INVALID_DATA, and no older value stands in for it."""
    text = record(latestQuote=QUOTE, greeks='{"delta":NaN}')
    body = f'{{"snapshots":{{"{CALL}":{text}}}}}'
    async with trading(THURSDAY) as stack:
        before = await ask(stack, CALL, PUT)
        stack.sandbox.faults.add(faults.Reply(body=body, path=QUOTES_PATH))
        struck = await ask(stack, CALL, PUT, freshness=FRESH)
        hidden = await ask_one(stack, freshness=freshness_pb2.Freshness(max_age=Duration(nanos=1)))
        stack.sandbox.faults.clear()
        after = await ask(stack, CALL, PUT)

    assert [told(result) for result in before] == ["UPSTREAM", "UPSTREAM"]
    assert [told(result) for result in struck] == ["INVALID_DATA", "INVALID_DATA"]
    assert told(hidden) == "INVALID_DATA"
    assert [told(result) for result in after] == ["UPSTREAM", "UPSTREAM"]


async def test_another_contract_is_nobodys_answer() -> None:
    """Where the upstream answers with another contract, the asked one is refused as a mismatch."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.faults.add(faults.WrongSymbol(symbol=PUT, path=QUOTES_PATH))
        result = await ask_one(stack)

    assert told(result) == "INVALID_DATA"
    assert result.unavailable.refusal.rule == "symbol_mismatch"


# ---------------------------------------------------------------------------------------- tiers


async def test_a_batch_keeps_order_and_costs_one_request() -> None:
    """A batch answers in the asked order, one result a contract, value or reason, with one upstream request."""
    symbols = [PUT, EXPIRED, CALL, UNKNOWN, WORTHLESS]
    async with trading(THURSDAY) as stack:
        results = await ask(stack, *symbols)
        asked = quotes_asked(stack)

    assert [result.symbol for result in results] == symbols
    assert [told(result) for result in results] == [
        "UPSTREAM", "CONTRACT_EXPIRED", "UPSTREAM", "CONTRACT_UNKNOWN", "UPSTREAM",
    ]  # fmt: skip
    assert asked == 1


async def test_memory_answers_the_second_question() -> None:
    """What was just confirmed answers from memory, its age counted on; with `max_age` zero the upstream is asked."""
    async with trading(THURSDAY) as stack:
        first = await ask_one(stack)
        second = await ask_one(stack)
        full = await ask_one(stack, view=FULL)
        asked = quotes_asked(stack)
        third = await ask_one(stack, freshness=FRESH)
        asked_again = quotes_asked(stack)

    assert [told(one) for one in (first, second, full, third)] == [
        "UPSTREAM", "MEMORY", "MEMORY", "UPSTREAM",
    ]  # fmt: skip
    origin, again = (one.option_quote.quote.provenance for one in (first, second))
    assert origin.receive_time == again.receive_time
    assert origin.receive_age.ToNanoseconds() < again.receive_age.ToNanoseconds()
    assert (asked, asked_again) == (1, 2)


async def test_replicas_share_option_quotes() -> None:
    """What one replica asked for is the other's from Redis, every part with its origin, and then from its memory."""
    patient: dict[str, Any] = {"redis": {"timeout": 5.0}}
    key = f"tg:1:sandbox:indicative:optionquote:{CALL}"
    with redis_url() as url:
        async with (
            trading(THURSDAY, redis_url=url, **patient) as one,
            second_gateway(one, redis_url=url, **patient) as other,
            aioredis.Redis.from_url(url) as client,
        ):
            one.sandbox.pins.put("options", CALL, record(**PARTS))
            first = await ask_one(one, view=FULL)
            await until_told(lambda: client.exists(key), bool)
            second = await ask_one(other, view=FULL)
            third = await ask_one(other, view=FULL)
            asked = quotes_asked(one)

    assert [told(result) for result in (first, second, third)] == ["UPSTREAM", "REDIS", "MEMORY"]
    assert asked == 1
    for part, origin in origins(first.option_quote).items():
        for result in (second, third):
            again = origins(result.option_quote)[part]
            assert again.receive_time == origin.receive_time
            assert again.upstream_request_id == origin.upstream_request_id
            assert again.HasField("event_time") is origin.HasField("event_time")
    bare = [bare_parts(result.option_quote) for result in (first, second, third)]
    assert bare[0] == bare[1] == bare[2]


def bare_parts(option: option_pb2.OptionQuote) -> option_pb2.OptionQuote:
    """Return *option* without what depends on who serves it, and when."""
    bare = option_pb2.OptionQuote()
    bare.CopyFrom(option)
    for name in ("quote", "latest_trade", "minute_bar", "daily_bar", "previous_daily_bar"):
        if bare.HasField(name):
            getattr(bare, name).ClearField("provenance")
    for name in ("model_provenance", "contract", "open_interest"):
        bare.ClearField(name)  # type: ignore[arg-type]  # a name of a field
    return bare


async def test_a_crowd_costs_one_request() -> None:
    """Five hundred who ask for one contract at the same time cost one upstream request, and all get it."""
    async with trading(THURSDAY) as stack:
        request = pb.GetOptionQuoteRequest(symbol=CALL)
        answers = await asyncio.gather(*(stack.options.GetOptionQuote(request) for _ in range(500)))
        asked = quotes_asked(stack)

    # Who comes when it has been answered is answered from memory.
    assert {told(answer.result) for answer in answers} <= {"UPSTREAM", "MEMORY"}
    assert asked == 1


async def test_single_questions_travel_together() -> None:
    """Those who ask for 82 different contracts at the same time cost a few requests, not one each."""
    # How many calls arrive within 25 ms is this machine's affair.
    async with trading(
        THURSDAY, alpaca={"batching": {"longest_wait": 1.0, "window": 0.05}}
    ) as stack:
        results = await asyncio.gather(*(ask_one(stack, symbol) for symbol in SYMBOLS))
        asked = quotes_asked(stack)

    assert [result.symbol for result in results] == SYMBOLS
    assert {told(result) for result in results} == {"UPSTREAM"}
    assert asked <= 4


async def test_only_allowed_tiers_answer() -> None:
    """Where memory alone may answer and holds nothing, NOT_HELD lists what each tier did; later it answers."""
    async with trading(THURSDAY) as stack:
        before = await ask_one(stack, freshness=MEMORY_ALONE)
        asked = quotes_asked(stack)
        await ask_one(stack)
        after = await ask_one(stack, freshness=MEMORY_ALONE)

    assert told(before) == "NOT_HELD"
    assert [attempt.tier for attempt in before.unavailable.tiers_tried] == [
        provenance_pb2.TIER_BOOK,
        provenance_pb2.TIER_MEMORY,
        provenance_pb2.TIER_UPSTREAM,
    ]
    assert asked == 0
    assert told(after) == "MEMORY"


async def test_there_is_no_bound_on_event_age_unless_asked_for() -> None:
    """A contract last quoted days ago is served, for that is usual; with `max_event_age` it is TOO_STALE."""
    days_ago = QUOTE.replace("10-01T14:59:59.123456789", "09-28T14:00:00")
    bounded = freshness_pb2.Freshness(max_event_age=Duration(seconds=3600))
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", CALL, record(latestQuote=days_ago))
        served = await ask_one(stack)
        refused = await ask_one(stack, freshness=bounded)
        stack.sandbox.pins.put("options", PUT, record(latestQuote=days_ago, latestTrade=TRADE))
        traded = await ask_one(stack, PUT, freshness=bounded)

    assert told(served) == "UPSTREAM"
    assert told(refused) == "TOO_STALE"
    assert refused.unavailable.last_event_time.ToJsonString() == "2026-09-28T14:00:00Z"
    assert told(traded) == "UPSTREAM"


async def test_what_is_held_does_not_outlive_a_clock_set_back() -> None:
    """When somebody sets a replay back, memory forgets the option quotes of its future."""
    async with trading(THURSDAY) as stack:
        await ask_one(stack)
        stack.sandbox.clock.seek(stack.sandbox.clock.now() - 1800 * 10**9)
        await stack.refresh()
        result = await ask_one(stack)

    assert told(result) == "UPSTREAM"
    assert result.option_quote.quote.provenance.event_age.ToNanoseconds() >= 0


async def test_option_quotes_can_be_dropped() -> None:
    """InvalidateCache of OPTION_QUOTE drops just those, and a dropped contract is asked for again."""
    async with trading(THURSDAY) as stack:
        await ask(stack, CALL, PUT)
        kinds = [admin_pb.VALUE_KIND_OPTION_CHAIN, admin_pb.VALUE_KIND_QUOTE]
        others = await stack.admin.InvalidateCache(admin_pb.InvalidateCacheRequest(kinds=kinds))
        dropped = await stack.admin.InvalidateCache(
            admin_pb.InvalidateCacheRequest(
                kinds=[admin_pb.VALUE_KIND_OPTION_QUOTE], symbols=[CALL], feed=INDICATIVE
            )
        )
        results = await ask(stack, CALL, PUT)
        rest = await stack.admin.InvalidateCache(
            admin_pb.InvalidateCacheRequest(kinds=[admin_pb.VALUE_KIND_OPTION_QUOTE])
        )

    assert [one.memory_entries for one in (others, dropped, rest)] == [0, 1, 2]
    assert [told(result) for result in results] == ["UPSTREAM", "MEMORY"]


# ---------------------------------------------------------------------- what there is not


async def test_an_unknown_contract_is_remembered() -> None:
    """A contract that is not listed is CONTRACT_UNKNOWN, looked up once; asking again costs nothing."""
    async with trading(THURSDAY) as stack:
        results = [await ask_one(stack, UNKNOWN) for _ in range(3)]
        asked, looked_up = quotes_asked(stack), contracts_asked(stack)

    assert [told(result) for result in results] == ["CONTRACT_UNKNOWN"] * 3
    assert UNKNOWN in results[0].unavailable.message
    assert (asked, looked_up) == (1, 1)


async def test_many_unknown_contracts_cost_one_list() -> None:
    """Of several contracts that the upstream leaves out, one list of their root tells which do not exist."""
    unknown = [symbol_of(231 + strike) for strike in range(4)]
    async with trading(THURSDAY) as stack:
        results = await ask(stack, *unknown, CALL)
        asked, lists, looked_up = quotes_asked(stack), lists_asked(stack), contracts_asked(stack)

    assert [told(result) for result in results] == ["CONTRACT_UNKNOWN"] * 4 + ["UPSTREAM"]
    assert (asked, lists, looked_up) == (1, 1, 0)


async def test_a_listed_contract_without_data_is_told_apart() -> None:
    """A listed contract of which the upstream sends nothing is NO_DATA; so is a record without content."""
    quiet, empty, null = symbol_of(232.5), symbol_of(237.5), symbol_of(242.5)
    async with trading(THURSDAY) as stack:
        for symbol in (quiet, empty, null):
            entry = contract_entry(symbol, strike_price=str(int(symbol[-8:]) / 1000))
            stack.sandbox.pins.put("contracts", symbol, entry)
        stack.sandbox.pins.put("options", empty, "{}")
        stack.sandbox.pins.put("options", null, "null")
        alone = await ask_one(stack, quiet)
        results = await ask(stack, quiet, empty, null)

    assert told(alone) == "NO_DATA"
    assert [told(result) for result in results] == ["NO_DATA"] * 3


async def test_without_the_list_of_contracts_nothing_is_called_unknown() -> None:
    """While contracts cannot be looked up, one that the upstream leaves out is NO_DATA, and that is not remembered."""
    async with trading(THURSDAY, reference={"retry_after": 0.001}) as stack:
        stack.sandbox.faults.add(faults.Status(status=422, path=LIST_PATH))
        during = await ask_one(stack, UNKNOWN)
        several = await ask(stack, UNKNOWN, symbol_of(232))
        stack.sandbox.faults.clear()
        after = await ask_one(stack, UNKNOWN)

    assert told(during) == "NO_DATA"
    assert [told(result) for result in several] == ["NO_DATA", "NO_DATA"]
    assert told(after) == "CONTRACT_UNKNOWN"


@pytest.mark.parametrize("view", [option_pb2.OPTION_VIEW_BASIC, FULL], ids=["basic", "full"])
async def test_an_expired_contract_costs_nothing(view: option_pb2.OptionView.ValueType) -> None:
    """A contract that has expired says so with its date, in any view, and the upstream is not asked."""
    async with trading(THURSDAY) as stack:
        result = await ask_one(stack, EXPIRED, view=view)
        several = await ask(stack, EXPIRED, EXPIRED.replace("C", "P"), view=view)
        asked = quotes_asked(stack), lists_asked(stack), contracts_asked(stack)

    assert told(result) == "CONTRACT_EXPIRED"
    assert "expired on 2025-01-17" in result.unavailable.message
    assert "2025-01-17T21:00:00Z" in result.unavailable.message
    assert [told(one) for one in several] == ["CONTRACT_EXPIRED", "CONTRACT_EXPIRED"]
    assert asked == (0, 0, 0)


@pytest.mark.parametrize(
    ("expiry", "last", "settings"),
    [
        ("261002", "2026-10-02T20:00:00Z", {}),
        ("261002", "2026-10-02T20:15:00Z", {"options": {"late_close": ["ACME"]}}),
        ("261127", "2026-11-27T18:00:00Z", {}),
        ("261127", "2026-11-27T18:15:00Z", {"options": {"late_close": ["ACME"]}}),
    ],
    ids=["usual", "late", "half day", "half day late"],
)
async def test_a_contract_trades_to_its_last_moment(
    expiry: str, last: str, settings: dict[str, Any]
) -> None:
    """Up to its last moment a contract is answered; after it it has expired, though memory and the upstream hold it."""
    symbol = symbol_of(230, expiry=expiry, root="ACME")
    async with running(replace(THURSDAY, at=last), **settings) as stack:
        stack.sandbox.pins.put("options", symbol, record(latestQuote=QUOTE))
        there = await ask_one(stack, symbol)
        stack.sandbox.clock.seek(stack.sandbox.clock.now() + 1)
        await stack.refresh()
        gone = await ask_one(stack, symbol)

    assert told(there) == "UPSTREAM"
    assert told(gone) == "CONTRACT_EXPIRED"
    assert last in gone.unavailable.message


async def test_a_feed_beyond_the_plan_names_one_that_would_work() -> None:
    """OPRA without an agreement is NOT_ENTITLED in the upstream's words and names the open feed; it is asked once."""
    async with trading(THURSDAY) as stack:
        first = await ask_one(stack, feed=OPRA)
        second = await ask_one(stack, PUT, feed=OPRA)
        asked = quotes_asked(stack)
        told_so = await stack.status.GetEntitlements(status_pb.GetEntitlementsRequest())
        open_ = await ask_one(stack, feed=INDICATIVE)

    assert told(first) == told(second) == "NOT_ENTITLED"
    assert SIGNED in first.unavailable.message
    assert SIGNED in second.unavailable.message
    assert "feed indicative is open to every account" in first.unavailable.message
    assert "feed indicative is open to every account" in second.unavailable.message
    assert asked == 1
    states = {entry.feed: entry for entry in told_so.feeds}
    assert states[OPRA].state == status_pb.ENTITLEMENT_STATE_DENIED
    assert states[OPRA].message == SIGNED
    assert states[INDICATIVE].state == status_pb.ENTITLEMENT_STATE_GRANTED
    assert told(open_) == "UPSTREAM"


async def test_the_feed_is_always_named() -> None:
    """The feed asked for is echoed; without one the configured option feed is, and feeds do not mix."""
    plus: dict[str, Any] = {"plan": "plus", "option_feed": "opra"}
    async with trading(replace(THURSDAY, plan=Plan.PLUS), alpaca=plus) as stack:
        default = await ask_one(stack)
        named = await ask_one(stack, feed=INDICATIVE)

    assert (told(default), told(named)) == ("UPSTREAM", "UPSTREAM")
    for result, feed in ((default, OPRA), (named, INDICATIVE)):
        assert {one.feed for one in origins(result.option_quote).values()} == {feed}
    assert default.option_quote.quote.provenance.feed_delay.ToNanoseconds() == 0


# --------------------------------------------------------------------------------------- strict


STRICT: dict[str, tuple[str, dict[str, Any], grpc.StatusCode]] = {
    "CONTRACT_UNKNOWN": (UNKNOWN, {}, grpc.StatusCode.NOT_FOUND),
    "CONTRACT_EXPIRED": (EXPIRED, {}, grpc.StatusCode.NOT_FOUND),
    "NOT_HELD": (PUT, {"freshness": MEMORY_ALONE}, grpc.StatusCode.NOT_FOUND),
    "TOO_STALE": (
        CALL,
        {"freshness": freshness_pb2.Freshness(max_event_age=Duration(nanos=1))},
        grpc.StatusCode.FAILED_PRECONDITION,
    ),
    "INVALID_DATA": (WORTHLESS, {}, grpc.StatusCode.DATA_LOSS),
    "NOT_ENTITLED": (CALL, {"feed": OPRA}, grpc.StatusCode.PERMISSION_DENIED),
}


async def test_strict_fails_with_the_status_of_the_reason() -> None:
    """With `strict` a call and a batch fail with the reason's status, and ErrorInfo names reason and contract."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("options", CALL, record(latestQuote=QUOTE))
        stack.sandbox.pins.put("options", WORTHLESS, record(latestQuote="7"))
        for reason, (symbol, terms, expected) in STRICT.items():
            single = pb.GetOptionQuoteRequest(symbol=symbol, strict=True, **terms)
            batch = pb.GetOptionQuotesRequest(symbols=[symbol], strict=True, **terms)
            for call in (
                stack.options.GetOptionQuote(single),
                stack.options.GetOptionQuotes(batch),
            ):
                code, info = await failure(call)
                assert (info.reason, info.metadata["symbol"]) == (reason, symbol)
                assert code is expected


async def test_a_strict_batch_fails_with_its_first_missing_contract() -> None:
    """A strict batch fails as a whole, with the reason of the first contract without a value."""
    async with trading(THURSDAY) as stack:
        request = pb.GetOptionQuotesRequest(symbols=[CALL, EXPIRED, UNKNOWN], strict=True)
        _, info = await failure(stack.options.GetOptionQuotes(request))

    assert (info.reason, info.metadata["symbol"]) == ("CONTRACT_EXPIRED", EXPIRED)


# -------------------------------------------------------------------------------- wrong requests


async def test_malformed_symbols_are_refused() -> None:
    """Whatever is no OCC symbol is refused by its rule, in single calls and by index in batches."""
    async with running(THURSDAY) as stack:
        for symbol, rule in WRONG_SYMBOLS.items():
            single = await refusal(
                stack.options.GetOptionQuote(pb.GetOptionQuoteRequest(symbol=symbol))
            )
            assert list(single) == ["symbol"]
            assert rule in single["symbol"]
            batch = await refusal(
                stack.options.GetOptionQuotes(pb.GetOptionQuotesRequest(symbols=[CALL, symbol]))
            )
            assert list(batch) == ["symbols[1]"]
        asked = quotes_asked(stack)

    assert asked == 0


async def test_batches_of_a_wrong_size_are_refused() -> None:
    """No contract, 101 contracts and one named twice are refused; 100 are one upstream request."""
    many = [*SYMBOLS, *(symbol_of(130 + 5 * number, expiry="261218") for number in range(19))]
    async with running(THURSDAY) as stack:
        for symbols, part in (
            ([], "1 to 100 contracts, not 0"),
            (many, "1 to 100 contracts, not 101"),
        ):
            broken = await refusal(
                stack.options.GetOptionQuotes(pb.GetOptionQuotesRequest(symbols=symbols))
            )
            assert part in broken["symbols"]
        twice = pb.GetOptionQuotesRequest(symbols=[CALL, PUT, CALL])
        broken = await refusal(stack.options.GetOptionQuotes(twice))
        assert broken == {"symbols[2]": "a request names each symbol once"}
        assert quotes_asked(stack) == 0
        results = await ask(stack, *many[:100])
        asked = quotes_asked(stack)

    assert [result.symbol for result in results] == many[:100]
    assert {told(result) for result in results} == {"UPSTREAM"}
    assert asked == 1


WRONG_TERMS: dict[str, tuple[dict[str, Any], str]] = {
    "stale": ({"freshness": freshness_pb2.Freshness(allow_stale=True)}, "freshness.allow_stale"),
    "no feed": ({"feed": number(0)}, "feed"),
    "a stock feed": ({"feed": provenance_pb2.FEED_IEX}, "feed"),
    "an unknown feed": ({"feed": number(99)}, "feed"),
    "a negative feed": ({"feed": number(-1)}, "feed"),
    "no view": ({"view": number(0)}, "view"),
    "an unknown view": ({"view": number(3)}, "view"),
    "a negative age": (
        {"freshness": freshness_pb2.Freshness(max_age=Duration(seconds=-1))},
        "freshness.max_age",
    ),
    "an endless age": (
        {"freshness": freshness_pb2.Freshness(max_event_age=Duration(seconds=2**40))},
        "freshness.max_event_age",
    ),
    "no tier": (
        {"freshness": freshness_pb2.Freshness(allowed_tiers=[number(0)])},
        "freshness.allowed_tiers[0]",
    ),
    "an unknown tier": (
        {"freshness": freshness_pb2.Freshness(allowed_tiers=[number(2), number(42)])},
        "freshness.allowed_tiers[1]",
    ),
}


@pytest.mark.parametrize(("terms", "field"), WRONG_TERMS.values(), ids=WRONG_TERMS)
async def test_wrong_terms_are_refused(terms: dict[str, Any], field: str) -> None:
    """What cannot be asked of options is refused by its field, never replaced by a default, and nobody is asked."""
    async with running(THURSDAY) as stack:
        single = pb.GetOptionQuoteRequest(symbol=CALL, **terms)
        batch = pb.GetOptionQuotesRequest(symbols=[CALL], **terms)
        fields = [
            list(await refusal(stack.options.GetOptionQuote(single))),
            list(await refusal(stack.options.GetOptionQuotes(batch))),
        ]
        asked = quotes_asked(stack)

    assert fields == [[field], [field]]
    assert asked == 0


async def test_every_mistake_is_told_at_once() -> None:
    """A request that breaks several rules names each of them in one answer."""
    async with running(THURSDAY) as stack:
        wrong = pb.GetOptionQuoteRequest(
            symbol="AAPL",
            feed=number(7),
            view=number(0),
            freshness=freshness_pb2.Freshness(allow_stale=True),
        )
        broken = await refusal(stack.options.GetOptionQuote(wrong))

    assert {"symbol", "view", "freshness.allow_stale"} <= set(broken)
