"""docs/integrate.md: its programs run with a key, its tables name what exists, its commands make stubs."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.message import Message

import tickgate
from tickgate.v1 import (
    error_reason_pb2,
    provenance_pb2,
    quote_pb2,
    unavailable_pb2,
)
from tools.programs import environment_without_settings, gateway_program, sandbox_program

from ..support.waiting import until_told
from .test_documents import ADDRESS, OPEN, ROOT

PAGE = (ROOT / "docs/integrate.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ENGINE, PORTFOLIO, DASHBOARD, BILL = range(4)

LONGEST = 80
"""Lines of a program that a reader takes in at once."""

SERVICES = ("quote", "option", "history", "stream", "reference", "status", "admin")

OLD_PATHS = (
    "GET /stocks/{symbol}/quote", "GET /quote", "GET /price/latest", "get_current_price", "POST /stocks/quotes",
    "POST /prices/batch", "WS /ws/market-data", "GET /stocks/{symbol}/bars", "GET /candles", "GET /historical",
    "get_price_history", "GET /trades", "get_price_at", "GET /prices/{ticker}/check", "POST /options/quote",
    "POST /options/quotes/batch", "POST /options/chain", "GET /options/{underlying}/chain", "GET /symbols",
    "GET /search", "GET /market-status", "GET /health", "GET /status/ingestion", "GET /exchanges/status",
    "POST /prices/fetch-historical", "admin/…", "/docs", "GET /metrics",
)  # fmt: skip
"""What the replaced services had."""

OLD_ERRORS = (
    "REAL_DATA_UNAVAILABLE", "OPTION_CONTRACT_NOT_FOUND", "RATE_LIMIT_EXCEEDED", "UPSTREAM_SERVICE_ERROR",
    "UPSTREAM_ERROR", "DATA_VALIDATION_ERROR", "BUSINESS_RULE_VIOLATION",
)  # fmt: skip

OLD_FIELDS = (
    "last_price", "timestamp", "processing_timestamp", "data_freshness", "data_age_seconds", "data_source",
    "market_status", "is_market_hours", "spread", "mid_price", "data_quality_score", "error_code", "error_type",
    "error_message", "request_id", "suggested_action", "retry_after", "source",
)  # fmt: skip

MESSAGES: dict[str, type[Message]] = {
    "Quote": quote_pb2.Quote,
    "DerivedQuote": quote_pb2.DerivedQuote,
    "QuoteQuality": quote_pb2.QuoteQuality,
    "Provenance": provenance_pb2.Provenance,
    "DataUnavailable": unavailable_pb2.DataUnavailable,
}


def table(first: str) -> list[list[str]]:
    """Return the cells of the table whose head begins with *first*."""
    _, _, rest = PAGE.partition(f"\n| {first} |")
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    assert lines, f"there is a table of {first!r}"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names(cell: str) -> list[str]:
    """Return what stands in a cell as code."""
    return re.findall(r"`([^`]+)`", cell)


def methods() -> set[str]:
    """Return `Service.Method` of the whole contract."""
    found = set()
    for name in SERVICES:
        module = importlib.import_module(f"tickgate.v1.{name}_service_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            found |= {f"{service.name}.{method.name}" for method in service.methods}
    return found


# --------------------------------------------------------------------------------------- tables


def test_every_old_path_has_its_row() -> None:
    """Each path and each call of the replaced services stands in the first column."""
    column = [name for row in table("was") for name in names(row[0])]

    assert not set(OLD_PATHS) - set(column)


def test_every_call_exists() -> None:
    """Each RPC of the table, and of the whole page, is one of the contract, and each method one of both clients."""
    cells = [name for row in table("was") for name in names(row[1])]
    named = {name for name in cells if "Service." in name}
    everywhere = set(re.findall(r"\b([A-Z]\w+Service\.[A-Z]\w+)", PAGE))

    assert len(named) > 25
    assert not (named | everywhere) - methods()
    used = set(re.findall(r"\bgateway\.(\w+)", PAGE))
    assert len(used) > 25
    for client in (tickgate.Client, tickgate.SyncClient):
        assert not {name for name in used if not hasattr(client, name)}


def test_every_row_tells_how_to_ask() -> None:
    """A row that names an RPC names the client's way to ask it; only what has no client's method has none."""
    for was, rpc, python in table("was"):
        assert bool(names(python)) is ("Service." in rpc), was


def test_every_field_exists() -> None:
    """Each new field of the table is one of the message that it is said to be of."""
    rows = table("old field")
    for _, new, of in rows:
        fields = MESSAGES[names(of)[0]].DESCRIPTOR.fields_by_name
        assert names(new)
        assert not set(names(new)) - set(fields), of

    assert not set(OLD_FIELDS) - {name for row in rows for name in names(row[0])}


def test_every_error_has_its_reason() -> None:
    """Each old error is there, and each new one is a reason of the contract."""
    rows = table("old error")
    reasons = set(error_reason_pb2.ErrorReason.keys())
    for _, new in rows:
        assert {f"ERROR_REASON_{name}" for name in names(new) if name.isupper()} <= reasons

    assert not set(OLD_ERRORS) - {name for row in rows for name in names(row[0])}


# ------------------------------------------------------------------------------------- programs


@dataclass(frozen=True)
class Firm:
    """A gateway that asks for keys, and the key of a service."""

    target: str
    api_key: str

    def run(self, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the page as the service would."""
        return subprocess.run(
            [sys.executable, "-c", program],
            env=environment_without_settings()
            | {"TICKGATE_TARGET": self.target, "TICKGATE_API_KEY": self.api_key, "COLUMNS": "120"}
            | environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firm]:
    """A gateway with keys in a file, and one made for a service as operating.md says."""
    identity = {
        "TICKGATE_IDENTITY__KEYS": "file",
        "TICKGATE_IDENTITY__FILE": str(tmp_path_factory.mktemp("keys") / "keys.json"),
        "TICKGATE_IDENTITY_SECRET": secrets.token_hex(32),
    }
    made = subprocess.run(
        [
            *(sys.executable, "-m", "tickgate_server", "keys", "create", "service"),
            *("--scopes", "read,stream,history", "--expires", "90d"),
        ],
        env=environment_without_settings() | identity,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    (token,) = re.findall(r"\btg_\w+", made.stdout)
    with (
        sandbox_program("--at", OPEN) as sandbox,
        gateway_program(sandbox.address, identity) as running,
    ):
        yield Firm(running.address, token)


@pytest.mark.parametrize("number", [ENGINE, PORTFOLIO, DASHBOARD, BILL])
def test_a_program_is_short(number: int) -> None:
    """Each program is taken in at once."""
    assert len(PROGRAMS[number].splitlines()) < LONGEST


def test_the_engine_computes_from_what_is_real(firm: Firm) -> None:
    """It signals for what is LIVE, and says of the rest that there is no signal, and why."""
    done = firm.run(PROGRAMS[ENGINE])

    assert done.returncode == 0, done.stderr
    signals = re.findall(r"^(AAPL|MSFT) [+-]\d+\.\d\d at ", done.stdout, re.MULTILINE)
    assert len(signals) == 6
    assert "ZZZZ: no signal, SYMBOL_UNKNOWN" in done.stdout
    assert "AAPL is LIVE" in done.stdout


def test_the_portfolio_lists_what_it_cannot_value(firm: Firm) -> None:
    """It values what has a price, names what has none and what is no market's, and refuses a total where told to."""
    done = firm.run(PROGRAMS[PORTFOLIO])
    strict = firm.run(PROGRAMS[PORTFOLIO], STRICT="1")

    assert done.returncode == 0, done.stderr
    assert re.search(r"^-?\d+\.\d+ dollars, without 1 positions$", done.stdout, re.MULTILINE)
    assert "ZZZZ: SYMBOL_UNKNOWN" in done.stdout
    assert "AAPL261016C00230000: indicative" in done.stdout
    assert strict.returncode == 1


def test_the_dashboard_shows_what_it_does_not_know(firm: Firm) -> None:
    """Symbols that are followed have prices and a state, the other says why it is not."""
    done = firm.run(PROGRAMS[DASHBOARD])

    assert done.returncode == 0, done.stderr
    assert re.search(r"AAPL .*\d+\.\d+ × \d+.*LIVE", done.stdout)
    assert re.search(r"ZZZZ .*REJECTED", done.stdout)


def _is_followed(told: tickgate.GatewayStatus) -> bool:
    return told.streams is not None and told.streams.delivered > 0


async def test_the_dashboard_says_that_it_is_blind() -> None:
    """When the gateway is gone it says so beneath the table, and calls no symbol LIVE."""
    environment = environment_without_settings() | {"COLUMNS": "120"}
    with sandbox_program("--at", OPEN) as sandbox, gateway_program(sandbox.address) as running:
        shown = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAMS[DASHBOARD]),
            env=environment | {"TICKGATE_TARGET": running.address},
            stdout=subprocess.PIPE,
        )
        async with tickgate.connect(running.address) as gateway:
            await until_told(gateway.status, _is_followed, within=30)
        running.process.kill()
        said, _ = await shown.communicate()

    assert shown.returncode == 0
    assert "lost: " in said.decode()
    assert "LIVE" not in said.decode()


def test_a_bill_names_the_trade(firm: Firm) -> None:
    """The price of a bill comes with its time and origin, and what has none is not billed."""
    done = firm.run(PROGRAMS[BILL])

    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^AAPL \d+(\.\d+)? of 2026-09-30 19:5\d:.* IEX SANDBOX$", done.stdout, re.MULTILINE
    )
    assert "ZZZZ: not billed, SYMBOL_UNKNOWN" in done.stdout


@pytest.mark.parametrize("number", [ENGINE, PORTFOLIO, DASHBOARD, BILL])
def test_nobody_gets_in_without_a_key(firm: Firm, number: int) -> None:
    """Without its key each program fails, and no value is shown."""
    done = Firm(firm.target, f"tg_{'a' * 8}_{'b' * 32}").run(PROGRAMS[number])

    assert done.returncode != 0
    assert "UNAUTHENTICATED" in done.stderr or "Unauthenticated" in done.stderr
    assert firm.api_key not in done.stdout + done.stderr


# ------------------------------------------------------------------------------ other languages


def test_grpcurl_shows_a_key(firm: Firm) -> None:
    """Reflection needs no key, a call does, and grpcurl sends it as the page says."""
    lines = [line for line in PAGE.splitlines() if line.startswith("grpcurl ")]
    for line in lines:
        told = line.replace(ADDRESS, firm.target)
        with_key = shlex.split(told.replace("$TICKGATE_API_KEY", firm.api_key))
        binary = str(Path(sys.executable).parent / "grpcurl")
        answered = subprocess.run(
            [binary, *with_key[1:]], capture_output=True, text=True, timeout=20, check=False
        )
        assert answered.returncode == 0, answered.stderr
        without = subprocess.run(
            [binary, *shlex.split(told)[1:]],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (without.returncode == 0) is ("$TICKGATE_API_KEY" not in line)

    assert len(lines) == 2


def test_stubs_are_made_as_the_page_says(tmp_path: Path) -> None:
    """The commands of the page make Python's stubs, one descriptor set, and what a plugin of buf makes of it."""
    tools = ROOT / ".venv-protos/bin"
    assert (tools / "python").exists(), "`make test` installs the generators first"
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    (commands,) = [
        text
        for text in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        if "grpc_tools" in text
    ]
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    }

    def run(command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    run(["/bin/sh", "-ec", commands])
    made = {path.name for path in (tmp_path / "generated").rglob("*.py")}
    assert {"quote_service_pb2.py", "quote_service_pb2_grpc.py"} <= made
    packaged = Path(tickgate.__file__).parent / "v1/tickgate.binpb"
    assert (tmp_path / "tickgate.binpb").stat().st_size == packaged.stat().st_size

    (template,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    # Plugins that are installed here stand for those of Go.
    template = template.replace("protoc-gen-go-grpc", "protoc-gen-mypy_grpc")
    template = template.replace("protoc-gen-go\n", "protoc-gen-mypy\n")
    (tmp_path / "buf.gen.yaml").write_text(template)
    run(["buf", "generate", "tickgate.binpb", "--path", "tickgate"])
    assert list((tmp_path / "generated").rglob("quote_service_pb2.pyi"))
