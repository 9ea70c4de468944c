"""Embedded servers are real ones, can be killed and held, and leave nothing behind."""

import os
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from tools.embedded import PostgresServer, ServerFailed, postgres_server, redis_server
from tools.embedded.postgres import installed
from tools.embedded.process import Port, home

ROOT = Path(__file__).resolve().parents[2]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")


@pytest.fixture
def fresh_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let embedded servers live in a folder that does not exist yet, and remove it."""
    # Not below pytest's own folder, through which a server without root's rights could not pass.
    folder = Path(tempfile.gettempdir()) / f"tickgate-test-{os.getpid()}"
    monkeypatch.setenv("TICKGATE_EMBEDDED_DIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def client(url: str, **changed: float) -> redis.Redis:
    """A client that gives up at once."""
    return redis.Redis.from_url(url, **{"retry": None, "socket_timeout": 10} | changed)


def asked(url: str, query: str) -> list[tuple[object, ...]]:
    """Return the rows that *query* has at *url*."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def done(url: str, *commands: str) -> None:
    """Run *commands* at *url*, each in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        for command in commands:
            connection.execute(command.encode())


# ------------------------------------------------------------------------------------- Redis


def test_redis_answers_at_both_its_addresses() -> None:
    """A Redis is one by TCP and by its Unix socket."""
    with redis_server() as server, client(server.url) as tcp, client(server.unix_url) as unix:
        tcp.set("symbol", "AAPL")

        assert unix.get("symbol") == b"AAPL"


def test_redis_takes_the_port_it_is_given() -> None:
    """A Redis listens on the port that was asked for."""
    port = Port()
    port.close()
    with redis_server(port.number) as server, client(server.url) as tcp:
        assert (server.port, tcp.ping()) == (port.number, True)


def test_redis_comes_back_on_its_port() -> None:
    """A Redis that was killed refuses at once, and starts again where it was, empty."""
    with redis_server() as server, client(server.url) as tcp:
        tcp.set("symbol", "AAPL")
        first = server.pid
        server.kill()
        with pytest.raises(redis.ConnectionError):
            tcp.ping()
        server.start()

        assert (tcp.get("symbol"), server.pid != first) == (None, True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be held so")
def test_a_dead_servers_port_is_nobody_elses() -> None:
    """While a server is down, nobody is given its port, and it can still start there."""
    with redis_server() as server:
        server.kill()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", server.port))
        server.start()


def test_redis_holds_its_breath() -> None:
    """A paused Redis takes connections and answers none, until it goes on."""
    with redis_server() as server, client(server.url) as before:
        before.ping()
        server.pause()
        with client(server.url, socket_timeout=0.1) as held, pytest.raises(redis.TimeoutError):
            held.ping()
        server.resume()

        assert before.ping()


def test_redis_wants_its_password() -> None:
    """A Redis with a password lets in who knows it and nobody else."""
    with (
        redis_server(password="secret") as server,
        client(server.url) as known,
        client(f"redis://127.0.0.1:{server.port}") as unknown,
    ):
        assert known.ping()
        with pytest.raises(redis.AuthenticationError):
            unknown.ping()


def test_a_server_that_does_not_start_says_why() -> None:
    """The error of a server that ends at once holds what it wrote."""
    arguments = ("--no-such-setting", "1")

    with pytest.raises(ServerFailed, match="no-such-setting"), redis_server(arguments=arguments):
        pass


def test_a_server_can_be_ended_in_any_state() -> None:
    """Stopping and killing what is paused or gone already does no harm."""
    with redis_server() as server:
        server.pause()
        server.stop()
        server.stop()
        server.kill()
        server.start()
        server.pause()
        server.kill()


# -------------------------------------------------------------------------------- PostgreSQL


_MAY_WE_ENCRYPT = struct.pack("!ii", 8, 80877103)
"""The first message of many clients, which PostgreSQL answers with one letter."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """Run a PostgreSQL for this module; tests leave it running."""
    with postgres_server() as server:
        yield server


def test_postgres_has_databases_of_their_own(postgres: PostgresServer) -> None:
    """Each new database is empty, whatever went into others."""
    first, second = postgres.new_database(), postgres.new_database()
    done(first, "CREATE TABLE seen (symbol text)")

    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert (asked(first, tables), asked(second, tables)) == ([(1,)], [(0,)])
    assert asked(postgres.unix_url, "SELECT 1") == [(1,)]


def test_postgres_wants_its_password(postgres: PostgresServer) -> None:
    """By TCP, where others of the machine could come, a password is asked for."""
    known = urlsplit(postgres.url)
    unknown = known._replace(netloc=f"{known.username}:wrong@127.0.0.1:{known.port}").geturl()

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(unknown)


def test_postgres_keeps_what_was_committed(postgres: PostgresServer) -> None:
    """A killed PostgreSQL breaks its connections, and has every committed row when it is started again."""
    url = postgres.new_database()
    done(url, "CREATE TABLE seen (symbol text)", "INSERT INTO seen VALUES ('AAPL')")
    with psycopg.connect(url) as broken:
        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            broken.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)
    postgres.start()

    assert asked(url, "SELECT symbol FROM seen") == [("AAPL",)]


def test_postgres_holds_its_breath(postgres: PostgresServer) -> None:
    """A paused PostgreSQL answers neither a new connection nor an old one, until it goes on."""
    with psycopg.connect(postgres.url, autocommit=True) as old:
        postgres.pause()
        with socket.create_connection(("127.0.0.1", postgres.port)) as new:
            new.sendall(_MAY_WE_ENCRYPT)
            old.pgconn.send_query(b"SELECT 1")
            heard, _, _ = select.select([new.fileno(), old.fileno()], [], [], 0.1)
            postgres.resume()
            answer = new.recv(1)
        rows = old.pgconn.get_result()
        assert old.pgconn.get_result() is None

    assert (heard, answer) == ([], b"N")
    assert rows is not None
    assert rows.get_value(0, 0) == b"1"


def test_postgres_sends_its_clients_away(postgres: PostgresServer) -> None:
    """A PostgreSQL that is stopped in order tells its clients."""
    with psycopg.connect(postgres.url) as told:
        postgres.stop()
        with pytest.raises(psycopg.errors.AdminShutdown):
            told.execute("SELECT 1")
    postgres.start()


# ------------------------------------------------------------------- folders, users and ends


def test_the_folder_is_its_users_own(fresh_home: Path) -> None:
    """The folder of embedded servers can be read by its user alone."""
    fresh_home.mkdir(mode=0o777)

    mode = stat.S_IMODE(home().stat().st_mode)
    assert mode == (0o700 if os.geteuid() else 0o711)


def test_a_folder_that_is_no_folder_is_refused(fresh_home: Path, tmp_path: Path) -> None:
    """A link in the folder's place, which somebody may have laid there, is not followed."""
    fresh_home.symlink_to(tmp_path)
    try:
        with pytest.raises(ServerFailed, match="TICKGATE_EMBEDDED_DIR"):
            home()
    finally:
        fresh_home.unlink()


@as_root
def test_a_folder_of_somebody_elses_is_refused(fresh_home: Path) -> None:
    """No server is put into a folder that another user owns."""
    fresh_home.mkdir()
    os.chown(fresh_home, 65534, 65534)

    with pytest.raises(ServerFailed, match="TICKGATE_EMBEDDED_DIR"):
        home()


def test_a_path_too_long_for_a_socket_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where a socket's path would be too long, the message says so and what to do."""
    monkeypatch.setenv("TICKGATE_EMBEDDED_DIR", str(tmp_path / ("x" * 80)))

    with pytest.raises(ServerFailed, match="shorter TICKGATE_EMBEDDED_DIR"), redis_server():
        pass


@as_root
def test_a_folder_that_others_cannot_reach_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root's PostgreSQL is not started where it could not reach its folder, and no mode is changed for it."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setenv("TICKGATE_EMBEDDED_DIR", str(closed / "servers"))

    with pytest.raises(ServerFailed, match="lets only some users pass"), postgres_server():
        pass
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_root_gives_away_nothing(fresh_home: Path) -> None:
    """As root, PostgreSQL runs without root's rights; no user is made, and outside of its folder no mode changes."""
    wheel = installed()
    outside = [wheel, *wheel.rglob("*"), *wheel.parents, *fresh_home.parents]
    before = {path: path.stat().st_mode for path in outside}
    users = Path("/etc/passwd").read_bytes()

    with postgres_server() as server:
        owner = Path(f"/proc/{server.pid}").stat().st_uid

    assert owner == 65534
    assert {path: path.stat().st_mode for path in outside} == before
    assert Path("/etc/passwd").read_bytes() == users


_SERVERS = """
import sys
from tools.embedded import postgres_server, redis_server
with redis_server() as redis, postgres_server() as postgres:
    if sys.argv[1] == "paused":
        redis.pause()
        postgres.pause()
    print(redis.folder, postgres.folder, flush=True)
    sys.stdin.read()
"""
"""A program that runs both servers until its input ends."""


def running_servers(state: str = "running") -> subprocess.Popen[str]:
    """Start that program."""
    return subprocess.Popen(
        [sys.executable, "-c", _SERVERS, state],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_killed_program_leaves_no_server(state: str) -> None:
    """The servers of a program that is killed, with its whole group, end and their folders go."""
    with running_servers(state) as program:
        assert program.stdout is not None
        folders = [Path(name) for name in program.stdout.readline().split()]
        lived = [folder.exists() for folder in folders]
        os.killpg(program.pid, signal.SIGKILL)
        # What watches over the servers writes where the program did: once that has ended, so has it.
        program.stdout.read()

    assert lived == [True, True]
    assert not [folder for folder in folders if folder.exists()]


def test_programs_start_together_for_the_first_time(fresh_home: Path) -> None:
    """Where nothing is prepared yet, several programs at once prepare it once and all get their servers."""
    programs = [running_servers() for _ in range(3)]
    folders = []
    for program in programs:
        with program:
            assert program.stdout is not None
            folders += program.stdout.readline().split()
            program.communicate()

    assert len(set(folders)) == 6
    assert [program.returncode for program in programs] == [0, 0, 0]
    left = {path.name.partition("-")[0] for path in fresh_home.iterdir()}
    assert left == {"lock", "template"} | (set() if os.geteuid() else {"programs"})
