"""Alpaca's option endpoints as the ports that the gateway asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeVar

import msgspec

from ...errors import UpstreamRejected, UpstreamUnreadable
from ...ingress import rules
from ...ingress.gate import Gate
from ...ingress.options import OptionGate
from ...ingress.records import RawOption, Receipt
from ...market.answer import Held
from ...market.expiry import market_date
from ...market.option import (
    FARTHEST_EXPIRY,
    ContractList,
    ContractScope,
    OptionContract,
    OptionQuote,
)
from ...market.provenance import DataSource, Feed, Provenance
from ...market.time import format_rfc3339
from ...market.unavailable import Reason, Refusal, Unavailable
from ...observe.spans import span
from ...ports import ChainRead, Clock, Effort, Group, Reply, Request, Requests, Upstream
from . import parse_options
from .paging import PagedParams
from .parse import SHOWN
from .rest import Endpoint, noted

T = TypeVar("T")

_SNAPSHOTS: Final = "/v1beta1/options/snapshots"
_CONTRACTS: Final = "/v2/options/contracts"

_BATCH: Final = 100
"""Contracts that Alpaca takes in one request."""

_CHAIN_PAGE: Final = 1000
"""Contracts of one page of a chain, the most that Alpaca sends."""

_CONTRACTS_PAGE: Final = 9999
"""Contracts of one page of a list. Alpaca documents 10,000 and refuses them."""

_SLICE: Final = 50
"""Contracts that are read before others get the event loop: two milliseconds."""


def unknown_contract(symbol: str) -> Unavailable:
    """Return what is told of a contract that the upstream does not list."""
    return Unavailable(
        reason=Reason.CONTRACT_UNKNOWN, message=f"{symbol}: not in the upstream's list of contracts"
    )


def options_endpoint(gate: Gate) -> Endpoint[OptionQuote]:
    """Return the endpoint of what is known of single contracts."""
    options = OptionGate(gate)

    def admit(
        symbol: str, record: msgspec.Raw, receipt: Receipt
    ) -> OptionQuote | Unavailable | None:
        return _admit(options, gate, symbol, record, receipt)

    return Endpoint(
        name="option quote",
        path=_SNAPSHOTS,
        wrapper="snapshots",
        admit=admit,
        gate=gate,
        group=Group.OPTIONS,
        unknown=unknown_contract,
        most=_BATCH,
    )


class AlpacaChains:
    """Option chains, read page by page."""

    def __init__(self, requests: Requests, source: DataSource, gate: Gate, clock: Clock) -> None:
        """Ask over *requests*; values are *source*'s and pass *gate*, and *clock* knows what has expired."""
        self._requests = requests
        self._source = source
        self._gate = gate
        self._options = OptionGate(gate)
        self._clock = clock

    async def read(
        self,
        underlying: str,
        feed: Feed,
        since: int | None,
        deadline: float,
        wanted_until: float | None = None,
    ) -> ChainRead:
        """Return all contracts of *underlying*, or those whose quote or trade has moved *since* (nanoseconds)."""
        quotes: dict[str, Held[OptionQuote]] = {}
        refused: set[str] = set()
        asked_at = self._clock.market()
        walk = PagedParams(self._params(feed, since, asked_at))
        effort = Effort()

        def ask() -> asyncio.Task[Reply]:
            request = Request(
                upstream=Upstream.DATA,
                group=Group.OPTIONS,
                path=f"{_SNAPSHOTS}/{underlying}",
                params=walk.params,
                deadline=deadline,
                effort=effort,
                wanted_until=wanted_until,
            )
            return asyncio.create_task(self._requests.send(request))

        asked = ask()
        try:
            first = reply = await asked
            while True:
                with (
                    noted(self._gate, "option chain", reply),
                    self._gate.parsing.timing(),
                    span("parse"),
                ):
                    records, token = parse_options.page(reply.body)
                    more = walk.goes_on(token)
                if more:
                    # Before this one is judged: the upstream takes longer for a page than we do.
                    asked = ask()
                receipt = Receipt(self._source, feed, reply.receive_time, reply.request_id)
                await self._take(records, receipt, reply.received_at, quotes, refused)
                if not more:
                    return ChainRead(
                        quotes, refused, asked_at, first.received_at, first.receive_time
                    )
                reply = await asked
        finally:
            asked.cancel()

    async def peek(self, underlying: str, feed: Feed, deadline: float) -> None:
        """Ask for one contract of *underlying*, only to see whether *feed* answers.

        Raises:
            UpstreamFailure: it does not.
        """
        params = {"feed": feed.value, "limit": "1"}
        path = f"{_SNAPSHOTS}/{underlying}"
        await self._requests.send(Request(Upstream.DATA, Group.OPTIONS, path, params, deadline))

    def _params(self, feed: Feed, since: int | None, now: int) -> dict[str, str]:
        today = market_date(now)
        params = {
            "feed": feed.value,
            "limit": str(_CHAIN_PAGE),
            # Named although chains have no default: what is left to a default may change.
            "expiration_date_gte": today.isoformat(),
            "expiration_date_lte": (today + FARTHEST_EXPIRY).isoformat(),
        }
        return params if since is None else params | {"updated_since": format_rfc3339(since)}

    async def _take(
        self,
        records: Mapping[str, msgspec.Raw],
        receipt: Receipt,
        received_at: float,
        quotes: dict[str, Held[OptionQuote]],
        refused: set[str],
    ) -> None:
        for some in _slices(records.items()):
            with self._gate.parsing.timing(), span("parse"):
                for symbol, record in some:
                    value = _admit(self._options, self._gate, symbol, record, receipt)
                    if isinstance(value, OptionQuote):
                        quotes[symbol] = Held(value, received_at)
                    elif value is not None:
                        refused.add(symbol)
            # A page takes some fifty milliseconds, for which nobody else should wait.
            await asyncio.sleep(0)


class AlpacaContracts:
    """Terms of contracts, as Alpaca's trading API tells them."""

    def __init__(self, requests: Requests, source: DataSource, gate: Gate) -> None:
        """Ask over *requests*; terms are *source*'s and pass *gate*."""
        self._requests = requests
        self._source = source
        self._gate = gate
        self._options = OptionGate(gate)

    async def contracts(self, scope: ContractScope, deadline: float) -> ContractList | Unavailable:
        """Return the contracts of *scope*, or that the underlying does not exist."""
        found: list[OptionContract] = []
        refused: dict[str, Unavailable] = {}
        unreadable, effort = 0, Effort()
        walk = PagedParams(_scope_params(scope))
        while True:
            try:
                reply = await self._ask(_CONTRACTS, walk.params, deadline, effort)
            except UpstreamRejected as failure:
                if scope.underlying and failure.said.startswith("invalid underlying symbols"):
                    return unknown_underlying(scope.underlying)
                raise
            with (
                noted(self._gate, "option contracts", reply),
                self._gate.parsing.timing(),
                span("parse"),
            ):
                # Nine thousand entries take a tenth of a second, in which no call would be answered.
                entries, token = await asyncio.to_thread(parse_options.contracts_page, reply.body)
                more = walk.goes_on(token)
            nameless = [entry for entry in entries if isinstance(entry, Refusal)]
            self._gate.refuse_answer(nameless, "option contracts", reply.request_id)
            unreadable += len(nameless)
            for some in _slices(entries):
                for entry in some:
                    if isinstance(entry, Refusal):
                        continue
                    terms = self._options.contract(entry, reply.request_id, scope.underlying)
                    if isinstance(terms, Unavailable):
                        refused[entry.symbol] = terms
                    else:
                        found.append(terms)
                await asyncio.sleep(0)
            if not more:
                return ContractList(found, self._provenance(reply), refused, unreadable)

    async def contract(self, symbol: str, deadline: float) -> OptionContract | Unavailable | None:
        """Return the contract *symbol*, why its terms cannot be told, or None when there is none."""
        try:
            reply = await self._ask(f"{_CONTRACTS}/{symbol}", {}, deadline, Effort())
        except UpstreamRejected as failure:
            if "not found" in failure.said:
                return None
            raise
        with noted(self._gate, "option contract", reply):
            entry = parse_options.contract(reply.body)
            if isinstance(entry, Refusal):
                raise UpstreamUnreadable(entry, "option contract")
            stranger = rules.check_symbol(entry.symbol, symbol)
            if stranger is not None:
                raise UpstreamUnreadable(stranger, "option contract")
        return self._options.contract(entry, reply.request_id)

    async def peek(self, underlying: str, deadline: float) -> None:
        """Ask for one contract of *underlying*, only to see whether there is an answer.

        Raises:
            UpstreamFailure: there is none.
        """
        params = {"underlying_symbols": underlying, "limit": "1"}
        await self._ask(_CONTRACTS, params, deadline, Effort())

    async def _ask(
        self, path: str, params: Mapping[str, str], deadline: float, effort: Effort
    ) -> Reply:
        return await self._requests.send(
            Request(Upstream.TRADING, Group.OPTIONS, path, params, deadline, effort=effort)
        )

    def _provenance(self, reply: Reply) -> Provenance:
        return Provenance(
            source=self._source,
            feed=None,
            event_time=None,
            receive_time=reply.receive_time,
            upstream_request_id=reply.request_id,
        )


def unknown_underlying(symbol: str) -> Unavailable:
    """Return what is told of an underlying that the upstream does not know."""
    return Unavailable(
        reason=Reason.SYMBOL_UNKNOWN,
        message=f"{symbol}: not an underlying that the upstream knows",
    )


def _scope_params(scope: ContractScope) -> dict[str, str]:
    params = {
        "expiration_date_gte": scope.start.isoformat(),
        # Alpaca lists no further than the next weekend where this is left out.
        "expiration_date_lte": scope.end.isoformat(),
        "status": scope.status.value,
        "limit": str(_CONTRACTS_PAGE),
    }
    if scope.underlying:
        params["underlying_symbols"] = scope.underlying
    if scope.root:
        params["root_symbol"] = scope.root
    if scope.deliverables:
        params["show_deliverables"] = "true"
    return params


def _slices(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, _SLICE)):
        yield some


def _admit(
    options: OptionGate, gate: Gate, symbol: str, record: msgspec.Raw, receipt: Receipt
) -> OptionQuote | Unavailable | None:
    raw: RawOption | Refusal | None = parse_options.option(symbol, record)
    if raw is None:
        return None
    if isinstance(raw, Refusal):
        return gate.refuse(raw, "option quote", symbol[:SHOWN], receipt)
    return options.admit(raw, receipt)
