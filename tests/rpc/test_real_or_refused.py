"""The first rule as a law: no field of an answer holds a market value that the upstream's payload did not hold."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message
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

numbers = st.one_of(
    st.integers(-2, 10**9).map(str),
    st.decimals(-10, 10**6, places=4, allow_nan=False).map(str),
    st.sampled_from(["0", "0.0", "1e-5", "1E+3", "180.10", "1e400", "-0"]),
)
texts = st.one_of(st.text(max_size=3).map(json.dumps), st.sampled_from(['"Q"', '" "', "null", "7"]))
sizes = st.one_of(st.integers(-3, 2**70).map(str), st.sampled_from(["null", '"4"', "1.5", "0"]))
times = st.sampled_from(
    [
        '"2026-10-01T15:00:00Z"',
        '"2026-10-01T14:59:59.123456789Z"',
        '"2026-10-01T15:00:04.9Z"',
        '"2026-10-01T15:01:00Z"',
        '"2026-10-01T10:59:59.5-04:00"',
        '"soon"',
        "12",
    ]
)
conditions = st.lists(texts, max_size=3).map(lambda items: "[" + ",".join(items) + "]")


def records(**fields: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return JSON objects of *fields*, all of them or some, whose values are JSON texts."""
    whole, some = st.fixed_dictionaries(fields), st.fixed_dictionaries({}, optional=dict(fields))
    return st.one_of(whole, whole, some).map(
        lambda chosen: "{" + ",".join(f'"{key}":{value}' for key, value in chosen.items()) + "}"
    )


quotes = records(
    t=times, bx=texts, bp=numbers, bs=sizes, ax=texts, ap=numbers, c=conditions, z=texts, **{"as": sizes}
)  # fmt: skip
trades = records(t=times, x=texts, p=numbers, s=sizes, c=conditions, i=sizes, z=texts, u=texts)
bars = records(t=times, o=numbers, h=numbers, l=numbers, c=numbers, v=sizes, n=sizes, vw=numbers)
snapshots = records(
    latestTrade=trades, latestQuote=quotes, minuteBar=bars, dailyBar=bars, prevDailyBar=bars
)


def leaves(value: Any) -> list[Any]:
    """Return every number and text of a decoded JSON value."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def market_values(message: Message) -> list[Any]:
    """Return every price, size, code and text of *message* that claims to come from the market."""
    found: list[Any] = []
    for field, value in message.ListFields():
        if field.name in ("provenance", "market_session", "missing_parts", "symbol", "start_time"):
            continue
        if field.message_type is not None and field.message_type.full_name == "google.type.Decimal":
            found.append(Decimal(value.value))
        elif field.message_type is not None:
            found += market_values(value)
        elif isinstance(value, str | int):
            found.append(value)
        else:
            found += list(value)
    return found


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


def check_values(value: Message, payload: str) -> None:
    """Check that *value* holds nothing that *payload* does not, and says where all of it came from."""
    sent = leaves(json.loads(payload, parse_float=Decimal, parse_int=Decimal))
    known = {leaf for leaf in sent if leaf is not None}
    for held in market_values(value):
        assert held in known, f"{held!r} was never sent"
    assert origins(value)
    for origin in origins(value):
        assert {field.name for field, _ in origin.ListFields()} == PROVENANCE_FIELDS


_LAW = settings(
    max_examples=150,
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
    """Whatever the upstream sends, each number and code of the answer is one that it sent, and carries its origin."""
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
                check_values(getattr(result, kind), whole)
            else:
                assert result.unavailable.reason

        await run_law(law)
        assert served > 0


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
        check_values(quote, payload)

        quote.provenance.ClearField(dropped)  # type: ignore[arg-type]  # a name from the list above
        with pytest.raises(AssertionError):
            check_values(quote, payload)
