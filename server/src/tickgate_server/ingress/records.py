"""Records as an upstream sent them: right types, nothing checked yet."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Final

from msgspec import Struct

from ..market.occ import OptionType
from ..market.option import ContractStatus, Deliverable, Greeks, OptionStyle
from ..market.provenance import DataSource, Feed
from ..market.unavailable import Refusal

UNDATED: Final = -(2**80)
"""Event time of a part of an option that bears no stamp: an instant that no text can name. The part is the latest one
all the same, since it was asked for, and leaves the gate without a time."""


def stamp_of(event_time: int) -> int | None:
    """Return *event_time* as it leaves the gate: None when there was no stamp."""
    return None if event_time == UNDATED else event_time


class Receipt(Struct, frozen=True, gc=False):
    """What is known of a record's origin when it arrives."""

    source: DataSource
    feed: Feed
    receive_time: int
    """Nanoseconds of the wall clock."""

    request_id: str


class RawQuote(Struct, frozen=True, gc=False):
    """A quote to be checked. A price of zero is how an upstream may write an empty side."""

    symbol: str
    event_time: int
    bid_price: Decimal
    bid_size: int | None
    bid_exchange: str | None
    ask_price: Decimal
    ask_size: int | None
    ask_exchange: str | None
    conditions: tuple[str, ...]
    tape: str | None


class RawTrade(Struct, frozen=True, gc=False):
    """A trade to be checked."""

    symbol: str
    event_time: int
    price: Decimal
    size: int | None
    exchange: str | None
    conditions: tuple[str, ...]
    id: int | None
    tape: str | None
    amendment: str | None


class RawBar(Struct, frozen=True, gc=False):
    """A bar to be checked; its event time is the start of its interval."""

    symbol: str
    event_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int | None
    trade_count: int | None
    vwap: Decimal | None


class RawExecution(Struct, frozen=True, gc=False):
    """A trade as a correction names it, before or after."""

    id: int | None
    price: Decimal
    size: int | None
    conditions: tuple[str, ...]


class RawCorrection(Struct, frozen=True, gc=False):
    """A correction of a trade to be checked."""

    symbol: str
    event_time: int
    original: RawExecution
    corrected: RawExecution
    exchange: str | None
    tape: str | None


class RawCancellation(Struct, frozen=True, gc=False):
    """A cancellation of a trade to be checked."""

    symbol: str
    event_time: int
    id: int | None
    price: Decimal
    size: int | None
    exchange: str | None
    action: str | None
    tape: str | None


class RawStatus(Struct, frozen=True, gc=False):
    """A trading status to be checked."""

    symbol: str
    event_time: int
    status_code: str
    status_message: str | None
    reason_code: str | None
    reason_message: str | None
    tape: str | None


class RawBands(Struct, frozen=True, gc=False):
    """Price bands to be checked. A price of zero is how an upstream may write that there is no limit."""

    symbol: str
    event_time: int
    limit_up: Decimal
    limit_down: Decimal
    indicator: str | None
    tape: str | None


class RawOptionBar(Struct, frozen=True, gc=False):
    """A bar of a contract to be checked; its event time is the start of its interval."""

    event_time: int
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    close: Decimal | None
    volume: int | None
    trade_count: int | None
    vwap: Decimal | None


class RawOption(Struct, frozen=True):
    """What an upstream sent of one contract, to be checked.

    A part is None when it was not sent, and a refusal when it cannot be read.
    """

    symbol: str
    quote: RawQuote | Refusal | None
    latest_trade: RawTrade | Refusal | None
    greeks: Greeks | Refusal | None
    implied_volatility: float | Refusal | None
    minute_bar: RawOptionBar | Refusal | None
    daily_bar: RawOptionBar | Refusal | None
    previous_daily_bar: RawOptionBar | Refusal | None


class RawContract(Struct, frozen=True, kw_only=True):
    """Terms of a contract to be checked; None where nothing was sent. What the symbol says may be sent again."""

    symbol: str
    expiry: datetime.date | None
    type: OptionType | None
    strike: Decimal | None
    root: str | None
    id: str
    name: str
    underlying: str
    style: OptionStyle | None
    multiplier: Decimal | None
    size: Decimal | None
    status: ContractStatus | None
    tradable: bool | None
    open_interest: int | None
    open_interest_date: datetime.date | None
    close_price: Decimal | None
    close_price_date: datetime.date | None
    deliverables: tuple[Deliverable, ...]
