"""Option contracts, as the trading API answers them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import REAL_RECORDINGS, write_assets
from tickgate_sandbox import faults
from tickgate_sandbox.options.occ import Terms, read_terms
from tickgate_sandbox.timestamps import parse

from .asking import Client, asked, synthetic
from .option_recordings import CONTRACTS, write_chain

CONTRACTS_PATH = "/v2/options/contracts"
NEAR = "AAPL261127C00230000"
FAR = "2099-12-31"
"""A last expiry that lets everything pass."""

real = pytest.mark.skipif(not REAL_RECORDINGS.is_dir(), reason="real recordings are not at hand")


async def contracts(client: Client, **query: str) -> list[dict[str, Any]]:
    """Return the contracts that pass the filters, all on one page."""
    answer = await client.get(CONTRACTS_PATH, **({"limit": "9999"} | query))
    assert answer.status == 200, answer.body
    assert answer.json["next_page_token"] is None
    return list(answer.json["option_contracts"])


async def symbols(client: Client, **query: str) -> list[str]:
    """Return the symbols of the same."""
    return [contract["symbol"] for contract in await contracts(client, **query)]


def recorded(folder: Path, **changes: Any) -> Any:
    """Return settings that replay the chain of `XYZ` and what is known of its contracts."""
    write_chain(folder, "XYZ-2024-03-13", contracts=CONTRACTS)
    defaults = {"replay": folder, "at": "2024-03-13T16:00:00-04:00"}
    return synthetic(**(defaults | changes))


# --------------------------------------------------------------------------------- one contract


async def test_contract() -> None:
    """A contract has Alpaca's fields in its order, amounts as texts, deliverables left out."""
    async with asked() as (_, client):
        answer = await client.get(f"{CONTRACTS_PATH}/{NEAR}")
        asset = await client.get("/v2/assets/AAPL")

    assert list(answer.json) == [
        "id", "symbol", "name", "status", "tradable", "expiration_date", "root_symbol",
        "underlying_symbol", "underlying_asset_id", "type", "style", "strike_price",
        "multiplier", "size", "open_interest", "open_interest_date", "close_price",
        "close_price_date",
    ]  # fmt: skip
    assert (
        answer.json
        | {
            "symbol": NEAR,
            "name": "AAPL Nov 27 2026 230 Call",
            "status": "active",
            "tradable": True,
            "expiration_date": "2026-11-27",
            "root_symbol": "AAPL",
            "underlying_symbol": "AAPL",
            "underlying_asset_id": asset.json["id"],
            "type": "call",
            "style": "american",
            "strike_price": "230",
            "multiplier": "100",
            "size": "100",
        }
        == answer.json
    )


async def test_contract_by_id() -> None:
    """A contract is found by its id, which two sandboxes agree on."""
    async with asked() as (_, client):
        by_symbol = await client.get(f"{CONTRACTS_PATH}/{NEAR}")
    async with asked(synthetic(seed=5)) as (_, client):
        by_id = await client.get(f"{CONTRACTS_PATH}/{by_symbol.json['id']}")

    assert by_id.json["symbol"] == NEAR


@pytest.mark.parametrize("name", ["AAPL261127C00999000", "TSLA231110C00021000", "bogus"])
async def test_unknown_contract(name: str) -> None:
    """An unknown contract is 404 with a code."""
    async with asked() as (_, client):
        answer = await client.get(f"{CONTRACTS_PATH}/{name}")

    assert answer.status == 404
    assert answer.json == {"code": 40410000, "message": f"option contract {name} not found"}


async def test_deliverables() -> None:
    """What a contract delivers is told when it is asked for, with the settlement of the day."""
    query = {"underlying_symbols": "AAPL", "expiration_date": "2026-11-27"}
    async with asked() as (_, client):
        shown = await contracts(client, **query, show_deliverables="true")
        hidden = await contracts(client, **query, show_deliverables="false")
        one = await client.send(
            "GET", f"{CONTRACTS_PATH}/{NEAR}", params={"show_deliverables": "true"}
        )
        asset = await client.get("/v2/assets/AAPL")

    assert one.json["deliverables"] == shown[0]["deliverables"]
    assert shown[0]["deliverables"] == [
        {
            "type": "equity",
            "symbol": "AAPL",
            "asset_id": asset.json["id"],
            "amount": "100",
            "allocation_percentage": "100",
            "settlement_type": "T+1",
            "settlement_method": "CCC",
            "delayed_settlement": False,
        }
    ]
    assert not any("deliverables" in contract for contract in hidden)


async def test_recorded_fields_come_first(tmp_path: Path) -> None:
    """What was recorded of a contract stands; what was not is null, or a fact of its symbol."""
    async with asked(recorded(tmp_path)) as (_, client):
        listed = {one["symbol"]: one for one in await contracts(client, expiration_date_lte=FAR)}

    known, unknown = listed["XYZ240315C00050000"], listed["XYZ240315P00050000"]
    assert (known["open_interest"], known["open_interest_date"]) == ("237", "2024-03-12")
    assert (known["close_price"], known["size"]) == (None, "100")
    assert unknown["open_interest"] is unknown["close_price_date"] is None
    assert unknown["underlying_asset_id"] is not None


async def test_adjusted_contract(tmp_path: Path) -> None:
    """Of an adjusted contract nobody can tell from its symbol what it delivers."""
    query = {"root_symbol": "XYZ1", "show_deliverables": "true"}
    async with asked(recorded(tmp_path)) as (_, client):
        (adjusted,) = await contracts(client, **query)

    assert adjusted["underlying_symbol"] == "XYZ"
    assert "size" not in adjusted
    assert "deliverables" not in adjusted


# --------------------------------------------------------------------------------------- filters


async def test_next_weekend_by_default() -> None:
    """Without a last expiry only what expires until the next weekend comes back."""
    async with asked() as (running, client):
        friday = await contracts(client, underlying_symbols="AAPL")
        running.clock.seek(parse("2026-11-21T15:00:00Z"))
        saturday = await contracts(client, underlying_symbols="AAPL")
        later = await contracts(client, underlying_symbols="AAPL", expiration_date="2026-12-04")

    assert {contract["expiration_date"] for contract in friday} == {"2026-11-20"}
    assert {contract["expiration_date"] for contract in saturday} == {"2026-11-27"}
    assert len(later) == 82


async def test_expiry_day() -> None:
    """A contract stays active through the day it expires on, and is inactive afterwards."""
    symbol = "AAPL261120C00230000"
    query = {"underlying_symbols": "AAPL", "expiration_date": "2026-11-20"}
    async with asked(synthetic(at="2026-11-20T23:59:00-05:00")) as (running, client):
        active = await symbols(client, **query)
        running.clock.seek(parse("2026-11-21T05:00:00Z"))
        no_longer = await symbols(client, **query)
        inactive = await contracts(client, **query, status="inactive")
        one = await client.get(f"{CONTRACTS_PATH}/{symbol}")

    assert symbol in active
    assert no_longer == []
    assert symbol in [contract["symbol"] for contract in inactive]
    assert (one.json["status"], one.json["tradable"]) == ("inactive", False)


FILTERS: list[tuple[dict[str, str], Callable[[Terms], bool]]] = [
    ({"type": "put"}, lambda one: one.right == "put"),
    ({"style": "american"}, lambda one: True),
    ({"style": "european"}, lambda one: False),
    ({"root_symbol": "MSFT"}, lambda one: one.root == "MSFT"),
    ({"underlying_symbols": "MSFT"}, lambda one: one.root == "MSFT"),
    ({"strike_price_gte": "500"}, lambda one: one.strike >= 500_000),
    ({"strike_price_lte": "170.5"}, lambda one: one.strike <= 170_500),
    ({"expiration_date": "2026-12-18"}, lambda one: str(one.expiry) == "2026-12-18"),
    ({"expiration_date_gte": "2027-01-01"}, lambda one: str(one.expiry) >= "2027-01-01"),
    ({"expiration_date_lte": "2026-11-27"}, lambda one: str(one.expiry) <= "2026-11-27"),
    ({"status": "inactive"}, lambda one: False),
]


@pytest.mark.parametrize(
    ("query", "admits"), FILTERS, ids=lambda one: str(one) if isinstance(one, dict) else None
)
async def test_filters(query: dict[str, str], admits: Callable[[Terms], bool]) -> None:
    """Each filter leaves exactly the contracts that pass it, in the order of their symbols."""
    some = {"underlying_symbols": "AAPL,MSFT", "expiration_date_lte": FAR}
    async with asked() as (_, client):
        everything = await symbols(client, **some)
        filtered = await symbols(client, **(some | query))

    if query.get("status") == "inactive":
        assert filtered
        assert not set(filtered) & set(everything)
        return
    assert everything == sorted(everything)
    assert filtered == [
        symbol for symbol in everything if (said := read_terms(symbol)) and admits(said)
    ]


@pytest.mark.parametrize("limit", [7, 82, 100])
async def test_pages_hold_each_contract_once(limit: int) -> None:
    """Walked to its end, a listing has every contract once; its tokens are offsets."""
    query = {"underlying_symbols": "AAPL", "expiration_date_lte": "2026-11-27"}
    seen: list[str] = []
    async with asked() as (_, client):
        everything = await symbols(client, **query)
        token: str | None = ""
        while token is not None:
            page = await client.get(CONTRACTS_PATH, **query, limit=str(limit), page_token=token)
            seen += [contract["symbol"] for contract in page.json["option_contracts"]]
            token = page.json["next_page_token"]
            if token is not None:
                assert base64.b64decode(token) == str(len(seen)).encode()

    assert len(everything) == 164
    assert seen == everything


async def test_a_hundred_contracts_by_default() -> None:
    """Without a limit a page has a hundred contracts, without an underlying those of all."""
    async with asked() as (_, client):
        answer = await client.get(CONTRACTS_PATH)

    assert len(answer.json["option_contracts"]) == 100
    assert answer.json["next_page_token"] == base64.b64encode(b"100").decode()


# -------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"underlying_symbols": "ZZZZQ"}, "invalid underlying symbols: ZZZZQ"),
        ({"underlying_symbols": "AAPL,ZZZZQ,ZZZZX"}, "invalid underlying symbols: ZZZZQ,ZZZZX"),
        ({"limit": "10000"}, "limit must be less than 10000"),
        ({"limit": "0"}, "invalid limit: 0"),
        ({"page_token": "eA=="}, "invalid page_token: eA=="),
        ({"page_token": "%"}, "invalid page_token: %"),
        ({"status": "dead"}, "invalid status: dead"),
        ({"style": "bermudan"}, "invalid style: bermudan"),
        ({"type": "both"}, "invalid type: both"),
        ({"show_deliverables": "maybe"}, "invalid show_deliverables: maybe"),
        ({"expiration_date_lte": "soon"}, "invalid expiration_date_lte: soon"),
        ({"strike_price_gte": "much"}, "invalid strike_price_gte: much"),
    ],
)
async def test_parameters_without_meaning(query: dict[str, str], message: str) -> None:
    """What makes no sense is refused with a code."""
    async with asked() as (_, client):
        answer = await client.get(CONTRACTS_PATH, **query)

    assert answer.status == 422
    assert answer.json == {"code": 42210000, "message": message}


async def test_listed_share_without_options() -> None:
    """A share that is listed exists, though it has no contracts."""
    async with asked() as (_, client):
        assert await contracts(client, underlying_symbols="QUIET") == []


# ------------------------------------------------------------------------------------ recordings


async def test_whose_options_are_recorded_is_listed(tmp_path: Path) -> None:
    """What has option recordings is an asset, and an underlying, though nobody lists it."""
    write_assets(tmp_path, [{"id": "1", "symbol": "IBM", "status": "active"}])
    async with asked(recorded(tmp_path)) as (_, client):
        asset = await client.get("/v2/assets/XYZ")
        nothing = await contracts(client, underlying_symbols="IBM")
        unknown = await client.get(CONTRACTS_PATH, underlying_symbols="AAPL")

    assert asset.json["symbol"] == "XYZ"
    assert "has_options" in asset.json["attributes"]
    assert nothing == []
    assert unknown.status == 422


@pytest.mark.parametrize("attributes", [None, ["has_options"], ["options_late_close"]])
async def test_late_close(tmp_path: Path, attributes: list[str] | None) -> None:
    """An asset whose options close late says so even where its recording is too old to."""
    asset = {"id": "1", "symbol": "SPY", "status": "active", "tradable": True}
    if attributes is not None:
        asset["attributes"] = attributes
    write_assets(tmp_path, [asset, asset | {"id": "2", "symbol": "AAPL"}])
    async with asked(recorded(tmp_path)) as (_, client):
        spy = (await client.get("/v2/assets/SPY")).json
        aapl = (await client.get("/v2/assets/AAPL")).json
        late = await client.get("/v2/assets", attributes="options_late_close")

    assert spy == asset | {
        "attributes": list(dict.fromkeys([*(attributes or []), "options_late_close"]))
    }
    assert aapl == asset | {"id": "2", "symbol": "AAPL"}
    assert "SPY" in [one["symbol"] for one in late.json]


async def test_contracts_of_earlier_recordings(tmp_path: Path) -> None:
    """What has expired stays known as inactive after a newer recording no longer has it."""
    newer = {"XYZ240621C00055000": "{}"}
    write_chain(tmp_path, "series/XYZ-2024-03-18T100000", newer)
    settings = recorded(tmp_path, at="2024-03-18T12:00:00-04:00")
    async with asked(settings) as (_, client):
        active = await symbols(client, expiration_date_lte=FAR)
        inactive = await symbols(client, expiration_date_lte=FAR, status="inactive")

    assert active == ["XYZ240621C00055000"]
    assert inactive == [
        "XYZ1240315C00050000", "XYZ240315C00050000", "XYZ240315P00050000", "XYZ240315P00052500"
    ]  # fmt: skip


async def test_before_the_first_recording(tmp_path: Path) -> None:
    """Before its first recording an underlying is known, but none of its contracts."""
    settings = recorded(tmp_path, at="2024-03-13T12:00:00-04:00")
    async with asked(settings) as (_, client):
        listed = await contracts(client, underlying_symbols="XYZ")
        one = await client.get(f"{CONTRACTS_PATH}/XYZ240315C00050000")

    assert listed == []
    assert one.status == 404


async def test_expiries_are_never_moved(tmp_path: Path) -> None:
    """Shifted recordings keep their expiries, and what was active then is active."""
    settings = recorded(tmp_path, shift_to_now=True)
    async with asked(settings, wall_ns=lambda: parse("2026-11-20T15:00:00Z")) as (_, client):
        listed = await contracts(client, underlying_symbols="XYZ")

    assert {contract["expiration_date"] for contract in listed} == {"2024-03-15"}
    assert {contract["status"] for contract in listed} == {"active"}


# ---------------------------------------------------------------------------------- pins, faults


async def test_pinned_contract() -> None:
    """A pinned contract is served verbatim, alone and in the listing of its underlying."""
    query = {"underlying_symbols": "AAPL", "expiration_date": "2026-11-27"}
    pinned = '{"symbol":1,"strike_price":"x"}'
    async with asked() as (running, client):
        before = await contracts(client, **query)
        running.pins.put("contracts", NEAR, pinned)
        running.pins.put("contracts", "AAPL261127C00231230", pinned)
        after = await contracts(client, **query)
        one = await client.get(f"{CONTRACTS_PATH}/{NEAR}")
        other = await contracts(client, **(query | {"underlying_symbols": "MSFT"}))

    assert one.body == pinned.encode()
    assert len(after) == len(before) + 1
    assert after.count({"symbol": 1, "strike_price": "x"}) == 2
    assert len(other) == len(before)


async def test_faults_that_rewrite() -> None:
    """A listing loses contracts, or has one under another name, when a fault says so."""
    query = {"underlying_symbols": "AAPL", "limit": "3"}
    async with asked() as (running, client):
        before = (await client.get(CONTRACTS_PATH, **query)).json["option_contracts"]
        first, second, third = (contract["symbol"] for contract in before)
        running.faults.add(faults.DropSymbols(symbols=[second], times=1))
        dropped = (await client.get(CONTRACTS_PATH, **query)).json
        running.faults.add(faults.WrongSymbol(symbol="WRONG", times=1))
        wrong = (await client.get(CONTRACTS_PATH, **query)).json

    assert [one["symbol"] for one in dropped["option_contracts"]] == [first, third]
    assert dropped["next_page_token"] is not None
    assert [one["symbol"] for one in wrong["option_contracts"]] == ["WRONG", second, third]


# ------------------------------------------------------------------------------- real recordings


@real
@pytest.mark.recordings
async def test_real_contracts() -> None:
    """Real contracts have their open interest, and the rest by their terms."""
    settings = synthetic(replay=REAL_RECORDINGS, at="2022-07-12T16:30:00-04:00")
    async with asked(settings) as (_, client):
        near = await contracts(client, underlying_symbols="SPY")
        everything = await contracts(client, underlying_symbols="SPY", expiration_date_lte=FAR)
        late = (await client.get("/v2/assets/SPY")).json

    assert {contract["expiration_date"] for contract in near} == {"2022-07-13", "2022-07-15"}
    assert len(everything) == 9_208
    assert all(contract["open_interest"] is not None for contract in everything)
    assert all(contract["underlying_asset_id"] == late["id"] for contract in near)
    assert late["attributes"] == ["options_late_close"]
