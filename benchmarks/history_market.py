"""What benchmarks of history stand on: a sandbox with a made-up past, stores, gateways before them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]  # it ships no types
import psycopg
from redis import Redis

from tools.embedded import PostgresServer, RedisServer, postgres_server

from .history_reader import Ask, Fetched
from .history_tape import STANDS_AT, YEAR, Taped
from .processes import BrokenMeasurement, Cores, Process, on_core, running, wait_for
from .readings import Reading, reading
from .sandbox import Sandbox
from .stage import GATEWAY, running_gateway
from .tiers import running_redis

FROM, TO = f"{YEAR}-01-01T05:00:00Z", f"{YEAR + 1}-01-01T05:00:00Z"
"""The year, from midnight to midnight in New York."""

HISTORY: Final[Mapping[str, str]] = {
    "TICKGATE_ALPACA__PLAN": "plus",
    "TICKGATE_ALPACA__STOCK_FEED": "sip",
    "TICKGATE_INGESTION__ENABLED": "false",
}
"""Settings of a gateway with history: a plan that has sip, and nothing is fetched or recorded that nobody asked for."""

_HELD_PATIENCE: Final = 60.0
_CACHED_PATIENCE: Final = 10.0
_QUIET: Final = 0.3
"""Seconds without a new key in Redis after which no more come: the gateway pauses 0.02 s between two writes."""
"""Seconds within which what was answered must stand in PostgreSQL and in Redis."""

_TABLES: Final = (
    "history_bars",
    "history_trades",
    "history_covered",
    "history_coverage_log",
    "history_writes",
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One reading, and what it took of everybody."""

    fetched: Fetched
    requests: int
    """Pages that the upstream was asked for."""

    server: float
    """Seconds of the gateway's CPU."""

    postgres: float
    """Seconds of PostgreSQL's CPU."""


@dataclass(frozen=True, slots=True)
class HistoryStage:
    """A sandbox with a past, and the stores that gateways before it use."""

    sandbox: Sandbox
    replaying: Process
    """The sandbox."""

    postgres: PostgresServer
    redis: RedisServer
    folder: Path
    cores: Cores

    @contextmanager
    def gateway(
        self,
        name: str,
        *,
        stored: bool = True,
        cached: bool = False,
        command: Sequence[str] = GATEWAY,
    ) -> Iterator[Process]:
        """Run a gateway before the sandbox, with PostgreSQL, with Redis, or without."""
        settings = dict(HISTORY)
        if stored:
            settings["TICKGATE_POSTGRES_URL"] = self.postgres.url
        if cached:
            settings["TICKGATE_REDIS_URL"] = self.redis.url
        with running_gateway(
            name, self.sandbox, self.folder, self.cores, command=command, settings=settings
        ) as gateway:
            yield gateway

    @contextmanager
    def reading(self, way: str, port: int, taped: Taped, *range_: str) -> Iterator[Reading]:
        """Run a reader of what was taped, on the core of the load; *range_* is timeframe, start and end."""
        symbols = ",".join(taped.symbols)
        with reading(self.cores.others, "history_reader", way, port, symbols, *range_) as program:
            yield program

    def turn(
        self, reader: Reading, taped: Taped, gateway: Process | None, ask: Ask | None = None
    ) -> Turn:
        """Let *reader* read, and see that it was given what was taped, to the last digit.

        Raises:
            BrokenMeasurement: it was not.
        """
        requests, postgres = self.requests(), self.postgres_cpu()
        server = 0.0 if gateway is None else gateway.cpu_seconds()
        fetched = reader.ask(ask or Ask(), Fetched)
        server = 0.0 if gateway is None else gateway.cpu_seconds() - server
        turn = Turn(fetched, self.requests() - requests, server, self.postgres_cpu() - postgres)
        expect(fetched, taped)
        return turn

    def requests(self) -> int:
        """Return how many pages of history the sandbox was asked for."""
        return self.sandbox.asked_for(("/v2/stocks/bars", "/v2/stocks/trades"))

    def load(self, symbols: Sequence[str], path: str) -> None:
        """Let the sandbox read its recordings of *symbols*, which takes seconds, before anything is measured."""
        for symbol in symbols:
            connection = HTTPConnection("127.0.0.1", self.sandbox.port, timeout=_HELD_PATIENCE)
            headers = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
            terms = f"symbols={symbol}&feed=sip&limit=1&start={FROM}&end={TO}"
            connection.request("GET", f"{path}{terms}", None, headers)
            answer = connection.getresponse()
            said = answer.read()
            connection.close()
            if answer.status != HTTPStatus.OK:
                raise BrokenMeasurement(f"the sandbox has nothing of {symbol}: {said.decode()}")

    def held(self, taped: Taped) -> None:
        """Wait until the store holds all that was taped."""

        def rows() -> int | None:
            with psycopg.connect(self.postgres.url) as connection:
                counted = connection.execute(
                    "SELECT coalesce(sum(count), 0)::bigint FROM history_covered covered"
                    " JOIN history_series series ON series.id = covered.series WHERE symbol = ANY (%s)",
                    (list(taped.symbols),),
                ).fetchone()
            return 1 if counted == (taped.rows,) else None

        wait_for(rows, _HELD_PATIENCE, f"the store does not hold the {taped.rows:,} values")

    def cached(self, least: int) -> None:
        """Wait until Redis holds *least* days or years, and no more come."""
        seen = -1
        with Redis.from_url(self.redis.url) as client:

            def settled() -> int | None:
                nonlocal seen
                keys = int(client.dbsize())
                if keys >= least and keys == seen:
                    return keys
                seen = keys
                # The gateway writes behind and gives no sign: many of its pauses without a new key are the end. No time
                # is measured here.
                time.sleep(_QUIET)
                return None

            wait_for(settled, _CACHED_PATIENCE, f"Redis holds {seen} keys of {least}")

    def forget(self) -> None:
        """Empty the tables of history. Partitions stay."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"TRUNCATE {', '.join(_TABLES)}")

    def postgres_cpu(self) -> float:
        """Return the seconds of CPU that PostgreSQL has used so far, those of connections that ended too."""
        return cpu_of_family(self.postgres.pid)

    def tidy(self) -> None:
        """Let PostgreSQL write out what it has and look at its tables, as it does by itself when there is time."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")


def expect(fetched: Fetched, taped: Taped) -> None:
    """See that what was fetched is what was taped.

    Raises:
        BrokenMeasurement: it is not.
    """
    if (fetched.rows, fetched.sums) != (taped.rows, taped.sums):
        msg = f"{fetched.rows:,} values came, and are not the upstream's {taped.rows:,}"
        raise BrokenMeasurement(msg)


def cpu_of_family(pid: int) -> float:
    """Return the seconds of CPU of a process, its children and those of its children that have ended."""
    process = psutil.Process(pid)
    seconds = _cpu(process.cpu_times(), ended=True)
    for child in process.children():
        try:
            seconds += _cpu(child.cpu_times(), ended=False)
        except psutil.NoSuchProcess:
            # Ended since: it counts with its parent from the next look on.
            continue
    return seconds


def _cpu(times: Any, *, ended: bool) -> float:
    own = float(times.user + times.system)
    return own + (float(times.children_user + times.children_system) if ended else 0.0)


@contextmanager
def history_stage(tape: Path, folder: Path, cores: Cores) -> Iterator[HistoryStage]:
    """Run a sandbox that replays *tape*, PostgreSQL and Redis, all on the core of the load."""
    with ExitStack() as parts:
        sandbox = parts.enter_context(
            running(
                "sandbox-history",
                [
                    *("-m", "tickgate_sandbox", "serve", "--listen=127.0.0.1:0", "--plan=plus"),
                    *(f"--at={STANDS_AT}", "--speed=0", f"--replay={tape}"),
                ],
                ready=r"http://127\.0\.0\.1:(\d+)",
                folder=folder,
                core=cores.others,
            )
        )
        with on_core(cores.others):
            postgres = parts.enter_context(postgres_server())
        redis = parts.enter_context(running_redis(cores))
        yield HistoryStage(Sandbox(sandbox.port), sandbox, postgres, redis, folder, cores)
