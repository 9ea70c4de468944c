"""A Redis and a PostgreSQL for tests that share them: started once per test process, empty for each block.

TICKGATE_TEST_REDIS_URL and TICKGATE_TEST_POSTGRES_URL name servers to use instead of the embedded ones. Tests may empty
every database of that Redis. A test that kills its server takes one of its own from `tools.embedded`.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg.sql import SQL, Identifier

from tools.embedded import new_database, postgres_server, redis_server

_servers = ExitStack()
atexit.register(_servers.close)


@contextmanager
def redis_url() -> Iterator[str]:
    """Lend an empty database of a Redis. It is one and the same for all blocks of this process."""
    url = _redis()
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    yield url


@contextmanager
def postgres_url() -> Iterator[str]:
    """Lend a new, empty database of a PostgreSQL, and drop it at the end, whoever is still connected."""
    server = _postgres()
    url = new_database(server)
    try:
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            name = Identifier(urlsplit(url).path[1:])
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@cache
def _redis() -> str:
    """Return the address of a database that no other process of this run uses."""
    given = os.environ.get("TICKGATE_TEST_REDIS_URL")
    if not given:
        return _servers.enter_context(redis_server()).url
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return urlsplit(given)._replace(path=f"/{worker}").geturl()


@cache
def _postgres() -> str:
    given = os.environ.get("TICKGATE_TEST_POSTGRES_URL")
    return given or _servers.enter_context(postgres_server()).url
