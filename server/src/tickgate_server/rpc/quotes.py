"""QuoteService."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tickgate.v1 import quote_pb2
from tickgate.v1 import quote_service_pb2 as pb

from ..market.answer import Answer, Freshness, Question
from ..market.provenance import Feed, Tier
from ..market.quote import Quote
from ..market.unavailable import Unavailable
from ..observe.counters import Counters
from ..observe.spans import span
from ..ports import Answers, LatestSource, QuoteSource, SnapshotSource, TradeSource
from . import encode
from .answers import settle
from .call import Call
from .convert import Moment
from .requests import Reader
from .served import Served

V = TypeVar("V")
Encode = Callable[[str, "Answer[V] | Unavailable", Moment], bytes]

_OneSymbol = pb.GetQuoteRequest | pb.GetLatestTradeRequest | pb.GetSnapshotRequest
_SeveralSymbols = pb.GetQuotesRequest | pb.GetLatestTradesRequest | pb.GetSnapshotsRequest
_Request = _OneSymbol | _SeveralSymbols

_REMEMBERED: Final = 512
"""Requests of each method whose reading is remembered: services ask the same again and again."""

_LONGEST_REMEMBERED: Final = 4096
"""Bytes of a request that is worth remembering: 200 symbols take some 2,400."""


class Asked(Struct, frozen=True):
    """A request, read and found in order."""

    symbols: tuple[str, ...]
    feed: Feed
    freshness: Freshness
    strict: bool
    min_quality: int = 0
    view: quote_pb2.QuoteView.ValueType = quote_pb2.QUOTE_VIEW_BASIC

    def question_of(self, call: Call) -> Question:
        """Return it as the question of one *call*.

        Raises:
            LimitExceeded: whose consumer may not ask for so many symbols.
        """
        call.check_batch(len(self.symbols))
        return Question(self.symbols, self.feed, call.deadline, self.freshness, self.min_quality)


class QuoteServicer:
    """Answers QuoteService from three latest sources."""

    def __init__(
        self,
        quotes: QuoteSource,
        trades: TradeSource,
        snapshots: SnapshotSource,
        default_feed: Feed,
        moment: Callable[[str], Moment],
        served: Served | None = None,
    ) -> None:
        """Ask *quotes*, *trades* and *snapshots*; *moment* makes the moment of one call's answer.

        What is *served* is counted.
        """
        self._served = served or Served(Counters())
        self._quotes = quotes
        self._trades = trades
        self._snapshots = snapshots
        self._default_feed = default_feed
        self._moment = moment

    def reading(self, decode: Callable[[bytes], _Request]) -> Callable[[bytes], Asked]:
        """Return what reads the requests that *decode* decodes. Bytes that were in order are not read again."""

        @lru_cache(maxsize=_REMEMBERED)
        def remembered(body: bytes) -> Asked:
            return self._read(decode(body))

        def read(body: bytes) -> Asked:
            return (
                remembered(body) if len(body) <= _LONGEST_REMEMBERED else self._read(decode(body))
            )

        return read

    def _read(self, request: _Request) -> Asked:
        reader = Reader()
        symbols = (
            (reader.symbol(request.symbol),)
            if isinstance(request, _OneSymbol)
            else reader.symbols(request.symbols)
        )
        feed = reader.stock_feed(
            request.feed if request.HasField("feed") else None, self._default_feed
        )
        freshness = reader.freshness(request.freshness if request.HasField("freshness") else None)
        asked = Asked(symbols, feed, freshness, request.strict)
        if isinstance(request, pb.GetQuoteRequest | pb.GetQuotesRequest):
            asked = replace(
                asked,
                min_quality=reader.min_quality(request.min_quality),
                view=reader.view(request.view if request.HasField("view") else None),
            )
        reader.done()
        return asked

    # These hand on what is to be awaited: a coroutine of their own would cost as much as a look into memory.

    def GetQuote(self, asked: Asked, call: Call) -> Awaitable[bytes]:  # noqa: N802
        """Answer with the latest quote of one symbol."""
        return self._quote(asked, call)

    def GetQuotes(self, asked: Asked, call: Call) -> Awaitable[bytes]:  # noqa: N802
        """Answer with the latest quotes of several symbols."""
        return self._quote(asked, call)

    def GetLatestTrade(self, asked: Asked, call: Call) -> Awaitable[bytes]:  # noqa: N802
        """Answer with the latest trade of one symbol."""
        return self._answer(self._trades, encode.trade_result, asked, call)

    def GetLatestTrades(self, asked: Asked, call: Call) -> Awaitable[bytes]:  # noqa: N802
        """Answer with the latest trades of several symbols."""
        return self._answer(self._trades, encode.trade_result, asked, call)

    def GetSnapshot(self, asked: Asked, call: Call) -> Awaitable[bytes]:  # noqa: N802
        """Answer with the snapshot of one symbol."""
        return self._answer(self._snapshots, encode.snapshot_result, asked, call)

    def GetSnapshots(self, asked: Asked, call: Call) -> Awaitable[bytes]:  # noqa: N802
        """Answer with the snapshots of several symbols."""
        return self._answer(self._snapshots, encode.snapshot_result, asked, call)

    def _quote(self, asked: Asked, call: Call) -> Awaitable[bytes]:
        if asked.view == quote_pb2.QUOTE_VIEW_BASIC:
            return self._answer(self._quotes, encode.quote_result, asked, call)
        if asked.view == quote_pb2.QUOTE_VIEW_DERIVED:
            return self._answer(self._quotes, encode.full_quote_result, asked, call)
        return self._quote_and_trade(asked, call)

    async def _quote_and_trade(self, asked: Asked, call: Call) -> bytes:
        # One waits for the other only as long as the slower takes.
        question = asked.question_of(call)
        quotes, trades = await asyncio.gather(
            self._quotes.latest(question), self._trades.latest(question)
        )

        def with_trade(symbol: str, outcome: Answer[Quote] | Unavailable, moment: Moment) -> bytes:
            return encode.full_quote_result(symbol, outcome, moment, trades[symbol])

        response = self._encode(quotes, with_trade, asked, call)
        call.from_upstream += sum(
            isinstance(trade, Answer) and trade.served_from is Tier.UPSTREAM
            for trade in trades.values()
        )
        return response

    async def _answer(
        self, source: LatestSource[V], encoder: Encode[V], asked: Asked, call: Call
    ) -> bytes:
        answers = await source.latest(asked.question_of(call))
        return self._encode(answers, encoder, asked, call)

    def _encode(self, answers: Answers[V], encoder: Encode[V], asked: Asked, call: Call) -> bytes:
        settle(call, asked.symbols, asked.feed, answers, strict=asked.strict)
        moment = self._moment(call.request_id)
        self._served.note(answers.values(), asked.feed, moment)
        with span("encode"):
            return encode.respond(
                [encoder(symbol, answers[symbol], moment) for symbol in asked.symbols]
            )
