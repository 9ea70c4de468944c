"""The command line: tables for people, lines for programs, exit codes for scripts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from tickgate import _cli as cli
from tickgate.v1 import (
    admin_service_pb2,
    asset_pb2,
    error_reason_pb2,
    provenance_pb2,
    quote_pb2,
    quote_service_pb2,
    reference_service_pb2,
    status_service_pb2,
)

from . import messages
from .cases import CASES, Case
from .serving import served_by_threads, status

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def address() -> Iterator[str]:
    """A gateway that gives every question the answer of its case."""

    def answering(case: Case) -> Any:
        return lambda request, context: case.reply

    answers = {case.descriptor.name: answering(case) for case in CASES}
    with served_by_threads(**answers) as target:
        yield target


def run(*tokens: str) -> int:
    """Run one command."""
    return cli.main(list(tokens))


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("trade AAPL ZZZZ", "182.0725"),
        ("option SPY220715P00380000 SPY220715C00380000 SPY220715C00999000", "0.5123"),
        ("chain SPY", "Fri 2022-07-15"),
        ("contracts SPY", "american"),
        ("snapshot AAPL ZZZZ", "2.00 (0.50–4.00)"),
        ("assets apple", "Apple Inc."),
        ("asset AAPL", "Apple Inc."),
        ("clock", "after hours"),
        ("sessions 2026-03-06 2026-03-09", "Fri 2026-03-06"),
        ("codes trade-condition C", "Regular Sale"),
        ("status", "failing"),
        ("entitlements", "subscription does not permit"),
        ("gaps", "received faster than served"),
        ("errors", "alpaca.data is left alone"),
        ("invalidate AAPL MSFT", "memory"),
    ],
)
def test_each_command_prints_a_table(
    address: str, capsys: pytest.CaptureFixture[str], command: str, shown: str
) -> None:
    """A command asks its question and prints what a person wants to know."""
    code = run(*command.split(), "--address", address)
    missing = "ZZZZ" in command or "999000" in command
    assert code == (cli.INCOMPLETE if missing else cli.COMPLETE)
    assert shown in capsys.readouterr().out


def test_a_quote_is_one_row(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides with size and venue, age, session, source and tier stand in one row."""
    run("quote", "AAPL", "ZZZZ", "MSFT", "--address", address)
    row = next(line for line in capsys.readouterr().out.splitlines() if "AAPL" in line)
    cells = "AAPL 182.05 3 V 182.10 – – 0.0 s stale pre market alpaca IEX memory"
    assert row.split() == cells.split()


def test_a_wider_view_is_a_second_table(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the views add stands beneath, for the quotes that hold it."""
    run("quote", "AAPL", "ZZZZ", "MSFT", "--view", "full", "--address", address)
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in reversed(lines) if "AAPL" in line)
    assert row.split() == "AAPL 0.05 182.075 90 zero size 182.0725 0 V 0.0 s".split()


def test_absence_is_a_row_with_its_reason(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A symbol without a value keeps its row, and beneath the table stands why."""
    assert run("quote", "AAPL", "ZZZZ", "MSFT", "--address", address) == cli.INCOMPLETE
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("ZZZZ "))
    assert row.split() == ["ZZZZ", "too", "stale"]
    assert "ZZZZ: 400 s old, 300 s asked for. Ask again with a wider bound." in shown
    assert "Wait 2.0 s. Request r-1." in shown


def test_a_flag_stands_beneath(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a business rule finds odd about a value, or about a part of it, is said beneath the table."""
    said = "AAPL: served, and flagged by rule price_range: 90.0 % below the last trade."
    run("quote", "AAPL", "ZZZZ", "MSFT", "--address", address)
    assert capsys.readouterr().out.count(said) == 1
    run("snapshot", "AAPL", "ZZZZ", "--address", address)
    assert capsys.readouterr().out.count(said) == 5  # two of the trade, one of quote and bars


def test_status_tells_of_circuits_tiers_and_budgets(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One look shows what is refused, how well the upstream answered, and what is left to spend."""
    run("status", "--address", address)
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    latest = next(line for line in shown.splitlines() if " latest " in line)
    reference = next(line for line in shown.splitlines() if " reference " in line)
    budgets = [line for line in shown.splitlines() if "1 min 0 s" in line]

    assert "open, 0.8 s" in latest
    assert "– / 99.9 %" in latest
    assert "12, max 250 ms" in latest
    assert "upstream error, 2026-03-06 15:30:00 UTC" in latest
    assert reference.split() == "alpaca.trading reference idle closed – 0 0 –".split()
    assert rows["redis"] == "redis down 3 2 1 66.6 % 5".split()
    assert rows["memory"] == "memory up 0 0 0 – 0".split()
    assert budgets[0].split() == ("alpaca.data 190 17 1 min 0 s yes 1,234 6 2 backfill 95".split())
    assert budgets[1].split() == "alpaca.trading 190 190 1 min 0 s no 0 0 0 –".split()
    assert "11 records in PostgreSQL, which is down, 3 lost" in shown
    assert rows["price_range"] == ["price_range", "8"]


def test_status_tells_of_options(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The feed for options stands beside the one for stocks, and what the shared chains hold and save."""
    run("status", "--address", address)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Source sandbox IEX, INDICATIVE" in lines
    chains = "2 with 8,120 of 50,000 contracts, 30 hits, 4 loads, 5 refreshes"
    assert f"Option chains {chains}, 6 failed, 7 made room" in lines


def test_status_of_a_gateway_without_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is neither a feed for options nor a chain, nothing is said of them."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        reply = status_service_pb2.GetStatusResponse()
        reply.CopyFrom(messages.STATUS)
        reply.ClearField("default_option_feed")
        reply.ClearField("option_chains")
        return reply

    with served_by_threads(GetStatus=answer) as target:
        run("status", "--address", target)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Source sandbox IEX" in lines
    assert not any(line.startswith("Option chains") for line in lines)


@pytest.mark.parametrize(
    ("store", "said"),
    [("UP", "11 records in PostgreSQL"), ("OFF", "11 records in memory")],
)
def test_status_says_where_errors_are_kept(
    capsys: pytest.CaptureFixture[str], store: str, said: str
) -> None:
    """Where nothing was lost, the line says how many records there are and where."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        reply = status_service_pb2.GetStatusResponse()
        reply.CopyFrom(messages.STATUS)
        reply.error_log.store = status_service_pb2.TierState.Value(f"TIER_STATE_{store}")
        reply.error_log.dropped = 0
        return reply

    with served_by_threads(GetStatus=answer) as target:
        run("status", "--address", target)
    row = next(line for line in capsys.readouterr().out.splitlines() if "Error log" in line)
    assert row.removeprefix("Error log").strip() == said


def test_status_tells_of_live_feeds(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Connections, what is followed on them, how late they are, and what the streams deliver."""
    run("status", "--address", address)
    lines = capsys.readouterr().out.splitlines()
    feeds = lines.index(next(line for line in lines if line.startswith("Feed ")))
    live, denied = lines[feeds + 2 : feeds + 4]
    noon = "2026-03-06 15:30:00 UTC"
    assert live.split() == (
        f"IEX live {noon} quotes, daily bars 22 21 30 0.4 s 1,200 7 1 {noon} –".split()
    )
    assert denied.split() == (
        "SIP not entitled – – 0 0 – – 0 0 0 – the plan does not cover it".split()
    )
    said = "3 of 500, 1,000 followed, 2,000 delivered, 50 conflated, 6 lost"
    assert any(said in line for line in lines)


def test_gaps_say_what_was_missed(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From when to when, why, for whom, how much is known to be lost, and what was done."""
    run("gaps", "--address", address)
    _, _, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    noon = "2026-03-06 15:30:00 UTC"
    assert first == f"SIP {noon} open disconnected: the upstream has closed – – pending".split()
    assert (
        second[-20:]
        == (
            "quotes of AAPL, GOOGL, MSFT and 1,497 more, daily bars of AAPL 12 partial".split()[
                -20:
            ]
        )
        or second[-1] == "partial"
    )


def test_gaps_are_narrowed(capsys: pytest.CaptureFixture[str]) -> None:
    """Feed, symbol and a time narrow the list, and no more is asked for than is shown."""
    requests: list[Any] = []

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        requests.append(request)
        gaps = [messages.GAP] * request.page_size
        return status_service_pb2.ListGapsResponse(gaps=gaps, next_page_token="more")

    narrow = "--feed sip --symbol AAPL --since 2026-03-06T15:00:00Z --limit 3".split()
    with served_by_threads(ListGaps=answer) as target:
        assert run("gaps", *narrow, "--address", target) == cli.COMPLETE
    assert capsys.readouterr().out.count("partial") == 3
    assert requests == [
        status_service_pb2.ListGapsRequest(
            feed=provenance_pb2.FEED_SIP,
            symbol="AAPL",
            start_time=Timestamp(seconds=1_772_809_200),
            page_size=3,
        )
    ]


def test_entitlements_say_who_said_so(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit that the upstream confirmed is told apart from what the settings say."""
    run("entitlements", "--address", address)
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert rows["IEX"] == "IEX granted 0.0 s 2026-03-06 15:30:00 UTC –".split()
    assert rows["OTC"] == "OTC unknown – – –".split()
    assert rows["alpaca.data"] == "alpaca.data 200 upstream 190".split()
    assert rows["alpaca.trading"] == "alpaca.trading 100 settings, plan basic 95".split()


def asked_for_errors(*tokens: str) -> tuple[list[Any], int]:
    """Run `tickgate errors` before a log without an end; return what was asked and the exit code."""
    requests: list[Any] = []

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        requests.append(request)
        return admin_service_pb2.ListErrorsResponse(
            errors=[messages.error_record(each) for each in range(request.page_size)],
            next_page_token="more",
            place=admin_service_pb2.ERROR_LOG_PLACE_RING,
        )

    with served_by_threads(ListErrors=answer) as target:
        code = run("errors", *tokens, "--address", target)
    return requests, code


def test_errors_are_narrowed(capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons, a call's id and a time narrow the list, and no more is asked for than is shown."""
    (request,), code = asked_for_errors(
        *("--reason", "circuit-open", "--reason", "no-data", "--of-call", "r-1"),
        *("--since", "2026-03-06T15:00:00Z", "--limit", "3"),
    )
    assert code == cli.COMPLETE
    assert capsys.readouterr().out.count("circuit open") == 3
    assert request == admin_service_pb2.ListErrorsRequest(
        reasons=[
            error_reason_pb2.ERROR_REASON_CIRCUIT_OPEN,
            error_reason_pb2.ERROR_REASON_NO_DATA,
        ],
        request_id="r-1",
        start_time=Timestamp(seconds=1_772_809_200),
        page_size=3,
    )


def test_errors_since_a_while() -> None:
    """A length of time counts back from now, and a time without a zone is the terminal's."""
    before = time.time()
    (by_length,), _ = asked_for_errors("--since", "15m")
    (by_clock,), _ = asked_for_errors("--since", "2026-03-06T15:00:00")
    assert before - 900 <= by_length.start_time.seconds + 1
    assert by_length.start_time.seconds <= time.time() - 900
    assert by_clock.start_time.seconds == datetime(2026, 3, 6, 15).astimezone().timestamp()


def test_errors_are_lines_of_json(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In JSON a record has its whole context."""
    assert run("errors", "--json", "--address", address) == cli.COMPLETE
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["context"] == messages.CONTEXT
    assert (first["reason"], first["place"]) == ("CIRCUIT_OPEN", "POSTGRES")
    assert first["time"] == "2026-03-06T15:30:00.123456789Z"
    assert second["request_id"] is None


def test_invalidating_names_what_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    """Symbols, feed and kinds go with the request; a Redis that was not reached is a dash."""
    requests: list[Any] = []

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        requests.append(request)
        return admin_service_pb2.InvalidateCacheResponse(
            memory_entries=1_200, serve_time=messages.at(messages.NOON)
        )

    with served_by_threads(InvalidateCache=answer) as target:
        run("invalidate", "--address", target)
        code = run(
            *("invalidate", "AAPL", "--feed", "sip", "--kind", "quote", "--kind", "trade"),
            *("--address", target),
        )
    assert code == cli.COMPLETE
    assert requests == [
        admin_service_pb2.InvalidateCacheRequest(),
        admin_service_pb2.InvalidateCacheRequest(
            symbols=["AAPL"],
            feed=provenance_pb2.FEED_SIP,
            kinds=[admin_service_pb2.VALUE_KIND_QUOTE, admin_service_pb2.VALUE_KIND_TRADE],
        ),
    ]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows == [["memory", "1,200"], ["redis", "–"]]


def test_what_only_operators_may_ends_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    """A gateway that does not let a caller do it is said so, and ends with 3."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        info = ErrorInfo(domain="tickgate", reason="PERMISSION_DENIED")
        context.abort_with_status(
            status(grpc.StatusCode.PERMISSION_DENIED, "own machine only", info)
        )

    with served_by_threads(ListErrors=answer) as target:
        assert run("errors", "--address", target) == cli.NO_GATEWAY
    assert "NotPermitted: own machine only" in capsys.readouterr().err


def test_json_is_exact(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line of JSON per symbol: prices digit for digit, times to the nanosecond."""
    assert run("quote", "AAPL", "ZZZZ", "MSFT", "--json", "--address", address) == cli.INCOMPLETE
    aapl, zzzz, msft = map(json.loads, capsys.readouterr().out.splitlines())
    assert aapl["ask"] == {"price": "182.10", "size": None, "exchange": None}
    assert aapl["provenance"]["event_time"] == "2026-03-06T15:30:00.123456789Z"
    assert aapl["provenance"]["source"] == "ALPACA"
    assert zzzz["reason"] == "TOO_STALE"
    assert zzzz["refusal"]["rule"] == "crossed"
    assert msft["ask"] is None


@pytest.mark.parametrize(
    "command",
    [
        *("quote AAPL --feed nope", "codes", "sessions today tomorrow", "qoute AAPL"),
        *("errors --reason unrecognized", "errors --limit 0", "errors --since yesterday"),
        *("errors --limit 99999999999999999999", "errors --since 99999999d"),
        "errors --since 0001-01-01T00:00:00",
        "invalidate --kind bar",
    ],
)
def test_wrong_usage_is_told_apart(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """A command line that cannot be understood asks nobody and ends with 2."""
    assert run(*command.split(), "--address", "127.0.0.1:1") == cli.WRONG_USAGE
    assert capsys.readouterr().err


def test_a_refused_request_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """What the gateway refuses is said field by field, and ends with 2."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        field = BadRequest.FieldViolation(field="symbols[0]", description="upper case only")
        context.abort_with_status(
            status(
                grpc.StatusCode.INVALID_ARGUMENT,
                "wrong",
                ErrorInfo(domain="tickgate", reason="INVALID_REQUEST"),
                BadRequest(field_violations=[field]),
            )
        )

    with served_by_threads(GetQuotes=answer) as target:
        assert run("quote", "aapl", "--address", target) == cli.WRONG_USAGE
    assert "symbols[0]: upper case only" in capsys.readouterr().err


def test_an_answer_that_cannot_be_had_is_unavailable(capsys: pytest.CaptureFixture[str]) -> None:
    """A question with one answer ends with 1 where there is none."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        return reference_service_pb2.GetMarketClockResponse(unavailable=messages.UNAVAILABLE)

    with served_by_threads(GetMarketClock=answer) as target:
        assert run("clock", "--address", target) == cli.INCOMPLETE
    assert "Ask again with a wider bound." in capsys.readouterr().err


def test_what_the_gateway_sends_is_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets and colons in names, codes and messages are printed as they were sent."""
    odd = "M [/x] [red]R[/red] :smile:"

    def asset(request: Any, context: grpc.ServicerContext) -> Any:
        item = messages.asset("M")
        item.name = odd
        page = asset_pb2.AssetPage(assets=[item], provenance=messages.LIST_PROVENANCE)
        return reference_service_pb2.ListAssetsResponse(page=page)

    def refuse(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.INTERNAL, odd)

    with served_by_threads(ListAssets=asset, GetStatus=refuse) as target:
        assert run("assets", "--address", target) == cli.COMPLETE
        assert odd in capsys.readouterr().out
        assert run("status", "--address", target) == cli.NO_GATEWAY
        assert odd in capsys.readouterr().err


def test_no_gateway_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """A gateway that does not answer ends with 3."""
    assert run("status", "--address", "127.0.0.1:1") == cli.NO_GATEWAY
    assert "GatewayUnreachable" in capsys.readouterr().err


def test_the_address_may_stand_in_the_environment(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TICKGATE_TARGET names the gateway where `--address` does not."""
    monkeypatch.setenv("TICKGATE_TARGET", address)
    assert run("status") == cli.COMPLETE
    assert capsys.readouterr().out


def test_a_missing_trade_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the full view has no trade, its reason stands in the trade's place."""
    quote = quote_pb2.Quote()
    quote.CopyFrom(messages.QUOTE)
    quote.ClearField("latest_trade")
    quote.latest_trade_unavailable.CopyFrom(messages.UNAVAILABLE)

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        result = quote_pb2.QuoteResult(symbol="AAPL", quote=quote)
        return quote_service_pb2.GetQuotesResponse(results=[result])

    with served_by_threads(GetQuotes=answer) as target:
        assert run("quote", "AAPL", "--view", "full", "--address", target) == cli.COMPLETE
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.split() == "AAPL 0.05 182.075 90 zero size too stale – – –".split()


def test_a_basic_view_is_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing stands for what was not asked for."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        result = quote_pb2.QuoteResult(symbol="MSFT", quote=messages.BARE_QUOTE)
        return quote_service_pb2.GetQuotesResponse(results=[result])

    with served_by_threads(GetQuotes=answer) as target:
        assert run("quote", "MSFT", "--address", target) == cli.COMPLETE
    heading, _, row = capsys.readouterr().out.splitlines()
    assert heading.split() == "Symbol Bid Size At Ask Size At Age Session Source Tier".split()
    assert row.split() == "MSFT 410.00 – – – – – – – sandbox upstream".split()


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_without_its_extra_it_says_so(missing: str) -> None:
    """Where the extra is not installed the command says what to install, in one sentence."""
    script = f"""
import importlib.abc, sys
from tickgate.__main__ import main

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Hidden())
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "tickgate: the command line needs its extra: pip install 'tickgate[cli]'"
    )


def test_the_package_works_without_the_extra() -> None:
    """Importing the client asks for neither of the command line's libraries."""
    check = "import sys, tickgate; print({'rich', 'cyclopts'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
