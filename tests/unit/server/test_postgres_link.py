"""The connection to PostgreSQL: up, down, hung, refused and back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.errors import DataError
from structlog.testing import capture_logs

from tickgate_server.errors import StoreUnusable
from tickgate_server.observe.counters import ErrorLogCounts
from tickgate_server.stores.postgres import link as module
from tickgate_server.stores.postgres import migrate
from tickgate_server.stores.postgres.link import LinkLimits, PostgresDown
from tickgate_server.stores.postgres.migrate import NEEDED, VERSION_TABLE
from tools.embedded import PostgresServer, postgres_server

from ...support.error_log import HASTY, PATIENT, as_administrator, link_to, run, running_jobs
from ...support.stores import postgres_url
from ...support.tls import tls_front
from ...support.waiting import until

NOWHERE = "postgresql://u:hush@127.0.0.1:1/nowhere"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this module's own, to be killed."""
    with postgres_server() as server:
        yield server


@contextmanager
def paused(server: PostgresServer) -> Iterator[None]:
    """Let a server hang during the block."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


async def test_it_comes_up_with_its_schema() -> None:
    """After the start PostgreSQL is up, has the schema that is needed, and knows who is there."""
    counts = ErrorLogCounts()
    with postgres_url() as url:
        async with link_to(url, counts=counts) as link:
            assert counts.store == "off"
            await link.start()
            assert await run(link, "SELECT count(*) FROM error_log") == [(0,)]
            assert await run(link, "SHOW application_name") == [("tickgate",)]
    assert (counts.store, counts.schema_version) == ("up", NEEDED)


async def test_no_postgres_is_no_reason_not_to_start() -> None:
    """A PostgreSQL that is not there is down, whoever asks is told at once, and no log holds the password."""
    counts = ErrorLogCounts()
    with capture_logs() as logs:
        async with link_to(NOWHERE, counts=counts) as link:
            await link.start()
            with pytest.raises(PostgresDown, match="Connection refused"):
                await run(link, "SELECT 1")
    assert counts.store == "down"
    assert [line["event"] for line in logs] == ["postgres_state"]
    assert "hush" not in str(logs)


async def test_it_comes_up_when_it_is_there(server: PostgresServer) -> None:
    """A PostgreSQL that starts after the gateway is migrated and used."""
    url = server.new_database()
    server.kill()
    counts = ErrorLogCounts()
    async with link_to(url, counts=counts) as link:
        await link.start()
        async with running_jobs(link.run):
            server.start()
            await until(lambda: link.up)
            found = await run(link, "SELECT count(*) FROM error_log")
    assert (found, counts.schema_version) == ([(0,)], NEEDED)


async def test_its_end_is_noticed_without_asking(server: PostgresServer) -> None:
    """A PostgreSQL that is killed is down before anybody asks it, and is back as soon as it is."""
    async with link_to(server.new_database()) as link:
        await link.start()
        async with running_jobs(link.run):
            await run(link, "SELECT 1")
            with capture_logs() as logs:
                server.kill()
                await until(lambda: not link.up)
                with pytest.raises(PostgresDown):
                    await run(link, "SELECT 1")
                server.start()
                began = time.monotonic()
                await until(lambda: link.up)
            assert time.monotonic() - began < 5
            assert await run(link, "SELECT 1") == [(1,)]
    assert [line["state"] for line in logs if "state" in line][-1] == "up"


async def test_a_statement_that_is_cut_off_is_down(server: PostgresServer) -> None:
    """A PostgreSQL that dies over a statement is down for whoever asked, also without the job."""
    async with link_to(server.new_database()) as link:
        await link.start()
        asked = asyncio.create_task(run(link, "SELECT pg_sleep(20)"))
        await until(lambda: _busy(server.url))
        server.kill()
        with pytest.raises(PostgresDown):
            await asked
        assert not link.up
    server.start()


async def test_one_that_hangs_is_waited_for_once(server: PostgresServer) -> None:
    """A PostgreSQL that hangs costs one wait, whoever else asks is told at once, and it is back when it wakes."""
    async with link_to(server.new_database(), HASTY) as link:
        await link.start()
        async with running_jobs(link.run):
            await run(link, "SELECT 1")
            with paused(server):
                with pytest.raises(PostgresDown, match=r"no answer within 0\.5 s"):
                    await run(link, "SELECT 1")
                assert not link.up
                with pytest.raises(PostgresDown):
                    await run(link, "SELECT 1")
            began = time.monotonic()
            await until(lambda: link.up)
            assert time.monotonic() - began < 5


async def test_one_that_hangs_over_a_statement_is_hung_up_on(server: PostgresServer) -> None:
    """A PostgreSQL that stops while it works does not hold its caller."""
    async with link_to(server.new_database(), HASTY) as link:
        await link.start()
        asked = asyncio.create_task(run(link, "SELECT pg_sleep(20)"))
        await until(lambda: _busy(server.url))
        with paused(server), pytest.raises(PostgresDown, match="no answer within"):
            await asked


async def test_one_that_hangs_holds_nobody_who_leaves(server: PostgresServer) -> None:
    """Who stops waiting for a PostgreSQL that hangs is gone at once."""
    async with link_to(server.new_database()) as link:
        await link.start()
        asked = asyncio.create_task(run(link, "SELECT pg_sleep(20)"))
        await until(lambda: _busy(server.url))
        with paused(server):
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        assert await run(link, "SELECT 1") == [(1,)]


async def test_one_that_hangs_at_the_start_is_down(server: PostgresServer) -> None:
    """A start does not wait for a PostgreSQL that accepts and never answers."""
    url = server.new_database()
    with paused(server):
        async with link_to(url, HASTY) as link:
            await link.start()
            assert not link.up


async def test_a_slow_statement_is_no_outage() -> None:
    """A statement that takes too long is given up, and PostgreSQL stays up."""
    with postgres_url() as url:
        async with link_to(url, LinkLimits(timeout=0.5, check_every=0.01, connections=1)) as link:
            await link.start()
            async with running_jobs(link.run):
                with pytest.raises(PostgresDown, match="statement timeout"):
                    await run(link, "SELECT pg_sleep(20)")
                await until(lambda: not link._doubt.is_set())
                assert link.up
                assert await run(link, "SELECT 1") == [(1,)]


async def test_connections_are_checked_before_use() -> None:
    """A pooled connection that somebody has ended meanwhile is replaced, and its next user notices nothing."""
    with postgres_url() as url:
        async with link_to(url) as link:
            await link.start()
            ((pid,),) = await run(link, "SELECT pg_backend_pid()")
            as_administrator(url, f"SELECT pg_terminate_backend({pid}, 20000)")
            ((other,),) = await run(link, "SELECT pg_backend_pid()")
            assert link.up
    assert other != pid


async def test_a_value_that_does_not_fit_is_the_callers_fault() -> None:
    """What PostgreSQL cannot hold is told to who gave it, and is no outage."""
    with postgres_url() as url:
        async with link_to(url) as link:
            await link.start()
            with pytest.raises(DataError):
                await run(link, "SELECT %s::text::jsonb", '"\\u0000"')
            assert link.up


async def test_check_leaves_the_schema_alone() -> None:
    """Where the schema is only checked, an old one ends the start with both versions and what to do."""
    with postgres_url() as url:
        async with link_to(url, mode="check") as link:
            with pytest.raises(StoreUnusable, match=f"no schema yet.*{NEEDED}.*server migrate`"):
                await link.start()
            assert not link.up
        async with link_to(url) as link:
            await link.start()
        async with link_to(url, mode="check") as link:
            await link.start()
            assert link.up
        as_administrator(url, f"UPDATE {VERSION_TABLE} SET version_num = '0000'")
        async with link_to(url, mode="check") as link:
            with pytest.raises(StoreUnusable, match="0000"):
                await link.start()


@pytest.mark.parametrize("mode", ["auto", "check"])
async def test_a_newer_schema_is_refused(mode: Literal["auto", "check"]) -> None:
    """A database that a newer gateway has migrated is never touched."""
    with postgres_url() as url:
        async with link_to(url) as link:
            await link.start()
        as_administrator(url, f"UPDATE {VERSION_TABLE} SET version_num = '9000'")
        async with link_to(url, mode=mode) as link:
            with pytest.raises(StoreUnusable, match=f"9000.*newer than.*{NEEDED}"):
                await link.start()


async def test_a_schema_that_must_not_be_used_keeps_it_down() -> None:
    """A database that comes back with another schema stays down and says why, until it is the right one again."""
    counts = ErrorLogCounts()
    with postgres_url() as url:
        async with link_to(url, counts=counts) as link:
            await link.start()
            as_administrator(url, f"UPDATE {VERSION_TABLE} SET version_num = '9000'")
            with capture_logs() as logs:
                async with running_jobs(link.run):
                    _end_all(url)
                    await until(lambda: any("9000" in line.get("why", "") for line in logs))
                    assert counts.store == "down"
                    as_administrator(url, f"UPDATE {VERSION_TABLE} SET version_num = '{NEEDED}'")
                    await until(lambda: link.up)
    told = [line["why"] for line in logs if "9000" in line.get("why", "")]
    assert len(told) == 1


async def test_an_old_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL older than is needed ends the start with both versions."""
    monkeypatch.setattr(module, "_OLDEST", 99)
    with postgres_url() as url:
        async with link_to(url) as link:
            with pytest.raises(StoreUnusable, match=r"PostgreSQL \d+ is too old: 99"):
                await link.start()


async def test_one_that_takes_no_writes_is_down() -> None:
    """A standby, or a database that was set to read only, is down and says so."""
    with postgres_url() as url:
        name = urlsplit(url).path[1:]
        as_administrator(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        async with link_to(url) as link:
            with pytest.raises(PostgresDown, match="takes no writes"):
                await link.connect()


async def test_a_schema_that_may_not_be_made_is_said(server: PostgresServer) -> None:
    """Without the right to make tables the start ends with PostgreSQL's own reason."""
    url = server.new_database()
    as_administrator(url, "CREATE ROLE weak LOGIN PASSWORD 'feeble'")
    weak = urlsplit(url)._replace(netloc=f"weak:feeble@127.0.0.1:{server.port}").geturl()
    async with link_to(weak) as link:
        with pytest.raises(StoreUnusable, match=f"brought to {NEEDED}: permission denied"):
            await link.start()


async def test_a_wrong_password_is_said_without_it(
    server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A login that is refused is down, and neither message nor log holds the password."""
    url = f"postgresql://postgres:hush@127.0.0.1:{server.port}/postgres"
    with caplog.at_level(logging.DEBUG):
        async with link_to(url) as link:
            with pytest.raises(PostgresDown, match="password authentication failed") as caught:
                await link.connect()
    assert "hush" not in str(caught.value) + caplog.text + repr(link)


async def test_tls_is_used_where_it_is_asked_for(server: PostgresServer) -> None:
    """With sslmode the connection is encrypted and the certificate checked, or there is none."""
    plain = server.new_database()
    with tls_front(server.port, postgres=True) as front:
        url = plain.replace(str(server.port), str(front.port))
        for options in ("sslmode=require", f"sslmode=verify-full&sslrootcert={front.authority}"):
            async with link_to(f"{url}?{options}") as link:
                await link.start()
                assert await run(link, "SELECT 1") == [(1,)]
                assert link._line is not None
                assert link._line.pgconn.ssl_in_use
        async with link_to(f"{url}?sslmode=verify-full&sslrootcert=system") as link:
            with pytest.raises(PostgresDown, match="certificate"):
                await link.connect()


async def test_tls_that_is_not_there_is_said() -> None:
    """sslmode=require at a server without TLS is down with that reason, and never plain."""
    with postgres_url() as url:
        async with link_to(f"{url}?sslmode=require") as link:
            with pytest.raises(PostgresDown, match="does not support SSL"):
                await link.connect()


async def test_a_crowd_waits_for_its_turn() -> None:
    """More callers than connections are served one after the other."""
    with postgres_url() as url:
        limits = LinkLimits(timeout=PATIENT.timeout, check_every=0.01, connections=2)
        async with link_to(url, limits) as link:
            await link.start()
            answers = await asyncio.gather(*(run(link, "SELECT %s::int", n) for n in range(20)))
    assert answers == [[(n,)] for n in range(20)]


async def test_a_fault_of_ours_does_not_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody has thought of is logged and keeps PostgreSQL down, and the next try has more luck."""

    async def broken(_: object) -> str:
        raise LookupError

    with postgres_url() as url, capture_logs() as logs:
        async with link_to(url) as link, running_jobs(link.run):
            with monkeypatch.context() as patch:
                patch.setattr(migrate, "version_of", broken)
                await until(lambda: any(line["event"] == "postgres_failed" for line in logs))
                assert not link.up
            await until(lambda: link.up)


async def test_a_connection_that_comes_too_late_is_given_back() -> None:
    """A connection that comes just when the wait for it ends is given back, and nothing is asked over it."""

    class Late:
        given_back: ClassVar[list[object]] = []

        async def getconn(self) -> object:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return "connection"

        async def putconn(self, connection: object) -> None:
            self.given_back.append(connection)

    pool: Any = Late()
    async with link_to(NOWHERE, LinkLimits(0.01, 0.01, 1)) as link:
        with pytest.raises(TimeoutError):
            await link._ask(pool, lambda _: asyncio.sleep(20))
    assert pool.given_back == ["connection"]


def _busy(server: str) -> bool:
    """Whether somebody sleeps in a statement."""
    with psycopg.connect(server) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(20)' AND state = 'active'"
        ).fetchone()
    return found != (0,)


def _end_all(url: str) -> None:
    """End every connection of the gateway."""
    as_administrator(
        url,
        "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
        " WHERE application_name = 'tickgate' AND datname = current_database()",
    )
