"""The command line: tables for people, lines for programs, exit codes for scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from tickgate import _cli as cli
from tickgate.v1 import asset_pb2, quote_pb2, quote_service_pb2, reference_service_pb2

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
        ("snapshot AAPL ZZZZ", "2.00 (0.50–4.00)"),
        ("assets apple", "Apple Inc."),
        ("asset AAPL", "Apple Inc."),
        ("clock", "after hours"),
        ("sessions 2026-03-06 2026-03-09", "Fri 2026-03-06"),
        ("codes trade-condition C", "Regular Sale"),
        ("status", "failing"),
    ],
)
def test_each_command_prints_a_table(
    address: str, capsys: pytest.CaptureFixture[str], command: str, shown: str
) -> None:
    """A command asks its question and prints what a person wants to know."""
    code = run(*command.split(), "--address", address)
    assert code == (cli.INCOMPLETE if "ZZZZ" in command else cli.COMPLETE)
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
    "command", ["quote AAPL --feed nope", "codes", "sessions today tomorrow", "qoute AAPL"]
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
