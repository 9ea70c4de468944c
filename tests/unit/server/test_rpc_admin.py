"""AdminService: what operators may drop, and what they may read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tickgate.v1 import admin_service_pb2 as pb
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import provenance_pb2
from tickgate_server.errors import InvalidRequest
from tickgate_server.market.provenance import Feed
from tickgate_server.market.time import NANOS
from tickgate_server.market.value_kind import ValueKind
from tickgate_server.ports import ErrorEntry, ErrorPlace
from tickgate_server.rpc import admin
from tickgate_server.rpc.admin import AdminServicer
from tickgate_server.rpc.call import Call

from ...support.admin import ABOUT, FakeCaches, Parts
from ...support.fakes import NOW

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
