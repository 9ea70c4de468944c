"""HistoryService."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Container,
    Iterator,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import Final, TypeAlias

from tickgate.v1 import history_pb2
from tickgate.v1 import history_service_pb2 as pb

from ..access.meters import Meters
from ..errors import InvalidRequest, LimitExceeded, UpstreamFailure
from ..history.waiting import closing
from ..market.corporate_action import CorporateAction
from ..market.interval import Interval
from ..market.series import SeriesKind
from ..market.unavailable import Reason, Unavailable
from ..observe.counters import Counters
from ..ports import (
    CorporateActionSource,
    HistorySource,
    PriceAtSource,
    SeriesBroken,
    SeriesChunk,
    SeriesEvent,
)
from . import convert
from . import convert_history as to
from .answers import miss, settle
from .call import Call
from .calls import StrictRefusal
from .convert import Moment
from .encode_history import SHAPES
from .history_answers import CHUNK, Columns, Page, Tally
from .history_requests import (
    ActionsWanted,
    Asked,
    HistoryRules,
    ListRequest,
    SeriesReader,
    StreamRequest,
)
from .paging import ActionPosition, encode_token

DEFAULT_ROWS: Final = 1000
LARGEST_ROWS: Final = 10_000
"""Rows of a page, if the request does not say, and at most."""

_NAMED: Final = 10
"""Symbols that a sentence names at most."""

_AT_ONCE: Final = 500
"""Rows that are encoded before others get their turn: some ten milliseconds."""


class HistoryServicer:
    """Answers HistoryService: rows in pages, columns in streams, and what is held of them."""

    def __init__(
        self,
        source: HistorySource,
        prices: PriceAtSource,
        actions: CorporateActionSource,
        rules: HistoryRules,
        moment: Callable[[str], Moment],
        assets: Callable[[float], Awaitable[Container[str] | None]],
        meters: Meters,
        counters: Counters,
    ) -> None:
        """Ask *source*, *prices* and *actions*.

        Args:
            source: knows the past, and what is held of it.
            prices: knows what a symbol traded at.
            actions: knows what happened to companies.
            rules: what requests are judged by.
            moment: makes the moment of an answer.
            assets: returns the list of assets before a deadline, or None where it cannot be had in a moment.
            meters: count what each consumer is given.
            counters: say how often that was too much.
        """
        self._source = source
        self._prices = prices
        self._actions = actions
        self._rules = rules
        self._moment = moment
        self._assets = assets
        self._meters = meters
        self._counters = counters

    # --------------------------------------------------------------------------------------- rows

    async def ListBars(self, request: pb.ListBarsRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with a page of bars."""
        return await self._list(SeriesKind.BARS, request, call)

    async def ListTrades(self, request: pb.ListTradesRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with a page of trades."""
        return await self._list(SeriesKind.TRADES, request, call)

    async def ListQuotes(self, request: pb.ListQuotesRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with a page of quotes."""
        return await self._list(SeriesKind.QUOTES, request, call)

    async def _list(self, kind: SeriesKind, request: ListRequest, call: Call) -> bytes:
        reader = SeriesReader(self._rules, self._moment(call.request_id))
        asked = reader.listed(kind, request)
        size = reader.page_size(request.page_size, default=DEFAULT_ROWS, largest=LARGEST_ROWS)
        reader.done()
        _note_question(call, asked)
        self._admit(call, len(asked.question.symbols))
        page, tally = Page(SHAPES[kind], asked, size), Tally()
        # One row more than the page holds tells whether there is another page.
        rows = min(size + 1, _AT_ONCE)
        async with self._reading(asked, rows, call.deadline) as events:
            async for event in events:
                tally.add(event)
                before = page.count
                wanted = page.take(event, self._moment(call.request_id))
                _note_points(call, event, page.count - before)
                if not wanted:
                    break
                await asyncio.sleep(0)
        tally.note(call, asked.question.key.feed, strict=asked.strict)
        if asked.strict and page.lacking:
            symbol, why = page.lacking[0]
            raise StrictRefusal(why, symbol)
        self._meters.charge_points(call.consumer, page.count)
        return page.response()

    # ------------------------------------------------------------------------------------ columns

    def StreamBars(  # noqa: N802
        self, request: pb.StreamBarsRequest, call: Call
    ) -> AsyncGenerator[bytes, None]:
        """Answer with bars as columns."""
        return self._stream(SeriesKind.BARS, request, call)

    def StreamTrades(  # noqa: N802
        self, request: pb.StreamTradesRequest, call: Call
    ) -> AsyncGenerator[bytes, None]:
        """Answer with trades as columns."""
        return self._stream(SeriesKind.TRADES, request, call)

    def StreamQuotes(  # noqa: N802
        self, request: pb.StreamQuotesRequest, call: Call
    ) -> AsyncGenerator[bytes, None]:
        """Answer with quotes as columns."""
        return self._stream(SeriesKind.QUOTES, request, call)

    async def _stream(
        self, kind: SeriesKind, request: StreamRequest, call: Call
    ) -> AsyncGenerator[bytes, None]:
        reader = SeriesReader(self._rules, self._moment(call.request_id))
        asked = reader.streamed(kind, request)
        reader.done()
        _note_question(call, asked)
        self._admit(call, len(asked.question.symbols))
        tally = Tally()
        columns = Columns(SHAPES[kind], asked, lambda: self._moment(call.request_id))

        def told(event: SeriesEvent) -> Iterator[bytes]:
            tally.add(event)
            tally.note(call, asked.question.key.feed, strict=asked.strict)
            if asked.strict and isinstance(event, SeriesBroken):
                raise StrictRefusal(event.why, event.symbol)
            return columns.messages(event)

        # Whoever sets no deadline waits as long as it gets on.
        deadline = call.deadline if call.bounded else None
        async with self._reading(asked, CHUNK, deadline) as events:
            async for event in events:
                if isinstance(event, SeriesChunk):
                    refusal = self._meters.points_refusal(call.consumer)
                    if refusal is not None:
                        self._counters.refuse_limit(refusal.limit)
                        for broken in columns.broken_off(event.symbol, _limited(refusal)):
                            for message in told(broken):
                                yield message
                        return
                    self._meters.charge_points(call.consumer, len(event.block))
                    _note_points(call, event, len(event.block))
                for message in told(event):
                    yield message

    def _admit(self, call: Call, symbols: int) -> None:
        """Let *call* have something of the past of so many *symbols*.

        Raises:
            LimitExceeded: it is too much for its consumer.
        """
        call.check_batch(symbols)
        refusal = self._meters.points_refusal(call.consumer)
        if refusal is not None:
            raise refusal

    def _reading(
        self, asked: Asked, rows: int, deadline: float | None
    ) -> AbstractAsyncContextManager[AsyncIterator[SeriesEvent]]:
        """Lend the answer to *asked*, which is given up at the end of the block."""
        return closing(
            self._source.read(asked.question, rows=rows, after=asked.after, deadline=deadline)
        )

    # ----------------------------------------------------------------------------- price, coverage

    async def GetPriceAt(self, request: pb.GetPriceAtRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with the last trade at or before a moment."""
        reader = SeriesReader(self._rules, self._moment(call.request_id))
        wanted = reader.price_wanted(request)
        reader.done()
        self._admit(call, 1)
        symbol = wanted.key.symbol
        call.symbols, call.feed = (symbol,), wanted.key.feed
        call.interval = Interval(wanted.time - wanted.tolerance, wanted.time + 1)
        answer = await self._prices.price_at(
            wanted.key,
            wanted.time,
            wanted.tolerance,
            deadline=call.deadline,
            as_of=wanted.as_of,
            allowed_tiers=wanted.allowed_tiers,
        )
        settle(call, (symbol,), wanted.key.feed, {symbol: answer}, strict=request.strict)
        moment = self._moment(call.request_id)
        result = history_pb2.PriceAtResult(symbol=symbol)
        if isinstance(answer, Unavailable):
            result.unavailable.CopyFrom(convert.unavailable(answer, moment))
        else:
            self._meters.charge_points(call.consumer, 1)
            result.price.CopyFrom(to.price_at(answer, wanted.time, moment))
        return pb.GetPriceAtResponse(result=result).SerializeToString()

    async def GetCoverage(self, request: pb.GetCoverageRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with what the store holds."""
        reader = SeriesReader(self._rules, self._moment(call.request_id))
        wanted, as_of = reader.coverage_wanted(request)
        reader.done()
        call.check_batch(len(wanted.symbols))
        call.symbols, call.feed, call.interval = wanted.symbols, wanted.key.feed, wanted.interval
        keys = {symbol: wanted.key.about(symbol) for symbol in wanted.symbols}
        held = await self._source.coverage(tuple(keys.values()), wanted.interval, as_of)
        call.asked = len(keys)
        moment = self._moment(call.request_id)
        if isinstance(held, Unavailable):
            call.missing = [(symbol, held) for symbol in keys]
            call.feed, call.reason = wanted.key.feed, held.reason.name
            why = convert.unavailable(held, moment)
            results = [
                history_pb2.CoverageResult(symbol=symbol, unavailable=why) for symbol in keys
            ]
        else:
            call.given = len(keys)
            results = [
                history_pb2.CoverageResult(symbol=symbol, coverage=to.coverage(held.get(key, ())))
                for symbol, key in keys.items()
            ]
        return pb.GetCoverageResponse(results=results).SerializeToString()

    # ------------------------------------------------------------------------------------- actions

    async def ListCorporateActions(  # noqa: N802
        self, request: pb.ListCorporateActionsRequest, call: Call
    ) -> bytes:
        """Answer with a page of what happened to companies."""
        reader = SeriesReader(self._rules, self._moment(call.request_id))
        wanted = reader.actions_wanted(request)
        size = reader.page_size(request.page_size)
        position = reader.page_token(request.page_token, wanted, ActionPosition)
        reader.done()
        call.check_batch(len(wanted.symbols))
        call.symbols = wanted.symbols
        found = await self._happened(wanted, call)
        moment = self._moment(call.request_id)
        if isinstance(found, Unavailable):
            miss(found, call, strict=request.strict)
            why = convert.unavailable(found, moment)
            return pb.ListCorporateActionsResponse(unavailable=why).SerializeToString()
        actions = sorted(found, key=_order)
        start = _start(actions, position)
        told = actions[start : start + size]
        page = pb.CorporateActionPage(
            corporate_actions=[to.corporate_action(action, moment) for action in told]
        )
        if start + size < len(actions):
            page.next_page_token = encode_token(wanted, _place(actions, start + size))
        call.asked = call.given = call.from_upstream = len(told)
        return pb.ListCorporateActionsResponse(page=page).SerializeToString()

    async def _happened(
        self, wanted: ActionsWanted, call: Call
    ) -> Sequence[CorporateAction] | Unavailable:
        try:
            found = await self._actions.corporate_actions(
                wanted.symbols, wanted.types, wanted.start, wanted.end, call.deadline
            )
        except UpstreamFailure as failure:
            return failure.unavailable()
        if found:
            return found
        listed = await self._assets(call.deadline)
        if listed is not None and not any(symbol in listed for symbol in wanted.symbols):
            named = ", ".join(wanted.symbols[:_NAMED])
            return Unavailable(
                reason=Reason.SYMBOL_UNKNOWN,
                message=f"{named}: not in the upstream's list of assets",
            )
        kinds = "nothing" if wanted.types is None else "nothing of these types"
        return Unavailable(
            reason=Reason.NO_DATA,
            message=f"{kinds} happened to these companies from {wanted.start} up to {wanted.end}",
        )


def _limited(refusal: LimitExceeded) -> Unavailable:
    return Unavailable(
        reason=Reason.LIMIT_EXCEEDED, message=str(refusal), retry_delay=refusal.retry_delay
    )


def _note_question(call: Call, asked: Asked) -> None:
    question = asked.question
    call.symbols, call.feed, call.interval = question.symbols, question.key.feed, question.interval


def _note_points(call: Call, event: SeriesEvent, count: int) -> None:
    """Note in *call* that *count* values of *event* are given."""
    if isinstance(event, SeriesChunk) and count:
        tier = event.block.origin.served_from
        call.points[tier] = call.points.get(tier, 0) + count


_Order: TypeAlias = tuple[date, str, str, str]


def _order(action: CorporateAction) -> _Order:
    """Return the key of the order in which events are told: by day and symbol, and always the same."""
    return action.day or date.min, action.symbol, action.type.value, action.id


def _place(actions: Sequence[CorporateAction], end: int) -> ActionPosition:
    """Return where those of *actions* go on that are in order and were told up to *end*."""
    last = actions[end - 1]
    taken = end - bisect_left(actions, _order(last), key=_order)
    return ActionPosition(last.day, last.symbol, last.type, last.id, taken)


def _start(actions: Sequence[CorporateAction], place: ActionPosition | None) -> int:
    """Return where *actions* go on behind *place*, whatever was added to them since.

    Raises:
        InvalidRequest: there is nothing behind it any more.
    """
    if place is None:
        return 0
    key = place.day or date.min, place.symbol, place.type.value, place.id
    first, last = (bisect(actions, key, key=_order) for bisect in (bisect_left, bisect_right))
    start = min(first + place.taken, last)
    if start >= len(actions):
        rule = "the events that this page token leads to are gone: start again without one"
        raise InvalidRequest([("page_token", rule)])
    return start
