"""Alpaca's corporate actions: every type, exact, page after page; what is none is refused and counted."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tickgate_server.errors import UpstreamBroken, UpstreamFailure, UpstreamUnreadable
from tickgate_server.market.corporate_action import CorporateAction, CorporateActionType
from tickgate_server.market.provenance import DataSource, Provenance
from tickgate_server.ports import Group, Upstream
from tickgate_server.upstream.alpaca.corporate_actions import AlpacaCorporateActions

from ...support.fakes import NOW, HandClock, gate
from ...support.options import ScriptedRequests

START, END = date(2020, 1, 1), date(2025, 1, 1)
SPLIT = {
    "id": "split-1", "symbol": "AAPL", "cusip": "037833100", "new_rate": 4, "old_rate": 1,
    "process_date": "2020-08-31", "ex_date": "2020-08-31", "record_date": "2020-08-24",
    "payable_date": "2020-08-28", "due_bill_redemption_date": "2020-09-02",
}  # fmt: skip
DIVIDEND = {
    "id": "cash-1", "symbol": "AAPL", "rate": 0.205, "special": False, "foreign": False,
    "process_date": "2020-11-12", "ex_date": "2020-11-06",
}  # fmt: skip


class Setup:
    """Alpaca's corporate actions over answers by a script."""

    def __init__(self, *script: bytes | UpstreamFailure) -> None:
        clock = HandClock()
        self.requests = ScriptedRequests(clock, script)
        self.refused: dict[str, int] = {}
        self.source = AlpacaCorporateActions(
            self.requests, DataSource.SANDBOX, gate(clock, self.refused)
        )

    async def ask(
        self, *symbols: str, types: Collection[CorporateActionType] | None = None
    ) -> Sequence[CorporateAction]:
        """Ask what happened in five years."""
        return await self.source.corporate_actions(symbols or ("AAPL",), types, START, END, 1010.0)


def page(groups: Any, token: str | None = None) -> bytes:
    """A page of events."""
    return json.dumps({"corporate_actions": groups, "next_page_token": token}).encode()


async def only(kind: str, record: dict[str, Any], symbol: str = "AAPL") -> CorporateAction:
    """The event that a record of a type becomes."""
    (action,) = await Setup(page({kind: [record]})).ask(symbol)
    return action


def rates(action: CorporateAction) -> tuple[str | None, ...]:
    """Old and new shares, and cash."""
    every = (action.old_rate, action.new_rate, action.cash_rate)
    return tuple(None if rate is None else str(rate) for rate in every)


async def test_a_split_says_everything() -> None:
    """A split comes with its ratio, its days and its origin, exactly as sent; what was not sent is not there."""
    assert await only("forward_splits", SPLIT) == CorporateAction(
        id="split-1",
        type=CorporateActionType.FORWARD_SPLIT,
        symbol="AAPL",
        new_symbol=None,
        old_rate=Decimal(1),
        new_rate=Decimal(4),
        cash_rate=None,
        ex_date=date(2020, 8, 31),
        record_date=date(2020, 8, 24),
        payable_date=date(2020, 8, 28),
        process_date=date(2020, 8, 31),
        special=None,
        provenance=Provenance(DataSource.SANDBOX, None, None, NOW, "up-1"),
    )


@pytest.mark.parametrize(
    ("kind", "record", "symbols", "expected"),
    [
        ("reverse_splits", {"symbol": "GE", "old_rate": 8, "new_rate": 1}, ("GE", None),
         ("8", "1", None)),
        ("unit_splits", {"old_symbol": "AU", "new_symbol": "A", "old_rate": 1, "new_rate": 1,
                         "alternate_symbol": "AW", "alternate_rate": 0.5}, ("AU", "A"),
         ("1", "1", None)),
        ("stock_dividends", {"symbol": "A", "rate": 0.05}, ("A", None), (None, "0.05", None)),
        ("cash_dividends", {"symbol": "A", "rate": 0.2050, "special": True}, ("A", None),
         (None, None, "0.205")),
        ("spin_offs", {"source_symbol": "GE", "source_rate": 4, "new_symbol": "GEV",
                       "new_rate": 1}, ("GE", "GEV"), ("4", "1", None)),
        ("cash_mergers", {"acquiree_symbol": "ATVI", "acquirer_symbol": "MSFT", "rate": 95},
         ("ATVI", "MSFT"), (None, None, "95")),
        ("cash_mergers", {"acquiree_symbol": "TWTR", "acquirer_symbol": "", "rate": 54.2},
         ("TWTR", None), (None, None, "54.2")),
        ("stock_mergers", {"acquiree_symbol": "XLNX", "acquiree_rate": 1,
                           "acquirer_symbol": "AMD", "acquirer_rate": 1.7234}, ("XLNX", "AMD"),
         ("1", "1.7234", None)),
        ("stock_and_cash_mergers", {"acquiree_symbol": "C", "acquiree_rate": 1,
                                    "acquirer_symbol": "D", "acquirer_rate": 0.25,
                                    "cash_rate": 12.5}, ("C", "D"), ("1", "0.25", "12.5")),
        ("redemptions", {"symbol": "SPAC", "rate": 10.031234}, ("SPAC", None),
         (None, None, "10.031234")),
        ("name_changes", {"old_symbol": "FB", "new_symbol": "META"}, ("FB", "META"),
         (None, None, None)),
        ("worthless_removals", {"symbol": "GONE"}, ("GONE", None), (None, None, None)),
        ("rights_distributions", {"source_symbol": "R", "new_symbol": "RRTS", "rate": 1},
         ("R", "RRTS"), (None, "1", None)),
    ],
)  # fmt: skip
async def test_every_type(
    kind: str,
    record: dict[str, Any],
    symbols: tuple[str, str | None],
    expected: tuple[str | None, ...],
) -> None:
    """Each type has its own names for shares and rates, which mean the same here."""
    action = await only(kind, record, symbols[0])
    assert action.type == CorporateActionType(kind)
    assert (action.symbol, action.new_symbol) == symbols
    assert rates(action) == expected
    assert (action.id, action.day) == ("", None)
    assert action.special == record.get("special")


def test_all_types_are_read() -> None:
    """There is no type that is not known by its fields."""
    from tickgate_server.upstream.alpaca.corporate_actions import _NAMES  # noqa: PLC0415 - one look

    assert set(_NAMES) == set(CorporateActionType)


async def test_when_a_merger_takes_effect() -> None:
    """Where an event has no payable date the day on which it takes effect stands for it."""
    merger = {"acquiree_symbol": "AAPL", "rate": 1, "effective_date": "2023-10-13"}
    assert (await only("cash_mergers", merger)).payable_date == date(2023, 10, 13)
    paid = merger | {"payable_date": "2023-10-16"}
    assert (await only("cash_mergers", paid)).payable_date == date(2023, 10, 16)


async def test_what_is_asked() -> None:
    """Symbols, range and types are asked for in Alpaca's words, whose end belongs to the range, on every page alike."""
    setup = Setup(page({}, "MQ=="), page({}))
    await setup.ask(
        "AAPL", "MSFT", types=[CorporateActionType.FORWARD_SPLIT, CorporateActionType.CASH_DIVIDEND]
    )
    base = {
        "symbols": "AAPL,MSFT",
        "start": "2020-01-01",
        "end": "2024-12-31",
        "limit": "1000",
        "sort": "asc",
        "types": "cash_dividend,forward_split",
    }
    assert [dict(sent.params) for sent in setup.requests.sent] == [
        base,
        base | {"page_token": "MQ=="},
    ]
    for sent in setup.requests.sent:
        assert (sent.upstream, sent.group) == (Upstream.DATA, Group.REFERENCE)
        assert (sent.path, sent.deadline) == ("/v1/corporate-actions", 1010.0)
        assert sent.effort is setup.requests.sent[0].effort
    setup = Setup(page({}))
    await setup.ask()
    assert "types" not in setup.requests.sent[0].params


async def test_all_pages_make_one_list() -> None:
    """Events of all pages and types come by day and symbol, each with the answer that brought it."""
    setup = Setup(
        page({"cash_dividends": [DIVIDEND, DIVIDEND | {"symbol": "A"}]}, "MQ=="),
        page(None, "Mg=="),
        page({"forward_splits": [SPLIT], "name_changes": None}),
    )
    found = await setup.ask("AAPL", "A")
    assert [(one.symbol, str(one.day)) for one in found] == [
        ("AAPL", "2020-08-31"),
        ("A", "2020-11-06"),
        ("AAPL", "2020-11-06"),
    ]
    assert [one.provenance.upstream_request_id for one in found] == ["up-3", "up-1", "up-1"]
    assert setup.refused == {}


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"symbol": None}, "missing_field"),
        ({"symbol": ""}, "missing_field"),
        ({"symbol": 7}, "wrong_type"),
        ({"symbol": "IBM"}, "symbol_mismatch"),
        ({"new_rate": "4"}, "wrong_type"),
        ({"new_rate": -4}, "negative_price"),
        ({"old_rate": 10**9}, "price_out_of_range"),
        ({"ex_date": "soon"}, "wrong_type"),
    ],
)
async def test_what_is_no_event(changed: dict[str, Any], rule: str) -> None:
    """A record that breaks a rule costs itself, and is counted by the rule."""
    setup = Setup(page({"forward_splits": [SPLIT | changed, SPLIT]}))
    assert [one.id for one in await setup.ask()] == ["split-1"]
    assert setup.refused == {rule: 1}


async def test_records_that_are_no_objects() -> None:
    """Numbers, nulls and empty objects among the events are refused one by one."""
    setup = Setup(page({"forward_splits": [7, None, {}, SPLIT]}))
    assert len(await setup.ask()) == 1
    assert setup.refused == {"wrong_type": 1, "missing_field": 2}


async def test_an_acquirer_hears_of_what_it_acquires() -> None:
    """Who asks for the company that came of it gets the event of the other, which names both."""
    change = {"old_symbol": "FB", "new_symbol": "META", "process_date": "2022-06-09"}
    action = await only("name_changes", change, "META")
    assert (action.symbol, action.new_symbol, action.day) == ("FB", "META", date(2022, 6, 9))


async def test_types_that_nobody_knows() -> None:
    """A type that Alpaca may add one day is passed over, as are fields."""
    setup = Setup(page({"tokenizations": [{"symbol": "AAPL"}], "forward_splits": [SPLIT]}))
    assert [one.id for one in await setup.ask()] == ["split-1"]
    assert setup.refused == {}


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"<html>", "unreadable"),
        (b"[]", "wrong_type"),
        (b'{"corporate_actions":{}}', "wrong_type"),
        (b'{"next_page_token":null}', "wrong_type"),
        (b'{"corporate_actions":{"forward_splits":{}},"next_page_token":null}', "wrong_type"),
    ],
)
async def test_what_is_no_answer(body: bytes, rule: str) -> None:
    """An answer of another shape, or one that does not say whether it goes on, is no answer."""
    setup = Setup(body)
    with pytest.raises(UpstreamUnreadable):
        await setup.ask()
    assert setup.refused == {rule: 1}


async def test_pages_that_lead_nowhere() -> None:
    """A page that leads to one before is refused, and a page that cannot be had fails all: no list is half a list."""
    setup = Setup(page({}, "MQ=="), page({}, "Mg=="), page({}, "MQ=="))
    with pytest.raises(UpstreamUnreadable, match="repeated_page"):
        await setup.ask()
    with pytest.raises(UpstreamBroken):
        await Setup(page({"forward_splits": [SPLIT]}, "MQ=="), UpstreamBroken("no")).ask()
