"""QuoteService."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from tickgate.v1 import quote_pb2
from tickgate.v1 import quote_service_pb2 as pb

from ..market.answer import Answer, Question
from ..market.provenance import Feed, Tier
from ..market.quote import Quote
from ..market.unavailable import Unavailable
from ..ports import Answers, LatestSource, QuoteSource, SnapshotSource, TradeSource
from . import encode
from .calls import Call, StrictRefusal
from .convert import Moment
from .requests import Reader

V = TypeVar("V")
Encode = Callable[[str, "Answer[V] | Unavailable", Moment], bytes]

_QuoteRequest = pb.GetQuoteRequest | pb.GetQuotesRequest
_OtherRequest = (
    pb.GetLatestTradeRequest
    | pb.GetLatestTradesRequest
    | pb.GetSnapshotRequest
    | pb.GetSnapshotsRequest
)


class QuoteServicer:
    """Answers QuoteService from three latest sources."""

    def __init__(
        self,
        quotes: QuoteSource,
        trades: TradeSource,
        snapshots: SnapshotSource,
        default_feed: Feed,
        moment: Callable[[str], Moment],
    ) -> None:
        """Ask *quotes*, *trades* and *snapshots*; *moment* makes the moment of one call's answer."""
        self._quotes = quotes
        self._trades = trades
        self._snapshots = snapshots
        self._default_feed = default_feed
        self._moment = moment

    async def GetQuote(self, request: pb.GetQuoteRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with the latest quote of one symbol."""
        reader = Reader()
        return await self._quote(reader, (reader.symbol(request.symbol),), request, call)

    async def GetQuotes(self, request: pb.GetQuotesRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with the latest quotes of several symbols."""
        reader = Reader()
        return await self._quote(reader, reader.symbols(request.symbols), request, call)

    async def GetLatestTrade(  # noqa: N802
        self, request: pb.GetLatestTradeRequest, call: Call
    ) -> bytes:
        """Answer with the latest trade of one symbol."""
        reader = Reader()
        question = self._question(reader, (reader.symbol(request.symbol),), request, call)
        return await self._answer(self._trades, encode.trade_result, question, request, call)

    async def GetLatestTrades(  # noqa: N802
        self, request: pb.GetLatestTradesRequest, call: Call
    ) -> bytes:
        """Answer with the latest trades of several symbols."""
        reader = Reader()
        question = self._question(reader, reader.symbols(request.symbols), request, call)
        return await self._answer(self._trades, encode.trade_result, question, request, call)

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with the snapshot of one symbol."""
        reader = Reader()
        question = self._question(reader, (reader.symbol(request.symbol),), request, call)
        return await self._answer(self._snapshots, encode.snapshot_result, question, request, call)

    async def GetSnapshots(  # noqa: N802
        self, request: pb.GetSnapshotsRequest, call: Call
    ) -> bytes:
        """Answer with the snapshots of several symbols."""
        reader = Reader()
        question = self._question(reader, reader.symbols(request.symbols), request, call)
        return await self._answer(self._snapshots, encode.snapshot_result, question, request, call)

    async def _quote(
        self, reader: Reader, symbols: tuple[str, ...], request: _QuoteRequest, call: Call
    ) -> bytes:
        view = reader.view(request.view if request.HasField("view") else None)
        min_quality = reader.min_quality(request.min_quality)
        question = self._question(reader, symbols, request, call, min_quality)
        if view == quote_pb2.QUOTE_VIEW_BASIC:
            return await self._answer(self._quotes, encode.quote_result, question, request, call)
        if view == quote_pb2.QUOTE_VIEW_DERIVED:
            return await self._answer(
                self._quotes, encode.full_quote_result, question, request, call
            )
        # One waits for the other only as long as the slower takes.
        quotes, trades = await asyncio.gather(
            self._quotes.latest(question), self._trades.latest(question)
        )

        def with_trade(symbol: str, outcome: Answer[Quote] | Unavailable, moment: Moment) -> bytes:
            return encode.full_quote_result(symbol, outcome, moment, trades[symbol])

        return self._encode(quotes, with_trade, question, request, call)

    def _question(
        self,
        reader: Reader,
        symbols: tuple[str, ...],
        request: _QuoteRequest | _OtherRequest,
        call: Call,
        min_quality: int = 0,
    ) -> Question:
        feed = reader.stock_feed(
            request.feed if request.HasField("feed") else None, self._default_feed
        )
        freshness = reader.freshness(request.freshness if request.HasField("freshness") else None)
        reader.done()
        return Question(symbols, feed, call.deadline, freshness, min_quality)

    async def _answer(
        self,
        source: LatestSource[V],
        encoder: Encode[V],
        question: Question,
        request: _QuoteRequest | _OtherRequest,
        call: Call,
    ) -> bytes:
        return self._encode(await source.latest(question), encoder, question, request, call)

    def _encode(
        self,
        answers: Answers[V],
        encoder: Encode[V],
        question: Question,
        request: _QuoteRequest | _OtherRequest,
        call: Call,
    ) -> bytes:
        _note(call, question.symbols, answers)
        if request.strict:
            _refuse_missing(question.symbols, answers)
        moment = self._moment(call.request_id)
        return encode.respond(
            [encoder(symbol, answers[symbol], moment) for symbol in question.symbols]
        )


def _refuse_missing(symbols: Sequence[str], answers: Answers[V]) -> None:
    for symbol in symbols:
        answer = answers[symbol]
        if isinstance(answer, Unavailable):
            raise StrictRefusal(answer, symbol)


def _note(call: Call, symbols: Sequence[str], answers: Answers[V]) -> None:
    call.asked = len(symbols)
    for symbol in symbols:
        answer = answers[symbol]
        if isinstance(answer, Unavailable):
            call.reason = call.reason or answer.reason.name
            continue
        call.given += 1
        if answer.served_from is Tier.UPSTREAM:
            call.from_upstream += 1
