"""Ingestion, backfills and the recording of sessions as an operator runs them: programs, signals, exit statuses."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tickgate_sandbox.recordings import RecordingError, RecordingFolder
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.observe.counters import StoreCounts
from tickgate_server.stores.postgres.history.store import PostgresHistory
from tickgate_server.stores.postgres.watchlists import PostgresWatchlists
from tools.programs import Program, environment_without_settings, program, sandbox_program

from ..support.error_log import link_to
from ..support.fakes import HandClock
from ..support.stores import postgres_url

T = TypeVar("T")

OPEN = ("--at", "2026-10-01T15:00:00Z")
"""A made-up market that is open."""

EVER = Interval(0, 2**62)
DAYS = ("--timeframe", "1Day", "--start", "2026-09-01", "--end", "2026-10-01")

pytestmark = pytest.mark.timeout(120)
"""Each starts programs and a database, which takes a busy machine a while."""


def settings_of(upstream: str, url: str = "", **more: str) -> dict[str, str]:
    """Return the variables of a program in front of *upstream*, with PostgreSQL at *url*."""
    return {
        "TICKGATE_ALPACA__DATA_URL": f"http://{upstream}",
        "TICKGATE_ALPACA__TRADING_URL": f"http://{upstream}",
        "TICKGATE_ALPACA__STREAM_URL": f"ws://{upstream}",
        "TICKGATE_POSTGRES_URL": url,
        "TICKGATE_LOG__FORMAT": "json",
        "TICKGATE_HTTP_LISTEN": "127.0.0.1:0",
    } | more


def server(settings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `tickgate-server` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tickgate_server", *arguments],
        env=environment_without_settings() | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(settings: dict[str, str], *arguments: str) -> Iterator[Program]:
    """Run `tickgate-server` for the length of the block."""
    command = ["-m", "tickgate_server", *arguments]
    with program(f"tickgate-server {arguments[0]}", command, settings) as started:
        yield started


def wait_for(started: Program, holds: Callable[[], bool]) -> None:
    """Wait until *holds*, as long as the program runs."""
    ends = time.monotonic() + 45
    while not holds():
        assert started.process.poll() is None, started.lines
        assert time.monotonic() < ends, started.lines
        # What another process has done gives no sign; no outcome hangs on the pause.
        time.sleep(0.02)


def kept(url: str, ask: Callable[[PostgresHistory], Awaitable[T]]) -> T:
    """Return what the store at *url* answers."""

    async def look() -> T:
        async with link_to(url) as link:
            store = PostgresHistory(link, DataSource.SANDBOX, HandClock(), StoreCounts())
            await link.start()
            return await ask(store)

    return asyncio.run(look())


def count(url: str, key: SeriesKey) -> int:
    """Return how many values the store has of what it holds to be complete."""

    async def ask(store: PostgresHistory) -> int:
        return sum(one.count for one in (await store.coverage([key], EVER))[key])

    return kept(url, ask)


def bars_of(symbol: str) -> SeriesKey:
    """The series of a symbol's daily bars."""
    return SeriesKey(SeriesKind.BARS, symbol, Feed.IEX, Timeframe(1, Unit.DAY))


def trades_of(symbol: str) -> SeriesKey:
    """The series of a symbol's trades."""
    return SeriesKey(SeriesKind.TRADES, symbol, Feed.IEX)


# ------------------------------------------------------------------------------------------ backfill


def test_a_backfill_fills_the_store_once() -> None:
    """`backfill` fetches, says what it did and exits 0; the same command again fetches nothing."""
    with sandbox_program(*OPEN) as sandbox, postgres_url() as url:
        settings = settings_of(sandbox.address, url)
        first = server(settings, "backfill", "AAPL", "MSFT", *DAYS)
        assert (first.returncode, first.stdout.split(",")[0]) == (0, "2 of 2 symbols are held"), (
            first
        )
        assert "1Day bars of 2 symbols" in first.stderr
        held = count(url, bars_of("AAPL"))
        assert held == 21
        again = server(settings, "backfill", "AAPL", "MSFT", *DAYS)
        assert again.stdout == "2 of 2 symbols are held, 0 values were fetched\n"


@pytest.mark.parametrize("speed", ["1", "60"])
@pytest.mark.parametrize(
    "what", [("--timeframe", "1Hour"), ("--kind", "trades")], ids=["bars", "trades"]
)
def test_a_backfill_up_to_now_is_done(what: tuple[str, ...], speed: str) -> None:
    """Without an end a backfill goes up to the present of a market that goes on meanwhile, and nothing failed."""
    with sandbox_program(*OPEN, "--speed", speed) as sandbox, postgres_url() as url:
        start = ("--start", "2026-10-01T14:00:00Z")
        done = server(settings_of(sandbox.address, url), "backfill", "AAPL", *what, *start)
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "1 of 1 symbols are held"), done


def test_a_failure_is_named_and_the_rest_is_fetched() -> None:
    """A symbol that does not exist makes the exit status 1, with its reason; the others are held all the same."""
    with sandbox_program(*OPEN) as sandbox, postgres_url() as url:
        done = server(settings_of(sandbox.address, url), "backfill", "ZZZZZ", "AAPL", *DAYS)
        assert done.returncode == 1
        assert "1 of 2 symbols are held" in done.stdout
        assert "ZZZZZ: SYMBOL_UNKNOWN: " in done.stderr
        assert "Traceback" not in done.stderr
        assert count(url, bars_of("AAPL")) > 0


def test_what_makes_no_sense_is_refused() -> None:
    """A wrong argument exits 2 with one sentence, before anything is opened."""
    settings = settings_of("127.0.0.1:1", "postgresql://u:hush@127.0.0.1:1/d")
    done = server(settings, "backfill", "AAPL", "--timeframe", "7Week", "--start", "2026-01-05")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert done.stderr.startswith("tickgate-server: --timeframe: a timeframe is ")


@pytest.mark.parametrize("command", [("backfill", "AAPL", *DAYS), ("ingest",)])
def test_history_takes_a_store(command: tuple[str, ...]) -> None:
    """Without PostgreSQL there is nowhere to keep history, and both programs say so."""
    done = server(settings_of("127.0.0.1:1"), *command)
    assert done.returncode == 2
    assert "postgres_url: not set" in done.stderr


def test_a_store_that_is_away_is_said_plainly() -> None:
    """A backfill into a PostgreSQL that does not answer exits 1 with a sentence, and no password."""
    settings = settings_of("127.0.0.1:1", "postgresql://u:hush@127.0.0.1:1/d")
    done = server(settings, "backfill", "AAPL", *DAYS)
    assert done.returncode == 1
    assert "tickgate-server: PostgreSQL cannot be had" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stdout + done.stderr


# -------------------------------------------------------------------------------------------- ingest


def test_ingestion_runs_apart_from_serving() -> None:
    """`ingest` records the watchlists' symbols and warms them, and SIGTERM ends it with everything written."""
    lists = json.dumps({"mine": {"symbols": ["AAPL"], "record": True}})
    with sandbox_program(*OPEN, "--speed", "5") as sandbox, postgres_url() as url:
        settings = settings_of(
            sandbox.address,
            url,
            TICKGATE_WATCHLISTS=lists,
            TICKGATE_INGESTION__INTERVAL="0.1",
            TICKGATE_HISTORY__SETTLE="2",
        )
        with running(settings, "ingest") as ingesting:
            wait_for(ingesting, lambda: any('"ingesting"' in line for line in ingesting.lines))
            wait_for(ingesting, lambda: count(url, trades_of("AAPL")) > 3)
            wait_for(ingesting, lambda: count(url, bars_of("AAPL")) > 200)
            assert ingesting.stop() == 0
            assert any('"stopped"' in line for line in ingesting.lines)
        assert not any("Traceback" in line for line in ingesting.lines), ingesting.lines

        async def names() -> list[str]:
            async with link_to(url) as link:
                await link.start()
                return [one.name for one in await PostgresWatchlists(link).everything()]

        assert asyncio.run(names()) == ["mine"]


# -------------------------------------------------------------------------------------------- record


def test_a_session_is_recorded_for_a_while(tmp_path: Path) -> None:
    """`record --for` writes what comes, says what that was, and exits 0; the sandbox reads the folder."""
    with sandbox_program(*OPEN, "--speed", "20") as sandbox:
        settings = settings_of(sandbox.address)
        done = server(settings, "record", "AAPL", "MSFT", "--out", str(tmp_path), "--for", "4s")
    assert done.returncode == 0, done
    assert done.stdout.startswith("recorded ")
    assert "0 gaps, 0 records left out" in done.stdout
    found = RecordingFolder(tmp_path)
    assert found.symbols == {"AAPL", "MSFT"}
    assert len(found.read("AAPL").quotes) > 3


def test_a_symbol_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """Who records a symbol that is no asset is told so, by name and exit status; the others are recorded."""
    with sandbox_program(*OPEN, "--speed", "20") as sandbox:
        settings = settings_of(sandbox.address)
        done = server(settings, "record", "AAPL", "ZZZZZ", "--out", str(tmp_path), "--for", "4s")
        alone = server(settings, "record", "ZZZZZ", "--out", str(tmp_path / "none"))
    assert (done.returncode, alone.returncode) == (1, 1), (done, alone)
    for one in (done, alone):
        assert one.stderr.splitlines()[0] == "ZZZZZ: not in the upstream's list of assets", one
    assert RecordingFolder(tmp_path).symbols == {"AAPL"}


def test_a_feed_that_brings_nothing_says_why(tmp_path: Path) -> None:
    """On a Saturday nothing comes, and `record` says that the market is closed; how late the feed is as well."""
    with sandbox_program("--at", "2026-10-03T15:00:00Z") as sandbox:
        record = ("record", "AAPL", "--out", str(tmp_path), "--for", "1s", "--feed", "delayed_sip")
        done = server(settings_of(sandbox.address), *record)
    assert done.returncode == 0
    assert done.stderr == (
        "nothing came on delayed_sip: the market is closed, and what it brings is 15 minutes late\n"
    )


def test_a_session_of_no_time_is_refused(tmp_path: Path) -> None:
    """A length below nothing exits 2 with the rule, and nothing is connected."""
    done = server(
        settings_of("127.0.0.1:1"), "record", "AAPL", "--out", str(tmp_path), "--for", "-2s"
    )
    assert (done.returncode, done.stderr) == (
        2,
        "tickgate-server: --for: more than nothing, such as 10m or 6h30m\n",
    )


def test_a_session_that_is_killed_can_be_lived_again(tmp_path: Path) -> None:
    """After kill -9 the folder is a recording that the sandbox replays, up to a second before."""
    with sandbox_program(*OPEN, "--speed", "20") as sandbox:
        settings = settings_of(sandbox.address)
        with running(settings, "record", "AAPL", "--out", str(tmp_path)) as recording:
            wait_for(recording, lambda: quotes_in(tmp_path) > 20)
            recording.process.kill()
            recording.process.wait()
    assert quotes_in(tmp_path) > 20
    with sandbox_program("--replay", str(tmp_path)) as again:
        assert again.address


def quotes_in(folder: Path) -> int:
    """Return how many quotes of AAPL can be read."""
    try:
        return len(RecordingFolder(folder).read("AAPL").quotes)
    except RecordingError:
        return 0


def test_a_key_that_is_refused_ends_the_session(tmp_path: Path) -> None:
    """When nothing will ever arrive, `record` does not wait for it: it says why and exits 1."""
    with sandbox_program(*OPEN, "--key-id", "right", "--secret", "right") as sandbox:
        done = server(settings_of(sandbox.address), "record", "AAPL", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "tickgate-server: " in done.stderr
    assert "Traceback" not in done.stderr
