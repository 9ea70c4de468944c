"""While PostgreSQL is gone, hangs or refuses, callers notice nothing, and what was refused to them is not lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tickgate.v1 import admin_service_pb2 as pb
from tools.embedded import PostgresServer, postgres_server, redis_server

from ..support.error_log import as_administrator
from ..support.outages import QUICK, cold_symbols, nothing_left, own_tasks
from ..support.proxy import FaultProxy, fault_proxy
from ..support.running import Stack, running
from ..support.shown import (
    Shown,
    listed,
    postgres_says,
    postgres_state,
    redis_says,
    redis_state,
    refuse,
    status,
)
from ..support.stores import postgres_url
from ..support.waiting import until, until_told

SYMBOLS = list(islice(cold_symbols(), 20))

SETTINGS: Mapping[str, Any] = {
    "alpaca": QUICK,
    "store": {"timeout": 1.0, "check_every": 0.05},
}

RING, POSTGRES = pb.ERROR_LOG_PLACE_RING, pb.ERROR_LOG_PLACE_POSTGRES


class Database:
    """A database of its own, behind a proxy."""

    def __init__(self, server: PostgresServer, proxy: FaultProxy) -> None:
        """Make one in *server*, to be reached through *proxy*."""
        self.server = server
        self.proxy = proxy
        self.direct = server.new_database()
        """Address for its administrator."""

        self.name = urlsplit(self.direct).path[1:]
        self.url = self.direct.replace(f":{server.port}/", f":{proxy.port}/")

    def run(self, *statements: str) -> None:
        """Run *statements* in it."""
        as_administrator(self.direct, *statements)

    def run_beside(self, *statements: str) -> None:
        """Run *statements* in another database of the same server."""
        as_administrator(self.server.url, *statements)


Act = Callable[[Database], None]

READ_ONLY = (
    "ALTER SYSTEM SET default_transaction_read_only = {}",
    "SELECT pg_reload_conf()",
)

OUTAGES: dict[str, tuple[Act, Act]] = {
    "killed": (lambda db: db.server.kill(), lambda db: db.server.start()),
    "hung": (lambda db: db.server.pause(), lambda db: db.server.resume()),
    "blackhole": (lambda db: db.proxy.blackhole(), lambda db: db.proxy.mend()),
    "slow": (lambda db: db.proxy.delay(2.0), lambda db: db.proxy.mend()),
    "reset": (lambda db: db.proxy.reset(), lambda db: db.proxy.mend()),
    "half-closed": (lambda db: db.proxy.half_close(), lambda db: db.proxy.mend()),
    "cut-short": (lambda db: db.proxy.cut_after(5), lambda db: db.proxy.mend()),
    "read-only": (
        lambda db: db.run(*(one.format("on") for one in READ_ONLY)),
        lambda db: db.run(*(one.format("off") for one in READ_ONLY)),
    ),
    "closed": (
        lambda db: db.run_beside(
            f"ALTER DATABASE {db.name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{db.name}'",
        ),
        lambda db: db.run_beside(f"ALTER DATABASE {db.name} ALLOW_CONNECTIONS true"),
    ),
}
each_outage = pytest.mark.parametrize(("strike", "mend"), OUTAGES.values(), ids=OUTAGES)


async def refuse_all(stack: Stack, name: str, count: int) -> list[str]:
    """Ask wrongly *count* times, check that this is told within 100 ms as a rule, and return the ids of the calls."""
    ids = [f"{name}-{number}" for number in range(count)]
    assert median([await refuse(stack, request_id) for request_id in ids]) < 0.1
    return ids


async def written(stack: Stack, ids: list[str]) -> list[str]:
    """Wait until PostgreSQL holds *ids*, and return all that it holds."""
    held = await until_told(
        lambda: listed(stack),
        lambda held: held.place == POSTGRES and set(held.ids) >= set(ids),
    )
    return held.ids


@each_outage
async def test_nothing_is_lost_while_postgres_is_away(strike: Act, mend: Act) -> None:
    """In an outage the ring lists what calls were refused and no call waits; afterwards PostgreSQL has all of it."""
    with postgres_server() as server:
        async with fault_proxy(server.port) as proxy:
            database = Database(server, proxy)
            async with running(postgres_url=database.url, **SETTINGS) as one:
                shown = Shown(one.sandbox)
                shown.show(SYMBOLS)
                early = await refuse_all(one, "before", 10)
                await written(one, early)
                before = own_tasks()

                strike(database)
                ids = early + await refuse_all(one, "meanwhile", 30)
                read = await shown.ask_all(one, SYMBOLS)
                await postgres_says(one, "DOWN")
                ringing = await listed(one)

                mend(database)
                await postgres_says(one, "UP")
                ids += await refuse_all(one, "after", 10)
                held = await written(one, ids)
                await nothing_left(one.gateway, before)
                log = (await status(one)).error_log

    assert read == {"UPSTREAM": 20}
    assert (ringing.place, ringing.ids) == (RING, ids[:40])
    # A batch whose fate is open is written again.
    assert list(dict.fromkeys(held)) == ids
    assert (log.written, log.dropped) == (50, 0)


async def test_a_dropped_database_is_made_anew() -> None:
    """When its database is dropped and made again, the gateway brings the schema there and goes on."""
    with postgres_server() as server:
        async with fault_proxy(server.port) as proxy:
            database = Database(server, proxy)
            async with running(postgres_url=database.url, **SETTINGS) as one:
                await written(one, await refuse_all(one, "gone", 5))
                database.run_beside(f"DROP DATABASE {database.name} WITH (FORCE)")
                ids = await refuse_all(one, "meanwhile", 5)
                await postgres_says(one, "DOWN")
                place = (await listed(one)).place
                database.run_beside(f"CREATE DATABASE {database.name}")
                await postgres_says(one, "UP")
                held = await written(one, ids)

    assert place == RING
    assert list(dict.fromkeys(held)) == ids


REFUSED_WRITES = {
    "disk-full": "53100",
    "out-of-memory": "53200",
    "no-rights": "42501",
    "internal": "XX000",
}


@pytest.mark.parametrize("code", REFUSED_WRITES.values(), ids=REFUSED_WRITES)
async def test_writes_that_fail_are_tried_again(code: str) -> None:
    """What PostgreSQL cannot take now, as when its disk is full, is there once it can."""
    with postgres_url() as url:
        async with running(postgres_url=url, **SETTINGS) as one:
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            early = await refuse_all(one, "before", 5)
            await written(one, early)
            as_administrator(
                url,
                f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
                f" AS $$ BEGIN RAISE 'refused' USING ERRCODE = '{code}'; END $$",
                "CREATE TRIGGER refuse BEFORE INSERT ON error_log EXECUTE FUNCTION refuse()",
            )
            ids = early + await refuse_all(one, "meanwhile", 20)
            await postgres_says(one, "DOWN")
            read = await shown.ask_all(one, SYMBOLS)
            as_administrator(url, "DROP TRIGGER refuse ON error_log")
            held = await written(one, ids)
            log = (await status(one)).error_log

    assert read == {"UPSTREAM": 20}
    assert held == ids
    assert (log.written, log.dropped) == (25, 0)


async def test_a_locked_table_delays_nobody_but_its_readers() -> None:
    """While somebody locks the table, calls are answered at once, the ring lists, and PostgreSQL has it all later."""
    with postgres_url() as url:
        async with running(postgres_url=url, **SETTINGS) as one:
            early = await refuse_all(one, "before", 5)
            await written(one, early)
            with psycopg.connect(url) as somebody:
                somebody.execute("LOCK TABLE error_log IN ACCESS EXCLUSIVE MODE")
                ids = early + await refuse_all(one, "meanwhile", 20)
                ringing = await listed(one)
            held = await written(one, ids)

    assert (ringing.place, ringing.ids) == (RING, ids)
    assert list(dict.fromkeys(held)) == ids


async def test_stores_that_come_later() -> None:
    """A gateway that starts with neither Redis nor PostgreSQL serves, and uses each as soon as it is there."""
    with redis_server() as cache, postgres_server() as server:
        cache.kill()
        server.kill()
        async with running(
            redis_url=cache.url, postgres_url=server.url, redis={"check_every": 0.05}, **SETTINGS
        ) as one:
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            ids = await refuse_all(one, "early", 10)
            read = await shown.ask_all(one, SYMBOLS)
            states = await redis_state(one), await postgres_state(one)
            place = (await listed(one)).place
            server.start()
            cache.start()
            await postgres_says(one, "UP")
            await redis_says(one, "UP")
            held = await written(one, ids)
            await shown.until_shared(one, SYMBOLS[0])

    assert read == {"UPSTREAM": 20}
    assert (states, place) == (("DOWN", "DOWN"), RING)
    assert held == ids


async def test_the_default_settings_recover_in_time() -> None:
    """With the settings as they are delivered, a PostgreSQL that is back is in use again within five seconds."""
    with postgres_server() as server:
        async with running(postgres_url=server.url) as one:
            server.kill()
            await postgres_says(one, "DOWN")
            ids = await refuse_all(one, "meanwhile", 5)
            server.start()
            began = time.monotonic()
            await written(one, ids)

            assert time.monotonic() - began < 5


async def test_a_gateway_stops_while_its_stores_hang() -> None:
    """A gateway whose stores hang stops within seconds, counts what it could not write, and leaves no task behind."""
    before = own_tasks()
    with redis_server() as cache, postgres_server() as server:
        async with running(redis_url=cache.url, postgres_url=server.url, **SETTINGS) as one:
            await written(one, await refuse_all(one, "before", 5))
            counts = one.gateway.counters.error_log
            cache.pause()
            server.pause()
            await refuse_all(one, "unwritten", 5)
            began = time.monotonic()
        took = time.monotonic() - began
        cache.resume()
        server.resume()

    assert took < 6
    assert (counts.written, counts.dropped) == (5, 5)
    await until(lambda: own_tasks() <= before)
