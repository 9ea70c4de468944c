"""Alpaca's REST endpoints as the ports that the gateway asks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Final, Generic, TypeVar

import msgspec

from ...errors import UpstreamFailure, UpstreamRejected, UpstreamUnreadable
from ...ingress import rules
from ...ingress.gate import Gate
from ...ingress.records import RawBar, RawQuote, RawTrade, Receipt
from ...market.answer import Answer, Held, Question
from ...market.asset import AssetList, CodeKind, CodeTable
from ...market.bar import Bar
from ...market.provenance import DataSource, Feed, Provenance, Tier
from ...market.quote import Quote
from ...market.session import Calendar, ClockReading
from ...market.snapshot import Snapshot, SnapshotPart
from ...market.trade import Trade
from ...market.unavailable import Reason, Refusal, Unavailable
from ...observe.spans import span
from ...ports import Answers, Effort, Group, Reply, Request, Requests, Upstream
from . import parse

R = TypeVar("R", RawQuote, RawTrade, RawBar)
V = TypeVar("V")

_MOST_REJECTED: Final = 8
"""Symbols of one question that Alpaca may call invalid, one request each, before only those are asked for that its own
list of assets holds."""

_CODE_PATHS: Final = {
    CodeKind.EXCHANGE: "/v2/stocks/meta/exchanges",
    CodeKind.TRADE_CONDITION: "/v2/stocks/meta/conditions/trade",
    CodeKind.QUOTE_CONDITION: "/v2/stocks/meta/conditions/quote",
    CodeKind.OPTION_EXCHANGE: "/v1beta1/options/meta/exchanges",
    CodeKind.OPTION_TRADE_CONDITION: "/v1beta1/options/meta/conditions/trade",
    CodeKind.OPTION_QUOTE_CONDITION: "/v1beta1/options/meta/conditions/quote",
}

Admit = Callable[[str, msgspec.Raw, Receipt], "V | Unavailable | None"]
"""Turns one symbol's record into a value, or says why not; None when Alpaca sent nothing for it."""

Listed = Callable[[Sequence[str], float], Awaitable["Container[str] | None"]]
"""Gives, before a deadline, what tells which of some symbols the upstream lists; None when it cannot be had."""


class AlpacaLatest(Generic[V]):
    """One of the multi-symbol "latest" endpoints as a `LatestSource`.

    Alpaca leaves unknown symbols out of its answer, fails the whole request for one that it calls malformed, and sends
    null for one it has nothing about. Here each asked symbol gets its value or its own reason.
    """

    def __init__(
        self,
        requests: Requests,
        source: DataSource,
        endpoint: Endpoint[V],
        listed: Listed,
    ) -> None:
        """Ask *endpoint* over *requests*; values are *source*'s."""
        self._requests = requests
        self._source = source
        self._endpoint = endpoint
        self._listed = listed

    async def latest(self, question: Question) -> Answers[V]:
        """Return an answer for every symbol, with one request unless Alpaca calls a symbol malformed.

        More symbols than the endpoint takes in one request are several questions at once.
        """
        most, symbols = self._endpoint.most, question.symbols
        if len(symbols) <= most:
            return await self._latest(question)
        parts = [symbols[start : start + most] for start in range(0, len(symbols), most)]
        answers = await asyncio.gather(*(self._latest(question.about(part)) for part in parts))
        return {symbol: answer for part in answers for symbol, answer in part.items()}

    async def _latest(self, question: Question) -> Answers[V]:
        rejected: dict[str, Unavailable] = {}
        effort = Effort()
        while True:
            rest = [symbol for symbol in question.symbols if symbol not in rejected]
            if not rest:
                return rejected
            try:
                reply = await self._requests.send(self._request(rest, question, effort))
                with self._endpoint.gate.parsing.timing(), span("parse"):
                    answers = self._read(reply, rest, question.feed)
            except UpstreamRejected as failure:
                symbol = _rejected_symbol(failure, rest)
                if symbol is None or len(rejected) >= _MOST_REJECTED:
                    return {**rejected, **dict.fromkeys(rest, failure.unavailable())}
                listed = await self._listed(rest, _patience(question))
                rejected[symbol] = self._missing(symbol, failure.message, listed)
                if len(rejected) == _MOST_REJECTED and listed is not None:
                    # Others may have asked for the rest. Those that the list vouches for get one more request.
                    strangers = [one for one in rest if one != symbol and one not in listed]
                    rejected |= {
                        one: self._missing(one, failure.message, listed) for one in strangers
                    }
            except UpstreamFailure as failure:
                return {**rejected, **dict.fromkeys(rest, failure.unavailable())}
            else:
                return {**rejected, **await self._complete(answers, _patience(question))}

    def _request(self, symbols: Sequence[str], question: Question, effort: Effort) -> Request:
        return Request(
            upstream=Upstream.DATA,
            group=self._endpoint.group,
            path=self._endpoint.path,
            params={"symbols": ",".join(symbols), "feed": question.feed.value},
            deadline=question.deadline,
            effort=effort,
            wanted_until=question.wanted_until,
        )

    def _read(
        self, reply: Reply, asked: Sequence[str], feed: Feed
    ) -> dict[str, Answer[V] | Unavailable | None]:
        receipt = Receipt(self._source, feed, reply.receive_time, reply.request_id)
        with noted(self._endpoint.gate, f"latest {self._endpoint.name}s", reply):
            records = parse.records(reply.body, self._endpoint.wrapper)
        strangers = [symbol for symbol in records if symbol not in asked]
        answers: dict[str, Answer[V] | Unavailable | None] = {}
        for symbol in asked:
            if symbol in records:
                value = self._endpoint.admit(symbol, records[symbol], receipt)
            else:
                value = self._endpoint.mismatch(symbol, strangers, receipt)
            answers[symbol] = (
                value
                if value is None or isinstance(value, Unavailable)
                else Answer(Held(value, reply.received_at), Tier.UPSTREAM)
            )
        return answers

    async def _complete(
        self,
        answers: Mapping[str, Answer[V] | Unavailable | None],
        deadline: float,
    ) -> dict[str, Answer[V] | Unavailable]:
        # Asked once for all, so that received values do not wait for each missing one.
        nothing = [symbol for symbol, answer in answers.items() if answer is None]
        listed = await self._listed(nothing, deadline) if nothing else None
        return {
            symbol: answer
            or self._missing(symbol, f"{self._endpoint.name} of {symbol} not sent", listed)
            for symbol, answer in answers.items()
        }

    def _missing(self, symbol: str, why: str, listed: Container[str] | None) -> Unavailable:
        if listed is not None and symbol not in listed:
            return self._endpoint.unknown(symbol)
        # Without the list it may yet turn out to be unknown.
        return Unavailable(
            reason=Reason.NO_DATA, message=f"{symbol}: {why}", passing=listed is None
        )


def _patience(question: Question) -> float:
    """Return until when somebody waits for the answer, as far as is known, seconds of the monotonic clock."""
    if question.wanted_until is None:
        return question.deadline
    return min(question.deadline, question.wanted_until)


def unknown_symbol(symbol: str) -> Unavailable:
    """Return what is told of a stock that the upstream does not list."""
    return Unavailable(
        reason=Reason.SYMBOL_UNKNOWN, message=f"{symbol}: not in the upstream's list of assets"
    )


class Endpoint(msgspec.Struct, Generic[V], frozen=True):
    """A multi-symbol "latest" endpoint and how its records become values."""

    name: str
    """What it sends, for messages."""

    path: str
    wrapper: str
    """Key of the map in its answer; empty when the answer is the map."""

    admit: Admit[V]
    gate: Gate
    group: Group = Group.LATEST
    unknown: Callable[[str], Unavailable] = unknown_symbol
    """What is told of a symbol that the upstream does not list."""

    most: int = 500
    """Symbols of one request; with more the URL grows too long for Alpaca."""

    def mismatch(
        self, symbol: str, strangers: Sequence[str], receipt: Receipt
    ) -> Unavailable | None:
        """Return what is wrong when *symbol* is missing and *strangers* came instead; None when none came."""
        if not strangers:
            return None
        refusal = rules.check_symbol(strangers[0], symbol)
        return None if refusal is None else self.gate.refuse(refusal, self.name, symbol, receipt)


def quotes_endpoint(gate: Gate) -> Endpoint[Quote]:
    """Return the endpoint of latest quotes."""

    def admit(symbol: str, record: msgspec.Raw, receipt: Receipt) -> Quote | Unavailable | None:
        return _admit(gate, gate.quote, "quote", symbol, parse.quote(symbol, record), receipt)

    return Endpoint("quote", "/v2/stocks/quotes/latest", "quotes", admit, gate)


def trades_endpoint(gate: Gate) -> Endpoint[Trade]:
    """Return the endpoint of latest trades."""

    def admit(symbol: str, record: msgspec.Raw, receipt: Receipt) -> Trade | Unavailable | None:
        return _admit(gate, gate.trade, "trade", symbol, parse.trade(symbol, record), receipt)

    return Endpoint("trade", "/v2/stocks/trades/latest", "trades", admit, gate)


def snapshots_endpoint(gate: Gate) -> Endpoint[Snapshot]:
    """Return the endpoint of snapshots."""

    def admit(symbol: str, record: msgspec.Raw, receipt: Receipt) -> Snapshot | Unavailable | None:
        parts = parse.snapshot_parts(record)
        if isinstance(parts, Refusal):
            return gate.refuse(parts, "snapshot", symbol, receipt)
        return _assemble(gate, symbol, parts, receipt)

    return Endpoint("snapshot", "/v2/stocks/snapshots", "", admit, gate)


class AlpacaReference:
    """Assets, calendar, codes and clock as Alpaca tells them."""

    def __init__(
        self, requests: Requests, source_of: Mapping[Upstream, DataSource], gate: Gate
    ) -> None:
        """Ask over *requests*; what each upstream says is by *source_of*, and *gate* counts what cannot be read."""
        self._gate = gate
        self._requests = requests
        self._source_of = source_of

    async def assets(self, deadline: float) -> AssetList:
        """Return every US stock that Alpaca lists, active or not."""
        reply = await self._ask(
            Upstream.TRADING, "/v2/assets", {"asset_class": "us_equity"}, deadline
        )
        provenance = self._provenance(Upstream.TRADING, reply)
        with noted(self._gate, "assets", reply):
            # Some fifteen thousand entries take a tenth of a second, in which no call would be answered.
            found, unread = await asyncio.to_thread(parse.assets, reply.body)
        self._gate.refuse_answer(unread, "assets", reply.request_id)
        return AssetList(found, provenance)

    async def calendar(self, start: date, end: date, deadline: float) -> Calendar:
        """Return the trading days from *start* up to and without *end*."""
        # Alpaca's end belongs to the range.
        params = {"start": start.isoformat(), "end": (end - timedelta(days=1)).isoformat()}
        reply = await self._ask(Upstream.TRADING, "/v2/calendar", params, deadline)
        with noted(self._gate, "calendar", reply):
            days = parse.trading_days(reply.body)
        return Calendar(days, self._provenance(Upstream.TRADING, reply))

    async def clock(self, deadline: float) -> ClockReading:
        """Return what Alpaca's clock says."""
        reply = await self._ask(Upstream.TRADING, "/v2/clock", {}, deadline)
        provenance = self._provenance(Upstream.TRADING, reply)
        with noted(self._gate, "clock", reply):
            return parse.clock(reply.body, provenance)

    async def codes(self, kind: CodeKind, tape: str, deadline: float) -> CodeTable:
        """Return a table of codes."""
        params = {"tape": tape} if tape else {}
        reply = await self._ask(Upstream.DATA, _CODE_PATHS[kind], params, deadline)
        with noted(self._gate, "codes", reply):
            names = parse.names(reply.body)
        return CodeTable(names, self._provenance(Upstream.DATA, reply))

    async def _ask(
        self, upstream: Upstream, path: str, params: Mapping[str, str], deadline: float
    ) -> Reply:
        return await self._requests.send(Request(upstream, Group.REFERENCE, path, params, deadline))

    def _provenance(self, upstream: Upstream, reply: Reply) -> Provenance:
        return Provenance(
            source=self._source_of[upstream],
            feed=None,
            event_time=None,
            receive_time=reply.receive_time,
            upstream_request_id=reply.request_id,
        )


@contextmanager
def noted(gate: Gate, what: str, reply: Reply) -> Iterator[None]:
    """Let *gate* count and note an answer that cannot be read in the block."""
    try:
        yield
    except UpstreamUnreadable as failure:
        gate.refuse_answer([failure.refusal], what, reply.request_id)
        raise


def _rejected_symbol(failure: UpstreamRejected, asked: Sequence[str]) -> str | None:
    named = re.fullmatch(r"invalid symbol: (\S+)", failure.said)
    return named[1] if named and named[1] in asked else None


def _admit(
    gate: Gate,
    admit: Callable[[R, str, Receipt], V | Unavailable],
    what: str,
    symbol: str,
    raw: R | Refusal | None,
    receipt: Receipt,
) -> V | Unavailable | None:
    if raw is None:
        return None
    if isinstance(raw, Refusal):
        return gate.refuse(raw, what, symbol, receipt)
    return admit(raw, symbol, receipt)


def _assemble(
    gate: Gate, symbol: str, parts: Mapping[SnapshotPart, msgspec.Raw], receipt: Receipt
) -> Snapshot | Unavailable | None:
    def part(
        which: SnapshotPart,
        read: Callable[[str, msgspec.Raw], R | Refusal | None],
        admit: Callable[[R, str, Receipt], V | Unavailable],
    ) -> V | None:
        record = parts.get(which)
        raw = None if record is None else read(symbol, record)
        value = _admit(gate, admit, which.value, symbol, raw, receipt)
        if value is None:
            missing[which] = Unavailable(
                reason=Reason.NO_DATA, message=f"{symbol}: {which.value} not sent"
            )
            return None
        if isinstance(value, Unavailable):
            missing[which] = value
            return None
        return value

    def daily_bar(which: SnapshotPart) -> Bar | None:
        return part(which, parse.bar, gate.daily_bar)

    missing: dict[SnapshotPart, Unavailable] = {}
    # The quote first: it is the trade that is judged by the quote beside it, and the bars by the trade.
    latest_quote = part(SnapshotPart.LATEST_QUOTE, parse.quote, gate.quote)
    snapshot = Snapshot(
        symbol=symbol,
        latest_trade=part(SnapshotPart.LATEST_TRADE, parse.trade, gate.trade),
        latest_quote=latest_quote,
        minute_bar=part(SnapshotPart.MINUTE_BAR, parse.bar, gate.bar),
        daily_bar=daily_bar(SnapshotPart.DAILY_BAR),
        previous_daily_bar=daily_bar(SnapshotPart.PREVIOUS_DAILY_BAR),
        missing=missing,
    )
    if len(missing) < len(SnapshotPart):
        return snapshot
    return next((why for why in missing.values() if why.refusal is not None), None)
