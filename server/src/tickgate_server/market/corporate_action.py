"""Events in the life of a company that change its shares."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from .provenance import Provenance


class CorporateActionType(StrEnum):
    """What happened. The names are those of the contract, the values Alpaca's keys."""

    FORWARD_SPLIT = "forward_splits"
    REVERSE_SPLIT = "reverse_splits"
    UNIT_SPLIT = "unit_splits"
    STOCK_DIVIDEND = "stock_dividends"
    CASH_DIVIDEND = "cash_dividends"
    SPIN_OFF = "spin_offs"
    CASH_MERGER = "cash_mergers"
    STOCK_MERGER = "stock_mergers"
    STOCK_AND_CASH_MERGER = "stock_and_cash_mergers"
    REDEMPTION = "redemptions"
    NAME_CHANGE = "name_changes"
    WORTHLESS_REMOVAL = "worthless_removals"
    RIGHTS_DISTRIBUTION = "rights_distributions"


class CorporateAction(Struct, frozen=True, kw_only=True):
    """One event. Everything but type and symbol is None where the upstream did not send it."""

    id: str
    """The upstream's id; empty when not sent."""

    type: CorporateActionType
    symbol: str
    new_symbol: str | None
    old_rate: Decimal | None
    new_rate: Decimal | None
    cash_rate: Decimal | None
    """US dollars a share."""

    ex_date: date | None
    record_date: date | None
    payable_date: date | None
    process_date: date | None
    special: bool | None
    provenance: Provenance

    @property
    def day(self) -> date | None:
        """The day it belongs to: its ex-date, or where there is none the day of processing."""
        return self.ex_date or self.process_date
