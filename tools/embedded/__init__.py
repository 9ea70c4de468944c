"""Real servers for development and tests, out of wheels: nothing to install, and nothing left behind.

    with redis_server() as redis, postgres_server() as postgres:
        print(redis.url, postgres.url)

Each lives in a folder of its own below its user's: `tickgate-UID` in the system's folder for temporary files, or the
one that TICKGATE_EMBEDDED_DIR names. It ends with whoever started it, also when that is killed. As root, PostgreSQL
runs without root's rights; no user is made for it, and outside of that folder no mode is changed.
"""

from .postgres import PostgresServer, new_database, postgres_server
from .process import ServerFailed
from .redis import RedisServer, redis_server

__all__ = [
    "PostgresServer",
    "RedisServer",
    "ServerFailed",
    "new_database",
    "postgres_server",
    "redis_server",
]
