"""What a gateway keeps of the past by itself, as operators ask for it: backfills, watchlists, live recording."""

from __future__ import annotations

from typing import Any, Final

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tickgate.v1 import admin_service_pb2 as admin
from tickgate.v1 import history_pb2
from tickgate.v1 import history_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status
from tickgate_sandbox import SandboxSettings

from ..support.running import Stack, running
from ..support.stores import postgres_url
from ..support.tape import nanoseconds
from ..support.told import told
from ..support.waiting import until_told

PLENTY: Final = {"budget": {"data_per_minute": 1_000_000}}
QUICK_MARKET: Final = SandboxSettings(at="2026-10-01T15:00:00Z", speed=60.0)
"""A market in which a minute takes a second."""


def moment(text: str) -> Timestamp:
    """Return an instant of the contract."""
    time = Timestamp()
    time.FromNanoseconds(nanoseconds(text))
    return time


async def test_a_backfill_fetches_what_callers_then_find() -> None:
    """A backfill ends DONE with its counts; what it fetched the store answers, and to start it again costs nothing."""
    request = admin.StartBackfillRequest(
        symbols=["AAPL", "MSFT", "ZZZZQ"],
        kind=history_pb2.SERIES_KIND_BARS,
        timeframe="1Day",
        start_time=moment("2026-09-01T00:00:00Z"),
        end_time=moment("2026-09-29T00:00:00Z"),
    )
    with postgres_url() as postgres:
        async with running(alpaca=PLENTY, postgres_url=postgres) as stack:
            done = await filled(stack, request)
            asked = stack.asked("/v2/stocks/bars")
            bars = pb.StreamBarsRequest(
                symbols=["AAPL"], timeframe="1Day",
                start_time=request.start_time, end_time=request.end_time,
            )  # fmt: skip
            answer = (await told(stack.history.StreamBars(bars)))["AAPL"]
            again = await filled(stack, request)
            listed = await stack.admin.ListBackfills(admin.ListBackfillsRequest())

            assert stack.asked("/v2/stocks/bars") == asked
    assert done.state == again.state == admin.BACKFILL_STATE_DONE
    assert (done.symbols_done, done.progress) == (3, 1.0)
    assert [one.symbol for one in done.failures] == ["ZZZZQ"]
    assert answer.tiers == ["TIER_STORE"]
    assert done.fetched_count == 2 * len(answer.rows) > 0
    assert again.fetched_count == 0
    assert [one.id for one in listed.backfills] == [again.id, done.id]


async def filled(stack: Stack, request: admin.StartBackfillRequest) -> admin.Backfill:
    """Start a backfill, and return it when it has ended."""
    started = (await stack.admin.StartBackfill(request)).backfill
    answer = await until_told(
        lambda: stack.admin.GetBackfill(admin.GetBackfillRequest(id=started.id)),
        lambda answer: answer.backfill.state != admin.BACKFILL_STATE_RUNNING,
        within=20.0,
    )
    return answer.backfill


async def test_a_watchlist_is_recorded_live() -> None:
    """Symbols of a watchlist that asks for it are recorded, and claimed as complete once that is final."""
    watchlist = admin.Watchlist(name="desk", symbols=["AAPL"], record=True)
    with postgres_url() as postgres:
        async with running(
            QUICK_MARKET,
            alpaca=PLENTY,
            postgres_url=postgres,
            ingestion={"interval": 0.1, "look_every": 0.1},
        ) as stack:
            put = await stack.admin.PutWatchlist(admin.PutWatchlistRequest(watchlist=watchlist))
            request = pb.GetCoverageRequest(symbols=["AAPL"], kind=history_pb2.SERIES_KIND_TRADES)
            answer = await until_told(
                lambda: stack.history.GetCoverage(request),
                lambda answer: any(one.count for one in answer.results[0].coverage.intervals),
                within=20.0,
            )
            found = answer.results[0].coverage.intervals[0]
            trades = pb.StreamTradesRequest(
                symbols=["AAPL"], start_time=found.start_time, end_time=found.end_time
            )
            recorded = (await told(stack.history.StreamTrades(trades)))["AAPL"]
            asked = stack.asked("/v2/stocks/trades")
            state = (await stack.status.GetStatus(status.GetStatusRequest())).ingestion
            lists = await stack.admin.ListWatchlists(admin.ListWatchlistsRequest())
            await stack.admin.DeleteWatchlist(admin.DeleteWatchlistRequest(name="desk"))
            await until_told(
                lambda: stack.status.GetStatus(status.GetStatusRequest()),
                lambda answer: answer.ingestion.state == status.INGESTION_STATE_IDLE,
            )

    assert put.watchlist.symbols == ["AAPL"]
    assert [one.name for one in lists.watchlists] == ["desk"]
    assert recorded.tiers == ["TIER_STORE"]
    assert len(recorded.rows) == found.count
    assert asked == 0
    assert state.state == status.INGESTION_STATE_RUNNING
    assert state.symbols == 1
    assert state.trades >= found.count
    assert state.HasField("last_ingestion_time")
    assert state.HasField("heartbeat_time")
    assert state.dropped == 0


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetWatchlist", admin.GetWatchlistRequest(name="nosuch")),
        ("DeleteWatchlist", admin.DeleteWatchlistRequest(name="nosuch")),
        ("StartBackfill", admin.StartBackfillRequest(
            symbols=["AAPL"], kind=history_pb2.SERIES_KIND_TRADES,
            start_time=moment("2026-09-01T00:00:00Z"),
        )),
        ("ListBackfills", admin.ListBackfillsRequest()),
    ],
)  # fmt: skip
async def test_without_a_store_nothing_is_promised(method: str, request_: Any) -> None:
    """Without a store there are watchlists, and no backfills: each is said by its name."""
    async with running() as stack:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await getattr(stack.admin, method)(request_)

    expected = "NOT_FOUND" if "Watchlist" in method else "UNIMPLEMENTED"
    assert failed.value.code().name == expected
