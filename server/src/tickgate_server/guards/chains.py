"""Option chains that all callers share: read once page by page, and then asked what has moved."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from ..errors import UpstreamFailure
from ..market.answer import Held
from ..market.chain import Chain, Entry, in_order
from ..market.expiry import Expiries, market_date
from ..market.occ import Occ
from ..market.option import OptionQuote, active_scope
from ..market.provenance import Feed, Tier
from ..market.time import NANOS
from ..market.unavailable import Reason, Unavailable
from ..observe.counters import ChainCounts
from ..ports import ChainPages, ChainQuestion, ChainRead, Clock, ContractSource
from .expiry import KnownExpiries
from .flights import Flights
from .memory import Newest
from .weighed import Weighed

_OVERLAP: Final[Mapping[Feed, int]] = {Feed.INDICATIVE: 16 * 60 * NANOS, Feed.OPRA: 60 * NANOS}
"""Nanoseconds before the last look from which on moves are asked for: trades of the indicative feed are stamped fifteen
minutes before they are sent, and clocks differ."""

_MOST_NOTHING: Final = 10_000
"""Underlyings without a chain that are remembered."""

ChainKey: TypeAlias = tuple[Feed, str]
"""Feed and underlying."""


class ChainPolicy(Struct, frozen=True):
    """How chains are kept. Times are in seconds."""

    max_age: float
    """Since the upstream last said what has moved, if a question does not say."""

    load_every: float
    """Between two readings of all pages. Greeks move with the underlying, and only then are all of them new."""

    cap: float
    """For one reading, whatever callers would wait."""

    keep_unknown: float
    """For which an underlying is remembered to have no chain."""

    capacity: int
    """Contracts of all chains together."""


class _Sent(Struct, frozen=True):
    """Everything that was sent of a chain, also of contracts that have expired."""

    quotes: Mapping[str, Held[OptionQuote]]
    refused: frozenset[str]
    asked_at: int
    """When it was last asked what has moved, nanoseconds of market time."""

    date: datetime.date
    """Market's date on which all of it was read. Each day others are listed, and others have expired."""

    loaded_at: float
    load_time: int
    confirmed_at: float
    confirm_time: int
    """As in `Chain`."""

    def moved(self, read: ChainRead) -> _Sent:
        """Return it with what has moved since. What was refused supersedes what was sent before."""
        quotes = {**self.quotes, **read.quotes}
        for symbol in read.refused:
            quotes.pop(symbol, None)
        return _Sent(
            quotes,
            (self.refused - read.quotes.keys()) | frozenset(read.refused),
            read.asked_at,
            self.date,
            self.loaded_at,
            self.load_time,
            read.read_at,
            read.read_time,
        )


def _loaded(read: ChainRead) -> _Sent:
    return _Sent(
        read.quotes,
        frozenset(read.refused),
        read.asked_at,
        market_date(read.asked_at),
        read.read_at,
        read.read_time,
        read.read_at,
        read.read_time,
    )


class _Kept(Struct, frozen=True):
    """A chain as it is held."""

    sent: _Sent
    order: Sequence[tuple[str, Occ]]
    """Symbols of all that was sent, in a chain's order."""

    chain: Chain
    expires_at: int | None
    """When the next of its contracts expires, nanoseconds of market time."""


class SharedChains:
    """The `ChainSource` of everybody. Nothing in it is older than asked for: who cannot be answered so is told why."""

    def __init__(
        self,
        pages: ChainPages,
        contracts: ContractSource,
        expiries: KnownExpiries,
        refusal: Callable[[Feed], UpstreamFailure | None],
        policy: ChainPolicy,
        clock: Clock,
        counts: ChainCounts,
    ) -> None:
        """Read chains from *pages*.

        Args:
            pages: where chains come from.
            contracts: tells an underlying without contracts from one that does not exist.
            expiries: tells which contracts have expired.
            refusal: tells at once how a question on a feed would fail now, None where it need not.
            policy: how chains are kept.
            clock: measures.
            counts: what they cost and save is counted there.
        """
        self._pages = pages
        self._contracts = contracts
        self._expiries = expiries
        self._refusal = refusal
        self._policy = policy
        self._clock = clock
        self._counts = counts
        self._kept: Weighed[ChainKey, _Kept] = Weighed(policy.capacity, _weight, self._evicted)
        self._nothing: Newest[tuple[float, Unavailable]] = Newest(_MOST_NOTHING)
        self._flights: Flights[ChainKey, Chain | Unavailable] = Flights(policy.cap, clock.monotonic)
        self._forgotten = 0
        """Times that something was to be forgotten: what was asked for before is not to be kept."""

        counts.capacity = policy.capacity

    async def chain(self, question: ChainQuestion) -> tuple[Chain, Tier] | Unavailable:
        """Return the chain: from memory if it is fresh enough, else refreshed with whoever asks now."""
        key = question.feed, question.underlying
        max_age = self._policy.max_age if question.max_age is None else question.max_age / NANOS
        known = await self._recall(key, max_age, question.deadline)
        if known is not None:
            return known
        failure = self._refusal(question.feed)
        if failure is not None:
            return failure.unavailable()
        landed = (await self._flights.join([key], self._refresh, question.deadline))[key]
        if isinstance(landed, UpstreamFailure):
            return landed.unavailable()
        return landed if isinstance(landed, Unavailable) else (landed, Tier.UPSTREAM)

    def forget(self, feeds: Collection[Feed] | None, underlyings: Collection[str] | None) -> int:
        """Forget chains, None standing for all; return how many."""
        self._forgotten += 1
        count = 0
        for held in (self._kept, self._nothing):
            keys = [
                key
                for key in held
                if (feeds is None or key[0] in feeds)
                and (underlyings is None or key[1] in underlyings)
            ]
            count += len(keys)
            for key in keys:
                del held[key]
        self._count()
        return count

    async def _recall(
        self, key: ChainKey, max_age: float, deadline: float
    ) -> tuple[Chain, Tier] | Unavailable | None:
        now = self._clock.monotonic()
        nothing = self._nothing.get(key)
        if nothing is not None and now - nothing[0] < min(max_age, self._policy.keep_unknown):
            return nothing[1]
        kept = self._kept.get(key)
        # Not "at": a max_age of zero always asks the upstream, also within one tick of the clock.
        if kept is None or now - kept.chain.confirmed_at >= max_age or not self._is_todays(kept):
            return None
        if kept.expires_at is not None and self._clock.market() > kept.expires_at:
            expiries = await self._expiries.get(deadline)
            # Somebody may have refreshed or forgotten it meanwhile.
            kept = self._kept.get(key)
            if kept is None:
                return None
            kept = self._keep(key, kept.sent, kept, expiries)
        self._counts.hits += 1
        return kept.chain, Tier.MEMORY

    async def _refresh(
        self, keys: list[ChainKey], deadline: float
    ) -> dict[ChainKey, Chain | Unavailable]:
        # Chains travel alone: each is many requests.
        (key,) = keys
        try:
            return {key: await self._refreshed(key, deadline)}
        except UpstreamFailure:
            self._counts.failures += 1
            raise

    async def _refreshed(self, key: ChainKey, deadline: float) -> Chain | Unavailable:
        feed, underlying = key
        kept, forgotten = self._kept.get(key), self._forgotten
        wanted_until = self._flights.wanted_until(key)
        if kept is None or self._is_to_be_loaded(kept):
            sent = _loaded(await self._pages.read(underlying, feed, None, deadline, wanted_until))
            self._counts.loads += 1
        else:
            since = kept.sent.asked_at - _OVERLAP[feed]
            read = await self._pages.read(underlying, feed, since, deadline, wanted_until)
            sent = kept.sent.moved(read)
            self._counts.refreshes += 1
        chain = self._keep(key, sent, kept, await self._expiries.get(deadline)).chain
        if forgotten != self._forgotten or not (chain.entries or chain.refused):
            self._drop(key)
        if chain.entries or chain.refused:
            return chain
        why = await self._explain(key, expired=chain.expired, deadline=deadline)
        if not why.passing:
            self._nothing.put(key, (self._clock.monotonic(), why))
        return why

    def _is_to_be_loaded(self, kept: _Kept) -> bool:
        age = self._clock.monotonic() - kept.sent.loaded_at
        return age >= self._policy.load_every or not self._is_todays(kept)

    def _is_todays(self, kept: _Kept) -> bool:
        return kept.sent.date == market_date(self._clock.market())

    def _keep(self, key: ChainKey, sent: _Sent, before: _Kept | None, expiries: Expiries) -> _Kept:
        now = self._clock.market()
        order = (
            before.order
            if before is not None and before.sent.quotes.keys() == sent.quotes.keys()
            else in_order(sent.quotes)
        )
        moments = _last_moments(order, expiries)
        entries = [
            Entry(occ, sent.quotes[symbol])
            for (symbol, occ), moment in zip(order, moments, strict=True)
            if moment >= now
        ]
        feed, underlying = key
        chain = Chain(
            underlying=underlying,
            feed=feed,
            entries=entries,
            expired=len(order) - len(entries),
            refused=len(sent.refused),
            loaded_at=sent.loaded_at,
            load_time=sent.load_time,
            confirmed_at=sent.confirmed_at,
            confirm_time=sent.confirm_time,
        )
        alive = [moment for moment in moments if moment >= now]
        self._nothing.pop(key, None)
        kept = self._kept[key] = _Kept(sent, order, chain, min(alive, default=None))
        self._count()
        return kept

    async def _explain(self, key: ChainKey, *, expired: int, deadline: float) -> Unavailable:
        """Return why there is no chain: the upstream says nothing of an underlying that it does not know."""
        feed, underlying = key
        if expired:
            message = f"{underlying}: all {expired} contracts that the upstream sent have expired"
            return Unavailable(reason=Reason.NO_DATA, message=message)
        scope = active_scope(market_date(self._clock.market()), underlying)
        try:
            listed = await self._contracts.contracts(scope, deadline)
        except UpstreamFailure as failure:
            message = (
                f"{underlying}: the upstream sent no contract on feed {feed.value}, and its list of"
                f" contracts cannot be had ({failure.message})"
            )
            return Unavailable(reason=Reason.NO_DATA, message=message, passing=True)
        if isinstance(listed, Unavailable):
            return listed
        message = (
            f"{underlying}: {len(listed)} contracts are listed, and the upstream sent none of them"
            f" on feed {feed.value}"
            if len(listed)
            else f"{underlying}: no option on it is listed"
        )
        return Unavailable(reason=Reason.NO_DATA, message=message)

    def _drop(self, key: ChainKey) -> None:
        self._kept.pop(key, None)
        self._count()

    def _evicted(self) -> None:
        self._counts.evictions += 1

    def _count(self) -> None:
        self._counts.chains, self._counts.contracts = len(self._kept), self._kept.weight


def _last_moments(order: Sequence[tuple[str, Occ]], expiries: Expiries) -> list[int]:
    """Return when each contract trades for the last time: all of a root and a date do so together."""
    known: dict[tuple[datetime.date, str], int] = {}
    moments = []
    for _, occ in order:
        key = occ.expiry, occ.root
        moment = known.get(key)
        if moment is None:
            moment = known[key] = expiries.last_moment(occ)
        moments.append(moment)
    return moments


def _weight(kept: _Kept) -> int:
    return len(kept.order)
