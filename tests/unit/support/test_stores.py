"""Tests that share servers find them empty, and encrypted where they ask for it."""

import psycopg
import pytest
import redis

from tests.support import stores
from tests.support.stores import postgres_url, redis_url
from tests.support.tls import tls_front
from tools.embedded import postgres_server, redis_server


def test_each_block_gets_an_empty_redis() -> None:
    """What one test leaves in Redis, the next does not find."""
    with redis_url() as first, redis.Redis.from_url(first) as client:
        client.set("symbol", "AAPL")
    with redis_url() as second, redis.Redis.from_url(second) as client:
        left = client.keys()

    assert (first, left) == (second, [])


def test_each_block_gets_a_database() -> None:
    """Every block has a database of its own, which is dropped behind it."""
    with postgres_url() as first, postgres_url() as second, psycopg.connect(first):
        pass

    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(first)
    assert first != second


def test_a_systems_servers_take_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that the environment names are used instead of embedded ones, in each process another database."""
    monkeypatch.setenv("TICKGATE_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("TICKGATE_TEST_POSTGRES_URL", "postgresql://127.0.0.1/postgres")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw3")

    assert stores._redis.__wrapped__() == "redis://127.0.0.1:6379/3"
    assert stores._postgres.__wrapped__() == "postgresql://127.0.0.1/postgres"


def test_redis_by_tls() -> None:
    """Behind the front, a Redis is reached by rediss://, by whoever trusts its certificate."""
    with redis_server() as server, tls_front(server.port) as front:
        url = f"rediss://localhost:{front.port}/0"
        with redis.Redis.from_url(url, ssl_ca_certs=str(front.authority)) as trusting:
            trusting.set("symbol", "x" * 1_000_000)
            length = trusting.strlen("symbol"), len(trusting.get("symbol") or b"")
        with redis.Redis.from_url(url, retry=None) as wary, pytest.raises(redis.ConnectionError):
            wary.ping()

    assert length == (1_000_000, 1_000_000)


def test_postgres_by_tls() -> None:
    """Behind the front, a PostgreSQL is reached by TLS alone; without the front, it refuses who insists on TLS."""
    with postgres_server() as server, tls_front(server.port, postgres=True) as front:
        encrypted = server.url.replace(f":{server.port}/", f":{front.port}/")
        trusted = f"{encrypted}?sslmode=verify-full&sslrootcert={front.authority}"
        with psycopg.connect(trusted) as connection:
            row = connection.execute("SELECT repeat('x', 1000000)").fetchone()
            secure = connection.pgconn.ssl_in_use
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"{encrypted}?sslmode=disable")
        with pytest.raises(psycopg.OperationalError, match="does not support SSL"):
            psycopg.connect(f"{server.url}?sslmode=require")

    assert (secure, row) == (True, ("x" * 1_000_000,))
