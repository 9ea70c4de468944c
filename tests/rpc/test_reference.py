"""What a caller gets from ReferenceService."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.type.date_pb2 import Date

from tickgate.v1 import asset_pb2, market_session_pb2, provenance_pb2
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import reference_service_pb2 as pb
from tickgate_sandbox import Sandbox, SandboxSettings, faults

from ..support.running import running


async def test_assets_come_in_pages_by_symbol() -> None:
    """Pages of a search join to the whole list, ordered by symbol, each asset once, without a call per page."""
    async with running() as stack:
        found: list[str] = []
        token = ""
        while True:
            request = pb.ListAssetsRequest(page_size=2, page_token=token)
            page = (await stack.reference.ListAssets(request)).page
            found += [asset.symbol for asset in page.assets]
            token = page.next_page_token
            if not token:
                break

        assert found == sorted(set(found))
        assert len(found) == page.total_size >= 6
        assert stack.asked("/v2/assets") == 1


async def test_search_finds_symbols_and_names() -> None:
    """Each word of a query begins the symbol or occurs in the name, whatever the case."""
    async with running() as stack:
        for query in ("aap", "apple", "inc appl"):
            page = (await stack.reference.ListAssets(pb.ListAssetsRequest(query=query))).page
            assert "AAPL" in [asset.symbol for asset in page.assets]
            assert "MSFT" not in [asset.symbol for asset in page.assets]


async def test_search_without_a_match_is_an_empty_page() -> None:
    """A search that matches nothing is an empty page of a real list, not an error."""
    async with running() as stack:
        page = (await stack.reference.ListAssets(pb.ListAssetsRequest(query="nosuchname"))).page

        assert (len(page.assets), page.total_size, page.next_page_token) == (0, 0, "")
        assert page.provenance.source == provenance_pb2.DATA_SOURCE_SANDBOX


async def test_page_size_is_reduced_to_the_largest() -> None:
    """A page size beyond the largest is reduced to it, not refused."""
    async with running() as stack:
        page = (await stack.reference.ListAssets(pb.ListAssetsRequest(page_size=10**6))).page

        assert len(page.assets) == page.total_size


async def test_asset_and_unknown_asset() -> None:
    """GetAsset returns the upstream's entry, and SYMBOL_UNKNOWN with the list's origin for one that it lacks."""
    async with running() as stack:
        known = (await stack.reference.GetAsset(pb.GetAssetRequest(symbol="BRK.B"))).result
        unknown = (await stack.reference.GetAsset(pb.GetAssetRequest(symbol="ZZZZ"))).result

        assert known.asset.status == asset_pb2.ASSET_STATUS_ACTIVE
        assert known.asset.exchange == "NYSE"
        assert unknown.unavailable.reason == reasons.ERROR_REASON_SYMBOL_UNKNOWN
        assert unknown.provenance.receive_time.seconds > 0
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stack.reference.GetAsset(pb.GetAssetRequest(symbol="ZZZZ", strict=True))
        assert failed.value.code() == grpc.StatusCode.NOT_FOUND


async def test_market_clock_follows_the_sandbox() -> None:
    """The clock tells the sandbox's market time, its session and the next edges, to the nanosecond when it stands."""
    async with running() as stack:
        clock = (await stack.reference.GetMarketClock(pb.GetMarketClockRequest())).clock

        assert clock.market_time.ToJsonString() == "2026-10-01T15:00:00Z"
        assert clock.session == market_session_pb2.MARKET_SESSION_OPEN
        assert clock.next_close_time.ToJsonString() == "2026-10-01T20:00:00Z"
        assert clock.next_open_time.ToJsonString() == "2026-10-02T13:30:00Z"


@pytest.mark.parametrize(
    ("at", "session"),
    [
        ("2026-11-25T08:59:59Z", "CLOSED"),
        ("2026-11-25T09:00:00Z", "PRE_MARKET"),
        ("2026-11-25T14:30:00Z", "OPEN"),
        ("2026-11-25T20:59:59.999999999Z", "OPEN"),
        ("2026-11-25T21:00:00Z", "AFTER_HOURS"),
        ("2026-11-26T16:00:00Z", "CLOSED"),
        ("2026-11-27T17:59:59Z", "OPEN"),
        ("2026-11-27T18:00:00Z", "AFTER_HOURS"),
        ("2026-11-28T16:00:00Z", "CLOSED"),
        ("2026-07-01T13:29:59Z", "PRE_MARKET"),
        ("2026-07-01T13:30:00Z", "OPEN"),
    ],
)
async def test_session_at_its_edges(at: str, session: str) -> None:
    """Sessions change at their edges: weekdays, Thanksgiving, the half day after it, a weekend, summer time."""
    async with running(SandboxSettings(at=at, speed=0)) as stack:
        clock = (await stack.reference.GetMarketClock(pb.GetMarketClockRequest())).clock

        name = market_session_pb2.MarketSession.Name(clock.session)
        assert name == f"MARKET_SESSION_{session}"


async def test_unknown_session_is_unset() -> None:
    """Without a calendar the clock still tells the time, and the session is unset, never guessed."""

    def no_calendar(sandbox: Sandbox) -> None:
        sandbox.faults.add(faults.Status(status=500, path="/v2/calendar"))

    async with running(before=no_calendar) as stack:
        clock = (await stack.reference.GetMarketClock(pb.GetMarketClockRequest())).clock

        assert not clock.HasField("session")
        assert clock.market_time.ToJsonString() == "2026-10-01T15:00:00Z"


async def test_clock_that_cannot_be_read_is_unavailable() -> None:
    """When the upstream's clock has never been read the answer says why."""

    def no_clock(sandbox: Sandbox) -> None:
        sandbox.faults.add(faults.Html401(path="/v2/clock"))

    async with running(before=no_clock) as stack:
        answer = await stack.reference.GetMarketClock(pb.GetMarketClockRequest())

        reason = answer.unavailable.reason
        assert reason == reasons.ERROR_REASON_UPSTREAM_UNAUTHENTICATED


async def test_sessions_of_a_week_with_a_holiday_and_a_half_day() -> None:
    """Trading days come in order with the edges of their sessions; the end of the range is not in it."""
    async with running() as stack:
        request = pb.ListMarketSessionsRequest(
            start_date=Date(year=2026, month=11, day=25), end_date=Date(year=2026, month=12, day=1)
        )
        days = (await stack.reference.ListMarketSessions(request)).days.days

        assert [(day.date.month, day.date.day) for day in days] == [(11, 25), (11, 27), (11, 30)]
        assert days[1].open_time.ToJsonString() == "2026-11-27T14:30:00Z"
        assert days[1].close_time.ToJsonString() == "2026-11-27T18:00:00Z"


async def test_range_without_a_trading_day_is_no_data() -> None:
    """A weekend is NO_DATA naming the range, never an empty success."""
    async with running() as stack:
        request = pb.ListMarketSessionsRequest(
            start_date=Date(year=2026, month=11, day=28), end_date=Date(year=2026, month=11, day=30)
        )
        why = (await stack.reference.ListMarketSessions(request)).unavailable

        assert why.reason == reasons.ERROR_REASON_NO_DATA
        assert "2026-11-28" in why.message


async def test_codes_explain_exchanges_and_conditions() -> None:
    """Code tables come from the upstream, once a day, ordered by code."""
    async with running() as stack:
        exchanges = pb.ListCodesRequest(kind=asset_pb2.CODE_KIND_EXCHANGE)
        table = (await stack.reference.ListCodes(exchanges)).table
        await stack.reference.ListCodes(exchanges)
        conditions = (
            await stack.reference.ListCodes(
                pb.ListCodesRequest(kind=asset_pb2.CODE_KIND_TRADE_CONDITION, tape="C")
            )
        ).table

        codes = [code.code for code in table.codes]
        assert codes == sorted(codes)
        assert "V" in codes
        assert len(conditions.codes) > 0
        assert stack.asked("/v2/stocks/meta/exchanges") == 1


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (asset_pb2.CODE_KIND_OPTION_EXCHANGE, "C"),
        (asset_pb2.CODE_KIND_OPTION_TRADE_CONDITION, "I"),
        (asset_pb2.CODE_KIND_OPTION_QUOTE_CONDITION, "A"),
    ],
)
async def test_codes_of_options_are_of_no_tape(
    kind: asset_pb2.CodeKind.ValueType, code: str
) -> None:
    """Options have tables of their own, which are kept as long, and naming a tape is refused by its field."""
    async with running() as stack:
        request = pb.ListCodesRequest(kind=kind)
        table = (await stack.reference.ListCodes(request)).table
        await stack.reference.ListCodes(request)
        asked = stack.asked("/v1beta1/options/meta")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stack.reference.ListCodes(pb.ListCodesRequest(kind=kind, tape="A"))

    codes = [one.code for one in table.codes]
    assert codes == sorted(codes)
    assert code in codes
    assert asked == 1
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "tape" in (refused.value.details() or "")


@pytest.mark.parametrize("strict", [False, True])
async def test_reference_that_cannot_be_had(strict: bool) -> None:
    """Reference data that cannot be had is unavailable with the upstream's reason, or its status when strict."""

    def broken(sandbox: Sandbox) -> None:
        sandbox.faults.add(faults.Garbage(path="/v2/assets"))
        sandbox.faults.add(faults.Garbage(path="/v2/calendar"))
        sandbox.faults.add(faults.Garbage(path="/v2/stocks/meta"))

    day, next_day = Date(year=2026, month=11, day=27), Date(year=2026, month=11, day=28)
    async with running(before=broken) as stack:
        calls: list[Any] = [
            stack.reference.ListAssets(pb.ListAssetsRequest(strict=strict)),
            stack.reference.GetAsset(pb.GetAssetRequest(symbol="AAPL", strict=strict)),
            stack.reference.ListMarketSessions(
                pb.ListMarketSessionsRequest(start_date=day, end_date=next_day, strict=strict)
            ),
            stack.reference.ListCodes(
                pb.ListCodesRequest(kind=asset_pb2.CODE_KIND_EXCHANGE, strict=strict)
            ),
        ]
        for call in calls:
            if strict:
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await call
                assert failed.value.code() == grpc.StatusCode.DATA_LOSS
            else:
                answer = await call
                why = answer.result.unavailable if hasattr(answer, "result") else answer.unavailable
                assert why.reason == reasons.ERROR_REASON_INVALID_DATA
