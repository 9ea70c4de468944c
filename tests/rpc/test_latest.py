"""What a caller gets from QuoteService while the upstream behaves."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import freshness_pb2, market_session_pb2, provenance_pb2, quote_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tickgate_sandbox import faults

from ..support.running import running

NOW = freshness_pb2.Freshness(max_age=Duration())
"""Asks the upstream whatever memory holds."""


async def test_quote_carries_its_origin() -> None:
    """A quote says who sent it, over which feed, from which tier, when, and under which upstream request."""
    async with running() as stack:
        answer = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))

        quote = answer.result.quote
        origin = quote.provenance
        assert (quote.symbol, quote.market_session) == (
            "AAPL",
            market_session_pb2.MARKET_SESSION_OPEN,
        )
        assert origin.source == provenance_pb2.DATA_SOURCE_SANDBOX
        assert origin.feed == provenance_pb2.FEED_IEX
        assert origin.served_from == provenance_pb2.TIER_UPSTREAM
        assert origin.event_time.ToJsonString() == "2026-10-01T15:00:00Z"
        assert origin.receive_time.ToNanoseconds() <= origin.serve_time.ToNanoseconds()
        assert len(origin.upstream_request_id) > 0
        assert origin.HasField("feed_delay")
        assert not origin.stale


async def test_a_thousand_identical_questions_make_one_upstream_call() -> None:
    """1,000 concurrent identical GetQuote calls make one upstream request, and all get the quote."""
    async with running() as stack:
        request = pb.GetQuoteRequest(symbol="AAPL")
        answers = await asyncio.gather(*(stack.quotes.GetQuote(request) for _ in range(1000)))

        assert {answer.result.WhichOneof("result") for answer in answers} == {"quote"}
        assert stack.asked("/quotes/latest") == 1


async def test_memory_answers_the_second_question() -> None:
    """A quote that was just confirmed answers the next question from memory, its age counted on."""
    async with running() as stack:
        first = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="MSFT"))
        second = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="MSFT"))

        origin, again = first.result.quote.provenance, second.result.quote.provenance
        assert again.served_from == provenance_pb2.TIER_MEMORY
        assert again.receive_time == origin.receive_time
        assert again.receive_age.ToNanoseconds() > origin.receive_age.ToNanoseconds()
        assert stack.asked("/quotes/latest") == 1


async def test_max_age_zero_asks_the_upstream() -> None:
    """With `max_age` zero every question goes to the upstream."""
    async with running() as stack:
        for _ in range(2):
            request = pb.GetQuoteRequest(symbol="MSFT", freshness=NOW)
            answer = await stack.quotes.GetQuote(request)
            assert answer.result.quote.provenance.served_from == provenance_pb2.TIER_UPSTREAM

        assert stack.asked("/quotes/latest") == 2


async def test_batch_keeps_order_and_costs_one_call() -> None:
    """A batch answers in the asked order, one result a symbol, at the cost of one upstream request."""
    async with running() as stack:
        symbols = ["TSLA", "ZZZZ", "AAPL", "QUIET", "MSFT"]
        answer = await stack.quotes.GetQuotes(pb.GetQuotesRequest(symbols=symbols))

        assert [result.symbol for result in answer.results] == symbols
        assert [result.WhichOneof("result") for result in answer.results] == [
            "quote",
            "unavailable",
            "quote",
            "unavailable",
            "quote",
        ]
        assert stack.asked("/quotes/latest") == 1


async def test_unknown_and_known_without_data_are_told_apart() -> None:
    """A symbol on nobody's list is SYMBOL_UNKNOWN, a listed one without a quote NO_DATA, one request each at most."""
    async with running() as stack:
        for symbol, reason in (
            ("ZZZZ", reasons.ERROR_REASON_SYMBOL_UNKNOWN),
            ("QUIET", reasons.ERROR_REASON_NO_DATA),
        ):
            for _ in range(3):
                answer = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol=symbol))
                assert answer.result.unavailable.reason == reason

        assert stack.asked("/quotes/latest") == 2


async def test_without_an_assets_list_nothing_is_called_unknown() -> None:
    """When the list of assets cannot be had, a symbol that the upstream leaves out is NO_DATA."""
    broken = faults.Status(status=500, path="/v2/assets")
    async with running(before=lambda sandbox: sandbox.faults.add(broken)) as stack:
        answer = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="ZZZZ"))

        assert answer.result.unavailable.reason == reasons.ERROR_REASON_NO_DATA


async def test_a_slow_assets_list_delays_no_batch() -> None:
    """While the list of assets hangs, a batch full of unknown symbols still has its quotes before its deadline."""
    hanging = faults.Hang(path="/v2/assets")
    unhurried = {"start_patience": 0.2}
    async with running(
        before=lambda sandbox: sandbox.faults.add(hanging), reference=unhurried
    ) as stack:
        unknown = [f"ZZZ{chr(65 + number)}" for number in range(20)]
        request = pb.GetQuotesRequest(symbols=["AAPL", *unknown])
        answer = await stack.quotes.GetQuotes(request, timeout=4)

        assert answer.results[0].quote.bid.price.value
        assert {result.unavailable.reason for result in answer.results[1:]} == {
            reasons.ERROR_REASON_NO_DATA
        }


async def test_an_empty_moment_is_not_remembered_for_long() -> None:
    """A lack of data is remembered no longer than a value would be, for the next order ends it."""
    async with running(memory={"keep_open": 0.0}) as stack:
        stack.sandbox.pins.put("quotes", "AAPL", '{"t":"2026-10-01T15:00:00Z","bp":0,"ap":0}')
        empty = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
        stack.sandbox.pins.clear()
        filled = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))

        assert empty.result.unavailable.reason == reasons.ERROR_REASON_NO_DATA
        assert filled.result.quote.bid.price.value


async def test_what_is_held_does_not_outlive_a_clock_set_back() -> None:
    """When somebody sets a replay back, memory forgets what is from its future."""
    async with running() as stack:
        await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
        stack.sandbox.clock.seek(stack.sandbox.clock.now() - 3600 * 10**9)
        await stack.refresh()
        answer = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))

        origin = answer.result.quote.provenance
        assert origin.served_from == provenance_pb2.TIER_UPSTREAM
        assert origin.event_age.ToNanoseconds() >= 0


async def test_swollen_codes_are_refused() -> None:
    """A venue code of five megabytes costs its own symbol, not the answer."""
    swollen = '{"t":"2026-10-01T15:00:00Z","bp":1,"ap":2,"bx":"' + "V" * 5_000_000 + '"}'
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "MSFT", swollen)
        answer = await stack.quotes.GetQuotes(pb.GetQuotesRequest(symbols=["MSFT", "AAPL"]))

        assert answer.results[0].unavailable.refusal.rule == "odd_code"
        assert answer.results[1].quote.bid.price.value


async def test_feed_is_always_named() -> None:
    """The feed asked for is sent upstream and echoed; without one the configured feed is."""
    async with running(alpaca={"stock_feed": "delayed_sip"}) as stack:
        default = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
        named = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol="AAPL", feed=provenance_pb2.FEED_IEX)
        )

        delayed = default.result.quote.provenance
        assert delayed.feed == provenance_pb2.FEED_DELAYED_SIP
        assert delayed.feed_delay.ToSeconds() == 900
        assert delayed.event_age.ToSeconds() >= 900
        assert named.result.quote.provenance.feed == provenance_pb2.FEED_IEX


async def test_feed_outside_the_plan_is_not_entitled() -> None:
    """A feed that the account may not read is NOT_ENTITLED, said in the upstream's words."""
    async with running() as stack:
        answer = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol="AAPL", feed=provenance_pb2.FEED_SIP)
        )

        why = answer.result.unavailable
        assert why.reason == reasons.ERROR_REASON_NOT_ENTITLED
        assert "subscription does not permit" in why.message


async def test_views_add_to_each_other() -> None:
    """BASIC has neither derived numbers nor a trade, DERIVED adds spread, mid and quality, FULL the latest trade."""
    async with running() as stack:
        basic, derived, full = [
            (await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL", view=view))).result.quote
            for view in (
                quote_pb2.QUOTE_VIEW_BASIC,
                quote_pb2.QUOTE_VIEW_DERIVED,
                quote_pb2.QUOTE_VIEW_FULL,
            )
        ]

        assert not basic.HasField("derived")
        assert not basic.HasField("quality")
        assert derived.quality.score == 100
        assert derived.derived.spread.value
        assert not derived.HasField("latest_trade")
        assert full.latest_trade.price.value
        assert full.latest_trade.provenance.event_time.seconds > 0


async def test_full_view_says_why_there_is_no_trade() -> None:
    """FULL without a usable trade returns the quote, and names the reason beside it."""
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "QUIET", '{"t":"2026-10-01T15:00:00Z","bp":1.5,"ap":1.6}')
        answer = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol="QUIET", view=quote_pb2.QUOTE_VIEW_FULL)
        )

        quote = answer.result.quote
        assert quote.bid.price.value == "1.5"
        assert not quote.HasField("latest_trade")
        assert quote.latest_trade_unavailable.reason == reasons.ERROR_REASON_NO_DATA


async def test_one_sided_quote_has_one_side() -> None:
    """A price of zero is an empty side: it is unset, flagged, and never a number."""
    record = '{"t":"2026-10-01T15:00:00Z","bx":"V","bp":10.01,"bs":3,"ax":" ","ap":0,"as":0}'
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "AAPL", record)
        answer = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol="AAPL", view=quote_pb2.QUOTE_VIEW_DERIVED)
        )

        quote = answer.result.quote
        assert quote.bid.price.value == "10.01"
        assert not quote.HasField("ask")
        assert not quote.HasField("derived")
        assert list(quote.quality.flags) == [quote_pb2.QUOTE_FLAG_ONE_SIDED]


async def test_locked_quote_passes_flagged() -> None:
    """A locked quote is a real one: it is served, and carries the flag."""
    record = '{"t":"2026-10-01T15:00:00Z","bx":"V","bp":10.01,"bs":3,"ax":"Q","ap":10.01,"as":2}'
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "AAPL", record)
        answer = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol="AAPL", view=quote_pb2.QUOTE_VIEW_DERIVED)
        )

        quote = answer.result.quote
        assert quote.derived.spread.value == "0.00"
        assert list(quote.quality.flags) == [quote_pb2.QUOTE_FLAG_LOCKED]


async def test_crossed_quote_passes_where_the_operator_says_so() -> None:
    """With crossed quotes set to pass, one is served, flagged as crossed."""
    record = '{"t":"2026-10-01T15:00:00Z","bx":"V","bp":10.02,"bs":3,"ax":"Q","ap":10.01,"as":2}'
    async with running(validation={"crossed": "flag"}) as stack:
        stack.sandbox.pins.put("quotes", "AAPL", record)
        answer = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol="AAPL", view=quote_pb2.QUOTE_VIEW_DERIVED)
        )

        assert list(answer.result.quote.quality.flags) == [quote_pb2.QUOTE_FLAG_CROSSED]
        assert answer.result.quote.derived.spread.value == "-0.01"


async def test_min_quality_refuses_with_score_and_flags() -> None:
    """A quote below `min_quality` is LOW_QUALITY, and the message names score and flags."""
    record = '{"t":"2026-10-01T15:00:00Z","bx":"V","bp":10.01,"bs":3,"ax":" ","ap":0,"as":0}'
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "AAPL", record)
        answer = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL", min_quality=80))

        why = answer.result.unavailable
        assert why.reason == reasons.ERROR_REASON_LOW_QUALITY
        assert "70" in why.message
        assert "ONE_SIDED" in why.message


async def test_old_event_is_too_stale_while_open() -> None:
    """While the market is open a quote stamped more than 300 s ago is TOO_STALE, naming age and bound."""
    record = '{"t":"2026-10-01T14:54:59Z","bx":"V","bp":10.01,"bs":3,"ax":"Q","ap":10.02,"as":1}'
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "AAPL", record)
        refused = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
        allowed = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(
                symbol="AAPL",
                freshness=freshness_pb2.Freshness(max_event_age=Duration(seconds=600)),
            )
        )

        why = refused.result.unavailable
        assert why.reason == reasons.ERROR_REASON_TOO_STALE
        assert "301.000 s" in why.message
        assert "300 s" in why.message
        assert why.last_event_time.ToJsonString() == "2026-10-01T14:54:59Z"
        assert allowed.result.quote.provenance.event_age.ToSeconds() == 301


async def test_stale_answer_bridges_an_outage_only_when_allowed() -> None:
    """During an outage the last quote is an answer for a caller who allows it, marked stale, and for nobody else."""
    async with running() as stack:
        before = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
        stack.sandbox.faults.add(faults.Status(status=503, path="/v2/stocks"))
        stale_allowed = freshness_pb2.Freshness(max_age=Duration(), allow_stale=True)
        bridged = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol="AAPL", freshness=stale_allowed)
        )
        refused = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL", freshness=NOW))

        quote = bridged.result.quote
        assert quote.provenance.stale
        assert quote.bid == before.result.quote.bid
        assert quote.provenance.event_time == before.result.quote.provenance.event_time
        why = refused.result.unavailable
        assert why.reason == reasons.ERROR_REASON_UPSTREAM_ERROR
        assert why.last_event_time == before.result.quote.provenance.event_time


async def test_only_allowed_tiers_answer() -> None:
    """When memory alone may answer and holds nothing, the answer is NOT_HELD, listing what each tier did."""
    async with running() as stack:
        answer = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(
                symbol="AAPL",
                freshness=freshness_pb2.Freshness(allowed_tiers=[provenance_pb2.TIER_MEMORY]),
            )
        )

        why = answer.result.unavailable
        assert why.reason == reasons.ERROR_REASON_NOT_HELD
        assert [attempt.tier for attempt in why.tiers_tried] == [
            provenance_pb2.TIER_BOOK,
            provenance_pb2.TIER_MEMORY,
            provenance_pb2.TIER_UPSTREAM,
        ]
        assert stack.asked("/quotes/latest") == 0


async def test_latest_trade_keeps_everything_that_was_sent() -> None:
    """A trade leaves with its price text, size, venue, conditions, id, tape and amendment as they came in."""
    record = (
        '{"t":"2026-10-01T14:59:59.123456789Z","x":"V","p":10.1000,"s":7,"c":["@","I"],'
        '"i":18446744073,"z":"C","u":"corrected"}'
    )
    async with running() as stack:
        stack.sandbox.pins.put("trades", "AAPL", record)
        answer = await stack.quotes.GetLatestTrade(pb.GetLatestTradeRequest(symbol="AAPL"))

        trade = answer.result.trade
        assert trade.price.value == "10.1000"
        assert (trade.size, trade.exchange, trade.id) == (7, "V", 18446744073)
        assert list(trade.conditions) == ["@", "I"]
        assert (trade.tape, trade.amendment) == ("C", "corrected")
        assert trade.provenance.event_time.ToNanoseconds() % 1_000_000_000 == 123456789


async def test_latest_trades_answer_each_symbol() -> None:
    """GetLatestTrades has one result a symbol, in order."""
    async with running() as stack:
        answer = await stack.quotes.GetLatestTrades(
            pb.GetLatestTradesRequest(symbols=["MSFT", "ZZZZ"])
        )

        assert [result.WhichOneof("result") for result in answer.results] == [
            "trade",
            "unavailable",
        ]


async def test_snapshot_names_what_is_missing() -> None:
    """A snapshot part that was not sent or was refused is unset and named with its reason."""
    record = """{
      "latestTrade": {"t": "2026-10-01T14:59:58Z", "p": 10, "s": 1},
      "latestQuote": {"t": "2026-10-01T14:59:59Z", "bp": 11, "ap": 10},
      "minuteBar": null,
      "dailyBar": {"t": "2026-10-01T04:00:00Z", "o": 9, "h": 8, "l": 7, "c": 8, "v": 5}
    }"""
    async with running() as stack:
        stack.sandbox.pins.put("snapshots", "AAPL", record)
        answer = await stack.quotes.GetSnapshot(pb.GetSnapshotRequest(symbol="AAPL"))

        snapshot = answer.result.snapshot
        assert snapshot.latest_trade.price.value == "10"
        missing = {
            part.part: (part.unavailable.reason, part.unavailable.refusal.rule)
            for part in snapshot.missing_parts
        }
        assert missing == {
            2: (reasons.ERROR_REASON_INVALID_DATA, "crossed"),
            3: (reasons.ERROR_REASON_NO_DATA, ""),
            4: (reasons.ERROR_REASON_INVALID_DATA, "bar_order"),
            5: (reasons.ERROR_REASON_NO_DATA, ""),
        }


async def test_snapshots_answer_each_symbol() -> None:
    """GetSnapshots has one result a symbol; one without any part is NO_DATA or SYMBOL_UNKNOWN."""
    async with running() as stack:
        answer = await stack.quotes.GetSnapshots(
            pb.GetSnapshotsRequest(symbols=["AAPL", "QUIET", "ZZZZ"])
        )

        assert answer.results[0].snapshot.daily_bar.close.value
        assert [result.unavailable.reason for result in answer.results[1:]] == [
            reasons.ERROR_REASON_NO_DATA,
            reasons.ERROR_REASON_SYMBOL_UNKNOWN,
        ]


async def test_strict_batch_fails_with_its_first_missing_symbol() -> None:
    """A strict batch fails as a whole, with the reason of the first symbol without a value."""
    async with running() as stack:
        request = pb.GetQuotesRequest(symbols=["AAPL", "QUIET", "ZZZZ"], strict=True)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stack.quotes.GetQuotes(request)

        assert failed.value.code() == grpc.StatusCode.NOT_FOUND
        assert "QUIET" in (failed.value.details() or "")
