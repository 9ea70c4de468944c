"""AdminService: what operators may drop, what they may read, and what of the past they want kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate.v1 import admin_service_pb2 as pb
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import history_pb2, provenance_pb2
from tickgate_server.errors import InvalidRequest, NotFound, NotSupported, StoreDown
from tickgate_server.market.backfill import BackfillFailure, BackfillState
from tickgate_server.market.provenance import Feed
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason
from tickgate_server.market.value_kind import ValueKind
from tickgate_server.ports import ErrorEntry, ErrorPlace
from tickgate_server.rpc import admin
from tickgate_server.rpc.admin import AdminServicer, Keeping
from tickgate_server.rpc.call import Call

from ...support.admin import ABOUT, FakeCaches, Parts, served
from ...support.fakes import NOW, unavailable

CALL = Call("AdminService/ListErrors", "id", 1010.0, "unix:", 1000.0)
CONTRACT = "SPY220715C00380000"
NO_DATA, INTERNAL = reasons.ERROR_REASON_NO_DATA, reasons.ERROR_REASON_INTERNAL


def entry(
    reason: str = "NO_DATA", at: int = NOW, request_id: str = "r", **context: Any
) -> ErrorEntry:
    """An entry of the log."""
    return ErrorEntry(at, request_id, reason, f"because of {reason}", context)


def filled(*entries: ErrorEntry) -> Parts:
    """Parts whose log holds *entries*, the oldest first."""
    parts = Parts()
    parts.errors.entries.extend(entries)
    return parts


async def listed(parts: Parts, **request: Any) -> pb.ListErrorsResponse:
    """The answer to a listing."""
    body = await parts.admin().ListErrors(pb.ListErrorsRequest(**request), CALL)
    return pb.ListErrorsResponse.FromString(body)


async def refused(parts: Parts, **request: Any) -> dict[str, str]:
    """The rules that a listing breaks, by field."""
    with pytest.raises(InvalidRequest) as failed:
        await listed(parts, **request)
    return dict(failed.value.violations)


async def dropped(parts: Parts, **request: Any) -> pb.InvalidateCacheResponse:
    """The answer to an invalidation."""
    body = await parts.admin().InvalidateCache(pb.InvalidateCacheRequest(**request), CALL)
    return pb.InvalidateCacheResponse.FromString(body)


# ------------------------------------------------------------------------------ InvalidateCache


@pytest.mark.parametrize(
    ("request_", "gone"),
    [
        ({}, 30),
        ({"symbols": ["AAPL"]}, 15),
        ({"symbols": ["AAPL", CONTRACT], "feed": provenance_pb2.FEED_SIP}, 10),
        ({"kinds": [pb.VALUE_KIND_TRADE]}, 6),
        ({"symbols": ["AAPL"], "feed": provenance_pb2.FEED_IEX, "kinds": [1, 3]}, 2),
        ({"symbols": [CONTRACT], "feed": provenance_pb2.FEED_OPRA}, 5),
        ({"kinds": [pb.VALUE_KIND_OPTION_QUOTE, pb.VALUE_KIND_OPTION_CHAIN]}, 12),
        ({"symbols": ["TSLA"]}, 0),
    ],
)  # fmt: skip
async def test_what_passes_every_filter_is_dropped(request_: dict[str, Any], gone: int) -> None:
    """Values that pass all filters are dropped and counted in both places; a filter left out lets all pass."""
    parts = Parts(caches=FakeCaches([Feed.IEX, Feed.SIP, Feed.OPRA], ["AAPL", CONTRACT]))
    answer = await dropped(parts, **request_)
    assert (answer.memory_entries, answer.redis_entries) == (gone, gone)
    assert answer.serve_time.ToNanoseconds() == NOW
    assert len(parts.caches.held) == 30 - gone


async def test_a_cache_that_is_not_there_drops_nothing() -> None:
    """Without Redis, or while it is down, the answer says that it is not known to have dropped anything."""
    parts = Parts()
    assert (await dropped(parts)).HasField("redis_entries")
    parts.caches.redis = False
    assert not (await dropped(parts)).HasField("redis_entries")


async def test_a_wrong_invalidation_drops_nothing() -> None:
    """An invalidation that breaks rules names each of them and drops nothing."""
    parts = Parts(caches=FakeCaches([Feed.IEX], ["AAPL"]))
    with pytest.raises(InvalidRequest) as failed:
        await dropped(
            parts,
            symbols=["AAPL", "aapl", "AAPL"],
            feed=provenance_pb2.FEED_UNSPECIFIED,
            kinds=[1, 0, 1],
        )
    assert [field for field, _ in failed.value.violations] == [
        "symbols[1]",
        "symbols[2]",
        "feed",
        "kinds[1]",
        "kinds[2]",
    ]
    assert len(parts.caches.held) == len(ValueKind)


# ----------------------------------------------------------------------------------- ListErrors


async def test_errors_are_told_as_they_were_noted() -> None:
    """A record carries number, call, reason, message, context and time, and the answer the place it was read at."""
    parts = filled(entry("INTERNAL", NOW + 7, "order-1", endpoint="QuoteService/GetQuote", count=3))
    answer = await listed(parts)
    (record,) = answer.errors
    assert (record.id, record.request_id, record.reason) == (1, "order-1", INTERNAL)
    assert record.message == "because of INTERNAL"
    assert record.time.ToNanoseconds() == NOW + 7
    assert dict(record.context) == {"endpoint": "QuoteService/GetQuote", "count": 3}
    assert answer.place == pb.ERROR_LOG_PLACE_RING
    assert not answer.next_page_token


async def test_filters_reach_the_log() -> None:
    """Reasons, request id and range select together, the end of the range not among them."""
    parts = filled(
        *(
            entry(reason, NOW + at * NANOS, request_id)
            for reason in ("NO_DATA", "INTERNAL")
            for at in (0, 1, 2)
            for request_id in "ab"
        )
    )
    answer = await listed(
        parts,
        reasons=[NO_DATA],
        request_id="b",
        start_time=Timestamp(seconds=NOW // NANOS),
        end_time=Timestamp(seconds=NOW // NANOS + 2),
    )
    assert [(one.reason, one.request_id) for one in answer.errors] == [(NO_DATA, "b")] * 2
    assert [one.time.seconds - NOW // NANOS for one in answer.errors] == [1, 0]


@given(st.integers(0, 30), st.integers(1, 12))
async def test_pages_give_every_record_once(count: int, size: int) -> None:
    """Walking the pages gives all records once, newest first, whatever the size, also while new ones are noted."""
    parts = filled(*(entry(at=NOW + n) for n in range(count)))
    seen, token, pages = [], "", 0
    while pages == 0 or token:
        answer = await listed(parts, page_size=size, page_token=token)
        seen += [one.id for one in answer.errors]
        token, pages = answer.next_page_token, pages + 1
        parts.errors.note(entry(at=NOW + 100))
    assert seen == list(range(count, 0, -1))
    assert pages == max(1, math.ceil(count / size))


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (7, 7), (500, 500), (501, 500), (2**31 - 1, 500)])  # fmt: skip
async def test_a_page_has_its_bounds(asked: int, given: int) -> None:
    """A page that names no size holds 50 records, and none more than 500."""
    parts = filled(*(entry() for _ in range(502)))
    assert len((await listed(parts, page_size=asked)).errors) == given


async def test_a_page_ends_before_it_is_too_large() -> None:
    """Records too large for one page are spread over more, none of them lost, a huge one on a page of its own."""
    big = "x" * (admin.LARGEST_ANSWER // 4)
    huge = "x" * (admin.LARGEST_ANSWER * 3 // 2)
    parts = filled(*(entry(evidence=text) for text in (big, huge, big, big, big, big, big)))
    seen: list[list[int]] = []
    token = ""
    while not seen or token:
        answer = await listed(parts, page_token=token)
        assert len(answer.errors) == 1 or answer.ByteSize() <= admin.LARGEST_ANSWER + 1000
        seen.append([one.id for one in answer.errors])
        token = answer.next_page_token
    assert seen == [[7, 6, 5], [4, 3], [2], [1]]


async def test_wrong_listings_are_refused_before_the_log_is_asked() -> None:
    """A listing that breaks rules names each field, and the log is not read."""
    parts = filled(entry())
    broken = await refused(
        parts,
        reasons=[NO_DATA, NO_DATA, 0, 99],
        request_id="a\x00",
        start_time=Timestamp(seconds=9),
        end_time=Timestamp(seconds=9),
        page_size=-1,
        page_token="junk",
    )
    assert set(broken) == {
        "reasons[1]",
        "reasons[2]",
        "reasons[3]",
        "request_id",
        "end_time",
        "page_size",
        "page_token",
    }
    assert parts.errors.asked == []


async def test_a_token_keeps_its_filters() -> None:
    """A page token with other filters is refused; with another page size it is not."""
    parts = filled(*(entry() for _ in range(5)))
    token = (await listed(parts, reasons=[NO_DATA, INTERNAL], page_size=2)).next_page_token
    assert "another query" in (await refused(parts, page_token=token))["page_token"]
    turned = await listed(parts, reasons=[INTERNAL, NO_DATA], page_size=3, page_token=token)
    assert [one.id for one in turned.errors] == [3, 2, 1]


@pytest.mark.parametrize("place", list(ErrorPlace))
async def test_a_walk_stays_at_its_place(place: ErrorPlace) -> None:
    """When the place of a token cannot be read any more the caller is told, not shown the records of another."""
    parts = filled(*(entry() for _ in range(5)))
    parts.errors.place = place
    token = (await listed(parts, page_size=2)).next_page_token
    parts.errors.place = next(other for other in ErrorPlace if other is not place)
    assert "start again" in (await refused(parts, page_token=token))["page_token"]


async def test_a_token_of_a_ring_dies_with_the_process() -> None:
    """Numbers of one ring mean nothing in another's; those of PostgreSQL outlive the gateway."""
    parts = filled(*(entry() for _ in range(5)))
    ring = (await listed(parts, page_size=2)).next_page_token
    parts.errors.place = ErrorPlace.POSTGRES
    stored = (await listed(parts, page_size=2)).next_page_token
    later = AdminServicer(parts.caches, parts.errors, ABOUT.start_time + 1, parts.moment)

    body = await later.ListErrors(pb.ListErrorsRequest(page_token=stored), CALL)
    assert [one.id for one in pb.ListErrorsResponse.FromString(body).errors] == [3, 2, 1]
    parts.errors.place = ErrorPlace.RING
    with pytest.raises(InvalidRequest, match="gone from the ring"):
        await later.ListErrors(pb.ListErrorsRequest(page_token=ring), CALL)


async def test_an_unknown_reason_is_told_in_the_context() -> None:
    """A record of a gateway that knows more reasons is told without a number, and its reason as text."""
    (record,) = (await listed(filled(entry("OF_A_LATER_RELEASE", feed="iex")))).errors
    assert record.reason == reasons.ERROR_REASON_UNSPECIFIED
    assert dict(record.context) == {"feed": "iex", "reason": "OF_A_LATER_RELEASE"}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def as_told(value: Any) -> Any:
    """What a context's value looks like to its reader."""
    if isinstance(value, Mapping):
        return {key: as_told(one) for key, one in value.items()}
    if isinstance(value, list):
        return [as_told(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) <= 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value) if isinstance(value, Decimal) else value


@given(st.dictionaries(st.text(), JSON, max_size=3))
async def test_any_context_can_be_told(context: dict[str, Any]) -> None:
    """Whatever stands in a context is told, and what no number of a Struct holds exactly, as text."""
    parts = filled(ErrorEntry(NOW, "r", "NO_DATA", "because", context))
    (record,) = (await listed(parts)).errors
    assert MessageToDict(record.context) == as_told(context)


# ----------------------------------------------------------------------------------- watchlists


TECH = pb.Watchlist(
    name="tech-1",
    symbols=["AAPL", "BRK.B"],
    record=True,
    refresh_timeframes=["1D", "1Min"],
    refresh_days=30,
)


async def put(parts: Parts, watchlist: pb.Watchlist = TECH) -> pb.Watchlist:
    """The watchlist as it is kept."""
    request = pb.PutWatchlistRequest(watchlist=watchlist)
    body = await parts.admin().PutWatchlist(request, CALL)
    return pb.PutWatchlistResponse.FromString(body).watchlist


async def got(parts: Parts, name: str = "tech-1") -> pb.Watchlist:
    """A watchlist by its name."""
    body = await parts.admin().GetWatchlist(pb.GetWatchlistRequest(name=name), CALL)
    return pb.GetWatchlistResponse.FromString(body).watchlist


def changed(watchlist: pb.Watchlist, **fields: Any) -> pb.Watchlist:
    """The watchlist with other fields."""
    copy = pb.Watchlist()
    copy.CopyFrom(watchlist)
    for name in fields:
        copy.ClearField(name)  # type: ignore[arg-type]  # it has each
    copy.MergeFrom(pb.Watchlist(**fields))
    return copy


async def test_a_watchlist_is_kept_as_it_was_put() -> None:
    """A watchlist comes back as it was put, timeframes in their one spelling, with the time of the change."""
    parts = Parts()
    kept = await put(parts, changed(TECH, update_time=Timestamp(seconds=5)))
    assert kept == await got(parts)
    assert (kept.name, list(kept.symbols), kept.record) == ("tech-1", ["AAPL", "BRK.B"], True)
    assert list(kept.refresh_timeframes) == ["1Day", "1Min"]
    assert kept.refresh_days == 30
    assert kept.update_time.ToNanoseconds() == NOW
    assert not kept.HasField("refresh_time")
    assert (await put(parts, changed(TECH, name="b", refresh_days=0))).refresh_days == 366


async def test_watchlists_are_listed_by_name() -> None:
    """All watchlists are listed in order of their names, and one that was deleted no more."""
    parts = Parts()
    for name in ("b", "a", "c"):
        await put(parts, changed(TECH, name=name))
    await parts.admin().DeleteWatchlist(pb.DeleteWatchlistRequest(name="b"), CALL)
    body = await parts.admin().ListWatchlists(pb.ListWatchlistsRequest(), CALL)
    found = pb.ListWatchlistsResponse.FromString(body).watchlists
    assert [one.name for one in found] == ["a", "c"]


@pytest.mark.parametrize(
    ("fields", "keeps"),
    [
        ({}, True),
        ({"record": False}, True),
        ({"symbols": ["AAPL"]}, True),
        ({"refresh_days": 29}, True),
        ({"symbols": ["AAPL", "MSFT"]}, False),
        ({"refresh_timeframes": ["1Day", "1Hour"]}, False),
        ({"refresh_days": 31}, False),
    ],
)
async def test_a_refresh_counts_for_what_it_refreshed(
    fields: dict[str, Any], *, keeps: bool
) -> None:
    """A watchlist that is replaced keeps the time of its last refresh, unless it now names more than that refreshed."""
    parts = Parts()
    await put(parts)
    await parts.watchlists.refreshed("tech-1", NOW - 5)
    kept = await put(parts, changed(TECH, **fields))
    assert kept.HasField("refresh_time") == keeps
    assert kept == await got(parts)


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"name": ""}, "watchlist.name", "1 to 64 of a to z"),
        ({"name": "Tech"}, "watchlist.name", "1 to 64 of a to z"),
        ({"name": "a" * 65}, "watchlist.name", "1 to 64 of a to z"),
        ({"name": "a b"}, "watchlist.name", "1 to 64 of a to z"),
        ({"symbols": []}, "watchlist.symbols", "1 to 1000 symbols, not 0"),
        ({"symbols": ["AAPL"] * 1001}, "watchlist.symbols", "not 1001"),
        ({"symbols": ["AAPL", "AAPL"]}, "watchlist.symbols[1]", "once"),
        ({"symbols": [CONTRACT]}, "watchlist.symbols[0]", "a stock symbol is"),
        ({"refresh_timeframes": ["1Min", "1T"]}, "watchlist.refresh_timeframes[1]", "named once"),
        ({"refresh_timeframes": ["7Day"]}, "watchlist.refresh_timeframes[0]", "1Min to 59Min"),
        ({"refresh_timeframes": ["1Min"] * 11}, "watchlist.refresh_timeframes", "at most 10"),
        ({"refresh_days": 3661}, "watchlist.refresh_days", "1 to 3660"),
    ],
)
async def test_a_wrong_watchlist_is_not_kept(fields: dict[str, Any], field: str, said: str) -> None:
    """A watchlist that breaks a rule is told which, and what was kept before stays."""
    parts = Parts()
    kept = await put(parts)
    with pytest.raises(InvalidRequest) as failed:
        await put(parts, changed(TECH, **fields))
    rules = dict(failed.value.violations)
    assert said in rules[field]
    assert len(rules) == 1
    assert await got(parts) == kept


async def test_a_watchlist_that_is_not_there_is_not_found() -> None:
    """A name that no watchlist has is NOT_FOUND, asked for or deleted; one that none can have is wrong."""
    admin = Parts().admin()
    with pytest.raises(NotFound, match="no watchlist none"):
        await admin.GetWatchlist(pb.GetWatchlistRequest(name="none"), CALL)
    with pytest.raises(NotFound, match="no watchlist none"):
        await admin.DeleteWatchlist(pb.DeleteWatchlistRequest(name="none"), CALL)
    with pytest.raises(InvalidRequest):
        await admin.GetWatchlist(pb.GetWatchlistRequest(), CALL)


# ------------------------------------------------------------------------------------ backfills


def fetching(*symbols: str, **more: Any) -> pb.StartBackfillRequest:
    """A backfill of minute bars."""
    known: dict[str, Any] = {
        "symbols": symbols or ["AAPL"],
        "kind": history_pb2.SERIES_KIND_BARS,
        "timeframe": "1T",
        "adjustments": [history_pb2.ADJUSTMENT_DIVIDEND, history_pb2.ADJUSTMENT_SPLIT],
        "start_time": Timestamp(seconds=NOW // NANOS - 100),
    }
    return pb.StartBackfillRequest(**(known | more))


async def begun(parts: Parts, *symbols: str, **more: Any) -> pb.Backfill:
    """A backfill that was begun."""
    body = await parts.admin().StartBackfill(fetching(*symbols, **more), CALL)
    return pb.StartBackfillResponse.FromString(body).backfill


async def test_a_backfill_tells_what_it_was_asked() -> None:
    """A backfill names what it fetches with everything that was left out, and how it stands."""
    parts = Parts()
    backfill = await begun(parts, "AAPL", "MSFT")
    assert backfill.state == pb.BACKFILL_STATE_RUNNING
    asked = backfill.request
    assert list(asked.symbols) == ["AAPL", "MSFT"]
    assert (asked.kind, asked.timeframe) == (history_pb2.SERIES_KIND_BARS, "1Min")
    assert asked.feed == provenance_pb2.FEED_IEX
    assert list(asked.adjustments) == [
        history_pb2.ADJUSTMENT_SPLIT,
        history_pb2.ADJUSTMENT_DIVIDEND,
    ]
    assert asked.end_time.ToNanoseconds() == NOW
    assert asked.end_time.ToNanoseconds() - asked.start_time.ToNanoseconds() == 100 * NANOS
    assert backfill.start_time.ToNanoseconds() == NOW
    assert not backfill.HasField("end_time")
    body = await parts.admin().GetBackfill(pb.GetBackfillRequest(id=backfill.id), CALL)
    assert pb.GetBackfillResponse.FromString(body).backfill == backfill


async def test_a_backfill_tells_what_it_could_not_fetch() -> None:
    """A backfill that has ended says when, how much it fetched, and of each symbol that failed why."""
    parts = Parts()
    backfill = await begun(parts, CONTRACT, adjustments=[])
    held = await parts.backfills.get(backfill.id)
    why = unavailable(Reason.NO_DATA)
    await parts.backfills.log.put(
        replace(
            held,
            state=BackfillState.DONE,
            end_time=NOW + 9,
            symbols_done=1,
            fetched=2**40,
            progress=1.0,
            failures=(BackfillFailure(CONTRACT, why),) * 1001,
        )
    )
    body = await parts.admin().GetBackfill(pb.GetBackfillRequest(id=backfill.id), CALL)
    ended = pb.GetBackfillResponse.FromString(body).backfill
    assert ended.state == pb.BACKFILL_STATE_DONE
    assert (ended.symbols_done, ended.fetched_count, ended.progress) == (1, 2**40, 1.0)
    assert ended.end_time.ToNanoseconds() == NOW + 9
    assert len(ended.failures) == 1000
    assert ended.failures[0].symbol == CONTRACT
    assert ended.failures[0].unavailable.reason == NO_DATA
    assert not ended.request.HasField("feed")


async def test_a_backfill_is_stopped() -> None:
    """A backfill that is cancelled says so, and stopping it again changes nothing."""
    parts = Parts()
    backfill = await begun(parts)
    request = pb.CancelBackfillRequest(id=backfill.id)
    stopped = pb.CancelBackfillResponse.FromString(
        await parts.admin().CancelBackfill(request, CALL)
    ).backfill
    assert stopped.state == pb.BACKFILL_STATE_CANCELLED
    assert stopped.end_time.ToNanoseconds() == NOW
    parts.clock.advance(5)
    again = await parts.admin().CancelBackfill(request, CALL)
    assert pb.CancelBackfillResponse.FromString(again).backfill == stopped


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 8))
async def test_pages_give_every_backfill_once(pauses: list[int], size: int) -> None:
    """Walking the pages gives all backfills once, newest first, also those that began together."""
    parts = Parts()
    for pause in pauses:
        parts.clock.advance(pause)
        await begun(parts)
    seen: list[str] = []
    token, pages = "", 0
    while pages == 0 or token:
        request = pb.ListBackfillsRequest(page_size=size, page_token=token)
        body = await parts.admin().ListBackfills(request, CALL)
        page = pb.ListBackfillsResponse.FromString(body)
        assert len(page.backfills) <= size
        seen += [one.id for one in page.backfills]
        token, pages = page.next_page_token, pages + 1
        parts.clock.advance(1)
        await begun(parts)
    assert sorted(seen) == sorted(f"b{number + 1}" for number in range(len(pauses)))
    held = [await parts.backfills.get(one) for one in seen]
    assert [one.start_time for one in held] == sorted(
        (one.start_time for one in held), reverse=True
    )


async def test_a_page_of_large_backfills_ends_early() -> None:
    """Backfills of many symbols are spread over as many pages as they need, none of them lost."""
    parts = Parts()
    symbols = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}ABCDEFG" for n in range(26 * 26)]
    for _ in range(100):
        await begun(parts, *symbols)
    body = await parts.admin().ListBackfills(pb.ListBackfillsRequest(page_size=500), CALL)
    page = pb.ListBackfillsResponse.FromString(body)
    assert 1 < len(page.backfills) < 100
    assert page.ByteSize() <= admin.LARGEST_ANSWER + 1000
    request = pb.ListBackfillsRequest(page_size=500, page_token=page.next_page_token)
    rest = pb.ListBackfillsResponse.FromString(await parts.admin().ListBackfills(request, CALL))
    assert len(page.backfills) + len(rest.backfills) == 100


async def test_a_wrong_backfill_is_not_begun() -> None:
    """A backfill that breaks rules names each of them and is not begun; an id that none can have is wrong."""
    parts = Parts()
    with pytest.raises(InvalidRequest) as failed:
        await begun(parts, "aapl", timeframe="", feed=provenance_pb2.FEED_OPRA)
    assert [field for field, _ in failed.value.violations] == ["symbols[0]", "feed", "timeframe"]
    assert await parts.backfills.newest(None, 5) == []
    for wrong in ("", "x" * 65, "\x00"):
        with pytest.raises(InvalidRequest, match="the id of a backfill"):
            await parts.admin().GetBackfill(pb.GetBackfillRequest(id=wrong), CALL)
    with pytest.raises(NotFound, match="b7"):
        await parts.admin().CancelBackfill(pb.CancelBackfillRequest(id="b7"), CALL)
    with pytest.raises(InvalidRequest, match="page token"):
        await parts.admin().ListBackfills(pb.ListBackfillsRequest(page_token="junk"), CALL)


Steered = tuple[str, Message]

STEERED: list[Steered] = [
    ("PutWatchlist", pb.PutWatchlistRequest(watchlist=TECH)),
    ("GetWatchlist", pb.GetWatchlistRequest(name="a")),
    ("ListWatchlists", pb.ListWatchlistsRequest()),
    ("DeleteWatchlist", pb.DeleteWatchlistRequest(name="a")),
    ("StartBackfill", fetching()),
    ("GetBackfill", pb.GetBackfillRequest(id="b1")),
    ("ListBackfills", pb.ListBackfillsRequest()),
    ("CancelBackfill", pb.CancelBackfillRequest(id="b1")),
]
EVERY_STEERED = pytest.mark.parametrize(("rpc", "request_"), STEERED, ids=lambda one: str(one)[:20])


@EVERY_STEERED
async def test_a_store_that_is_away_says_so(rpc: str, request_: Message) -> None:
    """While the store is down whatever it keeps is STORE_UNAVAILABLE, and never looks empty."""
    parts = Parts()
    parts.watchlists.down = parts.backfills.log.down = True
    with pytest.raises(StoreDown):
        await getattr(parts.admin(), rpc)(request_, CALL)


@EVERY_STEERED
async def test_a_gateway_without_a_store_says_so(rpc: str, request_: Message) -> None:
    """A gateway that keeps neither watchlists nor backfills is NOT_SUPPORTED to whoever asks for them."""
    parts = Parts()
    for keeping in (None, Keeping(None, None, parts.rules())):
        servicer = AdminServicer(parts.caches, parts.errors, NOW, parts.moment, keeping)
        with pytest.raises(NotSupported):
            await getattr(servicer, rpc)(request_, CALL)


async def test_operators_alone_steer_what_is_kept() -> None:
    """Over the wire watchlists and backfills are served, and each way to fail has its status."""
    parts = Parts()
    async with served(parts) as face:
        await face.admin.PutWatchlist(pb.PutWatchlistRequest(watchlist=TECH))
        found = await face.admin.ListWatchlists(pb.ListWatchlistsRequest())
        assert [one.name for one in found.watchlists] == ["tech-1"]
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await face.admin.GetWatchlist(pb.GetWatchlistRequest(name="none"))
        assert failed.value.code() == grpc.StatusCode.NOT_FOUND
        parts.watchlists.down = True
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await face.admin.ListWatchlists(pb.ListWatchlistsRequest())
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    assert [noted.reason for noted in parts.errors.entries] == ["NOT_FOUND", "STORE_UNAVAILABLE"]
