"""`tickgate-server keys` as an operator runs it, beside a gateway that is never restarted."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tickgate.v1 import quote_service_pb2 as quotes_pb
from tickgate.v1 import quote_service_pb2_grpc as quotes
from tickgate.v1 import stream_service_pb2 as streams_pb
from tickgate.v1 import stream_service_pb2_grpc as streams
from tickgate_server.identity.api_key import is_token
from tickgate_server.stores.key_file import KeyFile
from tools.demo.stage import until
from tools.programs import environment_without_settings, gateway_program, sandbox_program

from ..support.keys import SECRET, bearer, made_key
from ..support.stores import postgres_url

pytestmark = pytest.mark.timeout(240)
"""Each starts programs, and some a database, which takes a busy machine a while."""

QUESTION = quotes_pb.GetQuoteRequest(symbol="AAPL")
ALL = ("--scopes", "read,stream", "--expires", "90d")
Ran = subprocess.CompletedProcess[str]


def keys(settings: dict[str, str], *arguments: str) -> Ran:
    """Run `tickgate-server keys` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tickgate_server", "keys", *arguments],
        env=environment_without_settings() | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def in_a_file(folder: Path) -> Iterator[dict[str, str]]:
    """Settings of keys in a file."""
    yield {
        "TICKGATE_IDENTITY__KEYS": "file",
        "TICKGATE_IDENTITY__FILE": str(folder / "keys.jsonl"),
        "TICKGATE_IDENTITY_SECRET": SECRET,
        "TICKGATE_IDENTITY__RELOAD_EVERY": "0.1",
    }


@contextmanager
def in_postgres(folder: Path) -> Iterator[dict[str, str]]:
    """Settings of keys in a real PostgreSQL."""
    with postgres_url() as url, in_a_file(folder) as file:
        yield file | {
            "TICKGATE_IDENTITY__KEYS": "postgres",
            "TICKGATE_IDENTITY__FILE": "",
            "TICKGATE_POSTGRES_URL": url,
        }


def code_of(call: Callable[[], Any]) -> grpc.StatusCode:
    """Return how *call* goes."""
    try:
        call()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize("kept", [in_a_file, pytest.param(in_postgres, marks=pytest.mark.slow)])
def test_keys_are_replaced_while_the_gateway_runs(
    tmp_path: Path, kept: Callable[[Path], Any]
) -> None:
    """Calls and streams of a key go on beside its successor and end when it is revoked, all in one process's life."""
    with (
        kept(tmp_path) as settings,
        sandbox_program("--at", "2026-10-01T15:00:00Z") as sandbox,
    ):
        made = keys(settings, "create", "desk-7", *ALL, "--calls-per-second", "1000")
        first = made.stdout.strip()
        url = settings.get("TICKGATE_POSTGRES_URL", "")
        with (
            gateway_program(sandbox.address, settings, postgres_url=url) as gateway,
            grpc.insecure_channel(gateway.address) as channel,
        ):
            stub: Any = quotes.QuoteServiceStub(channel)
            watching: Any = streams.StreamServiceStub(channel)

            def ask(token: str) -> grpc.StatusCode:
                metadata = bearer(token) if token else ()
                return code_of(lambda: stub.GetQuote(QUESTION, metadata=metadata, timeout=10))

            def ask_until(token: str, code: grpc.StatusCode) -> None:
                until(lambda: ask(token) is code or None, f"it never was {code}")

            assert ask("") is grpc.StatusCode.UNAUTHENTICATED
            assert ask(first) is grpc.StatusCode.OK
            subscription = streams_pb.Subscription(symbols=["AAPL"])
            watch = watching.Watch(
                streams_pb.WatchRequest(subscription=subscription), metadata=bearer(first)
            )
            next(watch)

            second = keys(settings, "create", "desk-7", *ALL).stdout.strip()
            ask_until(second, grpc.StatusCode.OK)
            assert ask(first) is grpc.StatusCode.OK
            revoked = keys(settings, "revoke", first.split("_")[1])
            ask_until(first, grpc.StatusCode.UNAUTHENTICATED)
            ended = code_of(lambda: list(watch))
            assert ask(second) is grpc.StatusCode.OK
            assert gateway.process.poll() is None
            lines = "".join(gateway.lines)
        shown, everything = keys(settings, "list"), keys(settings, "list", "--all", "--json")

    assert (made.returncode, made.stdout) == (0, f"{first}\n")
    assert is_token(first)
    assert is_token(second)
    assert "desk-7" in made.stderr
    assert revoked.returncode == 0
    assert ended is grpc.StatusCode.UNAUTHENTICATED
    assert lines.count('"event":"serving"') == 1
    assert '"consumer":"desk-7"' in lines
    assert [line.split()[2] for line in shown.stdout.splitlines()] == ["STATE", "valid"]
    told = json.loads(everything.stdout)
    assert [(one["name"], one["state"]) for one in told] == [
        ("desk-7", "revoked"),
        ("desk-7", "valid"),
    ]
    assert told[0]["limits"] == {"calls_per_second": 1000.0}
    written = [lines, made.stderr, revoked.stdout, revoked.stderr, shown.stdout, everything.stdout]
    if (tmp_path / "keys.jsonl").exists():
        written.append((tmp_path / "keys.jsonl").read_text())
    for token in (first, second):
        assert not any(token.rpartition("_")[2] in text for text in written)
    assert not any(SECRET in text for text in written)


GOOD = ("create", "desk-7", *ALL)


@pytest.mark.parametrize(
    ("arguments", "changed", "status", "said"),
    [
        (GOOD, {"TICKGATE_IDENTITY_SECRET": ""}, 2, "TICKGATE_IDENTITY_SECRET: not set"),
        (GOOD, {"TICKGATE_IDENTITY_SECRET": "hush-hush"}, 2, "32 characters at least"),
        (GOOD, {"TICKGATE_IDENTITY__KEYS": "off"}, 2, 'identity.keys: is "off"'),
        (GOOD, {"TICKGATE_IDENTITY__KEYS": "postgres"}, 2, "postgres_url: not set"),
        (GOOD, {"TICKGATE_IDENTITY__FILE": "/nowhere/keys"}, 1, "/nowhere/keys cannot be written"),
        (
            GOOD,
            {
                "TICKGATE_IDENTITY__KEYS": "postgres",
                "TICKGATE_POSTGRES_URL": "postgresql://me:hush-hush@127.0.0.1:1/x",
            },
            1,
            "PostgreSQL cannot be had",
        ),
        (("create", "desk-7", "--scopes", "all", "--expires", "1d"), {}, 2, "'all' is none of read"),
        (("create", "desk-7", "--scopes", "read", "--expires", "0d"), {}, 2, "'0d' is no time to"),
        (("create", "desk-7", "--scopes", "read", "--expires", "99999w"), {}, 2, "hundred years"),
        (("create", "desk 7", *ALL), {}, 2, "'desk 7' is no name"),
        (("create", "desk-7", *ALL, "--streams", "-1"), {}, 2, "--streams"),
        (("create", "desk-7", *ALL, "--streams", "0.4"), {}, 2, "--streams"),
        (("revoke", "Missing0"), {}, 1, "there is no API key Missing0"),
        (("list",), {"TICKGATE_IDENTITY__FILE": "/nowhere/keys"}, 1, "/nowhere/keys cannot be read"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said(
    tmp_path: Path, arguments: tuple[str, ...], changed: dict[str, str], status: int, said: str
) -> None:
    """What an operator gets wrong, or what is away, is said in a sentence on standard error, without a secret."""
    with in_a_file(tmp_path) as settings:
        asyncio.run(KeyFile(tmp_path / "keys.jsonl").add(made_key()[0]))
        done = keys(settings | changed, *arguments)

    assert done.returncode == status
    assert said in done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr
    assert "hush-hush" not in done.stderr


def test_a_key_that_cannot_be_shown_is_revoked(tmp_path: Path) -> None:
    """A key that standard output does not take, which is all that ever holds it, is no good key in the store."""
    with in_a_file(tmp_path) as settings, Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tickgate_server", "keys", *GOOD],
            env=environment_without_settings() | settings,
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        (key,) = asyncio.run(KeyFile(tmp_path / "keys.jsonl").everything())

    assert done.returncode == 1
    assert done.stderr == (
        "tickgate-server: the key cannot be written to standard output (No space left on device),"
        f" so nobody has it, and {key.id} is revoked\n"
    )
    assert key.revoked is not None


def test_a_gateway_is_not_opened_by_mistake() -> None:
    """`serve` on an address that others can reach ends at once, and says what to set."""
    done = subprocess.run(
        [sys.executable, "-m", "tickgate_server", "serve"],
        env=environment_without_settings() | {"TICKGATE_LISTEN": "0.0.0.0:0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "whoever reaches this port may read everything" in done.stderr
    assert "Traceback" not in done.stderr
