"""Business rules through a whole gateway: what is odd is said or refused, by setting, and never changed."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tickgate.v1 import admin_service_pb2 as admin
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status

from ..support.running import Stack, running

UNKEPT: dict[str, Any] = {"memory": {"keep_open": 0.0}}
"""Every question reaches the upstream."""

QUOTE = '{"t":"2026-10-01T14:59:59Z","bx":"V","bp":9.99,"bs":1,"ax":"Q","ap":10.01,"as":2}'
TRADE = '{"t":"2026-10-01T14:59:59.5Z","x":"V","p":10.00,"s":1}'
FAR_TRADE = '{"t":"2026-10-01T14:59:59.5Z","x":"V","p":12.50,"s":1}'
FAR_QUOTE = '{"t":"2026-10-01T14:59:50Z","bx":"V","bp":1.00,"bs":1,"ax":"Q","ap":10.01,"as":2}'
BEFORE_DAWN = '{"t":"2026-10-01T07:00:00Z","x":"V","p":10.00,"s":1}'
HUGE = '{"t":"2026-10-01T14:59:59.5Z","x":"V","p":10.00,"s":100000000}'
DAILY = '{"t":"2026-10-01T04:00:00Z","o":10,"h":10.5,"l":9.5,"c":10,"v":500,"n":9,"vw":10}'
MINUTE = '{"t":"2026-10-01T14:59:00Z","o":10,"h":10,"l":10,"c":10,"v":0,"n":3,"vw":10}'


async def latest_trade(stack: Stack, record: str, **how: Any) -> Any:
    """Ask for the latest trade of AAPL while *record* is what the upstream holds."""
    stack.sandbox.pins.put("trades", "AAPL", record)
    return (
        await stack.quotes.GetLatestTrade(pb.GetLatestTradeRequest(symbol="AAPL", **how))
    ).result


async def latest_quote(stack: Stack, record: str) -> Any:
    """Ask for the latest quote of AAPL while *record* is what the upstream holds."""
    stack.sandbox.pins.put("quotes", "AAPL", record)
    return (await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))).result


def rules(value: Any) -> list[str]:
    """The rules that flag a value."""
    return [flag.rule for flag in value.rule_flags]


async def test_a_flagged_value_is_served_as_it_came() -> None:
    """A size beyond all reason is served digit for digit, with the rule and what it saw, and the flag is counted."""
    async with running() as stack:
        result = await latest_trade(stack, HUGE)
        report = await stack.status.GetStatus(status.GetStatusRequest())

    (flag,) = result.trade.rule_flags
    assert (flag.rule, flag.evidence) == (
        "volume_pattern",
        "size 100000000 is not below 100000000",
    )
    assert (result.trade.size, result.trade.price.value) == (100_000_000, "10.00")
    assert [(one.rule, one.count) for one in report.rule_flags] == [("volume_pattern", 1)]
    assert not report.refusals


async def test_a_flag_stays_with_its_value_in_memory() -> None:
    """Whoever is answered from memory sees the flag as well, and it was counted once: when it arrived."""
    async with running() as stack:
        first = await latest_trade(stack, HUGE)
        second = await latest_trade(stack, TRADE)
        counted = dict(stack.gateway.counters.rule_flags)

    assert rules(first.trade) == rules(second.trade) == ["volume_pattern"]
    assert counted == {"volume_pattern": 1}


async def test_a_sound_value_has_no_flags() -> None:
    """What nothing can be said against says nothing: quotes, trades and every part of a snapshot."""
    async with running(**UNKEPT) as stack:
        quote = (await latest_quote(stack, QUOTE)).quote
        trade = (await latest_trade(stack, TRADE)).trade
        snapshot = (await stack.quotes.GetSnapshot(pb.GetSnapshotRequest(symbol="MSFT"))).result
        counted = dict(stack.gateway.counters.rule_flags)

    assert rules(quote) == rules(trade) == []
    assert snapshot.WhichOneof("result") == "snapshot"
    assert counted == {}


async def test_quotes_are_judged_by_the_last_trade() -> None:
    """A bid far from the last trade of the session is flagged; after the trade is asked for, not before."""
    async with running(**UNKEPT) as stack:
        before = await latest_quote(stack, FAR_QUOTE)
        await latest_trade(stack, TRADE)
        after = await latest_quote(stack, FAR_QUOTE)

    assert rules(before.quote) == []
    (flag,) = after.quote.rule_flags
    assert (flag.rule, flag.evidence) == (
        "price_range",
        "bid 1.00 is 90.0 % below the last trade, 10.00",
    )
    assert after.quote.bid.price.value == "1.00"


async def test_the_parts_of_a_snapshot_carry_their_own_flags() -> None:
    """The trade that does not fit the quote and the bar without a volume are flagged, the other parts are not."""
    record = (
        f'{{"latestTrade":{FAR_TRADE},"latestQuote":{QUOTE},"minuteBar":{MINUTE},'
        f'"dailyBar":{DAILY},"prevDailyBar":null}}'
    )
    async with running() as stack:
        stack.sandbox.pins.put("snapshots", "AAPL", record)
        answer = await stack.quotes.GetSnapshot(pb.GetSnapshotRequest(symbol="AAPL"))

    snapshot = answer.result.snapshot
    (flag,) = snapshot.latest_trade.rule_flags
    assert flag.rule == "consistency"
    assert flag.evidence == "trade 12.50, 0.500 s apart, is 24.9 % above the ask, 10.01"
    assert rules(snapshot.minute_bar) == ["volume_pattern"]
    assert rules(snapshot.latest_quote) == rules(snapshot.daily_bar) == []


async def test_a_record_of_no_session_is_refused() -> None:
    """A trade stamped before dawn is RULE_VIOLATION with rule, evidence and time, and the refusal is counted."""
    async with running() as stack:
        result = await latest_trade(stack, BEFORE_DAWN)
        report = await stack.status.GetStatus(status.GetStatusRequest())

    why = result.unavailable
    assert why.reason == reasons.ERROR_REASON_RULE_VIOLATION
    assert why.refusal.rule == "market_context"
    assert why.refusal.evidence.startswith("stamped 2026-10-01T07:00:00Z, when no session is on")
    assert why.last_event_time.ToJsonString() == "2026-10-01T07:00:00Z"
    assert [(one.rule, one.count) for one in report.refusals] == [("market_context", 1)]
    assert not report.rule_flags


async def test_a_refusal_fails_a_strict_call() -> None:
    """For a strict caller the same is the status FAILED_PRECONDITION."""
    async with running() as stack:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await latest_trade(stack, BEFORE_DAWN, strict=True)

    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "market_context" in (failure.value.details() or "")


async def test_refused_records_can_be_read_afterwards() -> None:
    """The error log holds the record that was refused, under the upstream's id of the answer that held it."""
    async with running() as stack:
        await latest_trade(stack, BEFORE_DAWN)
        listed = await stack.admin.ListErrors(
            admin.ListErrorsRequest(reasons=[reasons.ERROR_REASON_RULE_VIOLATION])
        )

    (record,) = [one for one in listed.errors if one.context["origin"] == "record"]
    assert record.request_id
    assert {key: record.context[key] for key in ("rule", "subject", "symbol", "feed")} == {
        "rule": "market_context",
        "subject": "trade",
        "symbol": "AAPL",
        "feed": "iex",
    }
    assert record.context["event_time"] == "2026-10-01T07:00:00Z"


ODD = {
    "market_context": BEFORE_DAWN,
    "volume_pattern": HUGE,
    "price_range": '{"t":"2026-10-01T14:59:59.6Z","x":"V","p":99.00,"s":1}',
    "consistency": '{"t":"2026-10-01T14:59:59.6Z","x":"V","p":12.50,"s":1}',
}


@pytest.mark.parametrize("verdict", ["refuse", "flag", "off"])
@pytest.mark.parametrize("rule", ODD)
async def test_the_operator_decides_what_a_rule_does(rule: str, verdict: str) -> None:
    """Each rule refuses, flags or is off as the settings say, and the others stay out of it."""
    validation = dict.fromkeys(ODD, "off") | {rule: verdict}
    # The record from before dawn is old, which is another matter.
    any_age = {"max_event_age_open": 86400.0}
    async with running(validation=validation, freshness=any_age, **UNKEPT) as stack:
        await latest_trade(stack, TRADE)
        await latest_quote(stack, QUOTE)
        result = await latest_trade(stack, ODD[rule])

    if verdict == "refuse":
        assert result.unavailable.reason == reasons.ERROR_REASON_RULE_VIOLATION
        assert result.unavailable.refusal.rule == rule
    else:
        assert result.WhichOneof("result") == "trade"
        assert rules(result.trade) == ([rule] if verdict == "flag" else [])


async def test_a_replay_that_is_set_back_starts_afresh() -> None:
    """What was seen of a later time judges nothing once the sandbox's clock was set back."""
    async with running(**UNKEPT) as stack:
        await latest_trade(stack, TRADE)
        judged = await latest_quote(stack, FAR_QUOTE)
        stack.sandbox.clock.seek(stack.sandbox.clock.now() - 8_000_000_000)
        await stack.refresh()
        afresh = await latest_quote(stack, FAR_QUOTE)

    assert rules(judged.quote) == ["price_range"]
    assert rules(afresh.quote) == []
