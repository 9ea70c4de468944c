"""`tickgate watch`: a table that moves, lines for a pipe, and an end when it is asked for."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import sys
from datetime import timedelta

import grpc
import pytest
from rich.console import Console

from tickgate import SymbolState
from tickgate import _cli as cli
from tickgate import _convert as convert
from tickgate import _tables as tables
from tickgate.v1 import provenance_pb2

from . import messages
from .streams import Peer, quote, status, statuses, streaming, updates
from .test_follow import ends_with, quiet, refuses, rejects
from .test_follower import UNKNOWN


async def moving(peer: Peer) -> None:
    """A gateway with two symbols and one that does not exist."""
    await peer.heard("subscribe")
    gap = status("MSFT", "GAP", gaps=[messages.OPEN_GAP])
    await peer.send(statuses, status("AAPL"), gap, status("ZZZZ", "REJECTED", unavailable=UNKNOWN))
    await peer.send(updates, quote("AAPL", 1), quote("AAPL", 4, conflated=2))
    await peer.gone()


async def watch(target: str, *arguments: str) -> int:
    """Run `tickgate watch` in a thread, for the gateway has to move meanwhile."""
    symbols = ("AAPL", "MSFT", "ZZZZ")
    return await asyncio.to_thread(cli.main, ["watch", *symbols, "--address", target, *arguments])


async def test_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is a line: states with their reasons, quotes with their age and origin."""
    async with streaming(moving) as target:
        assert await watch(target, "--count", "1") == cli.INCOMPLETE
    assert capsys.readouterr().out.splitlines() == [
        "AAPL: live",
        "MSFT: gap; missed from 2026-03-06 15:30:00 UTC until now: the upstream has closed",
        "ZZZZ: rejected; ZZZZ: no such asset",
        "AAPL: 4.00 × 1, – × –, live, received 0.0 s ago, alpaca IEX, 3 conflated",
    ]


async def test_programs_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With `--json` each event is an object, exact as everywhere."""
    async with streaming(moving) as target:
        await watch(target, "--count", "1", "--json")
    live, gap, _, update = map(json.loads, capsys.readouterr().out.splitlines())
    assert (live["symbol"], live["state"]) == ("AAPL", "LIVE")
    assert gap["gaps"][0]["start_time"] == "2026-03-06T15:30:00.123456789Z"
    assert update["value"]["bid"]["price"] == "4"
    assert (update["sequence"], update["kind"], update["conflated"]) == (4, "LIVE", 3)


async def test_a_terminal_gets_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row for each symbol: both sides, age, state, pace, what was conflated and missed; beneath it why."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    async with streaming(moving) as target:
        await watch(target, "--count", "1")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    assert rows["AAPL"] == "AAPL 4.00 1 – – 0.0 s ago live 0.2 3 0".split()
    assert rows["MSFT"] == "MSFT – – – – – gap 0.0 0 1".split()
    assert rows["ZZZZ"] == "ZZZZ – – – – – rejected 0.0 0 0".split()
    assert "ZZZZ: no such asset." in shown


@pytest.mark.parametrize("width", range(10, 121, 5))
def test_a_narrow_terminal_shows_no_part_of_a_number(width: int) -> None:
    """Where there is no room for all columns some are left out, and what is shown is whole; the state always is."""
    row = tables.Watched(
        symbol="AAPL",
        quote=convert.quote(messages.QUOTE),
        state=SymbolState.INVALID,
        age=timedelta(seconds=1),
        per_second=12.3,
        conflated=4567,
        gaps=89,
    )
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(tables.watched([row], [], None))
    shown = capture.get()

    assert row.quote is not None
    assert row.quote.bid is not None
    whole = {"12.3", "4,567", "89", "1.0"} | {
        word for side in (row.quote.bid, row.quote.ask) if side
        for word in (tables.price(side.price), tables.count(side.size))
    }  # fmt: skip
    numbers = re.findall(r"[\d.,]*\d", shown)
    assert whole.issuperset(numbers)
    assert tables.price(row.quote.bid.price) in numbers
    assert "invalid" in shown


@pytest.mark.parametrize(
    ("feed", "number"), [("opra", "FEED_OPRA"), ("indicative", "FEED_INDICATIVE")]
)
async def test_options_are_watched_on_their_feed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, feed: str, number: str
) -> None:
    """Contracts are watched like stocks; on the indicative feed it is said that no quote is real."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    symbol = "SPY220715C00380000"

    async def gateway(peer: Peer) -> None:
        subscription = await peer.begin()
        assert provenance_pb2.Feed.Name(subscription.feed) == number
        moved = quote(symbol, 4)
        moved.quote.provenance.feed = subscription.feed
        await peer.send(updates, moved)
        await peer.gone()

    async with streaming(gateway) as target:
        arguments = ["watch", symbol, "--feed", feed, "--count", "1", "--address", target]
        assert await asyncio.to_thread(cli.main, arguments) == cli.COMPLETE
    shown = capsys.readouterr().out
    assert symbol in shown
    assert ("INDICATIVE: these are not real quotes." in shown) is (feed == "indicative")


async def test_a_reader_who_has_enough_is_no_failure() -> None:
    """A pipe that is closed ends it, without a traceback."""
    async with streaming(moving) as target:
        read, write = os.pipe()
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tickgate", "watch", "AAPL", "MSFT", "--address", target),
            stdout=write,
            stderr=asyncio.subprocess.PIPE,
        )
        os.close(write)
        os.close(read)
        _, complaints = await program.communicate()
    assert (program.returncode, complaints) == (cli.COMPLETE, b"")


async def test_it_ends_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    """`--for` ends it, whether anything moves or not."""
    async with streaming(quiet) as target:
        assert await watch(target, "--for", "0.1") == cli.COMPLETE
    assert capsys.readouterr().out.splitlines() == ["AAPL: live", "MSFT: live", "ZZZZ: live"]


async def test_an_outage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A gateway that goes away and comes back is said, and watching goes on."""

    async def gone(peer: Peer) -> None:
        await peer.begin()
        await peer.send(updates, quote("AAPL", 1))
        await peer.acked(2)
        await peer.context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    async with streaming(gone, moving) as target:
        await watch(target, "--count", "2", "--json")
    kinds = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (lost,) = (each for each in kinds if "error" in each)
    assert lost["error"].startswith("cut (request ")
    assert any("outage_ns" in each for each in kinds)


async def test_ctrl_c_ends_it() -> None:
    """Ctrl-C is how a person ends it: no traceback, no complaint."""
    async with streaming(quiet) as target:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tickgate", "watch", "AAPL", "--address", target),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert program.stdout is not None
        assert await program.stdout.readline() == b"AAPL: live\n"
        program.send_signal(signal.SIGINT)
        _, complaints = await program.communicate()
    assert (program.returncode, complaints) == (cli.COMPLETE, b"")


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (refuses, cli.WRONG_USAGE, "subscribe.symbols: too many"),
        (rejects, cli.INCOMPLETE, "no such asset"),
        (
            ends_with(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
            cli.NO_GATEWAY,
            "NotPermitted: no",
        ),
    ],
)
async def test_what_cannot_be_followed_is_said(
    capsys: pytest.CaptureFixture[str], script: object, code: int, said: str
) -> None:
    """Where nothing can be followed, it ends as the other commands do."""
    async with streaming(script) as target:  # type: ignore[arg-type]  # a script
        arguments = ["watch", "AAPL", "--address", target]
        assert await asyncio.to_thread(cli.main, arguments) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["AAPL", "AAPL"], ["AAPL", "--count", "0"], ["AAPL", "--for", "0"]]
)
def test_wrong_usage_is_told_apart(arguments: list[str]) -> None:
    """A command line that makes no sense asks nobody and ends with 2."""
    assert cli.main(["watch", *arguments, "--address", "127.0.0.1:1"]) == cli.WRONG_USAGE


def test_no_gateway_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """A gateway that does not answer ends with 3."""
    assert cli.main(["watch", "AAPL", "--address", "127.0.0.1:1"]) == cli.NO_GATEWAY
    assert "GatewayUnreachable" in capsys.readouterr().err
