"""Option quotes, trades, snapshots and chains, as the market data API answers them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tickgate_sandbox import Plan, faults
from tickgate_sandbox.options.codes import CONDITIONS, EXCHANGES
from tickgate_sandbox.options.occ import Terms, read_terms
from tickgate_sandbox.timestamps import parse

from .asking import Client, asked, synthetic
from .option_recordings import CHAIN, write_chain

LATEST = "/v1beta1/options/quotes/latest"
SNAPSHOTS = "/v1beta1/options/snapshots"
AAPL = f"{SNAPSHOTS}/AAPL"

TODAY = "261120"
"""The Friday of these tests, on which something expires."""
NEAR = "AAPL261204C00230000"
"""A contract near the money with two weeks left."""
AT = "2024-03-13T16:00:00-04:00"
"""When the recorded chain stands."""


def recorded(folder: Path, **changes: Any) -> Any:
    """Return settings that replay the chain of `XYZ`, written into *folder*."""
    write_chain(folder, "XYZ-2024-03-13")
    return synthetic(**({"replay": folder, "at": AT} | changes))


async def whole_chain(client: Client, underlying: str = "AAPL", **query: str) -> dict[str, Any]:
    """Return every contract of *underlying* that passes the filters, a thousand to a page."""
    found: dict[str, Any] = {}
    answer = await client.get(f"{SNAPSHOTS}/{underlying}", limit="1000", **query)
    while True:
        assert answer.status == 200, answer.body
        found |= answer.json["snapshots"]
        token = answer.json["next_page_token"]
        if token is None:
            return found
        answer = await client.get(
            f"{SNAPSHOTS}/{underlying}", limit="1000", page_token=token, **query
        )


def terms(symbol: str) -> Terms:
    """Return what *symbol* says."""
    read = read_terms(symbol)
    assert read is not None, symbol
    return read


# ---------------------------------------------------------------------------- the latest of each


async def test_latest_quotes() -> None:
    """Latest quotes come by contract; one that does not exist is simply not there."""
    async with asked() as (_, client):
        answer = await client.get(LATEST, symbols=f"{NEAR},AAPL261204C00999000")

    quote = answer.json["quotes"][NEAR]
    assert list(answer.json["quotes"]) == [NEAR]
    assert sorted(quote) == ["ap", "as", "ax", "bp", "bs", "bx", "c", "t"]
    assert 0 < quote["bp"] < quote["ap"]
    assert isinstance(quote["c"], str)


async def test_latest_trades() -> None:
    """A latest trade has one condition and neither id nor tape."""
    async with asked() as (_, client):
        answer = await client.get("/v1beta1/options/trades/latest", symbols=NEAR)

    assert sorted(answer.json["trades"][NEAR]) == ["c", "p", "s", "t", "x"]


async def test_latest_trade_of_what_was_never_traded(tmp_path: Path) -> None:
    """A contract without a trade has no latest one."""
    async with asked(recorded(tmp_path)) as (_, client):
        answer = await client.get(
            "/v1beta1/options/trades/latest", symbols="XYZ240315P00050000,XYZ240315P00052500"
        )

    assert list(answer.json["trades"]) == ["XYZ240315P00052500"]


async def test_every_number_leaves_as_it_was_recorded(tmp_path: Path) -> None:
    """Snapshots, chains and quotes hold the text of the recording, zeros at the end included."""
    symbol = "XYZ240315C00050000"
    async with asked(recorded(tmp_path)) as (_, client):
        snapshot = await client.get(SNAPSHOTS, symbols=symbol)
        chain = await client.get(f"{SNAPSHOTS}/XYZ")
        quote = await client.get(LATEST, symbols=symbol)

    text = CHAIN[symbol]
    assert snapshot.body == f'{{"snapshots":{{"{symbol}":{text}}},"next_page_token":null}}'.encode()
    assert all(f'"{one}":{raw}'.encode() in chain.body for one, raw in CHAIN.items())
    assert b'"bp":1.50,"bs":10,"ap":1.6,"as":4,' in quote.body


async def test_snapshots_of_several_underlyings() -> None:
    """Snapshots may be of contracts of several underlyings, in the order of their symbols."""
    other = "MSFT261204C00500000"
    async with asked() as (_, client):
        answer = await client.get(SNAPSHOTS, symbols=f"{other},{NEAR}")

    assert list(answer.json["snapshots"]) == [NEAR, other]
    assert answer.json["next_page_token"] is None


async def test_snapshots_by_the_page() -> None:
    """Snapshots of named contracts are paged too."""
    symbols = ",".join(f"AAPL261204C00{strike}000" for strike in (220, 225, 230))
    async with asked() as (_, client):
        first = await client.get(SNAPSHOTS, symbols=symbols, limit="2")
        token = first.json["next_page_token"]
        second = await client.get(SNAPSHOTS, symbols=symbols, limit="2", page_token=token)

    assert [*first.json["snapshots"], *second.json["snapshots"]] == symbols.split(",")
    assert second.json["next_page_token"] is None


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "path",
    [LATEST, "/v1beta1/options/trades/latest", SNAPSHOTS, "/v1beta1/options/trades"],
)
@pytest.mark.parametrize("symbol", ["AAPL", "AAPL261304C00230000", "aapl261204C00230000", "X" * 21])
async def test_malformed_symbol(path: str, symbol: str) -> None:
    """One malformed symbol refuses the whole request, and is named."""
    async with asked() as (_, client):
        answer = await client.get(path, symbols=f"{NEAR},{symbol}")

    assert (answer.status, answer.json) == (400, {"message": f"invalid symbol: {symbol}"})


async def test_malformed_underlying() -> None:
    """A chain of what is no symbol is refused."""
    async with asked() as (_, client):
        answer = await client.get(f"{SNAPSHOTS}/aapl")

    assert (answer.status, answer.message) == (400, "invalid symbol: aapl")


async def test_no_symbols() -> None:
    """A request that names no contract is refused."""
    async with asked() as (_, client):
        answer = await client.get(LATEST)

    assert answer.status == 400
    assert "'symbols' is required" in answer.message


@pytest.mark.parametrize("path", [LATEST, SNAPSHOTS, "/v1beta1/options/trades"])
async def test_too_many_symbols(path: str) -> None:
    """A hundred contracts may be asked for at once, and no more."""
    many = [f"AAPL261204C{strike:08}" for strike in range(1000, 102_000, 1000)]
    async with asked() as (_, client):
        hundred = await client.get(path, symbols=",".join(many[:100]))
        more = await client.get(path, symbols=",".join(many))

    assert hundred.status == 200
    assert (more.status, more.message) == (
        400,
        "invalid symbols: more than the allowed maximum of 100",
    )


@pytest.mark.parametrize(
    ("plan", "feed", "status", "message"),
    [
        (Plan.BASIC, "opra", 403, "OPRA agreement is not signed"),
        (Plan.BASIC, "sip", 400, "invalid feed: sip"),
        (Plan.PLUS, "iex", 400, "invalid feed: iex"),
    ],
)
@pytest.mark.parametrize("path", [LATEST, SNAPSHOTS, AAPL])
async def test_refused_feed(path: str, plan: Plan, feed: str, status: int, message: str) -> None:
    """A feed that the plan lacks and one that does not exist are refused."""
    async with asked(synthetic(plan=plan)) as (_, client):
        answer = await client.get(path, symbols=NEAR, feed=feed)

    assert (answer.status, answer.json) == (status, {"message": message})


@pytest.mark.parametrize("plan", list(Plan))
async def test_feed_by_default(plan: Plan) -> None:
    """Without a feed the best one of the plan is read."""
    best = {Plan.BASIC: "indicative", Plan.PLUS: "opra"}[plan]
    async with asked(synthetic(plan=plan)) as (_, client):
        default = await client.get(LATEST, symbols=NEAR)
        named = await client.get(LATEST, symbols=NEAR, feed=best)

    assert default.status == 200
    assert default.body == named.body


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "1001"}, "invalid limit: larger than the allowed maximum of 1000"),
        ({"limit": "0"}, "invalid limit: 0"),
        ({"limit": "ten"}, "invalid limit: ten"),
        ({"type": "calls"}, "invalid type: calls"),
        ({"strike_price_gte": "abc"}, "invalid strike_price_gte: abc"),
        ({"strike_price_lte": "NaN"}, "invalid strike_price_lte: NaN"),
        ({"expiration_date": "soon"}, "invalid expiration_date: soon"),
        ({"expiration_date_gte": "2026-13-01"}, "invalid expiration_date_gte: 2026-13-01"),
        ({"page_token": "%"}, "invalid page_token: %"),
    ],
)
async def test_parameters_without_meaning(query: dict[str, str], message: str) -> None:
    """A parameter that makes no sense refuses the chain."""
    async with asked() as (_, client):
        answer = await client.get(AAPL, **query)

    assert (answer.status, answer.json) == (400, {"message": message})


async def test_updated_since_without_meaning() -> None:
    """A time that is none is refused in Alpaca's words."""
    async with asked() as (_, client):
        answer = await client.get(AAPL, updated_since="noon")

    assert answer.status == 400
    assert answer.message.startswith("Invalid format for parameter updated_since: error parsing")


# --------------------------------------------------------------------------------------- chains


@pytest.mark.parametrize("limit", [1, 9, 41, 82, 100])
async def test_pages_hold_each_contract_once(limit: int) -> None:
    """Walked to its end, a chain has every contract once, in order, whatever a page holds."""
    query = {"expiration_date": "2026-12-04", "limit": str(limit)}
    seen: list[str] = []
    async with asked() as (_, client):
        everything = await whole_chain(client, expiration_date="2026-12-04")
        token = ""
        while True:
            page = (await client.get(AAPL, **query, page_token=token)).json
            assert 0 < len(page["snapshots"]) <= limit
            seen += page["snapshots"]
            token = page["next_page_token"]
            if token is None:
                break
            assert base64.b64decode(token).decode() == seen[-1]

    assert len(everything) == 82
    assert seen == sorted(everything)


async def test_a_hundred_contracts_by_default() -> None:
    """Without a limit a page has a hundred contracts."""
    async with asked() as (_, client):
        answer = await client.get(AAPL)

    assert len(answer.json["snapshots"]) == 100


async def test_unknown_underlying() -> None:
    """The chain of what has no options is empty, and nothing says why."""
    async with asked() as (_, client):
        answer = await client.get(f"{SNAPSHOTS}/ZZZZ")

    assert answer.json == {"snapshots": {}, "next_page_token": None}


FILTERS: list[tuple[dict[str, str], Callable[[Terms], bool]]] = [
    ({"type": "call"}, lambda one: one.right == "call"),
    ({"type": "put"}, lambda one: one.right == "put"),
    ({"strike_price_gte": "230.001"}, lambda one: one.strike >= 230_001),
    ({"strike_price_gte": "230"}, lambda one: one.strike >= 230_000),
    ({"strike_price_lte": "229.9999"}, lambda one: one.strike <= 229_999),
    ({"strike_price_gte": "1e99"}, lambda one: False),
    ({"expiration_date": "2026-12-04"}, lambda one: one.expiry == date(2026, 12, 4)),
    ({"expiration_date_gte": "2026-12-04"}, lambda one: one.expiry >= date(2026, 12, 4)),
    ({"expiration_date_lte": "2026-12-04"}, lambda one: one.expiry <= date(2026, 12, 4)),
    ({"root_symbol": "AAPL"}, lambda one: True),
    ({"root_symbol": "AAPL1"}, lambda one: False),
    (
        {"type": "put", "strike_price_lte": "200", "expiration_date_gte": "2027-01-01"},
        lambda one: one.right == "put" and one.strike <= 200_000 and one.expiry.year >= 2027,
    ),
]


@pytest.mark.parametrize(
    ("query", "admits"), FILTERS, ids=lambda one: str(one) if isinstance(one, dict) else None
)
async def test_filters(query: dict[str, str], admits: Callable[[Terms], bool]) -> None:
    """Each filter leaves exactly the contracts whose terms pass it."""
    async with asked() as (_, client):
        everything = await whole_chain(client)
        filtered = await whole_chain(client, **query)

    assert list(filtered) == [symbol for symbol in everything if admits(terms(symbol))]


async def test_adjusted_series(tmp_path: Path) -> None:
    """An adjusted series is in its underlying's chain, and is told apart by its root."""
    async with asked(recorded(tmp_path)) as (_, client):
        adjusted = await whole_chain(client, "XYZ", root_symbol="XYZ1")
        plain = await whole_chain(client, "XYZ", root_symbol="XYZ")
        quote = await client.get(LATEST, symbols="XYZ1240315C00050000")

    assert list(adjusted) == ["XYZ1240315C00050000"]
    assert len(plain) == len(CHAIN) - 1
    assert list(quote.json["quotes"]) == ["XYZ1240315C00050000"]


@pytest.mark.parametrize(
    ("since", "symbols"),
    [
        # The one without a time counts as updated when the chain stood.
        ("2024-03-13T19:59:59Z", ["XYZ240621C00055000", "XYZ240621P00055000"]),
        ("2024-03-13T19:59:59.000000001Z", []),
        (
            "2024-03-13T19:59:58.5Z",
            ["XYZ240315C00050000", "XYZ240621C00055000", "XYZ240621P00055000"],
        ),
        ("2024-03-13T18:30:00Z", sorted({*CHAIN} - {"XYZ240315P00050000", "XYZ240315P00052500"})),
        ("2024-03-11", sorted(CHAIN)),
    ],
)
async def test_updated_since(tmp_path: Path, since: str, symbols: list[str]) -> None:
    """Only what was quoted or traded at that time or later is left."""
    async with asked(recorded(tmp_path)) as (_, client):
        chain = await whole_chain(client, "XYZ", updated_since=since)
        named = await client.get(SNAPSHOTS, symbols=",".join(CHAIN), updated_since=since)

    assert list(chain) == symbols
    assert list(named.json["snapshots"]) == symbols


# ------------------------------------------------------------------------------ made-up options


async def test_made_up_expiries() -> None:
    """Contracts expire on the next Fridays and on some third Fridays; holidays move one."""
    async with asked() as (running, client):
        expiries = {terms(symbol).expiry for symbol in await whole_chain(client)}
        running.clock.seek(parse("2026-04-01T15:00:00Z"))
        spring = {terms(symbol).expiry for symbol in await whole_chain(client)}

    assert min(expiries) == date(2026, 11, 20)
    assert len(expiries) == 8
    assert max(expiries) == date(2027, 3, 19)
    assert min(spring) == date(2026, 4, 2)  # the day after is Good Friday


async def test_last_day_has_no_greeks() -> None:
    """What expires today has quotes but neither greeks nor volatility."""
    async with asked() as (_, client):
        chain = await whole_chain(client, expiration_date="2026-11-20")

    assert len(chain) == 82
    assert all("latestQuote" in one for one in chain.values())
    assert not any({"greeks", "impliedVolatility"} & set(one) for one in chain.values())


async def test_absent_bids_have_no_greeks() -> None:
    """What is worth nothing has an empty bid, and nothing computed from it."""
    async with asked() as (_, client):
        chain = await whole_chain(client)

    empty = [one for one in chain.values() if not one["latestQuote"]["bp"]]
    assert empty
    assert {(one["latestQuote"]["bs"], one["latestQuote"]["bx"]) for one in empty} == {(0, " ")}
    assert not any("greeks" in one or "impliedVolatility" in one for one in empty)


async def test_greeks_come_as_a_group() -> None:
    """Most contracts have five greeks and a volatility, of believable size."""
    async with asked() as (_, client):
        chain = await whole_chain(client)

    found = {symbol: one for symbol, one in chain.items() if "greeks" in one}
    assert len(found) > len(chain) / 2
    for symbol, one in found.items():
        assert list(one["greeks"]) == ["delta", "gamma", "rho", "theta", "vega"]
        assert 0.1 < one["impliedVolatility"] < 1
        low, high = (0, 1) if terms(symbol).right == "call" else (-1, 0)
        assert low <= one["greeks"]["delta"] <= high


async def test_absent_trades() -> None:
    """Some contracts were never traded; deep in the money these have no greeks either."""
    async with asked() as (_, client):
        chain = await whole_chain(client, expiration_date_gte="2027-01-01")

    untraded = {symbol: one for symbol, one in chain.items() if "latestTrade" not in one}
    assert untraded
    assert not any("dailyBar" in one or "minuteBar" in one for one in untraded.values())
    assert any("greeks" in one for one in untraded.values())
    assert any("greeks" not in one and one["latestQuote"]["bp"] > 50 for one in untraded.values())


async def test_old_daily_bars() -> None:
    """The daily bar of what is traded rarely is days old, and its trade with it."""
    async with asked() as (_, client):
        chain = await whole_chain(client)

    days = {one["dailyBar"]["t"][:10] for one in chain.values() if "dailyBar" in one}
    assert "2026-11-20" in days
    assert min(days) < "2026-11-19"
    for one in chain.values():
        if "dailyBar" in one:
            assert one["latestTrade"]["t"][:10] == one["dailyBar"]["t"][:10]
            assert one["dailyBar"]["l"] <= one["latestTrade"]["p"] <= one["dailyBar"]["h"]


async def test_quotes_follow_the_share() -> None:
    """A call deep in the money costs what the share does beyond the strike."""
    symbol = "AAPL261127C00150000"
    async with asked() as (running, client):
        for hour in range(5):
            running.clock.seek(parse(f"2026-11-20T{15 + hour}:30:00Z"))
            quote = (await client.get(LATEST, symbols=symbol)).json["quotes"][symbol]
            share = (await client.get("/v2/stocks/AAPL/quotes/latest")).json["quote"]
            assert quote["bp"] <= share["ap"] - 150 + 0.3
            assert quote["ap"] >= share["bp"] - 150


async def test_options_are_quoted_in_the_session_alone() -> None:
    """Before the opening, quotes of the session before stand; after the close, the last ones."""
    async with asked(synthetic(at="2026-11-20T09:00:00-05:00")) as (running, client):
        before = (await client.get(LATEST, symbols=NEAR)).json["quotes"][NEAR]
        running.clock.seek(parse("2026-11-20T23:00:00Z"))
        after = (await client.get(LATEST, symbols=NEAR)).json["quotes"][NEAR]

    assert before["t"].startswith("2026-11-19T20:59")
    assert after["t"].startswith("2026-11-20T20:59")


async def test_any_instant_can_be_asked_again() -> None:
    """Instants may be asked in any order, of any sandbox of that seed; another differs."""
    async with asked() as (running, client):
        first = await whole_chain(client)
        running.clock.seek(parse("2026-11-23T18:00:00Z"))
        await whole_chain(client)
        running.clock.seek(parse("2026-11-20T15:00:00Z"))
        again = await whole_chain(client)
    async with asked() as (_, client):
        elsewhere = await whole_chain(client)
    async with asked(synthetic(seed=1)) as (_, client):
        other = await whole_chain(client)

    assert first == again == elsewhere
    assert list(other) == list(first)
    assert other != first


# ------------------------------------------------------------------------------ bars and trades


async def test_daily_bars(tmp_path: Path) -> None:
    """Recorded chains hold daily bars, which leave as they were; a chain without any has none."""
    symbol = "XYZ240315C00050000"
    async with asked(recorded(tmp_path)) as (_, client):
        answer = await client.get(
            "/v1beta1/options/bars",
            symbols=f"{symbol},XYZ240315P00050000", timeframe="1Day", start="2024-03-01",
        )  # fmt: skip

    assert list(answer.json["bars"]) == [symbol]
    assert [bar["t"] for bar in answer.json["bars"][symbol]] == [
        "2024-03-12T04:00:00Z",
        "2024-03-13T04:00:00Z",
    ]
    assert b'{"t":"2024-03-12T04:00:00Z","o":1.0,"h":1,"l":1,"c":1.0,"v":5}' in answer.body


@pytest.mark.parametrize("timeframe", ["1Min", "1T"])
async def test_minute_bars(tmp_path: Path, timeframe: str) -> None:
    """Minute bars are known by both names of a minute."""
    symbol = "XYZ240315C00050000"
    async with asked(recorded(tmp_path)) as (_, client):
        answer = await client.get(
            "/v1beta1/options/bars", symbols=symbol, timeframe=timeframe, start="2024-03-13"
        )

    assert [bar["v"] for bar in answer.json["bars"][symbol]] == [2]


async def test_made_up_bars_and_trades() -> None:
    """What the made-up market has traded lately can be asked for, bars that add it up too."""
    query = {"symbols": NEAR, "start": "2026-11-19"}
    async with asked() as (_, client):
        trades = (await client.get("/v1beta1/options/trades", **query)).json["trades"][NEAR]
        daily = await client.get("/v1beta1/options/bars", **query, timeframe="1Day")
        minutes = await client.get("/v1beta1/options/bars", **query, timeframe="1Min")

    assert [trade["t"] for trade in trades] == sorted(trade["t"] for trade in trades)
    bars = daily.json["bars"][NEAR]
    assert sum(bar["v"] for bar in bars) == sum(trade["s"] for trade in trades)
    assert len(minutes.json["bars"][NEAR]) >= len(bars)


async def test_history_by_the_page() -> None:
    """Records are paged over all symbols together, in both orders of time."""
    query = {"symbols": f"{NEAR},AAPL261204C00235000", "start": "2026-11-18", "limit": "3"}
    everything: dict[str, list[Any]] = {}
    async with asked() as (_, client):
        token: str | None = ""
        while token is not None:
            page = await client.get("/v1beta1/options/trades", **query, page_token=token)
            assert sum(map(len, page.json["trades"].values())) <= 3
            for symbol, trades in page.json["trades"].items():
                everything.setdefault(symbol, []).extend(trades)
            token = page.json["next_page_token"]
        backwards = await client.get(
            "/v1beta1/options/trades", **(query | {"limit": "10000", "sort": "desc"})
        )

    assert len(everything) == 2
    assert backwards.json["trades"] == {
        symbol: trades[::-1] for symbol, trades in everything.items()
    }


async def test_history_of_nothing() -> None:
    """Where nothing is known the map is empty."""
    query = {"symbols": "ZZZZ261204C00230000", "start": "2026-11-01"}
    async with asked() as (_, client):
        bars = await client.get("/v1beta1/options/bars", **query, timeframe="1Hour")
        trades = await client.get("/v1beta1/options/trades", **query)

    assert bars.json == {"bars": {}, "next_page_token": None}
    assert trades.json == {"trades": {}, "next_page_token": None}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"timeframe": "1Fortnight"}, "invalid timeframe: 1Fortnight"),
        ({"timeframe": "60Min"}, "invalid timeframe: 60Min"),
        ({"timeframe": ""}, "'timeframe' is required"),
        ({"limit": "10001"}, "larger than the allowed maximum of 10000"),
        ({"sort": "up"}, "invalid sort: up"),
        ({"page_token": "eA=="}, "invalid page_token: eA=="),
        ({"start": "2026-11-20", "end": "2026-11-19"}, "end should not be before start"),
        ({"start": "today"}, "Invalid format for parameter start"),
    ],
)
async def test_history_without_meaning(query: dict[str, str], message: str) -> None:
    """A history that cannot be is refused."""
    async with asked() as (_, client):
        answer = await client.get(
            "/v1beta1/options/bars", **({"symbols": NEAR, "timeframe": "1Day"} | query)
        )

    assert answer.status == 400
    assert message in answer.message


# ---------------------------------------------------------------------------------------- codes


async def test_codes() -> None:
    """Exchange and condition codes of options are maps of their own, and need no tape."""
    async with asked() as (_, client):
        exchanges = await client.get("/v1beta1/options/meta/exchanges")
        trades = await client.get("/v1beta1/options/meta/conditions/trade")
        quotes = await client.get("/v1beta1/options/meta/conditions/quote")
        bogus = await client.get("/v1beta1/options/meta/conditions/bars")

    assert exchanges.json == EXCHANGES
    assert trades.json == CONDITIONS["trade"]
    assert quotes.json == CONDITIONS["quote"]
    assert (bogus.status, bogus.message) == (400, "invalid ticktype: bars")


async def test_made_up_codes_are_listed() -> None:
    """Every letter in the made-up market has a meaning."""
    async with asked() as (_, client):
        chain = await whole_chain(client)

    quotes = [one["latestQuote"] for one in chain.values()]
    trades = [one["latestTrade"] for one in chain.values() if "latestTrade" in one]
    assert {one[side] for one in quotes for side in ("ax", "bx")} <= {*EXCHANGES, " "}
    assert {one["x"] for one in trades} <= {*EXCHANGES}
    assert {one["c"] for one in quotes} <= {*CONDITIONS["quote"]}
    assert {one["c"] for one in trades} <= {*CONDITIONS["trade"]}


# ---------------------------------------------------------------------- pins, faults, counters


async def test_pinned_quote() -> None:
    """A pinned quote shows wherever that of the contract would, the rest staying the market's."""
    pinned = b'{"bp":-1.0,"ap":"x"}'
    async with asked() as (running, client):
        before = await whole_chain(client)
        running.pins.put("quotes", NEAR, pinned)
        latest = await client.get(LATEST, symbols=NEAR)
        snapshot = await client.get(SNAPSHOTS, symbols=NEAR)
        after = await whole_chain(client)

    assert latest.body == b'{"quotes":{"%s":%s}}' % (NEAR.encode(), pinned)
    assert pinned in snapshot.body
    assert list(after) == list(before)
    assert after[NEAR]["latestTrade"] == before[NEAR]["latestTrade"]
    assert after[NEAR]["latestQuote"] == {"bp": -1.0, "ap": "x"}


async def test_pinned_trade() -> None:
    """A pinned trade shows in the same places."""
    pinned = b'{"p":0.001,"t":"2099-01-01T00:00:00Z"}'
    async with asked() as (running, client):
        running.pins.put("trades", NEAR, pinned)
        latest = await client.get("/v1beta1/options/trades/latest", symbols=NEAR)
        chain = await client.get(AAPL, expiration_date="2026-12-04")

    assert latest.body == b'{"trades":{"%s":%s}}' % (NEAR.encode(), pinned)
    assert pinned in chain.body


async def test_pinned_snapshot() -> None:
    """A pinned snapshot is served verbatim, whatever it is."""
    async with asked() as (running, client):
        running.pins.put("options", NEAR, "[1.50]")
        latest = await client.get(LATEST, symbols=NEAR)
        snapshot = await client.get(SNAPSHOTS, symbols=NEAR)
        chain = await whole_chain(client)
        running.pins.remove("options", NEAR)
        removed = await whole_chain(client)

    assert latest.json == {"quotes": {}}
    assert b'{"%s":[1.50]}' % NEAR.encode() in snapshot.body
    assert chain[NEAR] == [1.5]
    assert removed[NEAR] != [1.5]


async def test_pinned_contract_that_nobody_lists() -> None:
    """A pin adds a contract to its underlying's chain, in its place, if the filters let it."""
    extra = "AAPL261204C00231230"
    async with asked() as (running, client):
        running.pins.put("options", extra, '{"latestQuote":null}')
        calls = await whole_chain(client, type="call")
        puts = await whole_chain(client, type="put")
        other = await whole_chain(client, "MSFT")

    assert extra in calls
    assert list(calls) == sorted(calls)
    assert extra not in puts
    assert extra not in other


async def test_faults_that_rewrite() -> None:
    """A chain loses contracts, or has one under another name, when a fault says so."""
    async with asked() as (running, client):
        before = (await client.get(AAPL, limit="3")).json["snapshots"]
        first, second, third = before
        running.faults.add(faults.DropSymbols(symbols=[second], path=SNAPSHOTS, times=1))
        dropped = (await client.get(AAPL, limit="3")).json
        running.faults.add(faults.WrongSymbol(symbol="WRONG", times=1))
        wrong = (await client.get(AAPL, limit="3")).json

    assert list(dropped["snapshots"]) == [first, third]
    assert dropped["next_page_token"] is not None
    assert list(wrong["snapshots"]) == ["WRONG", second, third]


async def test_counters() -> None:
    """Requests are counted by endpoint, underlying and contract."""
    async with asked() as (running, client):
        await client.get(AAPL)
        await client.get(LATEST, symbols=f"{NEAR},AAPL261204P00230000")
        await client.get("/v2/options/contracts", underlying_symbols="AAPL,MSFT")

    counters = running.counters
    assert counters.endpoints == {
        "/v1beta1/options/snapshots/{underlying}": 1,
        LATEST: 1,
        "/v2/options/contracts": 1,
    }
    assert counters.symbols == {"AAPL": 2, "MSFT": 1, NEAR: 1, "AAPL261204P00230000": 1}


async def test_limits() -> None:
    """Chains count against the limit of the data API, contracts against that of the trading API."""
    async with asked(synthetic(rate_limit=1), monotonic_ns=lambda: 0) as (_, client):
        statuses = [
            (await client.get(path)).status
            for path in (AAPL, AAPL, "/v2/options/contracts", "/v2/options/contracts")
        ]

    assert statuses == [200, 429, 200, 429]
