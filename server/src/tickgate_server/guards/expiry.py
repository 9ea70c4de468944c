"""Contracts that have expired are told apart before anybody is asked about them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ..market.answer import Question
from ..market.asset import AssetList
from ..market.expiry import Expiries, LastDay
from ..market.occ import Occ, parse_occ
from ..market.option import OptionQuote
from ..market.time import format_rfc3339
from ..market.unavailable import Reason, Unavailable
from ..ports import Answers, Clock, OptionSource

_LATE: Final = "options_late_close"
"""Alpaca's attribute of underlyings whose options close at 16:15."""


class LateCloses:
    """Underlyings and roots whose options close late: by the upstream's list of assets, or by the settings."""

    def __init__(self, named: frozenset[str], assets: AssetList | None) -> None:
        """Know those that are *named* in the settings, and those in *assets*, None while the list is not known."""
        self._named = named
        self._assets = assets

    def __contains__(self, symbol: object) -> bool:
        if symbol in self._named:
            return True
        asset = None if self._assets is None else self._assets.get(str(symbol))
        return asset is not None and _LATE in asset.attributes


class KnownExpiries:
    """The last trading moments of contracts, by the newest calendar and list of assets."""

    def __init__(
        self,
        last_day: LastDay,
        assets: Callable[[float], Awaitable[AssetList | None]],
        late: frozenset[str],
        clock: Clock,
    ) -> None:
        """Know of contracts.

        Args:
            last_day: gives trading days.
            assets: gives the list of assets, which says whose options close late; None where it cannot be had.
            late: roots and underlyings whose options close late as well.
            clock: tells the market's time.
        """
        self._last_day = last_day
        self._assets = assets
        self._late = late
        self._clock = clock
        self._list: AssetList | None = None
        self._expiries = Expiries(last_day, LateCloses(late, None))

    async def get(self, deadline: float) -> Expiries:
        """Return what is known, waiting for the list of assets for a moment at most."""
        assets = await self._assets(deadline)
        if assets is not None and assets is not self._list:
            self._list = assets
            self._expiries = Expiries(self._last_day, LateCloses(self._late, assets))
        return self._expiries

    def expired(self, symbol: str, occ: Occ, expiries: Expiries) -> Unavailable | None:
        """Return that the contract *symbol* has expired, and when; None when it has not."""
        if not expiries.has_expired(occ, self._clock.market()):
            return None
        last = format_rfc3339(expiries.last_moment(occ))
        return Unavailable(
            reason=Reason.CONTRACT_EXPIRED,
            message=f"{symbol}: expired on {occ.expiry}, its last trading moment was {last}",
        )


class UnexpiredOptions:
    """The wrapped source; a contract whose last trading moment has passed is CONTRACT_EXPIRED, whoever holds it."""

    def __init__(self, source: OptionSource, expiries: KnownExpiries) -> None:
        """Wrap *source*; *expiries* tells what has expired."""
        self._source = source
        self._expiries = expiries

    async def latest(self, question: Question) -> Answers[OptionQuote]:
        """Return the answers of the source for contracts that still trade."""
        expiries = await self._expiries.get(question.deadline)
        expired = {
            symbol: why
            for symbol in question.symbols
            if (why := self._expiries.expired(symbol, parse_occ(symbol), expiries)) is not None
        }
        if not expired:
            return await self._source.latest(question)
        rest = tuple(symbol for symbol in question.symbols if symbol not in expired)
        if not rest:
            return expired
        answers = await self._source.latest(question.about(rest))
        return {**expired, **answers}
