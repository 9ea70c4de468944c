"""The connection to PostgreSQL, and whether it can be had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal, TypeAlias, TypeVar

import psycopg
import structlog
from msgspec import Struct
from psycopg.errors import DataError, QueryCanceled
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ...errors import StoreDown, StoreUnusable
from ...observe.counters import ErrorLogCounts, PoolCounts, StoreCounts
from . import migrate
from .address import parse
from .traced import TracedCursor
from .waiting import answer, hang_up, outcome

T = TypeVar("T")
Connection: TypeAlias = psycopg.AsyncConnection[Any]

_OLDEST: Final = 15
"""Major version of PostgreSQL that is asked for at least."""

_SHARE: Final = 0.9
"""Share of the time after which the server gives up a statement, and the pool the wait for a connection: both leave
PostgreSQL up. Who has waited longer than that hangs up, and takes PostgreSQL for down."""

_GENERAL: Final = "general"
"""What the connections are for that belong to no lane, in numbers about them."""

_log = structlog.get_logger(__name__)


class PostgresDown(StoreDown):
    """PostgreSQL cannot be had now; the message says why, in one line and without a secret."""


class PostgresRefused(PostgresDown):
    """PostgreSQL is there and refused a statement, as when its disk is full."""

    def __init__(self, message: str, sqlstate: str) -> None:
        """Say why, and keep the code of the error."""
        super().__init__(message)
        self.sqlstate = sqlstate


class LinkLimits(Struct, frozen=True):
    """Bounds of the link; times in seconds."""

    timeout: float
    """For one statement, and for getting a connection."""

    check_every: float
    """Between tries to reach a PostgreSQL that is down."""

    connections: int
    """At most; one more is held to learn at once when PostgreSQL goes away."""


class Lane(Struct, frozen=True):
    """Connections for one kind of use, which neither wait for others nor keep others waiting."""

    name: str
    connections: int
    """At most."""

    timeout: float
    """Seconds for one statement, and for getting a connection."""


class Lent:
    """A connection that somebody has for more than one question."""

    def __init__(
        self,
        connection: Connection,
        timeout: float,
        judge: Callable[[Exception, Connection], PostgresDown],
    ) -> None:
        """Ask over *connection*; *judge* tells what a failure says about PostgreSQL."""
        self._connection = connection
        self._timeout = timeout
        self._judge = judge

    async def ask(self, command: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """Return what *command* returns.

        Raises:
            PostgresRefused: the statement was refused. Within a transaction nothing else will be done.
            PostgresDown: PostgreSQL is down, or did not answer in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await answer(self._connection, command(self._connection))
        except (psycopg.Error, OSError) as error:  # TimeoutError is an OSError
            if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
                # Not even sent: a fault of ours, and no word about PostgreSQL.
                raise
            raise self._judge(error, self._connection) from error


class PostgresLink:
    """One PostgreSQL. When it goes away it is left out until it is back, so that nobody waits for it.

    It is up when it can be reached, takes writes, and has the schema that this gateway needs.
    """

    def __init__(
        self,
        url: str,
        limits: LinkLimits,
        counts: ErrorLogCounts,
        mode: Literal["auto", "check"] = "auto",
    ) -> None:
        """Connect to *url* when started; report into *counts*.

        Args:
            url: any form of address that libpq takes.
            limits: bounds.
            counts: where it says whether PostgreSQL is up, and with which schema.
            mode: what becomes of a schema that is too old: "auto" brings it up to date, "check" refuses it.

        Raises:
            StoreUnusable: *url* is no address.
        """
        self._limits = limits
        self._counts = counts
        self._mode = mode
        self._address = parse(url)
        self._conninfo = self._address.conninfo(limits.timeout, limits.timeout * _SHARE)
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._line: Connection | None = None
        """Held for nothing but to see it end."""

        self._lanes: dict[Lane, AsyncConnectionPool[Connection] | None] = {}
        self._past: dict[str, PoolCounts] = {}
        """What pools have done that are closed: there is a new one each time that PostgreSQL comes back."""

        self._lent: set[Connection] = set()
        self._told: list[StoreCounts] = []
        self._waiting: set[asyncio.Timeout] = set()
        """Of those who wait for a connection."""

        self._doubt = asyncio.Event()
        self._why = ""
        """What was last said of its being down."""

    @property
    def up(self) -> bool:
        """Whether PostgreSQL can be asked."""
        return self._counts.store == "up"

    def open(self, lane: Lane) -> None:
        """Hold connections for *lane*, too, from the next time that this is connected."""
        self._lanes.setdefault(lane, None)

    def tell(self, counts: StoreCounts) -> None:
        """Say in *counts* as well whether PostgreSQL is up."""
        self._told.append(counts)
        counts.state = self._counts.store

    async def start(self) -> None:
        """Connect, and bring the schema up to date or check it. A PostgreSQL that is not there is merely down.

        Raises:
            StoreUnusable: it is too old, or has a schema that this gateway must not use.
        """
        try:
            await self.connect()
        except PostgresDown as down:
            self._mark_down(str(down))

    async def connect(self) -> migrate.Migrated:
        """Connect, and bring the schema up to date or check it.

        Returns:
            What became of the schema.

        Raises:
            PostgresDown: it cannot be reached, or takes no writes.
            StoreUnusable: it is too old, or has a schema that this gateway must not use.
        """
        line = await self._new_line()
        try:
            migrated = await self._inspect(line)
        except BaseException:
            await line.close()
            raise
        self._line = line
        self._pool = await self._new_pool(self._conninfo, self._limits)
        for lane in self._lanes:
            self._lanes[lane] = await self._new_lane(lane)
        self._counts.schema_version = migrated.now
        self._mark_up()
        return migrated

    async def run(self) -> None:
        """Notice when PostgreSQL goes away, and bring it back, until cancelled."""
        while True:
            if self._line is not None:
                await self._watch(self._line)
                await outcome(self.close())
            await asyncio.sleep(self._limits.check_every)
            try:
                await outcome(self.connect())
            except (PostgresDown, StoreUnusable) as why:
                self._mark_down(str(why))
            except Exception as error:  # noqa: BLE001 - a fault of ours must not take down what can still answer
                _log.exception("postgres_failed")
                self._mark_down(type(error).__name__)

    async def ask(self, command: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """Return what *command* returns, which is given a connection in autocommit mode.

        Raises:
            PostgresDown: PostgreSQL is down, or did not answer in time.
            psycopg.errors.DataError: it cannot hold a value that it was given.
        """
        if self._pool is None or not self.up:
            raise PostgresDown(self._why)
        try:
            return await outcome(self._ask(self._pool, command))
        except DataError:
            raise
        except (QueryCanceled, PoolTimeout) as error:
            # Slow, or all connections busy; the line shows whether there is more to it.
            self._doubt.set()
            raise PostgresDown(self._why or self._said(error)) from error
        except (psycopg.Error, OSError) as error:  # TimeoutError is an OSError
            self._lost(error)
            raise PostgresDown(self._why) from error

    @asynccontextmanager
    async def lend(self, lane: Lane) -> AsyncIterator[Lent]:
        """Lend a connection of *lane*, in autocommit mode. A transaction that is open at the end is rolled back.

        Raises:
            PostgresDown: PostgreSQL is down, or no connection became free in time.
        """
        pool = self._lanes.get(lane)
        if pool is None or not self.up:
            raise PostgresDown(self._why or "not connected yet")
        connection = await self._borrowed(pool, lane.timeout)
        self._lent.add(connection)
        try:
            yield Lent(connection, lane.timeout, self._judged)
        finally:
            self._lent.discard(connection)
            await _roll_back(connection, self._limits.timeout)
            await pool.putconn(connection)

    def pools(self) -> dict[str, PoolCounts]:
        """Return how the connections stand, by what they are for."""
        pools = {_GENERAL: self._pool} | {lane.name: pool for lane, pool in self._lanes.items()}
        return {
            name: _pool_counts(self._past.get(name), pool.get_stats() if pool else {})
            for name, pool in pools.items()
        }

    async def close(self) -> None:
        """Give the connections back."""
        self._past = {
            name: PoolCounts(requests=counts.requests, waited=counts.waited)
            for name, counts in self.pools().items()
        }
        pools = [self._pool, *self._lanes.values()]
        line, self._line = self._line, None
        self._pool, self._lanes = None, dict.fromkeys(self._lanes)
        if line is not None:
            await line.close()
        for pool in pools:
            if pool is not None:
                await pool.close(self._limits.timeout)

    async def _ask(
        self,
        pool: AsyncConnectionPool[Connection],
        command: Callable[[Connection], Coroutine[Any, Any, T]],
    ) -> T:
        async with asyncio.timeout(self._limits.timeout) as patience:
            self._waiting.add(patience)
            try:
                connection = await pool.getconn()
            finally:
                self._waiting.discard(patience)
            try:
                if patience.expired():
                    # Python 3.11 forgets a cancellation that comes together with the connection.
                    raise TimeoutError
                patience.reschedule(asyncio.get_running_loop().time() + self._limits.timeout)
                return await answer(connection, command(connection))
            finally:
                await pool.putconn(connection)

    async def _borrowed(
        self,
        pool: AsyncConnectionPool[Connection],
        timeout: float,  # noqa: ASYNC109 - as pools take it
    ) -> Connection:
        asked = asyncio.create_task(self._connection_of(pool, timeout))
        try:
            await asyncio.wait({asked})
        except asyncio.CancelledError:
            asked.cancel()
            await asyncio.wait({asked})
            if not asked.cancelled() and asked.exception() is None:
                await pool.putconn(asked.result())
            raise
        try:
            return asked.result()
        except PoolTimeout as error:
            self._doubt.set()
            raise PostgresDown(self._why or self._said(error)) from error
        except (psycopg.Error, OSError) as error:
            self._lost(error)
            raise PostgresDown(self._why or self._said(error)) from error

    async def _connection_of(
        self,
        pool: AsyncConnectionPool[Connection],
        timeout: float,  # noqa: ASYNC109 - as above
    ) -> Connection:
        async with asyncio.timeout(timeout) as patience:
            self._waiting.add(patience)
            try:
                return await pool.getconn(timeout * _SHARE)
            finally:
                self._waiting.discard(patience)

    def _judged(self, error: Exception, connection: Connection) -> PostgresDown:
        code = error.sqlstate if isinstance(error, psycopg.Error) else None
        if code is not None and not connection.closed:
            # It has answered; the line shows whether there is more to it.
            self._doubt.set()
            return PostgresRefused(self._said(error), code)
        self._lost(error)
        return PostgresDown(self._why or self._said(error))

    async def _new_lane(self, lane: Lane) -> AsyncConnectionPool[Connection]:
        conninfo = self._address.conninfo(self._limits.timeout, lane.timeout * _SHARE)
        limits = LinkLimits(lane.timeout, self._limits.check_every, lane.connections)
        return await self._new_pool(conninfo, limits, lane.name)

    async def _new_line(self) -> Connection:
        try:
            # libpq's own timeout is for each host and address that the name stands for.
            async with asyncio.timeout(self._limits.timeout):
                return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except (psycopg.Error, OSError) as error:
            raise PostgresDown(self._said(error)) from error

    async def _new_pool(
        self, conninfo: str, limits: LinkLimits, name: str = "tickgate"
    ) -> AsyncConnectionPool[Connection]:
        pool = AsyncConnectionPool[Connection](
            conninfo,
            kwargs={"autocommit": True, "cursor_factory": TracedCursor},
            min_size=0,
            max_size=limits.connections,
            timeout=limits.timeout * _SHARE,
            # A pool is for as long as PostgreSQL is up; to bring it back is not the pool's to try.
            reconnect_timeout=0,
            check=_check,
            name=name,
            open=False,
        )
        await pool.open(wait=False)
        return pool

    async def _inspect(self, line: Connection) -> migrate.Migrated:
        major = line.info.server_version // 10_000
        if major < _OLDEST:
            msg = f"PostgreSQL {major} is too old: {_OLDEST} or newer is needed"
            raise StoreUnusable(msg)
        try:
            async with asyncio.timeout(self._limits.timeout):
                held = await answer(line, _version_to_write(line))
            if not migrate.must_migrate(held):
                return migrate.Migrated(held, migrate.NEEDED)
            if self._mode == "check":
                raise migrate.outdated(held)
            migrated = await migrate.migrate(self._address.conninfo(self._limits.timeout))
        except (psycopg.OperationalError, OSError) as error:
            raise PostgresDown(self._said(error)) from error
        except psycopg.Error as error:
            msg = f"the schema cannot be read, or brought to {migrate.NEEDED}: {self._said(error)}"
            raise StoreUnusable(msg) from error
        _log.warning("postgres_migrated", before=migrated.before, now=migrated.now)
        return migrated

    async def _watch(self, line: Connection) -> None:
        """Return when PostgreSQL has gone away."""
        loop, number = asyncio.get_running_loop(), line.fileno()
        while self.up:
            # Nothing is asked on this line, so whatever comes is either its end or worth a look.
            loop.add_reader(number, self._doubt.set)
            try:
                await self._doubt.wait()
            finally:
                loop.remove_reader(number)
            self._doubt.clear()
            try:
                async with asyncio.timeout(self._limits.timeout):
                    await _check(line)
            except (psycopg.Error, OSError) as error:
                self._lost(error)

    def _lost(self, error: Exception) -> None:
        # What others meet after the first who lost it says less: connections that were closed on them.
        if self.up:
            self._mark_down(self._said(error))
        if isinstance(error, TimeoutError):
            # Nor will it answer others.
            for connection in self._lent:
                hang_up(connection)

    def _mark_up(self) -> None:
        self._doubt.clear()
        self._say("up")
        self._why = ""
        _log.warning("postgres_state", state="up")

    def _mark_down(self, why: str) -> None:
        self._doubt.set()
        # Also when it is down for another reason than before: that one has to be mended as well.
        if (self._counts.store, self._why) != ("down", why):
            self._say("down")
            self._why = why
            _log.warning("postgres_state", state="down", why=why)
        # Whoever waits for a connection has waited long enough.
        now = asyncio.get_running_loop().time()
        for patience in self._waiting:
            if not patience.expired():
                patience.reschedule(now)

    def _say(self, state: Literal["up", "down"]) -> None:
        self._counts.store = state
        for counts in self._told:
            counts.state = state

    def _said(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._limits.timeout:g} s"
        return self._address.censor(str(error))


def _pool_counts(past: PoolCounts | None, stats: dict[str, int]) -> PoolCounts:
    """Return how a pool with these *stats* stands, and what it and those before it have done."""
    before = past or PoolCounts()
    return PoolCounts(
        size=stats.get("pool_size", 0),
        available=stats.get("pool_available", 0),
        waiting=stats.get("requests_waiting", 0),
        requests=before.requests + stats.get("requests_num", 0),
        waited=before.waited + stats.get("requests_wait_ms", 0) / 1000,
    )


async def _roll_back(connection: Connection, timeout: float) -> None:  # noqa: ASYNC109 - as the pool takes it
    """End a transaction that was left open; who does not answer is hung up on."""
    if connection.closed or connection.info.transaction_status is TransactionStatus.IDLE:
        return
    with suppress(psycopg.Error, OSError):
        async with asyncio.timeout(timeout):
            await answer(connection, connection.rollback())


async def _check(connection: Connection) -> None:
    """Look whether *connection* still works."""
    await answer(connection, AsyncConnectionPool[Connection].check_connection(connection))


async def _version_to_write(line: Connection) -> str | None:
    """Return the version of the schema in a database that takes writes.

    Raises:
        psycopg.OperationalError: it takes none: a standby, or one that was set so.
    """
    found = await line.execute("SHOW transaction_read_only")
    if await found.fetchone() == ("on",):
        msg = "it takes no writes: a standby, or set to read only"
        raise psycopg.OperationalError(msg)
    return await migrate.version_of(line)
