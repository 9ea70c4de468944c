"""What the documents tell a reader to type works, against a real gateway in front of a real sandbox."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import write_recordings
from tests.support.stores import postgres_url, redis_url
from tickgate_server.settings import Settings
from tools import hints
from tools.programs import (
    environment_without_settings,
    gateway_program,
    program,
    sandbox_program,
)

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/**/README.md")]
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    # Its blocks are one walk, of which no line works without those before it: test_security.py runs it.
    and path.name != "security.md"
)
ADDRESS = "127.0.0.1:50051"
"""Address of a gateway in every document."""


CONTRACT = "AAPL261016C00230000"
"""A contract that is listed while the documents are read."""

PAST = {
    "symbols": ["AAPL"],
    "start_time": "2026-09-30T14:30:00Z",
    "end_time": "2026-09-30T14:31:00Z",
}
MINUTES = {"timeframe": "1Min"}
"""A range of the past, and of what its bars are."""

DAYS = {
    "start_date": {"year": 2026, "month": 11, "day": 23},
    "end_date": {"year": 2026, "month": 11, "day": 30},
}

REQUESTS: dict[str, dict[str, Any]] = {
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
    "ListBars": PAST | MINUTES,
    "StreamBars": PAST | MINUTES,
    "ListTrades": PAST | {"page_size": 2},
    "StreamTrades": PAST,
    "ListQuotes": PAST | {"page_size": 2},
    "StreamQuotes": PAST,
    "GetPriceAt": {"symbol": "AAPL", "time": "2026-09-30T14:30:00Z"},
    "GetCoverage": PAST | MINUTES | {"kind": "SERIES_KIND_BARS"},
    "ListCorporateActions": {"symbols": ["AAPL"]} | DAYS,
    "ListAssets": {"page_size": 2},
    "GetAsset": {"symbol": "AAPL"},
    "GetMarketClock": {},
    "ListMarketSessions": DAYS,
    "ListCodes": {"kind": "CODE_KIND_EXCHANGE"},
    "GetStatus": {},
    "GetEntitlements": {},
    "ListGaps": {"page_size": 2},
    "InvalidateCache": {"symbols": ["AAPL"]},
    "ListErrors": {"page_size": 2},
    "PutWatchlist": {"watchlist": {"name": "kept", "symbols": ["AAPL", "MSFT"]}},
    "GetWatchlist": {"name": "kept"},
    "ListWatchlists": {},
    "DeleteWatchlist": {"name": "gone"},
    "StartBackfill": PAST | MINUTES | {"kind": "SERIES_KIND_BARS"},
    "ListBackfills": {"page_size": 2},
}
"""A question for each method, but for those about a backfill: its id is not known before it is started."""

NEVER_STRICT = {
    "GetStatus", "GetEntitlements", "ListGaps", "GetCoverage", "InvalidateCache", "ListErrors", "PutWatchlist",
    "GetWatchlist", "ListWatchlists", "DeleteWatchlist", "StartBackfill", "GetBackfill", "ListBackfills",
    "CancelBackfill",
    # Nothing ever happens to made-up companies.
    "ListCorporateActions",
}  # fmt: skip
"""Methods that are not asked to be strict: their requests have no such field, or they have nothing to answer."""

EMPTY = {"ListGaps", "DeleteWatchlist"}
"""Methods whose answer has nothing in it: nothing was missed, and there is no more to say."""

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


OPEN = "2026-10-01T15:00:00Z"
"""When the market of the documents begins: it is open."""

OPERATORS = ("backfill", "config", "migrate", "record")
"""Commands of `tickgate-server` that end by themselves."""


@dataclass(frozen=True)
class Installation:
    """What a reader of the documents has running."""

    gateway: str
    """Address of a gateway with Redis and PostgreSQL, in front of a sandbox whose market is open."""

    settings: dict[str, str]
    """Variables that bring other programs to the same sandbox and the same store."""


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """What `make run` leaves up."""
    with (
        sandbox_program("--at", OPEN) as sandbox,
        redis_url() as redis,
        postgres_url() as postgres,
        gateway_program(sandbox.address, redis_url=redis, postgres_url=postgres) as running,
    ):
        settings = settings_of(sandbox.address) | {"TICKGATE_POSTGRES_URL": postgres}
        yield Installation(running.address, settings)


def settings_of(upstream: str) -> dict[str, str]:
    """Return variables that bring a program to the sandbox at *upstream*."""
    return {
        "TICKGATE_ALPACA__DATA_URL": f"http://{upstream}",
        "TICKGATE_ALPACA__TRADING_URL": f"http://{upstream}",
        "TICKGATE_ALPACA__STREAM_URL": f"ws://{upstream}",
    }


@pytest.fixture(scope="module")
def gateway(installation: Installation) -> str:
    """The gateway's address."""
    return installation.gateway


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


@pytest.mark.parametrize(
    "line", [line for line in lines("tickgate-server") if line.split()[1] in OPERATORS]
)
def test_operator_lines_work(line: str, installation: Installation, tmp_path: Path) -> None:
    """Each line for `tickgate-server` that ends by itself does so well."""
    arguments = shlex.split(line, comments=True)[1:]
    with ExitStack() as parts:
        settings = installation.settings
        if arguments[0] == "record":
            # An account has one place on a feed, and the gateway holds that of the other sandbox.
            settings = settings_of(parts.enter_context(sandbox_program("--at", OPEN)).address)
        done = subprocess.run(
            [sys.executable, "-m", "tickgate_server", *arguments],
            env=environment_without_settings() | settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    "line",
    [line for line in lines("tickgate-server") if line.split()[1:3] == ["keys", "create"]],
)
def test_lines_that_make_keys_work(line: str, tmp_path: Path) -> None:
    """Each line that makes an API key writes one, and nothing else, to standard output."""
    keys = {
        "TICKGATE_IDENTITY__KEYS": "file",
        "TICKGATE_IDENTITY__FILE": str(tmp_path / "keys"),
        "TICKGATE_IDENTITY_SECRET": "a secret that is long enough for tests",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tickgate_server", *shlex.split(line, comments=True)[1:]],
        env=environment_without_settings() | keys,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"tg_\w+\n", done.stdout)


@pytest.mark.parametrize(("name", "text"), blocks("toml"), ids=lambda part: part.split("\n")[0])
def test_settings_are_in_order(name: str, text: str) -> None:
    """Each block of settings in the documents is one that a gateway takes."""
    assert Settings(**tomllib.loads(text)).listen, name


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
    assert {line.split()[1] for line in lines("tickgate-server")} >= set(OPERATORS)
    assert len(blocks("python")) >= 2
    assert len(hinted("grpcurl")) + len(hinted("tickgate")) == len(hints.QUESTIONS)


def test_grpcurl_calls_every_method(gateway: str) -> None:
    """The real grpcurl lists, describes and calls every method of the contract that ends by itself, by reflection."""
    asked = run(["grpcurl", "-plaintext", gateway, "list"], gateway).stdout.split()
    services = [name for name in asked if name.startswith("tickgate.") and "Stream" not in name]
    for name in ("kept", "gone"):
        admin("PutWatchlist", {"watchlist": {"name": name, "symbols": ["AAPL"]}}, gateway)
    started = admin("StartBackfill", {"kind": "SERIES_KIND_BARS"} | MINUTES | PAST, gateway)
    requests = REQUESTS | {
        short: {"id": started["backfill"]["id"]} for short in ("GetBackfill", "CancelBackfill")
    }
    called = set()
    for service in services:
        assert run(["grpcurl", "-plaintext", gateway, "describe", service], gateway).stdout
        for method in run(
            ["grpcurl", "-plaintext", gateway, "list", service], gateway
        ).stdout.split():
            short = method.rpartition(".")[2]
            strictness = {} if short in NEVER_STRICT else {"strict": True}
            request = json.dumps(requests[short] | strictness)
            path = f"{service}/{short}"
            done = run(["grpcurl", "-plaintext", "-d", request, gateway, path], gateway)
            assert done.returncode == 0, f"{path}: {done.stderr}"
            assert any(messages_in(done.stdout)) or short in EMPTY
            called.add(short)

    assert called == set(requests)


def admin(method: str, request: dict[str, Any], gateway: str) -> dict[str, Any]:
    """Return what AdminService answers."""
    path = f"tickgate.v1.AdminService/{method}"
    done = run(["grpcurl", "-plaintext", "-d", json.dumps(request), gateway, path], gateway)
    assert done.returncode == 0, f"{path}: {done.stderr}"
    (answer,) = messages_in(done.stdout)
    return answer


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
