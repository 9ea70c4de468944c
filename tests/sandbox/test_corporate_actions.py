"""Splits, dividends and other events, as Alpaca lists them."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import write_recordings
from tickgate_sandbox import Plan, RecordingError
from tickgate_sandbox.history.actions import (
    GROUPS,
    CorporateActions,
    Name,
    corporate_action,
    well_known_actions,
)
from tickgate_sandbox.timestamps import new_york, parse

from .asking import asked, synthetic
from .walking import bar, write_actions, write_bars

PATH = "/v1/corporate-actions"
EVERYTHING = {"start": "1990-01-01", "end": "2030-01-01"}


def split(number: int, symbol: str, day: str) -> dict[str, Any]:
    """Return a split as Alpaca tells of it."""
    return {"id": f"s{number}", "symbol": symbol, "cusip": f"C{symbol}", "old_rate": 1, "new_rate": 2,
            "process_date": day, "ex_date": day}  # fmt: skip


RECORDED = {
    "forward_splits": [split(1, "XYZ", "2024-03-01"), split(2, "ABC", "2024-03-05"), split(3, "XYZ", "2024-09-02")],
    "cash_dividends": [
        {"id": "d1", "symbol": "XYZ", "cusip": "CXYZ", "rate": 0.250, "special": False, "foreign": False,
         "process_date": "2024-03-20", "ex_date": "2024-03-04"},
    ],
    "name_changes": [
        {"id": "n1", "old_symbol": "OLD", "old_cusip": "COLD", "new_symbol": "XYZ", "new_cusip": "CXYZ",
         "process_date": "2024-02-01"},
    ],
}  # fmt: skip


def recorded(folder: Path) -> Any:
    """Return settings of a replay of a few actions and not much more."""
    write_bars(folder, "XYZ-1Day-raw", [bar("2024-03-01T05:00:00Z", "1")])
    write_actions(folder, RECORDED)
    return synthetic(replay=folder, at="2024-06-03T10:00:00-04:00", plan=Plan.PLUS)


def ids(answer: Any) -> list[str]:
    """Return the ids in an answer, group after group."""
    groups = answer.json["corporate_actions"]
    return [one["id"] for actions in groups.values() for one in actions]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["n1", "s1", "s2", "d1"]),
        ({"sort": "desc"}, ["s2", "s1", "d1", "n1"]),
        ({"symbols": "XYZ"}, ["n1", "s1", "d1"]),
        ({"symbols": "OLD,ABC"}, ["n1", "s2"]),
        ({"cusips": "CABC"}, ["s2"]),
        ({"types": "cash_dividend"}, ["d1"]),
        ({"types": "cash_dividend,name_change"}, ["n1", "d1"]),
        ({"types": "spin_off"}, []),
        ({"start": "2024-03-01", "end": "2024-03-04"}, ["s1", "d1"]),
        ({"start": "2024-03-05", "end": "2024-03-05"}, ["s2"]),
        ({"symbols": "ZZZZ"}, []),
    ],
)
async def test_filters(tmp_path: Path, query: dict[str, str], expected: list[str]) -> None:
    """Actions are grouped by type; symbols, CUSIPs, types and days narrow them down, days included."""
    async with asked(recorded(tmp_path)) as (_, client):
        answer = await client.get(PATH, **(EVERYTHING | query))

    assert answer.status == 200
    assert ids(answer) == expected


async def test_ids(tmp_path: Path) -> None:
    """Actions are found by their ids, which no other filter may narrow down."""
    async with asked(recorded(tmp_path)) as (_, client):
        found = await client.get(PATH, ids="d1,s2,s3,unknown")
        both = await client.get(PATH, ids="d1", symbols="XYZ")

    assert sorted(ids(found)) == ["d1", "s2"]
    assert both.status == 400


async def test_today_by_default(tmp_path: Path) -> None:
    """Without a day it is about today; what is still to come is not told of."""
    async with asked(recorded(tmp_path)) as (running, client):
        nothing = await client.get(PATH)
        running.clock.seek(parse("2024-09-02T12:00:00Z"))
        today = await client.get(PATH)
        running.clock.seek(parse("2024-09-01T12:00:00Z"))
        eve = await client.get(PATH, start="2024-09-01", end="2024-12-31")

    assert nothing.json == {"corporate_actions": {}, "next_page_token": None}
    assert ids(today) == ["s3"]
    assert ids(eve) == []


async def test_records_leave_as_they_were_recorded(tmp_path: Path) -> None:
    """An action is served with the fields that were recorded of it."""
    async with asked(recorded(tmp_path)) as (_, client):
        answer = await client.get(PATH, ids="d1")

    assert answer.json == {
        "corporate_actions": {"cash_dividends": RECORDED["cash_dividends"]},
        "next_page_token": None,
    }


async def test_pages(tmp_path: Path) -> None:
    """A page holds so many actions over all types, and the token leads to the rest."""
    seen: list[str] = []
    sizes = []
    token: dict[str, str] = {}
    async with asked(recorded(tmp_path)) as (_, client):
        while True:
            answer = await client.get(PATH, **EVERYTHING, **token, limit="3")
            seen += ids(answer)
            sizes.append(len(ids(answer)))
            if answer.json["next_page_token"] is None:
                break
            token = {"page_token": answer.json["next_page_token"]}

    assert sizes == [3, 1]
    assert sorted(seen) == ["d1", "n1", "s1", "s2"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"types": "party"}, "invalid type: party"),
        ({"start": "soon"}, "invalid start: soon"),
        ({"start": "2024-03-02", "end": "2024-03-01"}, "end should not be before start"),
        ({"limit": "1001"}, "invalid limit: larger than the allowed maximum of 1000"),
        ({"sort": "up"}, "invalid sort: up"),
        ({"page_token": "eA=="}, "invalid page_token: eA=="),
    ],
)
async def test_what_makes_no_sense(query: dict[str, str], message: str) -> None:
    """A question that makes no sense is refused."""
    async with asked() as (_, client):
        answer = await client.get(PATH, **query)

    assert (answer.status, answer.message) == (400, message)


async def test_made_up_shares_have_no_events() -> None:
    """Nothing ever happens to the made-up companies."""
    async with asked() as (_, client):
        answer = await client.get(PATH, symbols="AAPL", **EVERYTHING)

    assert answer.json == {"corporate_actions": {}, "next_page_token": None}


async def test_well_known_splits(tmp_path: Path) -> None:
    """Recordings of Apple come with its splits, whose days and rates everybody knows."""
    write_recordings(tmp_path)
    async with asked(synthetic(replay=tmp_path, at="2024-03-13T10:00:00-04:00")) as (_, client):
        answer = await client.get(PATH, **EVERYTHING)

    splits = answer.json["corporate_actions"]["forward_splits"]
    assert {one["symbol"] for one in splits} == {"AAPL"}
    assert [(one["ex_date"], one["old_rate"], one["new_rate"]) for one in splits] == [
        ("2000-06-21", 1, 2),
        ("2005-02-28", 1, 2),
        ("2014-06-09", 1, 7),
        ("2020-08-31", 1, 4),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"corporate_actions":[]}',
        '{"corporate_actions":{"forward_splits":[{"symbol":"X","ex_date":"2024-03-01"}]}}',
        '{"corporate_actions":{"forward_splits":[{"id":"1","symbol":"X"}]}}',
        '{"corporate_actions":{"forward_splits":[{"id":"1","symbol":"X","ex_date":"soon"}]}}',
    ],
)
async def test_unreadable_recording(tmp_path: Path, text: str) -> None:
    """A file that holds no corporate actions is named at the start."""
    settings = recorded(tmp_path)
    (tmp_path / "corporate-actions" / "bad.json.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(RecordingError, match=r"bad\.json\.gz"):
        async with asked(settings):
            pass


def test_names_go_round() -> None:
    """A company may take its old name again, and a name may be another company's later."""
    changes = [
        ("1", "A", "B", "2020-01-02"),
        ("2", "B", "A", "2021-01-04"),
        ("3", "Z", "B", "2022-01-03"),
    ]
    known = CorporateActions(
        corporate_action(
            GROUPS["name_change"],
            f'{{"id":"{number}","old_symbol":"{old}","new_symbol":"{new}","process_date":"{day}"}}'.encode(),
        )
        for number, old, new, day in changes
    )
    first, second, third = (new_york(corporate.day) for corporate in known)

    def days(symbol: str, year: int) -> list[str]:
        return [name.symbol for name in known.names(symbol, june(year))]

    assert known.names("A", june(2023)) == [
        Name("A", until=first - 1),
        Name("B", first, second - 1),
        Name("A", second),
    ]
    assert days("A", 2019) == ["A", "B", "A"]
    assert days("B", 2020) == ["A", "B", "A"]
    assert known.names("B", june(2023)) == [Name("Z", until=third - 1), Name("B", third)]
    assert days("C", 2023) == ["C"]
    assert known.names("A", None) == [Name("A")]


def june(year: int) -> date:
    """Return the last day of June of *year*."""
    return date(year, 6, 30)


def test_facebook() -> None:
    """Who has recordings of Facebook knows that it is Meta now."""
    assert [one.id for one in well_known_actions({"FB"})] == [
        one.id for one in well_known_actions({"META"})
    ]
    assert well_known_actions({"IBM"}) == []
