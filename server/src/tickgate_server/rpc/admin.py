"""AdminService."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from google.protobuf import struct_pb2
from msgspec.structs import replace

from tickgate.v1 import admin_service_pb2 as pb

from ..errors import InvalidRequest
from ..ports import Caches, ErrorLog, ErrorPlace, ErrorQuery, ErrorRecord
from . import convert
from .call import Call
from .convert import Moment
from .paging import ErrorPosition, encode_token
from .requests import Reader
from .status import number_named

DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 500
LARGEST_ANSWER: Final = 1 << 19
"""Bytes of records after which a page ends early, so that an answer stays far below what gRPC takes."""

_PLACES: Final = convert.numbers(ErrorPlace, pb.ErrorLogPlace, "ERROR_LOG_PLACE_")
_EXACT: Final = 2**53
"""From here on a double, which is every number of a Struct, skips whole numbers."""


class AdminServicer:
    """Answers AdminService: empties caches and reads the log of errors."""

    def __init__(
        self, caches: Caches, errors: ErrorLog, born: int, moment: Callable[[str], Moment]
    ) -> None:
        """Empty *caches* and read *errors*.

        Args:
            caches: everything that holds values.
            errors: the log of refusals and failures.
            born: when this gateway started, nanoseconds of the wall clock; page tokens of a ring die with it.
            moment: makes the moment of one call's answer.
        """
        self._caches = caches
        self._errors = errors
        self._born = born
        self._moment = moment

    async def InvalidateCache(  # noqa: N802
        self, request: pb.InvalidateCacheRequest, call: Call
    ) -> bytes:
        """Drop values, and answer how many."""
        reader = Reader()
        symbols = reader.some_symbols(request.symbols)
        feed = reader.some_feed(request.feed if request.HasField("feed") else None)
        kinds = reader.kinds(request.kinds)
        reader.done()
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
        errors = _page(records[:size])
        page = pb.ListErrorsResponse(errors=errors, place=_PLACES[place])
        if len(errors) < len(records):
            following = ErrorPosition(place, self._born_in(place), errors[-1].id)
            page.next_page_token = encode_token(filters, following)
        return page.SerializeToString()

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


def _token_expired(place: ErrorPlace) -> InvalidRequest:
    rule = (
        "the records that this page token leads to are gone from the ring: start again without one"
        if place is ErrorPlace.RING
        else "the records that this page token leads to are gone, or PostgreSQL cannot be read now: try again later, or"
        " start again without one"
    )
    return InvalidRequest([("page_token", rule)])


def _page(records: Sequence[ErrorRecord]) -> list[pb.ErrorRecord]:
    """Return as many of *records* as one answer can carry, and the first in any case."""
    page: list[pb.ErrorRecord] = []
    size = 0
    for record in records:
        message = _record(record)
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
