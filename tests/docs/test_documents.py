"""What the documents tell a reader to type works, against a real gateway in front of a real sandbox."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import write_recordings
from tools import hints
from tools.programs import gateway_program, program, sandbox_program

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/**/README.md")]
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
ADDRESS = "127.0.0.1:50051"
"""Address of a gateway in every document."""


CONTRACT = "AAPL261016C00230000"
"""A contract that is listed while the documents are read."""

OUT_OF_TIME = 64 + 4
"""Exit status of grpcurl for DEADLINE_EXCEEDED: how a line that says -max-time leaves a stream."""


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of *language* ("" for those that name none) in all documents, with the name of each."""
    found = []
    for path in DOCUMENTS:
        fenced = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
        texts = [text for its_language, text in fenced if its_language == language]
        name = path.relative_to(ROOT)
        found += [(f"{name}:{index}", text) for index, text in enumerate(texts, 1)]
    return found


def lines(program: str) -> list[str]:
    """Return every line that runs *program*, of shell blocks and of those that name no language."""
    return [
        line.strip()
        for _, text in [*blocks("sh"), *blocks("")]
        for line in text.splitlines()
        if line.strip().startswith(f"{program} ")
    ]


def hinted(program: str) -> list[str]:
    """Return every line for *program* that the demo prints."""
    return [line for line in hints.QUESTIONS if line.startswith(f"{program} ")]


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """The address of a gateway in front of a sandbox whose market is open."""
    with (
        sandbox_program("--at", "2026-10-01T15:00:00Z") as sandbox,
        gateway_program(sandbox.address) as running,
    ):
        yield running.address


def run(command: list[str], gateway: str) -> subprocess.CompletedProcess[str]:
    """Run *command* in the environment of this interpreter, every document's address meaning *gateway*."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TICKGATE_TARGET": gateway,
        "COLUMNS": "120",
    }
    return subprocess.run(
        [part.replace(ADDRESS, gateway) for part in command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("line", [*lines("grpcurl"), *hinted("grpcurl")])
def test_grpcurl_lines_work(line: str, gateway: str) -> None:
    """Each grpcurl line in the documents and in the demo is run by the real grpcurl and answers."""
    done = run(shlex.split(line), gateway)

    assert done.returncode in ((0, OUT_OF_TIME) if "-max-time" in line else (0,)), done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("line", [*lines("tickgate"), *hinted("tickgate")])
def test_client_lines_work(line: str, gateway: str) -> None:
    """Each line for the client's command line, the demo's too, prints a table; 1 says that some symbol has no value."""
    command = shlex.split(line)
    done = run(command if ADDRESS in command else [*command, "--address", gateway], gateway)

    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("line", lines("tickgate-sandbox"))
def test_sandbox_lines_work(line: str, tmp_path: Path) -> None:
    """Each line that starts a sandbox does, FOLDER being one with recordings."""
    write_recordings(tmp_path, day=date(2013, 10, 7))
    arguments = shlex.split(line.replace("FOLDER", shlex.quote(str(tmp_path))), comments=True)[1:]
    command = ["-m", "tickgate_sandbox", *arguments, "--listen", "127.0.0.1:0"]

    with program("tickgate-sandbox", command) as running:
        assert running.address


def test_programs_are_found_by_name() -> None:
    """The README's line about the PATH is the demo's, and finds each program that a line above runs by its name."""
    programs = ["grpcurl", "tickgate", "tickgate-server", "tickgate-sandbox"]
    found = subprocess.run(
        ["/bin/sh", "-c", f'{hints.PATH_LINE}; for name; do command -v "$name"; done', "sh", *programs],
        cwd=ROOT, env={"PATH": os.defpath}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert hints.PATH_LINE in lines("export")
    assert found.stdout.split() == [str(ROOT / ".venv/bin" / name) for name in programs]


@pytest.mark.parametrize(("name", "text"), blocks("python"), ids=lambda part: part.split("\n")[0])
def test_python_blocks_run(name: str, text: str, gateway: str) -> None:
    """Each Python block in the documents runs as it stands."""
    done = run([sys.executable, "-c", text.replace(ADDRESS, gateway)], gateway)

    assert done.returncode == 0, f"{name}: {done.stderr}"


def test_documents_are_found() -> None:
    """The lines and blocks above are really there: a moved README would otherwise test nothing."""
    assert len(lines("grpcurl")) >= 9
    assert len(lines("tickgate")) >= 3
    assert len(lines("tickgate-sandbox")) >= 4
    assert len(blocks("python")) >= 2
    assert len(hinted("grpcurl")) + len(hinted("tickgate")) == len(hints.QUESTIONS)


def test_grpcurl_calls_every_method(gateway: str) -> None:
    """The real grpcurl lists, describes and calls every method of the contract that ends by itself, by reflection."""
    requests: dict[str, dict[str, Any]] = {
        "GetQuote": {"symbol": "AAPL"},
        "GetQuotes": {"symbols": ["AAPL", "MSFT"]},
        "GetLatestTrade": {"symbol": "AAPL"},
        "GetLatestTrades": {"symbols": ["AAPL", "MSFT"]},
        "GetSnapshot": {"symbol": "AAPL"},
        "GetSnapshots": {"symbols": ["AAPL", "MSFT"]},
        "GetOptionQuote": {"symbol": CONTRACT},
        "GetOptionQuotes": {"symbols": [CONTRACT], "view": "OPTION_VIEW_FULL"},
        "GetOptionChain": {"underlying_symbol": "AAPL", "page_size": 2},
        "StreamOptionChain": {
            "underlying_symbol": "AAPL",
            "filter": {"around": {"strikes": 1}, "type": "OPTION_TYPE_CALL"},
        },
        "ListOptionContracts": {"underlying_symbol": "AAPL", "page_size": 2},
        "ListAssets": {"page_size": 2},
        "GetAsset": {"symbol": "AAPL"},
        "GetMarketClock": {},
        "ListMarketSessions": {
            "start_date": {"year": 2026, "month": 11, "day": 23},
            "end_date": {"year": 2026, "month": 11, "day": 30},
        },
        "ListCodes": {"kind": "CODE_KIND_EXCHANGE"},
        "GetStatus": {},
        "GetEntitlements": {},
        "ListGaps": {"page_size": 2},
        "InvalidateCache": {"symbols": ["AAPL"]},
        "ListErrors": {"page_size": 2},
    }
    never_lacking = {"GetStatus", "GetEntitlements", "ListGaps", "InvalidateCache", "ListErrors"}
    listed = run(["grpcurl", "-plaintext", gateway, "list"], gateway).stdout.split()
    services = [name for name in listed if name.startswith("tickgate.") and "Stream" not in name]
    called = set()
    for service in services:
        assert run(["grpcurl", "-plaintext", gateway, "describe", service], gateway).stdout
        for method in run(
            ["grpcurl", "-plaintext", gateway, "list", service], gateway
        ).stdout.split():
            short = method.rpartition(".")[2]
            strictness = {} if short in never_lacking else {"strict": True}
            request = json.dumps(requests[short] | strictness)
            path = f"{service}/{short}"
            done = run(["grpcurl", "-plaintext", "-d", request, gateway, path], gateway)
            assert done.returncode == 0, f"{path}: {done.stderr}"
            # Nothing was missed, which leaves an answer of gaps empty.
            assert any(messages_in(done.stdout)) or short == "ListGaps"
            called.add(short)

    assert called == set(requests)


def test_a_watch_can_be_read(gateway: str) -> None:
    """The real grpcurl prints states and quotes of a watch in words, with the price as the market writes it."""
    request = '{"subscription":{"symbols":["AAPL","ZZZZ"]}}'
    path = "tickgate.v1.StreamService/Watch"
    done = run(["grpcurl", "-plaintext", "-max-time", "4", "-d", request, gateway, path], gateway)
    messages = messages_in(done.stdout)
    statuses = [one for each in messages for one in each.get("statuses", {}).get("statuses", [])]
    updates = [one for each in messages for one in each.get("updates", {}).get("updates", [])]

    assert done.returncode == OUT_OF_TIME, done.stderr
    states = {(one["symbol"], one["state"]) for one in statuses}
    assert {("AAPL", "SYMBOL_STATE_LIVE"), ("ZZZZ", "SYMBOL_STATE_REJECTED")} <= states
    assert updates[0]["kind"] == "UPDATE_KIND_SNAPSHOT"
    assert re.fullmatch(r"\d+(\.\d+)?", updates[0]["quote"]["bid"]["price"]["value"])


def messages_in(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects that stand one behind the other in *text*."""
    decoder, found, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        message, end = decoder.raw_decode(rest)
        found.append(message)
        rest = rest[end:].lstrip()
    return found
