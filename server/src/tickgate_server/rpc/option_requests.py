"""The rules of requests about options, each with the field it is about and the sentence the caller gets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

from google.protobuf import duration_pb2
from google.type import date_pb2, decimal_pb2
from msgspec import Struct

from tickgate.v1 import option_pb2, option_service_pb2, provenance_pb2

from ..ingress import rules
from ..ingress.records import UNDATED
from ..market.answer import Freshness
from ..market.chain import Around, ChainFilter, DeltaBand
from ..market.occ import OptionType, is_occ_symbol, is_root, parse_occ
from ..market.option import ContractFilter, ContractStatus
from ..market.provenance import OPTION_FEEDS, Feed
from ..market.trade import Trade
from .convert_options import STATUSES, TYPES
from .paging import ChainPosition
from .requests import FEED_OF, Reader, enum_name

MOST_CONTRACTS: Final = 100
"""Contracts in a batch."""

MOST_STRIKES: Final = 1000
"""Strikes on each side of the money."""

MOST_PERCENT: Final = Decimal(1000)
HIGHEST_STRIKE: Final = Decimal("99999.999")
"""The highest that an OCC symbol can name."""

FIRST_EXPIRY: Final = date(2000, 1, 1)
LAST_EXPIRY: Final = date(2099, 12, 31)
"""What the two digits of a year in an OCC symbol can name."""

_DECIMAL: Final = re.compile(r"-?(\d{1,20})(\.\d{1,20})?", re.ASCII)
_TYPE_OF: Final[Mapping[int, OptionType]] = {number: type_ for type_, number in TYPES.items()}
_STATUS_OF: Final[Mapping[int, ContractStatus]] = {
    number: status for status, number in STATUSES.items()
}


class ChainWanted(Struct, frozen=True):
    """A request for a chain, read and found in order."""

    underlying: str
    feed: Feed
    view: option_pb2.OptionView.ValueType
    filter: ChainFilter
    max_age: int | None


class OptionReader(Reader):
    """Reads one request about options. Call `done` before using what was read."""

    def contract(self, text: str) -> str:
        """Read `symbol`."""
        self._contract("symbol", text)
        return text

    def contracts(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Read `symbols`."""
        symbols = tuple(texts)
        if not 1 <= len(symbols) <= MOST_CONTRACTS:
            rule = f"a batch holds 1 to {MOST_CONTRACTS} contracts, not {len(symbols)}"
            self.refuse("symbols", rule)
            return symbols
        for index, symbol in enumerate(symbols):
            self._contract(f"symbols[{index}]", symbol)
        self.refuse_duplicates(symbols)
        return symbols

    def option_feed(self, number: int | None, default: Feed) -> Feed:
        """Read `feed`; *number* is None when it was left out."""
        if number is None:
            return default
        feed = FEED_OF.get(number)
        if feed in OPTION_FEEDS:
            return feed
        known = ", ".join(sorted(f"FEED_{feed.name}" for feed in OPTION_FEEDS))
        name = enum_name(provenance_pb2.Feed, number)
        self.refuse("feed", f"{name} is not one of {known}")
        return default

    def option_view(self, number: int | None) -> option_pb2.OptionView.ValueType:
        """Read `view`; *number* is None when it was left out."""
        if number is None:
            return option_pb2.OPTION_VIEW_BASIC
        if number in (option_pb2.OPTION_VIEW_BASIC, option_pb2.OPTION_VIEW_FULL):
            return option_pb2.OptionView.ValueType(number)
        name = enum_name(option_pb2.OptionView, number)
        self.refuse("view", f"{name} is not one of OPTION_VIEW_BASIC, OPTION_VIEW_FULL")
        return option_pb2.OPTION_VIEW_BASIC

    def never_stale(self, freshness: Freshness) -> Freshness:
        """Read `freshness.allow_stale`."""
        if freshness.allow_stale:
            rule = "options are never answered stale, since their prices move with others: leave it out"
            self.refuse("freshness.allow_stale", rule)
        return freshness

    def max_age(self, message: duration_pb2.Duration | None) -> int | None:
        """Read `max_age` in nanoseconds; None when it was left out."""
        return None if message is None else self.duration("max_age", message)

    def chain(
        self,
        request: option_service_pb2.GetOptionChainRequest
        | option_service_pb2.StreamOptionChainRequest,
        default_feed: Feed,
    ) -> ChainWanted:
        """Read everything but the page."""
        return ChainWanted(
            underlying=self.underlying(request.underlying_symbol),
            feed=self.option_feed(request.feed if request.HasField("feed") else None, default_feed),
            view=self.option_view(request.view if request.HasField("view") else None),
            filter=self._chain_filter(request.filter),
            max_age=self.max_age(request.max_age if request.HasField("max_age") else None),
        )

    def chain_position(self, token: str, wanted: ChainWanted) -> ChainPosition | None:
        """Read `page_token` of a chain: a contract, and a price that a share can have; None without one."""
        position = self.page_token(token, wanted, ChainPosition)
        if position is None:
            return None
        if not (is_occ_symbol(position.after) and _is_priced(position.price, wanted.underlying)):
            self.refuse("page_token", "not a page token of this method")
        return position

    def underlying(self, text: str) -> str:
        """Read `underlying_symbol`."""
        return self.stock("underlying_symbol", text)

    def contract_filter(
        self,
        message: option_pb2.OptionChainFilter | option_service_pb2.ListOptionContractsRequest,
        path: str = "",
    ) -> ContractFilter:
        """Read type, expiration dates, strikes and root; *path* leads to the message that holds them."""
        start, end = self._expiries(message, path)
        lowest = self._strike(message, path, "min_strike_price")
        highest = self._strike(message, path, "max_strike_price")
        if lowest is not None and highest is not None and lowest > highest:
            self.refuse(f"{path}max_strike_price", "the highest strike is not below the lowest")
        root = message.root_symbol
        if root and not is_root(root):
            rule = "an OCC root is 1 to 5 capital letters and at most one digit, such as AAPL1"
            self.refuse(f"{path}root_symbol", rule)
        return ContractFilter(
            type=self._type(f"{path}type", message.type if message.HasField("type") else None),
            start=start,
            end=end,
            lowest=lowest,
            highest=highest,
            root=root,
        )

    def contract_status(self, number: int | None) -> ContractStatus:
        """Read `status`; *number* is None when it was left out."""
        if number is None:
            return ContractStatus.ACTIVE
        status = _STATUS_OF.get(number)
        if status is None:
            known = ", ".join(f"OPTION_CONTRACT_STATUS_{one.name}" for one in ContractStatus)
            name = enum_name(option_pb2.OptionContractStatus, number)
            self.refuse("status", f"{name} is not one of {known}")
        return status or ContractStatus.ACTIVE

    # ----------------------------------------------------------------------------------- filters

    def _chain_filter(self, message: option_pb2.OptionChainFilter) -> ChainFilter:
        return ChainFilter(
            contracts=self.contract_filter(message, "filter."),
            updated_since=(
                self.instant("filter.updated_since", message.updated_since)
                if message.HasField("updated_since")
                else None
            ),
            around=self._around(message.around) if message.HasField("around") else None,
            delta=self._delta(message.delta) if message.HasField("delta") else None,
        )

    def _around(self, message: option_pb2.AroundTheMoney) -> Around | None:
        width = message.WhichOneof("width")
        if width == "strikes":
            if not 1 <= message.strikes <= MOST_STRIKES:
                rule = f"1 to {MOST_STRIKES} strikes on each side, not {message.strikes}"
                self.refuse("filter.around.strikes", rule)
            return Around(strikes=message.strikes)
        if width == "percent":
            percent = self._decimal("filter.around.percent", message.percent)
            if percent is not None and not 0 < percent <= MOST_PERCENT:
                rule = f"more than 0 and at most {MOST_PERCENT} percent, not {percent}"
                self.refuse("filter.around.percent", rule)
            return Around(percent=percent)
        self.refuse("filter.around", "say how far: strikes or percent")
        return None

    def _delta(self, message: option_pb2.DeltaBand) -> DeltaBand:
        low = message.min if message.HasField("min") else -1.0
        high = message.max if message.HasField("max") else 1.0
        for field, bound in (("min", low), ("max", high)):
            if math.isnan(bound) or not -1 <= bound <= 1:
                self.refuse(f"filter.delta.{field}", f"a delta is between -1 and 1, not {bound:g}")
        if -1 <= high < low <= 1:
            self.refuse("filter.delta.max", "the highest delta is not below the lowest")
        return DeltaBand(low, high)

    def _type(self, field: str, number: int | None) -> OptionType | None:
        if number is None:
            return None
        type_ = _TYPE_OF.get(number)
        if type_ is None:
            name = enum_name(option_pb2.OptionType, number)
            self.refuse(field, f"{name} is not one of OPTION_TYPE_CALL, OPTION_TYPE_PUT")
        return type_

    def _expiries(self, message: Any, path: str) -> tuple[date | None, date | None]:
        exact, start, end = (
            self._date(f"{path}{field}", getattr(message, field))
            if message.HasField(field)
            else None
            for field in ("expiry_date", "start_expiry_date", "end_expiry_date")
        )
        if exact is not None:
            for field in ("start_expiry_date", "end_expiry_date"):
                if message.HasField(field):
                    self.refuse(f"{path}{field}", "name one expiration date or a range, not both")
            return exact, date.fromordinal(exact.toordinal() + 1)
        if start is not None and end is not None and end <= start:
            rule = "the end is after the start: a range does not hold its end"
            self.refuse(f"{path}end_expiry_date", rule)
        return start, end

    def _date(self, field: str, message: date_pb2.Date) -> date | None:
        try:
            day = date(message.year, message.month, message.day)
        except (ValueError, OverflowError):
            day = None
        if day is None or not FIRST_EXPIRY <= day <= LAST_EXPIRY:
            self.refuse(field, f"a whole date from {FIRST_EXPIRY} to {LAST_EXPIRY}")
            return None
        return day

    def _strike(self, message: Any, path: str, field: str) -> Decimal | None:
        if not message.HasField(field):
            return None
        strike = self._decimal(f"{path}{field}", getattr(message, field))
        if strike is not None and not 0 <= strike <= HIGHEST_STRIKE:
            self.refuse(
                f"{path}{field}", f"a strike is between 0 and {HIGHEST_STRIKE}, not {strike}"
            )
        return strike

    def _decimal(self, field: str, message: decimal_pb2.Decimal) -> Decimal | None:
        if _DECIMAL.fullmatch(message.value) is None:
            self.refuse(field, "a decimal number in plain digits, such as 382.5")
            return None
        return Decimal(message.value)

    def _contract(self, field: str, text: str) -> None:
        try:
            parse_occ(text)
        except ValueError as error:
            self.refuse(field, str(error))


def _is_priced(price: Trade | None, symbol: str) -> bool:
    """Tell whether a token's *price* can be one of *symbol*: it may be forged, and is told to whoever shows it."""
    if price is None:
        return True
    return (
        price.symbol == symbol
        and price.price.is_finite()
        and rules.check_price("price", price.price, UNDATED) is None
    )
