"""OptionService."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import date, timedelta
from typing import Final

from msgspec import Struct, structs

from tickgate.v1 import option_pb2
from tickgate.v1 import option_service_pb2 as pb

from ..errors import InvalidRequest, UpstreamFailure
from ..market.answer import Answer, Question
from ..market.chain import Chain, Entry, Selection
from ..market.expiry import Expiries, market_date
from ..market.occ import parse_occ
from ..market.option import (
    ContractFilter,
    ContractList,
    ContractScope,
    ContractStatus,
    OptionQuote,
    active_scope,
)
from ..market.provenance import Feed, Tier
from ..market.trade import Trade
from ..market.unavailable import Reason, Unavailable
from ..observe.counters import Counters
from ..ports import ChainQuestion, ChainSource, ContractSource, OptionSource, TradeSource
from . import convert, encode_options
from . import convert_options as to
from .answers import miss, settle
from .call import Call
from .convert import Moment
from .convert_options import TermsBook
from .option_requests import ChainWanted, OptionReader
from .paging import ChainPosition, ContractPosition, encode_token
from .served import Served

_A_YEAR: Final = timedelta(days=366)

_TERMS_SHARE: Final = 0.5
"""Share of a caller's time that terms may take."""

_CHUNK: Final = 500
"""Contracts of one chunk at most."""

_FIRST_CHUNK: Final = 50
"""Contracts of the first, so that a reader has something to do at once."""

_MOST_ROOTS: Final = 20
"""Roots of whose contracts one call asks the terms."""

_NOT_ASKED: Final = Unavailable(
    reason=Reason.NO_DATA,
    message=(
        f"its terms were not asked for: a call asks for those of {_MOST_ROOTS} roots, and of none that has expired"
    ),
)
"""What is told of the terms of a contract of too many roots, or about whose end the gateway has just learned
otherwise."""


class OptionSources(Struct, frozen=True):
    """Who answers."""

    quotes: OptionSource
    chains: ChainSource
    contracts: ContractSource
    trades: TradeSource
    """Of stocks, for the price of an underlying."""

    expiries: Callable[[float], Awaitable[Expiries]]
    """Gives, before a deadline, the last trading moments of contracts."""


_Book = TermsBook | Unavailable | None
"""Terms, why they cannot be had, or None where nobody asked."""


class _Found(Struct, frozen=True):
    """A chain as a caller wants it, at one moment."""

    chain: Chain
    selection: Selection
    price: Trade | None
    book: _Book
    served_from: Tier


class _ContractQuery(Struct, frozen=True):
    """A request for contracts, read and found in order, but for the page."""

    underlying: str
    status: ContractStatus
    wanted: ContractFilter
    deliverables: bool


class OptionServicer:
    """Answers OptionService."""

    def __init__(
        self,
        sources: OptionSources,
        option_feed: Feed,
        stock_feed: Feed,
        moment: Callable[[str], Moment],
        served: Served | None = None,
    ) -> None:
        """Ask *sources*, on the feeds of the settings; *moment* makes the moment of one call's answer.

        What is *served* is counted.
        """
        self._served = served or Served(Counters())
        self._sources = sources
        self._option_feed = option_feed
        self._stock_feed = stock_feed
        self._moment = moment

    # ----------------------------------------------------------------------------- option quotes

    async def GetOptionQuote(  # noqa: N802
        self, request: pb.GetOptionQuoteRequest, call: Call
    ) -> bytes:
        """Answer with what is known of one contract."""
        reader = OptionReader()
        symbols = (reader.contract(request.symbol),)
        results = await self._quotes(request, symbols, reader, call)
        return pb.GetOptionQuoteResponse(result=results[0]).SerializeToString()

    async def GetOptionQuotes(  # noqa: N802
        self, request: pb.GetOptionQuotesRequest, call: Call
    ) -> bytes:
        """Answer with what is known of several contracts."""
        reader = OptionReader()
        symbols = reader.contracts(request.symbols)
        results = await self._quotes(request, symbols, reader, call)
        return pb.GetOptionQuotesResponse(results=results).SerializeToString()

    async def _quotes(
        self,
        request: pb.GetOptionQuoteRequest | pb.GetOptionQuotesRequest,
        symbols: tuple[str, ...],
        reader: OptionReader,
        call: Call,
    ) -> list[option_pb2.OptionQuoteResult]:
        feed = reader.option_feed(
            request.feed if request.HasField("feed") else None, self._option_feed
        )
        view = reader.option_view(request.view if request.HasField("view") else None)
        freshness = reader.never_stale(
            reader.freshness(request.freshness if request.HasField("freshness") else None)
        )
        reader.done()
        call.check_batch(len(symbols))
        question = Question(symbols, feed, call.deadline, freshness)
        full = view == option_pb2.OPTION_VIEW_FULL
        roots = await self._roots(symbols, call.deadline) if full else ()
        answers, books = await asyncio.gather(
            self._sources.quotes.latest(question),
            self._books([self._active(root=root) for root in roots], call),
        )
        settle(call, symbols, feed, answers, strict=request.strict)
        book_of = dict(zip(roots, books, strict=True))
        moment = self._moment(call.request_id)
        self._served.note(answers.values(), feed, moment)
        return [
            _result(
                symbol,
                answers[symbol],
                moment,
                book_of.get(parse_occ(symbol).root, _NOT_ASKED) if full else None,
            )
            for symbol in symbols
        ]

    async def _roots(self, symbols: Sequence[str], deadline: float) -> tuple[str, ...]:
        """Return the roots of those of *symbols* that still trade: of the others no terms are told."""
        expiries, now = await self._sources.expiries(deadline), self._moment("").market
        alive = [occ for occ in map(parse_occ, symbols) if not expiries.has_expired(occ, now)]
        # Each root is a list, and a request for it: the first few are all that one call may cost.
        return tuple(dict.fromkeys(occ.root for occ in alive))[:_MOST_ROOTS]

    async def _books(
        self, scopes: Sequence[ContractScope], call: Call
    ) -> list[TermsBook | Unavailable]:
        # Terms come beside values, which are not to be late because a list is.
        now = self._moment("").monotonic
        patience = now + _TERMS_SHARE * max(0.0, call.deadline - now)
        return await asyncio.gather(*(self._book(scope, patience) for scope in scopes))

    async def _book(self, scope: ContractScope, deadline: float) -> TermsBook | Unavailable:
        try:
            listed = await self._sources.contracts.contracts(scope, deadline)
        except UpstreamFailure as failure:
            return failure.unavailable()
        if isinstance(listed, Unavailable):
            return listed
        return TermsBook(listed, await self._sources.expiries(deadline))

    # ------------------------------------------------------------------------------------ chains

    async def GetOptionChain(  # noqa: N802
        self, request: pb.GetOptionChainRequest, call: Call
    ) -> bytes:
        """Answer with a page of a chain."""
        reader = OptionReader()
        wanted = reader.chain(request, self._option_feed)
        size = reader.page_size(request.page_size)
        position = reader.chain_position(request.page_token, wanted)
        reader.done()
        found = await self._find(wanted, call, position.price if position is not None else None)
        moment = self._moment(call.request_id)
        if isinstance(found, Unavailable):
            miss(found, call, strict=request.strict, symbol=wanted.underlying, feed=wanted.feed)
            why = convert.unavailable(found, moment)
            return pb.GetOptionChainResponse(unavailable=why).SerializeToString()
        entries = found.selection.entries
        if position is not None:
            entries = entries[_behind(entries, position.after) :]
        encoded = self._encoded(entries, found, wanted, moment)
        # Behind the last contract of the page before there may be none any more.
        bundle, count = next(
            encode_options.bundles(encoded, encode_options.IN_PAGE, size), (b"", 0)
        )
        page = option_pb2.OptionChainPage(header=_header(found, moment))
        if count < len(entries):
            after = ChainPosition(entries[count - 1].quote.symbol, found.price)
            page.next_page_token = encode_token(wanted, after)
        _count(call, found, count)
        return encode_options.page_response(page, bundle)

    async def StreamOptionChain(  # noqa: N802
        self, request: pb.StreamOptionChainRequest, call: Call
    ) -> AsyncGenerator[bytes, None]:
        """Answer with all of a chain that matches: header, chunks, end."""
        reader = OptionReader()
        wanted = reader.chain(request, self._option_feed)
        reader.done()
        found = await self._find(wanted, call, None)
        moment = self._moment(call.request_id)
        if isinstance(found, Unavailable):
            miss(found, call, strict=request.strict, symbol=wanted.underlying, feed=wanted.feed)
            why = convert.unavailable(found, moment)
            yield pb.StreamOptionChainResponse(unavailable=why).SerializeToString()
            return
        header = _header(found, moment)
        yield pb.StreamOptionChainResponse(header=header).SerializeToString()
        entries = found.selection.entries
        for some, most in (
            (entries[:_FIRST_CHUNK], _FIRST_CHUNK),
            (entries[_FIRST_CHUNK:], _CHUNK),
        ):
            encoded = self._encoded(some, found, wanted, moment)
            for bundle, _ in encode_options.bundles(encoded, encode_options.IN_CHUNK, most):
                yield encode_options.chunk(bundle)
        _count(call, found, len(entries))
        end = pb.OptionChainEnd(count=len(entries))
        yield pb.StreamOptionChainResponse(end=end).SerializeToString()

    async def _find(
        self, wanted: ChainWanted, call: Call, price: Trade | None
    ) -> _Found | Unavailable:
        """Return what *wanted* takes of the chain, or why there is nothing; *price* is one that is kept."""
        call.symbols, call.feed = (wanted.underlying,), wanted.feed
        question = ChainQuestion(wanted.underlying, wanted.feed, wanted.max_age, call.deadline)
        scopes = [self._active(wanted.underlying)] if _is_full(wanted) else []
        answer, priced, books = await asyncio.gather(
            self._sources.chains.chain(question),
            self._price(wanted, price, call.deadline),
            self._books(scopes, call),
        )
        if isinstance(answer, Unavailable):
            return answer
        if isinstance(priced, Unavailable):
            return priced
        chain, served_from = answer
        selection = chain.select(wanted.filter, priced)
        if not selection.entries:
            return _nothing_matches(chain, selection)
        return _Found(chain, selection, priced, books[0] if books else None, served_from)

    async def _price(
        self, wanted: ChainWanted, kept: Trade | None, deadline: float
    ) -> Trade | Unavailable | None:
        if wanted.filter.around is None:
            return None
        if kept is not None:
            return kept
        symbol = wanted.underlying
        question = Question((symbol,), self._stock_feed, deadline)
        answer = (await self._sources.trades.latest(question))[symbol]
        return answer.value if isinstance(answer, Answer) else answer

    def _encoded(
        self, entries: Sequence[Entry], found: _Found, wanted: ChainWanted, moment: Moment
    ) -> encode_options.Encoded:
        return encode_options.option_quotes(
            entries,
            wanted.underlying,
            moment,
            found.book if isinstance(found.book, TermsBook) else None,
            full=_is_full(wanted),
        )

    # --------------------------------------------------------------------------------- contracts

    async def ListOptionContracts(  # noqa: N802
        self, request: pb.ListOptionContractsRequest, call: Call
    ) -> bytes:
        """Answer with a page of contracts."""
        reader = OptionReader()
        underlying = reader.underlying(request.underlying_symbol)
        status = reader.contract_status(request.status if request.HasField("status") else None)
        wanted = reader.contract_filter(request)
        size = reader.page_size(request.page_size)
        query = _ContractQuery(underlying, status, wanted, request.show_deliverables)
        position = reader.page_token(request.page_token, query, ContractPosition)
        reader.done()
        call.symbols = (underlying,)
        found = await self._list(query, call)
        moment = self._moment(call.request_id)
        if isinstance(found, Unavailable):
            miss(found, call, strict=request.strict, symbol=underlying)
            why = convert.unavailable(found, moment)
            return pb.ListOptionContractsResponse(unavailable=why).SerializeToString()
        expiries = await self._sources.expiries(call.deadline)
        page = _contract_page(found, query, position, size, expiries, moment)
        call.asked = call.given = len(page.contracts)
        return pb.ListOptionContractsResponse(page=page).SerializeToString()

    async def _list(self, query: _ContractQuery, call: Call) -> ContractList | Unavailable:
        try:
            listed = await self._sources.contracts.contracts(self._scope(query), call.deadline)
        except UpstreamFailure as failure:
            return failure.unavailable()
        if isinstance(listed, Unavailable) or listed.matching(query.wanted):
            return listed
        return Unavailable(
            reason=Reason.NO_DATA,
            message=(
                f"{query.underlying}: none of its {len(listed)} {query.status.value} contracts matches"
                if len(listed)
                else f"{query.underlying}: no {query.status.value} contract is listed{_in_range(query.wanted)}"
            ),
        )

    def _scope(self, query: _ContractQuery) -> ContractScope:
        scope = self._active(query.underlying)
        if query.status is ContractStatus.INACTIVE:
            today, wanted = self._today(), query.wanted
            start = wanted.start or today - _A_YEAR
            # The upstream's end belongs to the range.
            end = today if wanted.end is None else wanted.end - timedelta(days=1)
            scope = ContractScope(
                start, max(start, end), query.underlying, status=ContractStatus.INACTIVE
            )
        return structs.replace(scope, deliverables=query.deliverables)

    def _active(self, underlying: str = "", root: str = "") -> ContractScope:
        return active_scope(self._today(), underlying, root)

    def _today(self) -> date:
        return market_date(self._moment("").market)


def _result(
    symbol: str,
    answer: Answer[OptionQuote] | Unavailable,
    moment: Moment,
    book: _Book,
) -> option_pb2.OptionQuoteResult:
    if isinstance(answer, Unavailable):
        why = convert.unavailable(answer, moment)
        return option_pb2.OptionQuoteResult(symbol=symbol, unavailable=why)
    terms = book.find(symbol) if isinstance(book, TermsBook) else book
    quote = to.option_quote(answer, moment, terms, full=book is not None)
    return option_pb2.OptionQuoteResult(symbol=symbol, option_quote=quote)


def _is_full(wanted: ChainWanted) -> bool:
    return wanted.view == option_pb2.OPTION_VIEW_FULL


def _behind(entries: Sequence[Entry], symbol: str) -> int:
    """Return where *entries* go on behind the contract *symbol*, which may not be among them any more."""
    return bisect_right(entries, parse_occ(symbol).order, key=lambda entry: entry.occ.order)


def _header(found: _Found, moment: Moment) -> option_pb2.OptionChainHeader:
    header = to.chain_header(found.chain, found.selection, found.served_from, moment)
    if found.price is not None:
        header.underlying_price.CopyFrom(convert.trade(found.price))
    if isinstance(found.book, TermsBook):
        listed = found.book.listed
        header.missing.open_interests = sum(
            (terms := listed.get(entry.quote.symbol)) is None or terms.open_interest is None
            for entry in found.selection.entries
        )
    elif found.book is not None:
        header.contracts_unavailable.CopyFrom(convert.unavailable(found.book, moment))
        header.missing.open_interests = len(found.selection.entries)
    return header


def _nothing_matches(chain: Chain, selection: Selection) -> Unavailable:
    message = f"{chain.underlying}: none of its {len(chain.entries)} contracts matches the filter"
    if selection.without_delta:
        message += (
            f"; {selection.without_delta} match but for the band of delta, of which the upstream"
            " sent no delta"
        )
    if chain.expired:
        message += f"; {chain.expired} others have expired"
    if not chain.entries:
        message = (
            f"{chain.underlying}: none of the contracts that the upstream sent is a market value"
            f" ({chain.refused} refused, {chain.expired} expired)"
        )
    return Unavailable(reason=Reason.NO_DATA, message=message)


def _count(call: Call, found: _Found, given: int) -> None:
    call.asked = call.given = given
    call.tiers, call.feed = (found.served_from,) * given, found.chain.feed
    call.from_upstream = given if found.served_from is Tier.UPSTREAM else 0


def _in_range(wanted: ContractFilter) -> str:
    return " in that range" if wanted.start or wanted.end else ""


def _contract_page(
    listed: ContractList,
    query: _ContractQuery,
    position: ContractPosition | None,
    size: int,
    expiries: Expiries,
    moment: Moment,
) -> option_pb2.OptionContractPage:
    list_time, found = listed.provenance.receive_time, listed.matching(query.wanted)
    offset = 0 if position is None else position.offset
    if position is not None and (position.list_time != list_time or offset >= len(found)):
        rule = "the list has been replaced since this page token was made: start again without one"
        raise InvalidRequest([("page_token", rule)])
    book = TermsBook(listed, expiries)
    page = option_pb2.OptionContractPage(
        contracts=[to.contract(book.terms(one), moment) for one in found[offset : offset + size]],
        total_size=len(found),
        refused=listed.refusals,
        provenance=convert.served_provenance(listed.provenance, moment),
    )
    if offset + size < len(found):
        page.next_page_token = encode_token(query, ContractPosition(list_time, offset + size))
    return page
