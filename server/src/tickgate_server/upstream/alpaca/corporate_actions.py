"""Alpaca's endpoint of corporate actions as the port that the gateway asks."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from ...ingress import rules
from ...ingress.gate import Gate
from ...ingress.records import UNDATED
from ...market.corporate_action import CorporateAction, CorporateActionType
from ...market.provenance import DataSource, Provenance
from ...market.unavailable import Refusal
from ...ports import Effort, Group, Reply, Request, Requests, Upstream
from .paging import PagedParams
from .parse import Unfit, decode, is_null, price_of, read_record, shown
from .rest import noted

_PATH: Final = "/v1/corporate-actions"
_PAGE: Final = 1000
"""Events of one page, the most that Alpaca sends."""

_WHAT: Final = "corporate actions"
_TYPES: Final = {kind.value: kind for kind in CorporateActionType}
_ABSENT: Final = frozenset({b"", b"null"})


class _Page(msgspec.Struct):
    # It must be there: an answer that merely lacks it would pass for a last page.
    next_page_token: str | None
    corporate_actions: dict[str, msgspec.Raw] | None


class _Action(msgspec.Struct):
    """Every field that one of the types has and that is of use. Which mean the same is said in `_NAMES`."""

    id: str = ""
    symbol: str | None = None
    old_symbol: str | None = None
    new_symbol: str | None = None
    source_symbol: str | None = None
    acquirer_symbol: str | None = None
    acquiree_symbol: str | None = None
    rate: msgspec.Raw = msgspec.Raw()
    old_rate: msgspec.Raw = msgspec.Raw()
    new_rate: msgspec.Raw = msgspec.Raw()
    source_rate: msgspec.Raw = msgspec.Raw()
    acquirer_rate: msgspec.Raw = msgspec.Raw()
    acquiree_rate: msgspec.Raw = msgspec.Raw()
    cash_rate: msgspec.Raw = msgspec.Raw()
    ex_date: datetime.date | None = None
    record_date: datetime.date | None = None
    payable_date: datetime.date | None = None
    effective_date: datetime.date | None = None
    process_date: datetime.date | None = None
    special: bool | None = None


class _Names(msgspec.Struct, frozen=True):
    """Which of Alpaca's fields says what; an empty name where none does."""

    symbol: str = "symbol"
    new_symbol: str = ""
    old_rate: str = ""
    new_rate: str = ""
    cash_rate: str = ""


_SPLIT: Final = _Names(old_rate="old_rate", new_rate="new_rate")
_MERGED: Final = {"symbol": "acquiree_symbol", "new_symbol": "acquirer_symbol"}
_SWAPPED: Final = {"old_rate": "acquiree_rate", "new_rate": "acquirer_rate"}
_NAMES: Final = {
    CorporateActionType.FORWARD_SPLIT: _SPLIT,
    CorporateActionType.REVERSE_SPLIT: _SPLIT,
    CorporateActionType.UNIT_SPLIT: _Names(
        symbol="old_symbol", new_symbol="new_symbol", old_rate="old_rate", new_rate="new_rate"
    ),
    # Shares for each that is held: Alpaca does not send what they are counted for.
    CorporateActionType.STOCK_DIVIDEND: _Names(new_rate="rate"),
    CorporateActionType.CASH_DIVIDEND: _Names(cash_rate="rate"),
    CorporateActionType.SPIN_OFF: _Names(
        symbol="source_symbol", new_symbol="new_symbol", old_rate="source_rate", new_rate="new_rate"
    ),
    CorporateActionType.CASH_MERGER: _Names(**_MERGED, cash_rate="rate"),
    CorporateActionType.STOCK_MERGER: _Names(**_MERGED, **_SWAPPED),
    CorporateActionType.STOCK_AND_CASH_MERGER: _Names(**_MERGED, **_SWAPPED, cash_rate="cash_rate"),
    CorporateActionType.REDEMPTION: _Names(cash_rate="rate"),
    CorporateActionType.NAME_CHANGE: _Names(symbol="old_symbol", new_symbol="new_symbol"),
    CorporateActionType.WORTHLESS_REMOVAL: _Names(),
    CorporateActionType.RIGHTS_DISTRIBUTION: _Names(
        symbol="source_symbol", new_symbol="new_symbol", new_rate="rate"
    ),
}
"""What Alpaca calls shares and rates differs from type to type."""

_as_page = msgspec.json.Decoder(_Page)
_as_list = msgspec.json.Decoder(list[msgspec.Raw])
_as_action = msgspec.json.Decoder(_Action)


class AlpacaCorporateActions:
    """Splits, dividends, mergers and other events, read to the last page."""

    def __init__(self, requests: Requests, source: DataSource, gate: Gate) -> None:
        """Ask over *requests*; events are *source*'s, and *gate* counts those that are none."""
        self._requests = requests
        self._source = source
        self._gate = gate

    async def corporate_actions(
        self,
        symbols: Sequence[str],
        types: Collection[CorporateActionType] | None,
        start: date,
        end: date,
        deadline: float,
    ) -> Sequence[CorporateAction]:
        """Return what happened from *start* up to and without *end*. Types that nobody here knows are passed over."""
        pages = PagedParams(_params(symbols, types, start, end))
        found: list[CorporateAction] = []
        effort, goes_on = Effort(), True
        while goes_on:
            reply = await self._requests.send(
                Request(
                    Upstream.DATA, Group.REFERENCE, _PATH, pages.params, deadline, effort=effort
                )
            )
            with noted(self._gate, _WHAT, reply):
                read, token = events(reply.body, self._provenance(reply), frozenset(symbols))
                goes_on = pages.goes_on(token)
            refused = [one for one in read if isinstance(one, Refusal)]
            self._gate.refuse_answer(refused, _WHAT, reply.request_id)
            found.extend(one for one in read if isinstance(one, CorporateAction))
        # What has no day stands in front, as if it had been known from the start.
        return sorted(found, key=lambda action: (action.day or start, action.symbol))

    def _provenance(self, reply: Reply) -> Provenance:
        return Provenance(
            source=self._source,
            feed=None,
            event_time=None,
            receive_time=reply.receive_time,
            upstream_request_id=reply.request_id,
        )


def _params(
    symbols: Sequence[str], types: Collection[CorporateActionType] | None, start: date, end: date
) -> dict[str, str]:
    params = {
        "symbols": ",".join(symbols),
        "start": start.isoformat(),
        # Alpaca's end belongs to the range.
        "end": (end - timedelta(days=1)).isoformat(),
        "limit": str(_PAGE),
        "sort": "asc",
    }
    if types is None:
        return params
    # It is asked for one split and answers with several.
    return params | {"types": ",".join(sorted(kind.value.removesuffix("s") for kind in types))}


def events(
    body: bytes, provenance: Provenance, asked: Collection[str]
) -> tuple[list[CorporateAction | Refusal], str | None]:
    """Return what a page tells, and the token of the next one. Where symbols are *asked* for, others are refused.

    Raises:
        UpstreamUnreadable: it is no page of corporate actions.
    """
    page = decode(_as_page, body, _WHAT)
    groups = page.corporate_actions or {}
    read = [
        _action(_TYPES[name], record, provenance, asked)
        for name, records in groups.items()
        if name in _TYPES and not is_null(records)
        for record in decode(_as_list, bytes(records), _WHAT)
    ]
    return read, page.next_page_token


def fields() -> frozenset[str]:
    """Return Alpaca's names of the fields that are read; `make live-check` lists what else is sent."""
    return frozenset(_Action.__struct_fields__)


def _action(
    kind: CorporateActionType, record: msgspec.Raw, provenance: Provenance, asked: Collection[str]
) -> CorporateAction | Refusal:
    names = _NAMES[kind]

    def build(seen: _Action) -> CorporateAction:
        symbol: str | None = getattr(seen, names.symbol)
        if not symbol:
            raise Unfit(Refusal("missing_field", f"no {names.symbol!r} in {shown(record)}"))
        new_symbol = (getattr(seen, names.new_symbol) or None) if names.new_symbol else None
        # Who asks for an acquirer hears of what it acquires.
        if asked and symbol not in asked and new_symbol not in asked:
            raise Unfit(_stranger(symbol, asked))
        return CorporateAction(
            id=seen.id,
            type=kind,
            symbol=symbol,
            new_symbol=new_symbol,
            old_rate=_rate(seen, names.old_rate),
            new_rate=_rate(seen, names.new_rate),
            cash_rate=_rate(seen, names.cash_rate),
            ex_date=seen.ex_date,
            record_date=seen.record_date,
            payable_date=seen.payable_date or seen.effective_date,
            process_date=seen.process_date,
            special=seen.special,
            provenance=provenance,
        )

    action = read_record(_as_action, record, build)
    return Refusal("missing_field", f"record is {shown(record)}") if action is None else action


def _rate(seen: _Action, name: str) -> Decimal | None:
    raw: msgspec.Raw = getattr(seen, name) if name else msgspec.Raw()
    if bytes(raw) in _ABSENT:
        return None
    rate = price_of(name, raw)
    # Nothing may be given for a share, but never less than nothing.
    refusal = rules.check_price(name, rate, UNDATED) if rate else None
    if refusal is not None:
        raise Unfit(Refusal(refusal.rule, refusal.evidence))
    return rate


def _stranger(symbol: str, asked: Collection[str]) -> Refusal:
    names = ",".join(sorted(asked)[:3])
    return Refusal("symbol_mismatch", f"asked {names}, answered {symbol[:20]!r}")
