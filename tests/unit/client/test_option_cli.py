"""The command line for options: a chain as a desk reads it, whole numbers only, and what is not real said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tickgate import Occ
from tickgate import _cli as cli
from tickgate.v1 import option_pb2, provenance_pb2, quote_pb2, trade_pb2
from tickgate.v1 import option_service_pb2 as options_pb2

from . import option_messages as own
from .cases import CASES
from .messages import LIST_PROVENANCE, UNAVAILABLE, dollars
from .serving import served_by_threads

Capture = pytest.CaptureFixture[str]
ASKED = "SPY220715P00380000 SPY220715C00380000 SPY220715C00999000"
"""What the case of `option_quotes` answers: one with little, one with all, one without a value."""


@pytest.fixture
def address() -> Iterator[str]:
    """A gateway that gives every question about options the answer of its case."""
    replies = {case.descriptor.name: case.reply for case in CASES}
    names = ["GetOptionQuotes", "StreamOptionChain", "ListOptionContracts"]

    def answering(name: str) -> Any:
        return lambda request, context: replies[name]

    with served_by_threads(**{name: answering(name) for name in names}) as target:
        yield target


def run(command: str, target: str) -> int:
    """Run one command."""
    return cli.main([*command.split(), "--address", target])


def cells(line: str) -> str:
    """A row's words, with one blank between them."""
    return " ".join(line.split())


def option(symbol: str, **fields: Any) -> option_pb2.OptionQuote:
    """A contract of a chain, of 2022-07-15 or another day."""
    occ = Occ.parse(symbol)
    found = own.in_chain(symbol, str(occ.strike), **fields)
    found.expiry_date.year, found.expiry_date.month, found.expiry_date.day = (
        *(occ.expiry.year, occ.expiry.month, occ.expiry.day),
    )
    return found


def quoted(symbol: str, bid: str, ask: str, **fields: Any) -> option_pb2.OptionQuote:
    """A contract with a quote whose sizes have a thousands separator."""
    quote = quote_pb2.Quote(
        symbol=symbol,
        bid=quote_pb2.QuoteSide(price=dollars(bid), size=1_001),
        ask=quote_pb2.QuoteSide(price=dollars(ask), size=2_002),
        provenance=own.IN_CHAIN,
    )
    return option(symbol, quote=quote, **fields)


def modelled(delta: float) -> dict[str, Any]:
    """Everything else that a row of a chain shows."""
    return {
        "latest_trade": trade_pb2.Trade(
            symbol="X", price=dollars("3333.25"), provenance=own.IN_CHAIN
        ),
        "greeks": option_pb2.OptionGreeks(delta=delta),
        "implied_volatility": 0.37249,
        "model_provenance": own.undated(own.IN_CHAIN),
        "day_volume": 44_444,
        "open_interest": option_pb2.OpenInterest(
            contracts=55_555, provenance=own.undated(own.IN_CHAIN)
        ),
    }


DESK = [
    quoted("SPY220715C00380000", "12.30", "12.40", **modelled(0.5)),
    quoted("SPY220715P00380000", "11.15", "11.2", **modelled(-0.4999)),
    option("SPY220715C00381000", day_volume=0),
    quoted("SPY220715P00382500", "0.01", "0.02"),
]
SPOT = "380.25"


def printed(
    capsys: Capture, command: str, *quotes: option_pb2.OptionQuote, **header: Any
) -> list[str]:
    """The lines that a command for a chain prints."""
    said = option_pb2.OptionChainHeader()
    said.CopyFrom(own.BARE_HEADER)
    said.MergeFrom(option_pb2.OptionChainHeader(**header))
    with served_by_threads(
        StreamOptionChain=lambda request, context: own.streamed(said, *quotes)
    ) as target:
        assert run(command, target) == cli.COMPLETE
    out = capsys.readouterr().out
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out).splitlines()


def test_a_chain_is_calls_strikes_and_puts(capsys: Capture) -> None:
    """Calls on the left, puts on the right, and a line where the underlying stands between the strikes."""
    lines = printed(
        capsys, "chain SPY --around 10 --full", *DESK, feed="FEED_OPRA", underlying_price=own.SPOT
    )
    title = next(i for i, line in enumerate(lines) if "Fri 2022-07-15" in line)
    assert cells(lines[title]) == "Calls Fri 2022-07-15 Puts"
    side = "IV % Delta Volume OI Last Size Bid Ask Size"
    mirrored = "Size Bid Ask Size Last OI Volume Delta IV %"
    assert cells(lines[title + 1]) == f"{side} Strike {mirrored}"
    first, marker, second, third = (cells(line) for line in lines[title + 3 : title + 7])
    model, trade = "37.2 0.500 44,444 55,555 3,333.25", "3,333.25 55,555 44,444 -0.500 37.2"
    call, put = "1,001 12.30 12.40 2,002", "1,001 11.15 11.20 2,002"
    assert first == f"{model} {call} 380.00 {put} {trade}"
    assert re.fullmatch(r"(─+ ){9}380\.25( ─+){9}", marker)
    assert second == "– – 0 – – – – – – 381.00"  # the chain does not hold its put
    assert third == "382.50 1,001 0.01 0.02 2,002 – – – – –"


@pytest.mark.parametrize(
    ("spot", "before"), [("379.99", "380.00"), ("380", "381.00"), ("999", None)]
)
def test_the_underlying_stands_where_it_belongs(
    capsys: Capture, spot: str, before: str | None
) -> None:
    """The line stands before the first strike above the price, and last where there is none."""
    price = trade_pb2.Trade(symbol="SPY", price=dollars(spot), provenance=own.ORIGIN)
    lines = printed(capsys, "chain SPY --around 10", *DESK, underlying_price=price)
    marker = next(i for i, line in enumerate(lines) if line.startswith("───") and spot in line)
    assert before in lines[marker + 1] if before else not lines[marker + 1].strip()


def test_the_heading_says_what_and_when(capsys: Capture) -> None:
    """The underlying's price with its time, the feed, how fresh the chain is, and the market."""
    heading, options, *_ = printed(
        capsys,
        "chain SPY --around 10",
        own.CALL,
        feed="FEED_OPRA",
        underlying_price=own.SPOT,
        confirm_time=own.HEADER.confirm_time,
        served_from="TIER_MEMORY",
        market_session="MARKET_SESSION_OPEN",
    )
    assert heading == "SPY 380.25, traded 2026-03-06 15:30:00 UTC, alpaca OPRA"
    assert options == (
        "Options: alpaca OPRA, confirmed 1.0 s ago, from memory; market open, 2026-03-06 15:30:00 UTC"
    )


def test_without_a_price_there_is_no_line(capsys: Capture) -> None:
    """Where no price was asked for none is shown, and nothing stands between the strikes."""
    lines = printed(capsys, "chain SPY", *DESK)
    assert lines[0] == "SPY"
    assert sum(line.startswith("───") for line in lines) == 1  # beneath the headings


def test_what_is_not_real_is_said(capsys: Capture) -> None:
    """On the indicative feed stands a plain warning, and on OPRA none."""
    warning = "INDICATIVE: these are not real quotes."
    assert any(warning in line for line in printed(capsys, "chain SPY", *DESK))
    real = printed(capsys, "chain SPY", *DESK, feed="FEED_OPRA")
    assert not any("INDICATIVE" in line for line in real)


def test_what_is_missing_is_counted(address: str, capsys: Capture) -> None:
    """Beneath the tables stands how many contracts there are, what they lack, and what was left out."""
    assert run("chain SPY", address) == cli.COMPLETE
    shown = capsys.readouterr().out
    assert (
        "2 of 8,120 contracts: 1 without a quote, 2 without a latest trade, 3 without greeks, "
        "4 without implied volatility, 5 without open interest." in shown
    )
    assert "Left out: 6 without a delta." in shown
    assert "Left out: 7 expired." in shown
    assert "Left out: 8 refused, for nothing of them is a market value." in shown
    assert "No open interest: ZZZZ: 400 s old, 300 s asked for." in shown


def test_nothing_is_said_of_what_is_not_missing(capsys: Capture) -> None:
    """Where nothing lacks and nothing was left out, one line counts the contracts."""
    lines = printed(capsys, "chain SPY", *DESK, feed="FEED_OPRA", chain_size=4)
    assert lines[-2:] == ["", "4 of 4 contracts."]


def test_refused_parts_and_flags_are_said(capsys: Capture) -> None:
    """Parts that were refused are counted, and what a rule finds odd is said."""
    odd = quoted("SPY220715C00380000", "1", "2")
    odd.quote.rule_flags.add(rule="price_range", evidence="far off")
    odd.missing_parts.add(part="OPTION_PART_GREEKS", unavailable=UNAVAILABLE)
    lines = printed(capsys, "chain SPY", odd, feed="FEED_OPRA")
    assert "1 parts were refused or not to be had: --json says why." in lines
    said = "SPY220715C00380000: served, and flagged by rule price_range: far off."
    assert said in lines


def test_each_expiry_and_series_has_its_table(capsys: Capture) -> None:
    """Dates come in order, and an adjusted series stands apart under its root."""
    lines = printed(
        capsys,
        "chain SPY",
        option("SPY220715C00380000"),
        option("SPY1220715C00380000"),
        option("SPY220819C00380000"),
    )
    titles = [cells(line) for line in lines if "2022-0" in line]
    assert titles == ["Calls Fri 2022-07-15", "Calls Fri 2022-07-15, SPY1", "Calls Fri 2022-08-19"]


@pytest.mark.parametrize(("kind", "sides"), [("call", "Calls"), ("put", "Puts")])
def test_one_side_alone_has_no_room_for_the_other(capsys: Capture, kind: str, sides: str) -> None:
    """Where only calls or only puts came, the other side's columns are left out."""
    quotes = [each for each in DESK if Occ.parse(each.symbol).type == kind.upper()]
    lines = printed(capsys, f"chain SPY --type {kind}", *quotes)
    title = next(i for i, line in enumerate(lines) if "2022-07-15" in line)
    assert set(cells(lines[title]).split()) == {sides, "Fri", "2022-07-15"}
    assert lines[title + 1].count("Bid") == 1


@pytest.mark.parametrize("width", range(10, 171, 10))
def test_a_narrow_terminal_shows_no_part_of_a_number(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """Where there is no room for all columns some are left out, both sides alike; bid and ask are the last."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    lines = printed(
        capsys, "chain SPY --full", *DESK[:2], feed="FEED_OPRA", underlying_price=own.SPOT
    )
    assert all(len(line) <= width for line in lines)
    row = next((line.split() for line in lines if " 380.00 " in line), None)
    if row is None:
        assert any(line.endswith(("12.40", "11.20")) for line in lines)
        return
    middle = row.index("380.00")
    whole = {"12.30", "12.40", "11.15", "11.20", "1,001", "2,002", "3,333.25", "37.2"}
    assert set(row) <= whole | {"0.500", "-0.500", "44,444", "55,555", "380.00"}
    assert middle == len(row) - middle - 1
    assert {"12.30", "12.40"} <= set(row[:middle])
    assert {"11.15", "11.20"} <= set(row[middle:])
    if width >= 160:
        assert middle == 9
    if width >= 120:
        assert row.count("1,001") == 2


def asked(command: str) -> Any:
    """The request that a command sends."""
    requests = []

    def answer(request: Any, context: Any) -> Any:
        requests.append(request)
        return own.streamed(own.BARE_HEADER, own.CALL)

    def listed(request: Any, context: Any) -> Any:
        requests.append(request)
        page = option_pb2.OptionContractPage(
            contracts=[own.BARE_CONTRACT], provenance=LIST_PROVENANCE
        )
        return options_pb2.ListOptionContractsResponse(page=page)

    with served_by_threads(StreamOptionChain=answer, ListOptionContracts=listed) as target:
        assert run(command, target) == cli.COMPLETE
    (request,) = requests
    return request


def test_a_chain_is_narrowed() -> None:
    """Each option of the command is a field of the filter, exact as it was typed."""
    assert asked("chain SPY") == options_pb2.StreamOptionChainRequest(underlying_symbol="SPY")
    assert asked(
        "chain SPY --expiry 2022-07-15 --type put --strikes 380.125 400 --around 10 --root SPY1 "
        "--delta -0.5 -0.2 --feed opra --full"
    ) == options_pb2.StreamOptionChainRequest(
        underlying_symbol="SPY",
        feed=provenance_pb2.FEED_OPRA,
        view=option_pb2.OPTION_VIEW_FULL,
        filter=option_pb2.OptionChainFilter(
            type=option_pb2.OPTION_TYPE_PUT,
            expiry_date=own.FRIDAY,
            min_strike_price=dollars("380.125"),
            max_strike_price=dollars("400"),
            root_symbol="SPY1",
            around=option_pb2.AroundTheMoney(strikes=10),
            delta=option_pb2.DeltaBand(min=-0.5, max=-0.2),
        ),
    )
    assert asked("chain SPY --percent 2.5").filter.around.percent.value == "2.5"


def test_contracts_are_narrowed() -> None:
    """Each option of the command is a field of the request."""
    assert asked(
        "contracts SPY --expiry 2022-07-15 --type call --strikes 1 2 --root SPY1 "
        "--status inactive --deliverables"
    ) == options_pb2.ListOptionContractsRequest(
        underlying_symbol="SPY",
        status=option_pb2.OPTION_CONTRACT_STATUS_INACTIVE,
        type=option_pb2.OPTION_TYPE_CALL,
        expiry_date=own.FRIDAY,
        min_strike_price=dollars("1"),
        max_strike_price=dollars("2"),
        root_symbol="SPY1",
        show_deliverables=True,
        page_size=1000,
    )


def test_option_quotes_are_rows(address: str, capsys: Capture) -> None:
    """A row for each contract: its quote, what was traded, and the model's numbers; absence with its reason."""
    assert run(f"option {ASKED}", address) == cli.INCOMPLETE
    lines = [cells(line) for line in capsys.readouterr().out.splitlines()]
    assert "SPY220715P00380000 – – – – – – sandbox upstream" in lines
    assert "SPY220715C00380000 12.34 11 12.40 0 0.0 s open alpaca OPRA upstream" in lines
    assert "SPY220715C00999000 too stale" in lines
    assert "SPY220715P00380000 – – – – 0.0 – – – – –" in lines
    model = "37.2 0.5123 0.0000 -0.2500 0.1000 –"
    assert f"SPY220715C00380000 12.36 4 0.0 s ago 1,500 {model}" in lines


def test_the_full_view_is_a_third_table(address: str, capsys: Capture) -> None:
    """Open interest with its day, the bars of the day, and terms; and why a part is missing."""
    assert run(f"option {ASKED} --view full", address) == cli.INCOMPLETE
    lines = [cells(line) for line in capsys.readouterr().out.splitlines()]
    day = "12.36 (11.50–13.00) – 100 american 2026-03-06 15:30:00 UTC"
    assert f"SPY220715C00380000 1,234 2022-07-14 {day}" in lines
    why = "SPY220715C00380000, previous daily bar: ZZZZ: 400 s old, 300 s asked for."
    assert any(line.startswith(why) for line in lines)


def test_an_indicative_option_quote_is_said(capsys: Capture) -> None:
    """A quote that is not real is said to be none beneath its table."""
    result = option_pb2.OptionQuoteResult(symbol=own.SYMBOL, option_quote=own.OPTION)
    result.option_quote.quote.provenance.feed = provenance_pb2.FEED_INDICATIVE
    reply = options_pb2.GetOptionQuotesResponse(results=[result])
    with served_by_threads(GetOptionQuotes=lambda request, context: reply) as target:
        assert run(f"option {own.SYMBOL}", target) == cli.COMPLETE
    assert "INDICATIVE: these are not real quotes." in capsys.readouterr().out


def test_contracts_say_their_terms(address: str, capsys: Capture) -> None:
    """Terms, open interest and close with their days, status and what is delivered; what was not sent is a dash."""
    assert run("contracts SPY", address) == cli.COMPLETE
    _, _, first, second = (cells(line) for line in capsys.readouterr().out.splitlines())
    assert first == (
        "SPY220715C00380000 2022-07-15 call 380.00 100 100 american active no 1,234 2022-07-14 "
        "11.90 2022-07-14 2026-03-06 15:30:00 UTC 100 SPY, cash, not known yet how much"
    )
    assert second == f"SPY1220715P00012500 2022-07-15 put 12.50{' –' * 11}"


@pytest.mark.parametrize("width", [20, 60, 80, 100, 160])
def test_terms_are_never_cut_off(
    address: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """On a narrow terminal columns go, or each value gets a line; the symbol is always whole."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    run("contracts SPY", address)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert all(len(line) <= width for line in shown.splitlines())
    assert "SPY1220715P00012500" in shown
    assert "1,234" in shown


def test_json_is_an_object_for_each_contract(address: str, capsys: Capture) -> None:
    """A line of JSON per contract: prices digit for digit, dates and times as text, absence as null."""
    assert run("chain SPY --json", address) == cli.COMPLETE
    call, put = map(json.loads, capsys.readouterr().out.splitlines())
    assert call["strike_price"] == "380"
    assert call["expiry_date"] == "2022-07-15"
    assert call["greeks"] == {
        "delta": 0.5123, "gamma": 0.0, "theta": -0.25, "vega": 0.1, "rho": None,
    }  # fmt: skip
    assert call["quote"]["bid"] == {"price": "12.34", "size": 11, "exchange": "C"}
    assert call["quote"]["provenance"]["event_time"] == "2026-03-06T15:29:57.123456789Z"
    assert (put["greeks"], put["implied_volatility"], put["day_volume"]) == (None, None, None)

    assert run(f"option {ASKED} --json", address) == cli.INCOMPLETE
    _, full, missing = map(json.loads, capsys.readouterr().out.splitlines())
    assert full["open_interest"]["date"] == "2022-07-14"
    assert full["contract"]["last_trading_time"] == "2026-03-06T15:30:00.123456789Z"
    assert full["missing_parts"][0]["part"] == "PREVIOUS_DAILY_BAR"
    assert missing["reason"] == "TOO_STALE"

    assert run("contracts SPY --json", address) == cli.COMPLETE
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["deliverables"][0]["amount"] == "100"
    assert (second["multiplier"], second["status"]) == (None, None)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("chain SPY --strikes 1", "requires 2"),
        ("chain SPY --strikes 1 x", 'unable to convert "x"'),
        ("chain SPY --strikes NaN 2", 'unable to convert "NaN"'),
        ("chain SPY --percent five", "five is no number"),
        ("chain SPY --around 0", "--around"),
        ("chain SPY --around 3 --percent 5", "not both"),
        ("chain SPY --type other", "call"),
        ("chain SPY --type unrecognized", "call"),
        ("chain SPY --expiry tomorrow", "--expiry"),
        ("chain SPY --delta low high", "--delta"),
        ("chain SPY --feed sip", "opra"),
        ("chain", "UNDERLYING"),
        ("contracts SPY --status gone", "inactive"),
        ("option SPY220715C00380000 --feed iex", "indicative"),
        ("option SPY220715C00380000 --view derived", "full"),
    ],
)
def test_wrong_usage_is_told_apart(capsys: Capture, command: str, said: str) -> None:
    """A command line that makes no sense says what is wrong, asks nobody and ends with 2."""
    assert run(command, "127.0.0.1:1") == cli.WRONG_USAGE
    assert said in capsys.readouterr().err


def test_a_chain_that_cannot_be_had_says_why(capsys: Capture) -> None:
    """Without a chain the reason stands in the place of the tables, and it ends with 1."""
    parts = [options_pb2.StreamOptionChainResponse(unavailable=UNAVAILABLE)]
    with served_by_threads(StreamOptionChain=lambda request, context: parts) as target:
        assert run("chain SPY", target) == cli.INCOMPLETE
    assert "Ask again with a wider bound." in capsys.readouterr().err


def test_a_broken_chain_is_the_gateways_fault(capsys: Capture) -> None:
    """A chain that was cut off prints nothing of itself, and ends with 3."""
    parts = own.streamed(own.BARE_HEADER, own.CALL)[:-1]
    with served_by_threads(StreamOptionChain=lambda request, context: parts) as target:
        assert run("chain SPY", target) == cli.NO_GATEWAY
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "GatewayError" in shown.err
