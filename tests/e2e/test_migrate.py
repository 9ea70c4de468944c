"""`tickgate-server migrate` as an operator runs it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tickgate_server.stores.postgres import migrate as schema
from tickgate_server.stores.postgres.migrate import NEEDED, VERSION_TABLE
from tools.programs import environment_without_settings

from ..support.error_log import as_administrator
from ..support.stores import postgres_url


def migrate(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `tickgate-server migrate` to its end."""
    settings = {"TICKGATE_POSTGRES_URL": url} if url else {}
    return subprocess.run(
        [sys.executable, "-m", "tickgate_server", "migrate", *arguments],
        env=environment_without_settings() | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_three_at_once_migrate_once() -> None:
    """Of three programs that start at the same time one migrates, and all say what they found."""
    with postgres_url() as url, ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: migrate(url), range(3)))
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 3
    assert sorted(one.stdout for one in done) == [
        f"migrated from nothing to schema {NEEDED}\n",
        f"schema {NEEDED} is up to date\n",
        f"schema {NEEDED} is up to date\n",
    ]


def test_check_changes_nothing() -> None:
    """`migrate --check` fails with one sentence until the schema is up to date, and changes nothing."""
    with postgres_url() as url:
        before = migrate(url, "--check")
        assert before.returncode == 1
        assert f"needs {NEEDED}: run `tickgate-server migrate`" in before.stderr
        assert before.stderr.count("\n") == 1
        assert asyncio.run(schema.migrate(url)).before is None
        after = migrate(url, "--check")
    assert (after.returncode, after.stdout) == (0, f"schema {NEEDED} is up to date\n")


def test_a_newer_schema_is_left_alone() -> None:
    """`migrate` refuses a database that a newer gateway has migrated."""
    with postgres_url() as url:
        asyncio.run(schema.migrate(url))
        as_administrator(url, f"UPDATE {VERSION_TABLE} SET version_num = '9000'")
        done = migrate(url)
    assert done.returncode == 1
    assert "has schema 9000, which is newer" in done.stderr


def test_no_postgres_is_said_plainly() -> None:
    """Without an address, or nobody there, `migrate` says so in one sentence and never shows the password."""
    missing = migrate("")
    assert missing.returncode == 2
    assert "postgres_url: not set" in missing.stderr

    gone = migrate("postgresql://u:hush@127.0.0.1:1/d")
    assert gone.returncode == 1
    assert gone.stderr.startswith("tickgate-server: PostgreSQL cannot be had: ")
    assert gone.stderr.count("\n") == 1
    assert "hush" not in gone.stdout + gone.stderr
