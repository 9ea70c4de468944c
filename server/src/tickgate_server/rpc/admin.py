"""AdminService."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from google.protobuf import struct_pb2
from google.protobuf.message import Message
from msgspec import Struct
from msgspec.structs import replace

from tickgate.v1 import admin_service_pb2 as pb

from ..errors import InvalidRequest, NotFound, NotSupported
from ..market.watchlist import Watchlist
from ..ports import Backfills, Caches, ErrorLog, ErrorPlace, ErrorQuery, ErrorRecord, Watchlists
from . import convert
from . import convert_history as to
from .call import Call
from .convert import Moment
from .history_requests import HistoryRules
from .keeping_requests import KeepingReader
from .paging import BackfillPosition, ErrorPosition, encode_token
from .requests import Reader
from .status import number_named

DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 500
LARGEST_ANSWER: Final = 1 << 19
"""Bytes of records after which a page ends early, so that an answer stays far below what gRPC takes."""

_PLACES: Final = convert.numbers(ErrorPlace, pb.ErrorLogPlace, "ERROR_LOG_PLACE_")
_EXACT: Final = 2**53
"""From here on a double, which is every number of a Struct, skips whole numbers."""


M = TypeVar("M", bound=Message)


class Keeping(Struct, frozen=True):
    """What keeps the past by itself, as operators want it."""

    watchlists: Watchlists | None
    """None where there are none."""

    backfills: Backfills | None
    """None without a store that they could fill."""

    rules: HistoryRules
    """What requests are judged by."""


class _BackfillQuery(Struct, frozen=True):
    """Which backfills are asked for: all of them."""


class AdminServicer:
    """Answers AdminService: empties caches, reads the log of errors, and says what of the past is kept."""

    def __init__(
        self,
        caches: Caches,
        errors: ErrorLog,
        born: int,
        moment: Callable[[str], Moment],
        keeping: Keeping | None = None,
    ) -> None:
        """Empty *caches*, read *errors* and steer *keeping*.

        Args:
            caches: everything that holds values.
            errors: the log of refusals and failures.
            born: when this gateway started, nanoseconds of the wall clock; page tokens of a ring die with it.
            moment: makes the moment of one call's answer.
            keeping: what keeps the past; None where nothing does.
        """
        self._caches = caches
        self._errors = errors
        self._born = born
        self._moment = moment
        self._keeping = keeping

    async def InvalidateCache(  # noqa: N802
        self, request: pb.InvalidateCacheRequest, call: Call
    ) -> bytes:
        """Drop values, and answer how many."""
        reader = Reader()
        symbols = reader.some_symbols(request.symbols)
        feed = reader.some_feed(request.feed if request.HasField("feed") else None)
        kinds = reader.kinds(request.kinds)
        reader.done()
        call.symbols, call.feed = tuple(symbols or ()), feed
        dropped = await self._caches.drop(None if feed is None else {feed}, symbols, kinds)
        return pb.InvalidateCacheResponse(
            memory_entries=dropped.memory,
            redis_entries=dropped.shared,
            serve_time=convert.timestamp(self._moment(call.request_id).wall),
        ).SerializeToString()

    async def ListErrors(self, request: pb.ListErrorsRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with a page of refusals and failures."""
        reader = Reader()
        start, end = reader.instants(
            request.start_time if request.HasField("start_time") else None,
            request.end_time if request.HasField("end_time") else None,
        )
        filters = ErrorQuery(
            reasons=reader.reasons(request.reasons),
            request_id=reader.request_id(request.request_id),
            start=start,
            end=end,
        )
        size = reader.page_size(request.page_size, default=DEFAULT_PAGE, largest=LARGEST_PAGE)
        position = reader.page_token(request.page_token, filters, ErrorPosition)
        reader.done()
        place, records = await self._search(filters, position, size)
        errors = _fitting(_record(record) for record in records[:size])
        page = pb.ListErrorsResponse(errors=errors, place=_PLACES[place])
        if len(errors) < len(records):
            following = ErrorPosition(place, self._born_in(place), errors[-1].id)
            page.next_page_token = encode_token(filters, following)
        return page.SerializeToString()

    # --------------------------------------------------------------------------------- watchlists

    async def PutWatchlist(self, request: pb.PutWatchlistRequest, call: Call) -> bytes:  # noqa: N802
        """Keep a watchlist, and answer with it."""
        watchlists = self._watchlists()
        reader = self._reader(call, "watchlist")
        wanted = reader.watchlist(request.watchlist)
        reader.done()
        call.symbols = wanted.symbols
        before = await watchlists.get(wanted.name)
        if before is not None and _refreshes_alike(before, wanted):
            wanted = replace(wanted, refresh_time=before.refresh_time)
        await watchlists.put(wanted)
        return pb.PutWatchlistResponse(watchlist=to.watchlist(wanted)).SerializeToString()

    async def GetWatchlist(self, request: pb.GetWatchlistRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with one watchlist."""
        watchlists = self._watchlists()
        name = self._named(request.name, call)
        found = await watchlists.get(name)
        if found is None:
            raise _no_watchlist(name)
        return pb.GetWatchlistResponse(watchlist=to.watchlist(found)).SerializeToString()

    async def ListWatchlists(self, _: pb.ListWatchlistsRequest, __: Call) -> bytes:  # noqa: N802
        """Answer with all watchlists."""
        found = await self._watchlists().everything()
        watchlists = [to.watchlist(one) for one in found]
        return pb.ListWatchlistsResponse(watchlists=watchlists).SerializeToString()

    async def DeleteWatchlist(  # noqa: N802
        self, request: pb.DeleteWatchlistRequest, call: Call
    ) -> bytes:
        """Forget a watchlist."""
        watchlists = self._watchlists()
        name = self._named(request.name, call)
        if not await watchlists.delete(name):
            raise _no_watchlist(name)
        return pb.DeleteWatchlistResponse().SerializeToString()

    # ---------------------------------------------------------------------------------- backfills

    async def StartBackfill(self, request: pb.StartBackfillRequest, call: Call) -> bytes:  # noqa: N802
        """Begin a backfill, and answer how it stands."""
        backfills = self._backfills()
        reader = self._reader(call)
        wanted = reader.backfill_wanted(request)
        reader.done()
        call.symbols, call.feed, call.interval = wanted.symbols, wanted.key.feed, wanted.interval
        begun = await backfills.start(wanted.key, wanted.symbols, wanted.interval)
        moment = self._moment(call.request_id)
        return pb.StartBackfillResponse(backfill=to.backfill(begun, moment)).SerializeToString()

    async def GetBackfill(self, request: pb.GetBackfillRequest, call: Call) -> bytes:  # noqa: N802
        """Answer how a backfill stands."""
        backfills = self._backfills()
        found = await backfills.get(self._identified(request.id, call))
        moment = self._moment(call.request_id)
        return pb.GetBackfillResponse(backfill=to.backfill(found, moment)).SerializeToString()

    async def ListBackfills(self, request: pb.ListBackfillsRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with a page of backfills."""
        backfills = self._backfills()
        reader = self._reader(call)
        size = reader.page_size(request.page_size, default=DEFAULT_PAGE, largest=LARGEST_PAGE)
        position = reader.page_token(request.page_token, _BackfillQuery(), BackfillPosition)
        reader.done()
        before = None if position is None else (position.start_time, position.id)
        found = await backfills.newest(before, size + 1)
        moment = self._moment(call.request_id)
        told = _fitting(to.backfill(one, moment) for one in found[:size])
        page = pb.ListBackfillsResponse(backfills=told)
        if len(told) < len(found):
            last = found[len(told) - 1]
            following = BackfillPosition(last.start_time, last.id)
            page.next_page_token = encode_token(_BackfillQuery(), following)
        return page.SerializeToString()

    async def CancelBackfill(self, request: pb.CancelBackfillRequest, call: Call) -> bytes:  # noqa: N802
        """Stop a backfill, and answer how it stands."""
        backfills = self._backfills()
        stopped = await backfills.cancel(self._identified(request.id, call))
        moment = self._moment(call.request_id)
        return pb.CancelBackfillResponse(backfill=to.backfill(stopped, moment)).SerializeToString()

    def _watchlists(self) -> Watchlists:
        if self._keeping is None or self._keeping.watchlists is None:
            msg = "this gateway keeps no watchlists"
            raise NotSupported(msg)
        return self._keeping.watchlists

    def _backfills(self) -> Backfills:
        if self._keeping is None or self._keeping.backfills is None:
            msg = "this gateway has no store that a backfill could fill: its setting is `postgres_url`"
            raise NotSupported(msg)
        return self._keeping.backfills

    def _reader(self, call: Call, path: str = "") -> KeepingReader:
        assert self._keeping is not None
        return KeepingReader(self._keeping.rules, self._moment(call.request_id), path)

    def _named(self, name: str, call: Call) -> str:
        reader = self._reader(call)
        reader.name("name", name)
        reader.done()
        return name

    def _identified(self, backfill_id: str, call: Call) -> str:
        reader = self._reader(call)
        reader.backfill_id(backfill_id)
        reader.done()
        return backfill_id

    async def _search(
        self, filters: ErrorQuery, position: ErrorPosition | None, size: int
    ) -> tuple[ErrorPlace, Sequence[ErrorRecord]]:
        """Return the records from *position* on, one more than *size* where there are more."""
        query = replace(filters, limit=size + 1)
        if position is None:
            return await self._errors.search(query, None)
        if position.born != self._born_in(position.place):
            raise _token_expired(position.place)
        query = replace(query, before_id=position.before_id)
        place, records = await self._errors.search(query, position.place)
        if not records:
            # There were more when the token was made.
            raise _token_expired(place)
        return place, records

    def _born_in(self, place: ErrorPlace) -> int:
        return self._born if place is ErrorPlace.RING else 0


def _no_watchlist(name: str) -> NotFound:
    return NotFound(f"there is no watchlist {name}")


def _refreshes_alike(one: Watchlist, other: Watchlist) -> bool:
    """Tell whether a refresh of *one* was a refresh of *other*."""
    return (
        set(one.symbols) >= set(other.symbols)
        and set(one.refresh_timeframes) >= set(other.refresh_timeframes)
        and one.refresh_days >= other.refresh_days
    )


def _token_expired(place: ErrorPlace) -> InvalidRequest:
    rule = (
        "the records that this page token leads to are gone from the ring: start again without one"
        if place is ErrorPlace.RING
        else "the records that this page token leads to are gone, or PostgreSQL cannot be read now: try again later, or"
        " start again without one"
    )
    return InvalidRequest([("page_token", rule)])


def _fitting(messages: Iterable[M]) -> list[M]:
    """Return as many of *messages* as one answer can carry, and the first in any case."""
    page: list[M] = []
    size = 0
    for message in messages:
        size += message.ByteSize()
        if page and size > LARGEST_ANSWER:
            break
        page.append(message)
    return page


def _record(record: ErrorRecord) -> pb.ErrorRecord:
    entry = record.entry
    message = pb.ErrorRecord(
        id=record.id,
        request_id=entry.request_id,
        message=entry.message,
        time=convert.timestamp(entry.time),
    )
    context = dict(entry.context)
    reason = number_named(entry.reason)
    if reason is not None:
        message.reason = reason
    else:
        # Written by a gateway that knows more reasons than this one.
        context["reason"] = entry.reason
    message.context.CopyFrom(_struct(context))
    return message


def _struct(context: Mapping[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update({str(key): _plain(value) for key, value in context.items()})
    return message


def _plain(value: Any) -> Any:
    """Return *value* as a Struct can hold it without a loss: what is no JSON, or no exact double, as text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value)
