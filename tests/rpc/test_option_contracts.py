"""What a caller gets from ListOptionContracts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from typing import Any

import grpc
import pytest
from google.type.date_pb2 import Date
from google.type.decimal_pb2 import Decimal as Number

from tickgate.v1 import admin_service_pb2 as admin_pb
from tickgate.v1 import option_pb2, provenance_pb2
from tickgate.v1 import option_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_sandbox import faults

from ..support.option_market import (
    CALL,
    CONTRACTS,
    EXPIRY_DAY,
    LIST_PATH,
    PUT,
    THURSDAY,
    chain,
    contract_entry,
    failure,
    lists_asked,
    page,
    reason_of,
    refusal,
    symbol_of,
    trading,
)
from ..support.page_tokens import forged, opened
from ..support.running import FROZEN, Stack, running

EXPIRIES = ["261002", "261009", "261016", "261023", "261030", "261120", "261218", "270115"]
PAST = ["260918", "260925"]
STRIKES = range(130, 331, 5)
ACTIVE, INACTIVE = (
    option_pb2.OPTION_CONTRACT_STATUS_ACTIVE,
    option_pb2.OPTION_CONTRACT_STATUS_INACTIVE,
)
PUTS = option_pb2.OPTION_TYPE_PUT


def number(value: int) -> Any:
    """*value* where the stubs want a member: it is none, which is the point."""
    return value


def named(expiries: Iterable[str]) -> list[str]:
    """Return the contracts of *expiries* in the order that is promised: by date, strike, and calls first."""
    return [symbol_of(at, right, day_) for day_ in expiries for at in STRIKES for right in "CP"]


def day(text: str) -> Date:
    """Return the date that "2026-11-20" names."""
    year, month, day_ = map(int, text.split("-"))
    return Date(year=year, month=month, day=day_)


async def listing(
    stack: Stack, underlying: str = "AAPL", **terms: Any
) -> pb.ListOptionContractsResponse:
    """Ask for a page of the contracts of *underlying*."""
    request = pb.ListOptionContractsRequest(underlying_symbol=underlying, **terms)
    return await stack.options.ListOptionContracts(request)


async def walk(stack: Stack, **terms: Any) -> list[option_pb2.OptionContractPage]:
    """Walk through all pages."""
    found = [(await listing(stack, **terms)).page]
    while token := found[-1].next_page_token:
        found.append((await listing(stack, page_token=token, **terms)).page)
    return found


async def listing_anew(stack: Stack, **terms: Any) -> option_pb2.OptionContractPage:
    """Ask for the contracts of AAPL, all on one page, of a list that is read now."""
    kinds = [admin_pb.VALUE_KIND_OPTION_CHAIN]
    await stack.admin.InvalidateCache(admin_pb.InvalidateCacheRequest(kinds=kinds))
    return (await listing(stack, page_size=1000, **terms)).page


def symbols(pages: Iterable[option_pb2.OptionContractPage]) -> list[str]:
    """Return the contracts of *pages*, in order."""
    return [contract.symbol for one in pages for contract in one.contracts]


async def contract_of(stack: Stack, symbol: str = CALL, **terms: Any) -> option_pb2.OptionContract:
    """Return one contract of a list that is read now."""
    found = await listing_anew(stack, **terms)
    (contract,) = [one for one in found.contracts if one.symbol == symbol]
    return contract


# ---------------------------------------------------------------------------------- what is listed


async def test_all_active_contracts_are_listed_however_far_away() -> None:
    """Left out, status is active and dates have no end: the furthest are listed, not those of the next week alone."""
    async with trading(THURSDAY) as stack:
        found = await walk(stack, page_size=1000)
        asked = lists_asked(stack)

    assert symbols(found) == named(EXPIRIES)
    (only,) = found
    assert (only.total_size, only.refused) == (CONTRACTS, 0)
    assert {one.status for one in only.contracts} == {ACTIVE}
    origin = only.provenance
    assert origin.source == provenance_pb2.DATA_SOURCE_SANDBOX
    assert origin.upstream_request_id
    assert origin.receive_time.ToNanoseconds() <= origin.serve_time.ToNanoseconds()
    assert origin.receive_age.ToNanoseconds() >= 0
    assert not origin.HasField("event_time")
    assert asked == 1


async def test_inactive_contracts_are_listed_when_asked_for() -> None:
    """Contracts that have expired come with their status, and those of a range when it is named."""
    async with trading(THURSDAY) as stack:
        found = await walk(stack, status=INACTIVE)
        some = await walk(
            stack,
            status=INACTIVE,
            start_expiry_date=day("2026-09-19"),
            end_expiry_date=day("2026-09-26"),
        )
        earlier = await listing(stack, status=INACTIVE, end_expiry_date=day("2026-09-18"))
        never = await listing(stack, "QUIET")

    assert symbols(found) == named(PAST)
    assert {one.status for page_ in found for one in page_.contracts} == {INACTIVE}
    assert not any(one.tradable for page_ in found for one in page_.contracts)
    assert symbols(some) == named(["260925"])
    assert reason_of(earlier.unavailable) == "NO_DATA"
    assert "no inactive contract is listed in that range" in earlier.unavailable.message
    assert never.unavailable.message == "QUIET: no active contract is listed"


async def test_a_contract_is_what_was_sent() -> None:
    """Every term leaves as it came in: numbers digit for digit, days as days, words as they are."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("contracts", CALL, contract_entry(multiplier="100.00"))
        contract = await contract_of(stack)

    assert (contract.symbol, contract.id, contract.name) == (
        CALL,
        "7d0a9c2b-7763-54da-a78e-24011f755ae7",
        "AAPL Nov 20 2026 230 Call",
    )
    assert (contract.underlying_symbol, contract.root_symbol) == ("AAPL", "AAPL")
    assert contract.expiry_date == day("2026-11-20")
    assert (contract.type, contract.style) == (
        option_pb2.OPTION_TYPE_CALL,
        option_pb2.OPTION_STYLE_AMERICAN,
    )
    numbers = (contract.strike_price, contract.multiplier, contract.size, contract.close_price)
    assert [one.value for one in numbers] == ["230", "100.00", "100", "9.50"]
    assert contract.close_price_date == day("2026-09-30")
    assert contract.tradable
    interest = contract.open_interest
    assert (interest.contracts, interest.date) == (464, day("2026-09-30"))
    assert interest.provenance.source == provenance_pb2.DATA_SOURCE_SANDBOX
    assert interest.provenance.HasField("serve_time")
    assert contract.last_trading_time.ToJsonString() == "2026-11-20T21:00:00Z"
    assert not contract.deliverables


UNSENT = {
    "open_interest", "close_price", "close_price_date", "multiplier", "size", "style", "status", "tradable",
}  # fmt: skip


async def test_what_was_not_sent_is_unset() -> None:
    """A term that is null is unset, neither zero nor a default, and everything else is there."""
    async with trading(THURSDAY) as stack:
        for name in UNSENT:
            nothing: dict[str, Any] = {name: None}
            stack.sandbox.pins.put("contracts", CALL, contract_entry(**nothing))
            contract = await contract_of(stack)
            assert UNSENT - {field.name for field, _ in contract.ListFields()} == {name}


async def test_an_open_interest_of_none_is_no_zero() -> None:
    """Open interest of zero is a number, and a contract of which the upstream knows none has none."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("contracts", CALL, contract_entry(open_interest="0"))
        found = (await listing(stack, page_size=1000)).page.contracts
        full = await chain(stack, view=option_pb2.OPTION_VIEW_FULL)

    (zero,) = [one for one in found if one.symbol == CALL]
    assert zero.HasField("open_interest")
    assert zero.open_interest.contracts == 0
    without = {one.symbol for one in found if not one.HasField("open_interest")}
    assert len(without) > CONTRACTS / 10
    assert without == {one.symbol for one in full.options if not one.HasField("open_interest")}


async def test_deliverables_come_where_they_are_asked_for() -> None:
    """What is delivered for a contract is listed field by field when asked for: shares, and cash of an adjusted one."""
    adjusted = symbol_of(230, root="AAPL1")
    cash = {
        "type": "cash",
        "amount": "12.345",
        "settlement_method": "CADF",
        "delayed_settlement": True,
    }
    entry = contract_entry(
        adjusted,
        root_symbol="AAPL1",
        deliverables=[{"type": "equity", "symbol": "AAPL", "amount": "28"}, cash],
    )  # fmt: skip
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("contracts", adjusted, entry)
        plain = (await listing(stack, page_size=1000)).page
        found = (await listing(stack, page_size=1000, show_deliverables=True)).page
        lists = lists_asked(stack)

    assert not any(one.deliverables for one in plain.contracts if one.symbol != adjusted)
    by_symbol = {one.symbol: one for one in found.contracts}
    (shares,) = by_symbol[CALL].deliverables
    assert (shares.type, shares.symbol, shares.amount.value) == ("equity", "AAPL", "100")
    assert (shares.allocation_percentage.value, shares.settlement_type) == ("100", "T+1")
    assert (shares.settlement_method, shares.delayed_settlement) == ("CCC", False)
    assert shares.HasField("delayed_settlement")
    some, money = by_symbol[adjusted].deliverables
    assert (some.amount.value, some.HasField("allocation_percentage")) == ("28", False)
    assert not some.HasField("delayed_settlement")
    assert (money.type, money.symbol, money.amount.value) == ("cash", "", "12.345")
    assert (money.settlement_method, money.delayed_settlement) == ("CADF", True)
    assert lists == 2


@pytest.mark.parametrize(
    ("settings", "usual", "half"),
    [
        ({}, "2026-12-18T21:00:00Z", "2026-11-27T18:00:00Z"),
        (
            {"options": {"late_close": ["AAPL"]}},
            "2026-12-18T21:15:00Z",
            "2026-11-27T18:15:00Z",
        ),
    ],
    ids=["usual", "late"],
)
async def test_the_last_trading_time_is_that_of_the_calendar(
    settings: dict[str, Any], usual: str, half: str
) -> None:
    """Contracts trade to the close of their last day, which is early on a half day, and later where options do."""
    async with trading(replace(THURSDAY, at="2026-11-25T15:00:00Z"), **settings) as stack:
        found = {
            symbol: await contract_of(stack, symbol)
            for symbol in (symbol_of(230, expiry="261218"), symbol_of(230, expiry="261127"))
        }

    assert [one.last_trading_time.ToJsonString() for one in found.values()] == [usual, half]


async def test_the_list_of_assets_tells_whose_options_close_late() -> None:
    """Where the upstream says that options on an underlying close late, they trade a quarter of an hour longer."""
    asset = (
        '{"id":"1","class":"us_equity","exchange":"NASDAQ","symbol":"AAPL","name":"Apple","status":"active",'
        '"tradable":true,"attributes":["has_options","options_late_close"]}'
    )
    async with trading(
        THURSDAY, before=lambda market: market.pins.put("assets", "AAPL", asset)
    ) as stack:
        contract = await contract_of(stack)

    assert contract.last_trading_time.ToJsonString() == "2026-11-20T21:15:00Z"


async def test_on_its_last_evening_a_contract_is_still_listed() -> None:
    """The upstream counts a contract as active on the evening of its last day, and the list says just that."""
    evening = replace(EXPIRY_DAY, at="2026-10-02T22:00:00Z")
    async with trading(evening) as stack:
        contract = await contract_of(stack, symbol_of(230, expiry="261002"))

    assert contract.status == ACTIVE
    assert contract.last_trading_time.ToJsonString() == "2026-10-02T20:00:00Z"


# ------------------------------------------------------------------------------- what was refused


BAD_ENTRIES: dict[str, tuple[str, str]] = {
    "another date": (contract_entry(expiration_date="2026-11-27"), "contract_mismatch"),
    "another strike": (contract_entry(strike_price="231"), "contract_mismatch"),
    "another type": (contract_entry(type="put"), "contract_mismatch"),
    "another root": (contract_entry(root_symbol="AAPL1"), "contract_mismatch"),
    "another underlying": (contract_entry(underlying_symbol="MSFT"), "contract_mismatch"),
    "no contract": (contract_entry("AAPL"), "malformed_symbol"),
    "no symbol": (contract_entry(symbol=None), "missing_field"),
    "a number": ("7", "missing_field"),
    "a list": ("[]", "missing_field"),
    "negative interest": (contract_entry(open_interest="-1"), "negative_size"),
    "no multiplier": (contract_entry(multiplier="0"), "zero_price"),
}


async def test_an_entry_of_garbage_costs_itself_alone() -> None:
    """An entry that cannot be a contract is left out and counted, by its rule; all others are listed."""
    expected = [symbol for symbol in named(EXPIRIES) if symbol != CALL]
    refused = Counter[str]()
    async with trading(THURSDAY) as stack:
        for case, (entry, rule) in BAD_ENTRIES.items():
            stack.sandbox.pins.put("contracts", CALL, entry)
            found = await listing_anew(stack)
            refused[rule] += 1
            told = (await stack.status.GetStatus(status_pb.GetStatusRequest())).refusals
            assert symbols([found]) == expected, case
            assert (found.total_size, found.refused) == (CONTRACTS - 1, 1), case
            assert {one.rule: one.count for one in told} == refused, case


ODD_TERMS: dict[str, tuple[dict[str, Any], str]] = {
    "interest in words": ({"open_interest": "many"}, "open_interest"),
    "a half contract": ({"open_interest": "46.5"}, "open_interest"),
    "interest as a number": ({"open_interest": 464}, "open_interest"),
    "no number": ({"close_price": "NaN"}, "close_price"),
    "no day": ({"close_price_date": "2026-02-30"}, "close_price_date"),
    "an unknown style": ({"style": "bermudan"}, "style"),
    "an unknown status": ({"status": "sleeping"}, "status"),
    "a text for yes": ({"tradable": "true"}, "tradable"),
}


async def test_an_odd_term_costs_itself_alone() -> None:
    """A term that is not as documented is unset, and the contract is listed with all its others."""
    async with trading(THURSDAY) as stack:
        for case, (odd, field) in ODD_TERMS.items():
            stack.sandbox.pins.put("contracts", CALL, contract_entry(**odd))
            contract = await contract_of(stack)
            assert UNSENT - {one.name for one, _ in contract.ListFields()} == {field}, case


BEYOND = ["1E+5000", "-1E+5000", "1E-5000", "9" * 5000]
NUMBERS = ["open_interest", "size", "multiplier", "close_price", "strike_price"]


async def test_numbers_beyond_all_bounds_cost_a_contract_at_most() -> None:
    """A number that nobody can mean costs its term, or its contract: not the list, and no answer swells by it."""
    others = [symbol for symbol in named(EXPIRIES) if symbol != CALL]
    async with trading(THURSDAY) as stack:
        for name, text in product(NUMBERS, BEYOND):
            stack.sandbox.pins.put("contracts", CALL, contract_entry(CALL, **{name: text}))
            found = await listing_anew(stack)
            assert [symbol for symbol in symbols([found]) if symbol != CALL] == others, (name, text)
            for contract in found.contracts:
                if contract.symbol == CALL:
                    assert contract.ByteSize() < 1000, (name, text)
                    assert not contract.HasField(name) or name == "strike_price", (name, text)  # type: ignore[arg-type]  # a name of a field


async def test_an_odd_deliverable_does_not_swell_the_answer() -> None:
    """An amount that nobody can deliver is unset: it costs neither the contract nor the size of the answer."""
    async with trading(THURSDAY) as stack:
        for name, text in product(
            ("amount", "allocation_percentage"), (*BEYOND[:1], *BEYOND[2:], "NaN", "many")
        ):
            entry = contract_entry(deliverables=[{"type": "cash", name: text}])
            stack.sandbox.pins.put("contracts", CALL, entry)
            (money,) = (await contract_of(stack, show_deliverables=True)).deliverables
            assert [field.name for field, _ in money.ListFields()] == ["type"], (name, text)


# ------------------------------------------------------------------------------- filters and pages


FILTERS: dict[str, tuple[dict[str, Any], Callable[[str], bool]]] = {
    "calls": ({"type": option_pb2.OPTION_TYPE_CALL}, lambda one: one[10] == "C"),
    "one date": ({"expiry_date": day("2027-01-15")}, lambda one: one[4:10] == "270115"),
    "from a date": ({"start_expiry_date": day("2026-12-18")}, lambda one: one[4:10] >= "261218"),
    "up to a date": ({"end_expiry_date": day("2026-10-09")}, lambda one: one[4:10] < "261009"),
    "strikes": (
        {"min_strike_price": Number(value="229.999"), "max_strike_price": Number(value="235.0")},
        lambda one: 229_999 <= int(one[-8:]) <= 235_000,
    ),
    "the root": ({"root_symbol": "AAPL"}, lambda _: True),
    "all at once": (
        {
            "type": PUTS,
            "expiry_date": day("2026-11-20"),
            "max_strike_price": Number(value="135"),
            "root_symbol": "AAPL",
        },
        lambda one: one[4:11] == "261120P" and int(one[-8:]) <= 135_000,
    ),
}


async def test_filters_take_just_what_matches() -> None:
    """Each filter takes the contracts that match and no other, in order; whatever is asked for, one list serves all."""
    async with trading(THURSDAY) as stack:
        for case, (terms, matches) in FILTERS.items():
            found = await walk(stack, page_size=1000, **terms)
            expected = [symbol for symbol in named(EXPIRIES) if matches(symbol)]
            assert symbols(found) == expected, case
            assert {one.total_size for one in found} == {len(expected)}, case
        asked = lists_asked(stack)

    assert asked == 1


async def test_adjusted_series_are_listed_with_their_underlying() -> None:
    """An adjusted series is listed behind the usual one, and its root picks it out."""
    adjusted = symbol_of(230, root="AAPL1")
    async with trading(THURSDAY) as stack:
        stack.sandbox.pins.put("contracts", adjusted, contract_entry(adjusted, root_symbol="AAPL1"))
        whole = await walk(stack, page_size=1000)
        alone = await walk(stack, root_symbol="AAPL1")

    usual = named(EXPIRIES)
    at = usual.index(CALL) + 1
    assert symbols(whole) == [*usual[:at], adjusted, *usual[at:]]
    assert symbols(alone) == [adjusted]


@pytest.mark.parametrize(
    ("size", "first"), [(1, 1), (7, 7), (0, 100), (1000, CONTRACTS), (2**31 - 1, CONTRACTS)]
)
async def test_pages_join_to_the_whole_list(size: int, first: int) -> None:
    """Whatever the size of a page, all pages together hold each contract once, in order, asked for once."""
    terms = {"expiry_date": day("2026-11-20")} if size == 1 else {}
    async with trading(THURSDAY) as stack:
        found = await walk(stack, page_size=size, **terms)
        asked = lists_asked(stack)

    expected = named(["261120"] if terms else EXPIRIES)
    assert symbols(found) == expected
    assert len(found) == -(-len(expected) // first)
    assert {len(one.contracts) for one in found[:-1]} <= {first}
    assert {one.total_size for one in found} == {len(expected)}
    assert asked == 1


async def test_a_page_token_belongs_to_its_query() -> None:
    """A token with another filter, status, underlying or method is refused, as is garbage; a page size may change."""
    others: list[dict[str, Any]] = [
        {"type": PUTS},
        {"status": INACTIVE},
        {"show_deliverables": True},
        {"underlying": "MSFT"},
        {"root_symbol": "AAPL"},
    ]
    async with trading(THURSDAY) as stack:
        token = (await listing(stack, page_size=10)).page.next_page_token
        for other in others:
            broken = await refusal(listing(stack, page_token=token, **other))
            assert "another query" in broken["page_token"]
        of_chain = (await page(stack, page_size=10)).page.next_page_token
        for wrong in ("junk", token[:-4], of_chain):
            assert list(await refusal(listing(stack, page_token=wrong))) == ["page_token"]
        on = await listing(stack, page_size=5, page_token=token)

    assert symbols([on.page]) == named(EXPIRIES)[10:15]


async def test_a_token_beyond_the_list_is_refused() -> None:
    """A forged token that leads beyond the list is INVALID_ARGUMENT, never an empty page or a fault."""
    async with trading(THURSDAY) as stack:
        token = (await listing(stack, page_size=10)).page.next_page_token
        query, (list_time, _) = opened(token)
        for offset in (CONTRACTS, 10**6, 2**63 - 1, 2**64 - 1, -1):
            wrong = forged(query, "ContractPosition", [list_time, offset])
            assert list(await refusal(listing(stack, page_token=wrong))) == ["page_token"], offset


async def test_a_token_of_a_list_that_was_replaced_is_refused() -> None:
    """When the list has been read anew, a token of the old one is refused with the advice to start again."""
    async with trading(THURSDAY) as stack:
        token = (await listing(stack, page_size=10)).page.next_page_token
        kinds = [admin_pb.VALUE_KIND_OPTION_CHAIN]
        dropped = await stack.admin.InvalidateCache(admin_pb.InvalidateCacheRequest(kinds=kinds))
        broken = await refusal(listing(stack, page_size=10, page_token=token))
        asked = lists_asked(stack)

    assert dropped.memory_entries == 1
    assert "start again" in broken["page_token"]
    assert asked == 2


# --------------------------------------------------------------------------- what is shared, and not


async def test_a_list_is_asked_for_once() -> None:
    """Fifty who ask at the same time, and those who come later, cost one request; its age is counted on."""
    async with trading(THURSDAY) as stack:
        together = await asyncio.gather(*(listing(stack) for _ in range(50)))
        later = await listing(stack, type=PUTS)
        asked = lists_asked(stack)

    assert asked == 1
    times = {one.page.provenance.receive_time.ToNanoseconds() for one in (*together, later)}
    assert len(times) == 1
    age = later.page.provenance.receive_age.ToNanoseconds()
    assert age > together[0].page.provenance.receive_age.ToNanoseconds()


async def test_a_list_grows_old() -> None:
    """After `keep_contracts` a list is asked for again."""
    async with trading(THURSDAY, options={"keep_contracts": 0.001}) as stack:
        for _ in range(2):
            await listing(stack)
        asked = lists_asked(stack)

    assert asked == 2


async def test_what_there_is_not_is_told_apart() -> None:
    """An unknown underlying is SYMBOL_UNKNOWN, one without options NO_DATA, and so is a filter that nothing passes."""
    async with running(FROZEN) as stack:
        unknown = [await listing(stack, "ZZZZ") for _ in range(2)]
        quiet = [await listing(stack, "QUIET") for _ in range(2)]
        asked = lists_asked(stack)
    async with trading(THURSDAY) as stack:
        far = await listing(stack, min_strike_price=Number(value="5000"))

    assert [reason_of(one.unavailable) for one in unknown] == ["SYMBOL_UNKNOWN"] * 2
    assert [reason_of(one.unavailable) for one in quiet] == ["NO_DATA"] * 2
    assert "no active contract is listed" in quiet[0].unavailable.message
    assert reason_of(far.unavailable) == "NO_DATA"
    assert f"none of its {CONTRACTS} active contracts matches" in far.unavailable.message
    assert asked == 2


FAILURES: dict[str, tuple[faults.Fault, str, grpc.StatusCode]] = {
    "500": (faults.Status(status=500, path=LIST_PATH), "UPSTREAM_ERROR", grpc.StatusCode.UNAVAILABLE),
    "422": (faults.Status(status=422, path=LIST_PATH), "UPSTREAM_ERROR", grpc.StatusCode.UNAVAILABLE),
    "429": (faults.Status(status=429, path=LIST_PATH), "UPSTREAM_RATE_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED),
    "401": (faults.Html401(path=LIST_PATH), "UPSTREAM_UNAUTHENTICATED", grpc.StatusCode.UNAVAILABLE),
    "garbage": (faults.Garbage(path=LIST_PATH), "INVALID_DATA", grpc.StatusCode.DATA_LOSS),
    "null": (faults.NullBody(path=LIST_PATH), "INVALID_DATA", grpc.StatusCode.DATA_LOSS),
    "empty": (faults.EmptyBody(path=LIST_PATH), "INVALID_DATA", grpc.StatusCode.DATA_LOSS),
    "truncated": (faults.Truncate(path=LIST_PATH), "UPSTREAM_ERROR", grpc.StatusCode.UNAVAILABLE),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "reason", "status"), FAILURES.values(), ids=FAILURES)
async def test_a_list_that_cannot_be_had_says_why(
    fault: faults.Fault, reason: str, status: grpc.StatusCode
) -> None:
    """Where the list cannot be had the answer says why, and with `strict` the call fails with the reason's status."""
    settings: dict[str, Any] = {"alpaca": {"retries": {"most": 0}}}
    async with trading(THURSDAY, **settings) as stack:
        stack.sandbox.faults.add(fault)
        found = await listing(stack)
        code, info = await failure(listing(stack, strict=True))

    assert reason_of(found.unavailable) == reason
    assert (info.reason, info.metadata["symbol"]) == (reason, "AAPL")
    assert code is status


async def test_strict_fails_with_the_status_of_the_reason() -> None:
    """With `strict` an unknown underlying and a filter that nothing passes fail with NOT_FOUND and their reasons."""
    async with trading(THURSDAY) as stack:
        unknown = await failure(listing(stack, "ZZZZ", strict=True))
        nothing = await failure(listing(stack, min_strike_price=Number(value="5000"), strict=True))

    assert [code for code, _ in (unknown, nothing)] == [grpc.StatusCode.NOT_FOUND] * 2
    assert [info.reason for _, info in (unknown, nothing)] == ["SYMBOL_UNKNOWN", "NO_DATA"]


# -------------------------------------------------------------------------------- wrong requests


WRONG: dict[str, tuple[dict[str, Any], Iterable[str]]] = {
    "no underlying": ({"underlying": ""}, ["underlying_symbol"]),
    "a contract": ({"underlying": PUT}, ["underlying_symbol"]),
    "two at once": ({"underlying": "AAPL,MSFT"}, ["underlying_symbol"]),
    "no status": ({"status": number(0)}, ["status"]),
    "an unknown status": ({"status": number(3)}, ["status"]),
    "no type": ({"type": number(0)}, ["type"]),
    "no date": ({"expiry_date": Date(year=2026, month=13, day=1)}, ["expiry_date"]),
    "an empty date": ({"expiry_date": Date()}, ["expiry_date"]),
    "a date beyond all": ({"end_expiry_date": Date(year=2100, month=1, day=1)}, ["end_expiry_date"]),
    "a date and a range": (
        {"expiry_date": day("2026-10-02"), "end_expiry_date": day("2026-10-03")},
        ["end_expiry_date"],
    ),
    "a range upside down": (
        {"start_expiry_date": day("2026-10-03"), "end_expiry_date": day("2026-10-02")},
        ["end_expiry_date"],
    ),
    "a negative strike": ({"min_strike_price": Number(value="-0.001")}, ["min_strike_price"]),
    "a strike in words": ({"max_strike_price": Number(value="1e2")}, ["max_strike_price"]),
    "strikes upside down": (
        {"min_strike_price": Number(value="2"), "max_strike_price": Number(value="1")},
        ["max_strike_price"],
    ),
    "no root": ({"root_symbol": "AAPL "}, ["root_symbol"]),
    "a negative page": ({"page_size": -1}, ["page_size"]),
}  # fmt: skip


@pytest.mark.parametrize(("terms", "fields"), WRONG.values(), ids=WRONG)
async def test_wrong_requests_are_refused(terms: dict[str, Any], fields: Iterable[str]) -> None:
    """A request that breaks a rule is INVALID_ARGUMENT by its field, and nobody is asked."""
    async with running(THURSDAY) as stack:
        broken = await refusal(listing(stack, **terms))
        asked = lists_asked(stack)

    assert list(broken) == list(fields)
    assert asked == 0


async def test_ranges_at_the_ends_of_time_are_answered() -> None:
    """Whatever range can be named is asked for and answered: with contracts, or with NO_DATA."""
    ranges = [
        ("2000-01-01", "2000-01-02"),
        ("2099-12-30", "2099-12-31"),
        ("2026-10-01", "2099-12-31"),
    ]
    async with trading(THURSDAY) as stack:
        found = {
            (start, status): await listing(
                stack, status=status, start_expiry_date=day(start), end_expiry_date=day(end)
            )
            for status in (ACTIVE, INACTIVE)
            for start, end in ranges
        }

    assert found.pop(("2026-10-01", ACTIVE)).page.total_size == CONTRACTS
    assert {reason_of(one.unavailable) for one in found.values()} == {"NO_DATA"}
