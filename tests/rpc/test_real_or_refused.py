"""The first rule as a law: no field of an answer holds a market value that the upstream's payload did not hold."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message
from google.type import decimal_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickgate.v1 import provenance_pb2, quote_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tickgate_sandbox import SandboxSettings, faults

from ..support.running import Stack, running

PROVENANCE_FIELDS = {
    "source",
    "feed",
    "served_from",
    "event_time",
    "receive_time",
    "serve_time",
    "feed_delay",
    "upstream_request_id",
    "event_age",
    "receive_age",
}
"""Fields that every fresh IEX value carries; `stale` is the remaining one and is false."""

likely_numbers = st.decimals("0.0001", 10**6, places=4).map(str)
numbers = st.one_of(
    likely_numbers,
    likely_numbers,
    st.integers(-2, 10**9).map(str),
    st.sampled_from(["0", "0.0", "1e-5", "1E+3", "180.10", "1e400", "-0"]),
)
likely_texts = st.sampled_from(['"Q"', '"V"', '" "', "null"])
texts = st.one_of(likely_texts, likely_texts, likely_texts, st.text(max_size=3).map(json.dumps))
likely_sizes = st.integers(0, 10**6).map(str)
sizes = st.one_of(
    likely_sizes,
    likely_sizes,
    likely_sizes,
    st.integers(-3, 2**70).map(str),
    st.sampled_from(["null", '"4"', "1.5"]),
)
INSTANTS = {
    "2026-10-01T15:00:00Z": 1_790_866_800_000_000_000,
    "2026-10-01T14:59:59.123456789Z": 1_790_866_799_123_456_789,
    "2026-10-01T15:00:04.9Z": 1_790_866_804_900_000_000,
    "2026-10-01T15:01:00Z": 1_790_866_860_000_000_000,
    "2026-10-01T10:59:59.5-04:00": 1_790_866_799_500_000_000,
}
"""Times that are sent, and the nanoseconds that they mean, worked out by hand."""

likely_times = st.sampled_from([f'"{text}"' for text in INSTANTS])
times = st.one_of(likely_times, likely_times, st.sampled_from(['"soon"', "12"]))
conditions = st.one_of(
    st.sampled_from(['["R"]', '["@","I"]', "null"]),
    st.lists(texts, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
)


def records(**fields: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return JSON objects of *fields*, all of them or some, whose values are JSON texts."""
    whole, some = st.fixed_dictionaries(fields), st.fixed_dictionaries({}, optional=dict(fields))
    return st.one_of(whole, whole, whole, some).map(
        lambda chosen: "{" + ",".join(f'"{key}":{value}' for key, value in chosen.items()) + "}"
    )


# Bids below a hundred and asks above: of two prices drawn alike, half would be crossed.
bids = st.one_of(st.decimals(1, 100, places=2).map(str), numbers)
asks = st.one_of(st.decimals(100, 1000, places=2).map(str), numbers)
quotes = records(
    t=times, bx=texts, bp=bids, bs=sizes, ax=texts, ap=asks, c=conditions, z=texts, **{"as": sizes}
)  # fmt: skip
trades = records(t=times, x=texts, p=numbers, s=sizes, c=conditions, i=sizes, z=texts, u=texts)
bars = records(t=times, o=numbers, h=numbers, l=numbers, c=numbers, v=sizes, n=sizes, vw=numbers)
snapshots = records(
    latestTrade=trades, latestQuote=quotes, minuteBar=bars, dailyBar=bars, prevDailyBar=bars
)


def same(message: Message, field: str, sent: dict[str, Any], key: str) -> None:
    """Check that *field* of *message* is what was sent under *key*: the same number or text, or unset like it."""
    expected = sent.get(key)
    if expected is None:
        assert not message.HasField(field), f"{field} was never sent"
        return
    assert message.HasField(field), f"{field} was sent and is missing"
    value = getattr(message, field)
    assert (Decimal(value.value) if isinstance(value, decimal_pb2.Decimal) else value) == expected


def check_quote(quote: Any, sent: dict[str, Any]) -> None:
    """Check every field of *quote* against the record that was sent."""
    for side, price, size, venue in (("bid", "bp", "bs", "bx"), ("ask", "ap", "as", "ax")):
        assert quote.HasField(side) is (sent[price] != 0)
        if quote.HasField(side):
            same(getattr(quote, side), "price", sent, price)
            same(getattr(quote, side), "size", sent, size)
            same(getattr(quote, side), "exchange", sent, venue)
    assert list(quote.conditions) == (sent.get("c") or [])
    same(quote, "tape", sent, "z")
    assert quote.provenance.event_time.ToNanoseconds() == INSTANTS[sent["t"]]


def check_trade(trade: Any, sent: dict[str, Any]) -> None:
    """Check every field of *trade* against the record that was sent."""
    keys = {"price": "p", "size": "s", "exchange": "x", "id": "i", "tape": "z", "amendment": "u"}
    for field, key in keys.items():
        same(trade, field, sent, key)
    assert list(trade.conditions) == (sent.get("c") or [])
    assert trade.provenance.event_time.ToNanoseconds() == INSTANTS[sent["t"]]


def check_bar(bar: Any, sent: dict[str, Any]) -> None:
    """Check every field of *bar* against the record that was sent."""
    keys = {"open": "o", "high": "h", "low": "l", "close": "c"}
    keys |= {"volume": "v", "trade_count": "n", "vwap": "vw"}
    for field, key in keys.items():
        same(bar, field, sent, key)
    assert bar.start_time.ToNanoseconds() == INSTANTS[sent["t"]]


def check_snapshot(snapshot: Any, sent: dict[str, Any]) -> None:
    """Check every part of *snapshot*, and that each part is there or named as missing."""
    parts = {
        "latest_trade": ("latestTrade", check_trade),
        "latest_quote": ("latestQuote", check_quote),
        "minute_bar": ("minuteBar", check_bar),
        "daily_bar": ("dailyBar", check_bar),
        "previous_daily_bar": ("prevDailyBar", check_bar),
    }
    there = [field for field in parts if snapshot.HasField(field)]
    assert len(there) + len(snapshot.missing_parts) == len(parts)
    for field in there:
        key, check = parts[field]
        check(getattr(snapshot, field), sent[key])


CHECKS = {"quote": check_quote, "trade": check_trade, "snapshot": check_snapshot}


def origins(message: Message) -> list[provenance_pb2.Provenance]:
    """Return every provenance inside *message*."""
    if isinstance(message, provenance_pb2.Provenance):
        return [message]
    return [
        origin
        for field, value in message.ListFields()
        if field.message_type is not None
        for part in ([value] if isinstance(value, Message) else value)
        for origin in origins(part)
    ]


async def answer_to(stack: Stack, call: Any, request: Message, payload: str) -> Any:
    """Ask for AAPL while the upstream answers with *payload*."""
    stack.sandbox.faults.clear()
    stack.sandbox.faults.add(faults.Reply(body=payload, path="/v2/stocks"))
    return (await call(request)).result


def check_origins(value: Message) -> None:
    """Check that whatever *value* holds says in full where it came from."""
    assert origins(value)
    for origin in origins(value):
        assert {field.name for field, _ in origin.ListFields()} == PROVENANCE_FIELDS


_LAW = settings(
    max_examples=200,
    derandomize=True,  # the same examples on every run; exploring is the fuzzers' work
    deadline=None,  # a whole gateway answers each example; the machine's speed is no part of the law
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
_MARKET = SandboxSettings(at="2026-10-01T15:00:00Z", speed=0)
_UNKEPT = {"keep_open": 0.0, "keep_otherwise": 0.0, "keep_unknown": 0.0}


@pytest.mark.parametrize(
    ("kind", "payloads"), [("quote", quotes), ("trade", trades), ("snapshot", snapshots)]
)
async def test_answers_hold_only_what_was_sent(kind: str, payloads: st.SearchStrategy[str]) -> None:
    """Whatever the upstream sends, each field of the answer is the one that it sent, and carries its origin."""
    async with running(_MARKET, memory=_UNKEPT) as stack:
        call, request, wrap = {
            "quote": (stack.quotes.GetQuote, pb.GetQuoteRequest, '{"quotes":{"AAPL":%s}}'),
            "trade": (
                stack.quotes.GetLatestTrade,
                pb.GetLatestTradeRequest,
                '{"trades":{"AAPL":%s}}',
            ),
            "snapshot": (stack.quotes.GetSnapshot, pb.GetSnapshotRequest, '{"AAPL":%s}'),
        }[kind]
        served = 0

        @_LAW
        @given(payload=payloads)
        async def law(payload: str) -> None:
            nonlocal served
            whole = wrap % payload
            result = await answer_to(stack, call, request(symbol="AAPL"), whole)
            if result.WhichOneof("result") == kind:
                served += 1
                sent = json.loads(payload, parse_float=Decimal, parse_int=Decimal)
                CHECKS[kind](getattr(result, kind), sent)
                check_origins(getattr(result, kind))
            else:
                assert result.unavailable.reason

        await run_law(law)
        assert served > 10


async def run_law(law: Any) -> None:
    """Run a hypothesis test of a coroutine on the loop that is running."""
    loop = asyncio.get_running_loop()
    inner = law.hypothesis.inner_test

    def on_the_loop(**drawn: Any) -> None:
        asyncio.run_coroutine_threadsafe(inner(**drawn), loop).result()

    law.hypothesis.inner_test = on_the_loop
    await asyncio.to_thread(law)


@pytest.mark.parametrize("dropped", sorted(PROVENANCE_FIELDS))
async def test_a_dropped_provenance_field_is_noticed(dropped: str) -> None:
    """An answer from whose provenance any one field is missing fails the check that all answers must pass."""
    record = '{"t":"2026-10-01T15:00:00Z","bx":"V","bp":1.25,"bs":3,"ax":"Q","ap":1.5,"as":2}'
    payload = '{"quotes":{"AAPL":' + record + "}}"
    async with running(_MARKET) as stack:
        result = await answer_to(
            stack, stack.quotes.GetQuote, pb.GetQuoteRequest(symbol="AAPL"), payload
        )
        quote: quote_pb2.Quote = result.quote
        check_origins(quote)

        quote.provenance.ClearField(dropped)  # type: ignore[arg-type]  # a name from the list above
        with pytest.raises(AssertionError):
            check_origins(quote)
