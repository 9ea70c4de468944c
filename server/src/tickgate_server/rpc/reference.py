"""ReferenceService."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tickgate.v1 import asset_pb2, unavailable_pb2
from tickgate.v1 import reference_service_pb2 as pb

from ..errors import InvalidRequest, UpstreamFailure
from ..market.asset import AssetList, AssetQuery
from ..market.unavailable import Reason, Unavailable
from ..ports import MarketTimes, ReferenceSource
from . import convert
from .answers import miss
from .call import Call
from .convert import Moment
from .paging import AssetPosition, encode_token
from .requests import Reader

T = TypeVar("T")


class ReferenceServicer:
    """Answers ReferenceService from reference data and the market's clock."""

    def __init__(
        self, reference: ReferenceSource, times: MarketTimes, moment: Callable[[str], Moment]
    ) -> None:
        """Ask *reference* and *times*; *moment* makes the moment of one call's answer."""
        self._reference = reference
        self._times = times
        self._moment = moment

    async def ListAssets(self, request: pb.ListAssetsRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with a page of the assets that match."""
        reader = Reader()
        query = AssetQuery(
            words=reader.words(request.query),
            status=reader.asset_status(request.status if request.HasField("status") else None),
            exchange=reader.filter("exchange", request.exchange),
            attribute=reader.filter("attribute", request.attribute),
        )
        size = reader.page_size(request.page_size)
        start = reader.page_token(request.page_token, query, AssetPosition)
        reader.done()
        assets = await _ask(self._reference.assets(call.deadline), call, strict=request.strict)
        moment = self._moment(call.request_id)
        if isinstance(assets, Unavailable):
            why = convert.unavailable(assets, moment)
            return pb.ListAssetsResponse(unavailable=why).SerializeToString()
        page = _page(assets, query, start, size, moment)
        return pb.ListAssetsResponse(page=page).SerializeToString()

    async def GetAsset(self, request: pb.GetAssetRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with one asset."""
        reader = Reader()
        symbol = reader.symbol(request.symbol)
        reader.done()
        call.symbols = (symbol,)
        assets = await _ask(
            self._reference.assets(call.deadline), call, strict=request.strict, symbol=symbol
        )
        moment = self._moment(call.request_id)
        result = asset_pb2.AssetResult(symbol=symbol)
        if isinstance(assets, Unavailable):
            result.unavailable.CopyFrom(convert.unavailable(assets, moment))
        else:
            self._look_up(symbol, assets, result, moment, call, strict=request.strict)
        return pb.GetAssetResponse(result=result).SerializeToString()

    def _look_up(
        self,
        symbol: str,
        assets: AssetList,
        result: asset_pb2.AssetResult,
        moment: Moment,
        call: Call,
        *,
        strict: bool,
    ) -> None:
        asset = assets.get(symbol)
        result.provenance.CopyFrom(convert.served_provenance(assets.provenance, moment))
        if asset is not None:
            result.asset.CopyFrom(convert.asset(asset))
            return
        why = Unavailable(
            reason=Reason.SYMBOL_UNKNOWN,
            message=f"{symbol}: not in the upstream's list of assets",
        )
        miss(why, call, strict=strict, symbol=symbol)
        result.unavailable.CopyFrom(convert.unavailable(why, moment))

    async def GetMarketClock(  # noqa: N802
        self, request: pb.GetMarketClockRequest, call: Call
    ) -> bytes:
        """Answer with the market's time."""
        now = await _ask(self._times.now(call.deadline), call, strict=request.strict)
        moment = self._moment(call.request_id)
        if isinstance(now, Unavailable):
            why = convert.unavailable(now, moment)
            return pb.GetMarketClockResponse(unavailable=why).SerializeToString()
        clock = convert.market_clock(now, moment)
        return pb.GetMarketClockResponse(clock=clock).SerializeToString()

    async def ListMarketSessions(  # noqa: N802
        self, request: pb.ListMarketSessionsRequest, call: Call
    ) -> bytes:
        """Answer with the trading days of a range."""
        reader = Reader()
        start, end = reader.days(
            request.start_date if request.HasField("start_date") else None,
            request.end_date if request.HasField("end_date") else None,
        )
        reader.done()
        calendar = await _ask(
            self._reference.calendar(start, end, call.deadline), call, strict=request.strict
        )
        moment = self._moment(call.request_id)
        if isinstance(calendar, Unavailable):
            return _no_days(calendar, moment)
        days = calendar.between(start, end)
        if not days:
            why = Unavailable(
                reason=Reason.NO_DATA, message=f"no trading day from {start} up to {end}"
            )
            miss(why, call, strict=request.strict)
            return _no_days(why, moment)
        found = pb.TradingDays(
            days=[convert.trading_day(day) for day in days],
            provenance=convert.served_provenance(calendar.provenance, moment),
        )
        return pb.ListMarketSessionsResponse(days=found).SerializeToString()

    async def ListCodes(self, request: pb.ListCodesRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with a table of codes."""
        reader = Reader()
        kind, tape = reader.codes(request.kind, request.tape)
        reader.done()
        table = await _ask(
            self._reference.codes(kind, tape, call.deadline), call, strict=request.strict
        )
        moment = self._moment(call.request_id)
        if isinstance(table, Unavailable):
            why = convert.unavailable(table, moment)
            return pb.ListCodesResponse(unavailable=why).SerializeToString()
        codes = convert.code_table(table, moment)
        return pb.ListCodesResponse(table=codes).SerializeToString()


async def _ask(
    answer: Awaitable[T], call: Call, *, strict: bool, symbol: str = ""
) -> T | Unavailable:
    call.asked = 1
    try:
        value = await answer
    except UpstreamFailure as failure:
        why = failure.unavailable()
        miss(why, call, strict=strict, symbol=symbol)
        return why
    call.given = 1
    return value


def _no_days(why: Unavailable, moment: Moment) -> bytes:
    unavailable: unavailable_pb2.DataUnavailable = convert.unavailable(why, moment)
    return pb.ListMarketSessionsResponse(unavailable=unavailable).SerializeToString()


def _page(
    assets: AssetList, query: AssetQuery, start: AssetPosition | None, size: int, moment: Moment
) -> asset_pb2.AssetPage:
    list_time, found = assets.provenance.receive_time, assets.matching(query)
    offset = 0 if start is None else start.offset
    if start is not None and (start.list_time != list_time or offset >= len(found)):
        rule = "the list has been replaced since this page token was made: start again without one"
        raise InvalidRequest([("page_token", rule)])
    page = asset_pb2.AssetPage(
        assets=[convert.asset(asset) for asset in found[offset : offset + size]],
        total_size=len(found),
        provenance=convert.served_provenance(assets.provenance, moment),
    )
    if offset + size < len(found):
        page.next_page_token = encode_token(query, AssetPosition(list_time, offset + size))
    return page
