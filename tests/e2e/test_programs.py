"""The programs as an operator runs them: start, settings, signals, and the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest

from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import quote_service_pb2_grpc as services
from tools import live_check
from tools.demo import __main__ as demo
from tools.demo.stage import Stage, promise
from tools.programs import (
    environment_without_settings,
    gateway_program,
    program,
    sandbox_program,
)

ROOT = Path(__file__).parents[2]
OPEN = ("--at", "2026-10-01T15:00:00Z")
"""A sandbox whose market is open."""

SIX_PROGRAMS = pytest.mark.timeout(240)
"""For a test that starts everything there is, which takes a busy machine a while."""


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of their own."""
    for variable in os.environ.keys() - environment_without_settings().keys():
        monkeypatch.delenv(variable)


def server(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `tickgate-server` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tickgate_server", *arguments],
        env=environment_without_settings() | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version_is_printed() -> None:
    """`tickgate-server --version` names program and version."""
    assert server("--version").stdout.split() == ["tickgate-server", version("tickgate-server")]


def test_config_shows_what_is_in_force_without_secrets(tmp_path: Path) -> None:
    """`config` prints the effective settings, the environment winning over the file, and no key."""
    file = tmp_path / "tickgate.toml"
    file.write_text('listen = "127.0.0.1:6000"\n[memory]\ncapacity = 10\nkeep_open = 2.5\n')
    done = server(
        "config", "--config", str(file),
        TICKGATE_MEMORY__CAPACITY="20", APCA_API_KEY_ID="AKID", APCA_API_SECRET_KEY="hush",
    )  # fmt: skip
    shown = json.loads(done.stdout)

    assert shown["listen"] == "127.0.0.1:6000"
    assert (shown["memory"]["capacity"], shown["memory"]["keep_open"]) == (20, 2.5)
    assert shown["key_id"] == "set"
    assert "AKID" not in done.stdout + done.stderr
    assert "hush" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TICKGATE_MEMORY__CAPACITY": "0"}, "memory.capacity"),
        ({"TICKGATE_MEMROY__CAPACITY": "5"}, "TICKGATE_MEMROY__CAPACITY"),
        ({"TICKGATE_MEMORY__KEPT": "5"}, "memory.kept"),
        ({"TICKGATE_ENVIRONMENT": "paper"}, "APCA_API_KEY_ID"),
        (
            {
                "TICKGATE_ENVIRONMENT": "live",
                "APCA_API_KEY_ID": "a",
                "APCA_API_SECRET_KEY": "b",
                "TICKGATE_ALPACA__DATA_URL": "http://127.0.0.1:50080",
            },
            "alpaca.data_url",
        ),
    ],
)
def test_wrong_settings_stop_the_start(environment: dict[str, str], said: str) -> None:
    """A value out of range, an unknown name, missing keys, a sandbox in live: exit 2, naming the field."""
    done = server("serve", **environment)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_taken_port_is_said_plainly() -> None:
    """When a port is taken, be it gRPC's or the side port, the program says so in one sentence and exits 1."""
    with sandbox_program(*OPEN) as sandbox:
        other = {"TICKGATE_LISTEN": "127.0.0.1:0", "TICKGATE_HTTP_LISTEN": "127.0.0.1:0"}
        for taken in other:
            done = server("serve", **(other | {taken: sandbox.address}))

            assert done.returncode == 1
            assert f"cannot listen on {sandbox.address}" in done.stderr
            assert "Traceback" not in done.stderr


def test_the_side_port_is_where_the_log_says() -> None:
    """`serve` says in its first line where it tells how it is, and there it lives, is ready and counts."""
    with sandbox_program(*OPEN) as sandbox, gateway_program(sandbox.address) as gateway:
        assert gateway.address
        (serving,) = [json.loads(line) for line in gateway.lines if '"serving"' in line]
        told = {}
        for path in ("/livez", "/readyz", "/metrics"):
            with urlopen(f"http://{serving['http_listen']}{path}", timeout=10) as answer:
                told[path] = answer.read().decode()

    assert told["/livez"] == '{"message":"alive"}'
    assert told["/readyz"] == '{"message":"ready"}'
    assert "\ngateway_ready 1.0\n" in told["/metrics"]


def test_sigterm_loses_nothing_under_load() -> None:
    """SIGTERM under load: each call is answered or refused as never taken, none is lost, and the exit status is 0."""
    with sandbox_program(*OPEN) as sandbox, gateway_program(sandbox.address) as gateway:
        answered = threading.Semaphore(0)
        stopped = threading.Event()

        def ask() -> list[str]:
            outcomes: list[str] = []
            with grpc.insecure_channel(gateway.address) as channel:
                quotes = services.QuoteServiceStub(channel)
                while not stopped.is_set():
                    try:
                        answer = quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"), timeout=10)
                        outcomes.append(answer.result.WhichOneof("result") or "nothing")
                        answered.release()
                    except grpc.RpcError as error:
                        outcomes.append(f"{error.code().name} {error.details()}")
                        break
            return outcomes

        with ThreadPoolExecutor(8) as pool:
            askers = [pool.submit(ask) for _ in range(8)]
            for _ in range(200):
                answered.acquire()
            status = gateway.stop()
            stopped.set()
            outcomes = [outcome for asker in askers for outcome in asker.result()]

    assert status == 0
    assert outcomes.count("quote") >= 200
    late = {outcome for outcome in outcomes if outcome != "quote"}
    assert late == {
        "UNAVAILABLE the gateway is stopping; ask another replica, or again when it is back"
    }


def test_a_terminal_that_goes_away_ends_nothing_at_once() -> None:
    """SIGHUP, which a lost terminal sends, drains as SIGTERM does."""
    with sandbox_program(*OPEN) as sandbox, gateway_program(sandbox.address) as gateway:
        assert gateway.address
        gateway.process.send_signal(signal.SIGHUP)
        status = gateway.process.wait(20)

    assert status == 0
    assert any('"draining"' in line for line in gateway.lines)


def test_each_call_leaves_one_log_line() -> None:
    """Each call leaves one JSON line with request id, endpoint, outcome, duration and origin."""
    with sandbox_program(*OPEN) as sandbox, gateway_program(sandbox.address) as gateway:
        with grpc.insecure_channel(gateway.address) as channel:
            quotes = services.QuoteServiceStub(channel)
            for symbol in ("AAPL", "ZZZZ"):
                quotes.GetQuote(
                    pb.GetQuoteRequest(symbol=symbol), metadata=(("x-request-id", f"ask-{symbol}"),)
                )
        gateway.stop()
        logged = [json.loads(line) for line in gateway.lines]

    calls = {line["request_id"]: line for line in logged if "endpoint" in line}
    assert set(calls) == {"ask-AAPL", "ask-ZZZZ"}
    good, missing = calls["ask-AAPL"], calls["ask-ZZZZ"]
    assert (good["endpoint"], good["code"]) == ("QuoteService/GetQuote", "OK")
    assert (good["real_data_available"], good["data_source"]) == (True, "sandbox")
    assert good["response_time_ms"] > 0
    assert (missing["real_data_available"], missing["reason"]) == (False, "SYMBOL_UNKNOWN")


@pytest.mark.parametrize("variable", ["TICKGATE_ENVIRONMENT", "tickgate_environment"])
def test_programs_do_not_inherit_settings(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Programs started for a demo or a test get the settings they are started with, and not the caller's."""
    monkeypatch.setenv(variable, "paper")
    monkeypatch.setenv("APCA_API_KEY_ID", "the caller's own")

    command = ["-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    with program("environment", command, {"TICKGATE_LOG__LEVEL": "error"}) as shown:
        shown.process.wait()
    inherited = json.loads("".join(shown.lines))

    assert inherited == environment_without_settings() | {"TICKGATE_LOG__LEVEL": "error"}
    assert not {variable, "APCA_API_KEY_ID"} & set(inherited)


@SIX_PROGRAMS
def test_demo_runs_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make demo`'s program shows every part of itself and exits 0, also for somebody who works with paper."""
    monkeypatch.setenv("TICKGATE_ENVIRONMENT", "paper")
    done = subprocess.run(
        [sys.executable, "-m", "tools.demo"],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    for shown in (
        *("AAPL", "symbol unknown", "refused by rule crossed", "Next open"),
        *("upstream requests for both: 1", "x-upstream-remaining", "one question, 3 requests"),
        *("CIRCUIT_OPEN", "stale", "answered again", "flagged by rule price_range"),
        *("refused by rule market_context", "postgres", "Dropped from", "GetEntitlements"),
    ):
        assert shown in done.stdout


@SIX_PROGRAMS
def test_demo_fails_when_a_promise_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part that does not come out as it says ends the demo with 1, says which, and leaves nothing running."""
    stages: list[Stage] = []

    def broken(stage: Stage) -> None:
        stages.append(stage)
        promise(stage.market.asked() < 0, "less than nothing was asked")

    monkeypatch.setattr(demo, "_PARTS", (broken,))

    assert demo.main() == 1
    assert "the demo failed: less than nothing was asked" in capsys.readouterr().out
    (stage,) = stages
    assert stage.gateway.process.poll() is not None
    assert not stage.redis.folder.exists()


def run_until_it_is_up() -> tuple[int, list[str]]:
    """Start `make run`'s program, stop it once all of it is up, and return its status and what it has shown."""
    with subprocess.Popen(
        [sys.executable, "-m", "tools.run"],
        cwd=ROOT, env=environment_without_settings(), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            shown.append(line)
            if "Ctrl-C" in line:
                break
        process.terminate()
        return process.wait(60), shown


@SIX_PROGRAMS
def test_run_leaves_all_of_it_up_until_it_is_stopped() -> None:
    """`make run`'s program says where everything listens, and SIGTERM ends it all with status 0."""
    # Its ports are of those that systems lend to outgoing connections: another test may hold one for a moment.
    status, shown = run_until_it_is_up()
    for _ in range(4):
        if "in use" in " ".join("".join(shown).split()):
            status, shown = run_until_it_is_up()

    assert status == 0, shown
    names = [line.split()[0] for line in shown[:4]]
    assert names == ["sandbox", "redis", "postgres", "gateway"]


def test_live_check_accepts_a_true_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The live check, rehearsed against the sandbox, finds every endpoint in the required shape."""
    with sandbox_program(*OPEN) as sandbox:
        for name in ("DATA", "TRADING"):
            monkeypatch.setenv(f"TICKGATE_ALPACA__{name}_URL", f"http://{sandbox.address}")

        assert live_check.main(["--rehearse"]) == 0


def test_live_check_needs_alpaca() -> None:
    """Without keys the live check says what it needs and asks nobody."""
    assert live_check.main([]) == 2
