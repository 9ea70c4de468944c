"""The schema of the database: which version it has, which one this gateway needs, and the way there.

alembic and SQLAlchemy take a second to import, so only a database that must be changed makes us do it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import psycopg
from msgspec import Struct

from ...errors import StoreUnusable
from .waiting import hang_up

VERSION_TABLE: Final = "tickgate_schema"
"""Table that holds the version; a name of our own, for others may keep theirs in the same database."""

_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_VERSIONS: Final = sorted(
    path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")
)

NEEDED: Final = _VERSIONS[-1]
"""Version that this gateway works with: that of the newest migration."""

_LOCK: Final = 0x7469636B67617465
"""Key of the advisory lock, "tickgate" in ASCII: of several gateways that start at once, one migrates."""


class Migrated(Struct, frozen=True):
    """What became of a schema."""

    before: str | None
    """Version that was found; None for an empty database."""

    now: str


def must_migrate(held: str | None) -> bool:
    """Tell whether *held*, the version of a schema or None without any, is older than needed.

    Raises:
        StoreUnusable: it is newer, or not one of ours.
    """
    if held is None or held in _VERSIONS:
        return held != NEEDED
    msg = (
        f"the database has schema {held}, which is newer than this gateway's {NEEDED}:"
        " run the version of tickgate-server that made it, or a newer one"
    )
    raise StoreUnusable(msg)


def outdated(held: str | None) -> StoreUnusable:
    """Return what to say of a schema that is too old and may not be changed now."""
    found = "no schema yet" if held is None else f"schema {held}"
    return StoreUnusable(
        f"the database has {found} and this gateway needs {NEEDED}: run `tickgate-server migrate`"
    )


async def version_of(connection: psycopg.AsyncConnection) -> str | None:
    """Return the version of the schema, None without any."""
    try:
        # A constant of ours.
        found = await connection.execute(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608
    except psycopg.errors.UndefinedTable:
        return None
    row = await found.fetchone()
    return None if row is None else str(row[0])


async def migrate(conninfo: str) -> Migrated:
    """Bring the database at *conninfo* up to the needed version, unless another gateway has just done so.

    Raises:
        StoreUnusable: its schema is newer than this gateway.
        psycopg.Error: it could not be done, and nothing was changed.
    """
    migration = _Migration(conninfo)
    try:
        return await asyncio.to_thread(migration.apply)
    except asyncio.CancelledError:
        # A thread cannot be cancelled, and a server that hangs would keep this one for ever.
        migration.abort()
        raise


class _Migration:
    """One migration, in a thread of its own."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: psycopg.Connection[Any] | None = None
        self._aborted = False

    def apply(self) -> Migrated:
        """Wait for the lock, look at the version, and migrate if that is still needed."""
        from alembic import command  # noqa: PLC0415 - the module's docstring says why
        from alembic.config import Config  # noqa: PLC0415
        from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
        from sqlalchemy import create_engine, pool, text  # noqa: PLC0415
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

        engine = create_engine(
            "postgresql+psycopg://", creator=self._connect, poolclass=pool.NullPool
        )
        try:
            with engine.connect() as connection:
                # Of the session, so that it outlives the transaction and goes with the connection.
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
                context = MigrationContext.configure(
                    connection, opts={"version_table": VERSION_TABLE}
                )
                before = context.get_current_revision()
                connection.commit()
                if must_migrate(before):
                    config = Config(attributes={"connection": connection})
                    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
                    command.upgrade(config, "head")
                return Migrated(before, NEEDED)
        except DBAPIError as error:
            raise error.orig or error from None

    def abort(self) -> None:
        """Give up; the database takes back what is unfinished."""
        self._aborted = True
        if self._connection is not None:
            hang_up(self._connection)

    def _connect(self) -> psycopg.Connection[Any]:
        self._connection = psycopg.connect(self._conninfo)
        if self._aborted:
            hang_up(self._connection)
        return self._connection
