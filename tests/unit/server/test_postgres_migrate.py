"""The schema of the database and its versions."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tickgate_server.errors import StoreUnusable
from tickgate_server.stores.postgres import migrate as module
from tickgate_server.stores.postgres.migrate import NEEDED, VERSION_TABLE, Migrated, migrate

from ...support.error_log import as_administrator
from ...support.stores import postgres_url
from ...support.waiting import until


def scripts() -> ScriptDirectory:
    """The migrations as alembic reads them."""
    config = Config()
    config.set_main_option("script_location", str(module._MIGRATIONS))
    return ScriptDirectory.from_config(config)


def test_names_of_files_tell_the_versions() -> None:
    """Migrations follow each other in the order of their files, and alembic's newest is the one that is needed."""
    in_order = [script.revision for script in scripts().walk_revisions()][::-1]
    assert in_order == module._VERSIONS
    assert scripts().get_current_head() == NEEDED


async def test_a_database_is_migrated_once() -> None:
    """An empty database gets the schema, and the second time there is nothing to do."""
    with postgres_url() as url:
        assert await migrate(url) == Migrated(None, NEEDED)
        assert await migrate(url) == Migrated(NEEDED, NEEDED)


async def test_several_at_once_migrate_once() -> None:
    """Of several that want to migrate at the same time one does, and the others find it done."""
    with postgres_url() as url:
        done = await asyncio.gather(*(migrate(url) for _ in range(3)))
    assert sorted(done, key=repr) == [Migrated(NEEDED, NEEDED)] * 2 + [Migrated(None, NEEDED)]


async def test_the_schema_is_what_it_should_be() -> None:
    """The table has the columns that are promised, and indexes on time, reason and request id."""
    with postgres_url() as url:
        await migrate(url)
        with psycopg.connect(url) as connection:
            columns = connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_name = 'error_log' ORDER BY ordinal_position"
            ).fetchall()
            indexes = connection.execute(
                "SELECT indexname FROM pg_indexes WHERE tablename = 'error_log' ORDER BY 1"
            ).fetchall()
    assert columns == [
        ("id", "bigint"),
        ("request_id", "text"),
        ("reason", "text"),
        ("message", "text"),
        ("context", "jsonb"),
        ("time", "timestamp with time zone"),
        ("nanos", "smallint"),
    ]
    names = ("error_log_pkey", "error_log_reason", "error_log_request_id", "error_log_time")
    assert indexes == [(name,) for name in names]


async def test_a_migration_that_fails_changes_nothing() -> None:
    """A database in whose way something stands is left as it was."""
    with postgres_url() as url:
        as_administrator(url, "CREATE TABLE error_log ()")
        with pytest.raises(psycopg.errors.DuplicateTable):
            await migrate(url)
        with psycopg.connect(url) as connection:
            found = connection.execute(f"SELECT to_regclass('{VERSION_TABLE}')").fetchone()
    assert found == (None,)


async def test_who_gives_up_is_free_at_once() -> None:
    """A migration that waits for another one's lock can be cancelled, and takes nothing with it."""
    with postgres_url() as url, psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [module._LOCK])
        waiting = asyncio.create_task(migrate(url))
        await until(lambda: _waiters(other) == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        other.execute("SELECT pg_advisory_unlock(%s)", [module._LOCK])
        assert await migrate(url) == Migrated(None, NEEDED)


async def test_who_gives_up_before_there_is_a_connection_makes_none() -> None:
    """A migration that is given up before it has connected ends with its connection."""
    with postgres_url() as url:
        given_up = module._Migration(url)
        given_up.abort()
        with pytest.raises(psycopg.OperationalError):
            await asyncio.to_thread(given_up.apply)


async def test_a_database_without_a_row_is_empty() -> None:
    """A table of versions that holds none is taken for no schema."""
    with postgres_url() as url:
        as_administrator(url, f"CREATE TABLE {VERSION_TABLE} (version_num text)")
        connection = await psycopg.AsyncConnection.connect(url)
        async with connection:
            assert await module.version_of(connection) is None


def test_a_foreign_version_is_refused() -> None:
    """A version that none of our migrations has is not touched."""
    with pytest.raises(StoreUnusable, match="abc"):
        module.must_migrate("abc")


def _waiters(connection: psycopg.Connection) -> int:
    found = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    ).fetchone()
    assert found is not None
    return int(found[0])
