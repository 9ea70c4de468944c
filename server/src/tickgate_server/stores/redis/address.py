"""Addresses of Redis, and the client that one of them asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis.asyncio as aioredis
from msgspec import Struct
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ...errors import StoreUnusable

CLUSTER: Final = (
    "redis_url: a Redis Cluster cannot be used; give the address of a single Redis,"
    " or of its Sentinels as redis+sentinel://host:26379,host:26379/name"
)

_SCHEMES: Final = "redis://, rediss://, unix:// and redis+sentinel://"
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TLS_OPTIONS: Final = frozenset(
    "ssl_ca_certs ssl_ca_path ssl_certfile ssl_keyfile ssl_cert_reqs ssl_check_hostname".split()
)
_SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})
_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "redis": frozenset(),
    "rediss": _TLS_OPTIONS,
    "unix": frozenset(),
    "redis+sentinel": _SENTINEL_OPTIONS,
}
"""What may stand behind the question mark besides `db`. Timeouts and bounds are settings of their own."""


class _Address(Struct, frozen=True):
    scheme: str
    hosts: Sequence[tuple[str, int]]
    path: str
    """A Unix socket's, or a Sentinel's name of the Redis."""

    login: Mapping[str, str | int]
    options: Mapping[str, str]


def client_for(url: str, timeout: float, connections: int) -> aioredis.Redis:
    """Return a client of the Redis at *url*, which connects when it is first asked.

    Args:
        url: the address.
        timeout: seconds that connecting may take. How long a command may take is the caller's to bound.
        connections: how many there may be at once.

    Raises:
        StoreUnusable: *url* is no address, or a cluster's. The message never holds a part of *url* that may be secret.
    """
    address = _parse(url)
    quick: dict[str, Any] = {
        # redis-py would try ten times, over seconds; a tier must give up at once.
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": timeout,
        # With a timeout of its own redis-py starts a task for each command, in which Python 3.11 may lose a
        # cancellation.
        "socket_timeout": None,
        # Nothing here needs RESP 3, whose greeting and notifications cost round trips at each connect.
        "protocol": 2,
        "driver_info": None,
    }
    ours = {"max_connections": connections, "client_name": "tickgate", **address.login, **quick}
    if address.scheme == "redis+sentinel":
        return _by_sentinel(address, quick | {"socket_timeout": _share(address, timeout)}, ours)
    if address.scheme == "unix":
        pool = ConnectionPool(UnixDomainSocketConnection, path=address.path, **ours)
    else:
        (host, port) = address.hosts[0]
        kind = SSLConnection if address.scheme == "rediss" else Connection
        pool = ConnectionPool(kind, host=host, port=port, **ours, **_tls(address.options))
    _try_to_construct(pool)
    return aioredis.Redis.from_pool(pool)


def _by_sentinel(address: _Address, theirs: dict[str, Any], ours: dict[str, Any]) -> aioredis.Redis:
    for option in address.options:
        theirs[option.removeprefix("sentinel_")] = address.options[option]
    sentinel = Sentinel(address.hosts, sentinel_kwargs=theirs, **ours)  # type: ignore[no-untyped-call]
    client: aioredis.Redis = sentinel.master_for(address.path)
    return client


def _share(address: _Address, timeout: float) -> float:
    # Sentinels are asked one after the other. One that hangs must leave time for the next, and for Redis itself.
    return timeout / (len(address.hosts) + 1)


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    tls: dict[str, Any] = dict(options)
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = tls["ssl_check_hostname"].lower() not in {"false", "no", "0"}
    return tls


def _try_to_construct(pool: ConnectionPool) -> None:
    # The pool constructs connections when it needs them, and they read their certificates then: too late to complain.
    try:
        connection = pool.make_connection()  # type: ignore[no-untyped-call]
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()
    except OSError as error:
        msg = f"redis_url: its TLS files cannot be used ({error.strerror or type(error).__name__})"
        raise StoreUnusable(msg) from None
    except (RedisError, ValueError, TypeError):
        msg = "redis_url: its TLS options cannot be used"
        raise StoreUnusable(msg) from None


def _parse(url: str) -> _Address:
    # Nothing that urllib says is passed on: it quotes what it could not read, which may be a part of the password.
    scheme = url.partition("://")[0].lower()
    if scheme in {"redis+cluster", "rediss+cluster"}:
        raise StoreUnusable(CLUSTER)
    if scheme not in _OPTIONS:
        msg = f"redis_url: not an address of Redis; {_SCHEMES} are"
        raise StoreUnusable(msg)
    try:
        parts = urlsplit(url)
        query = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        hosts = _hosts(parts, _SENTINEL_PORT if scheme == "redis+sentinel" else _PORT)
        path, db = _path(scheme, unquote(parts.path), query.pop("db", ""))
    except ValueError:
        msg = (
            f"redis_url: not a {scheme}:// address; a password in it must be percent-encoded,"
            " and a database is a number"
        )
        raise StoreUnusable(msg) from None
    unknown = query.keys() - _OPTIONS[scheme]
    if unknown:
        msg = f"redis_url: {scheme}:// knows no option {min(unknown)}"
        raise StoreUnusable(msg)
    return _Address(scheme, hosts, path, {"db": db, **_credentials(parts)}, query)


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    if parts.scheme == "unix":
        return []
    hosts = []
    names = parts.netloc.rpartition("@")[2].split(",")
    if len(names) > 1 and parts.scheme != "redis+sentinel":
        raise ValueError
    for name in names:
        one = urlsplit(f"//{name}")
        if one.hostname is None:
            raise ValueError
        hosts.append((one.hostname, one.port or default_port))
    return hosts


def _path(scheme: str, path: str, db: str) -> tuple[str, int]:
    """Return the path where it is a name, and the number of the database."""
    if scheme in {"redis", "rediss"}:
        return "", _number(db or path.strip("/"))
    name = path.strip("/") if scheme == "redis+sentinel" else path
    if not name:
        raise ValueError
    return name, _number(db)


def _number(db: str) -> int:
    number = int(db or 0)
    if number < 0:
        raise ValueError
    return number


def _credentials(parts: SplitResult) -> dict[str, str]:
    username, _, password = parts.netloc.rpartition("@")[0].partition(":")
    found = {"username": unquote(username), "password": unquote(password)}
    return {name: text for name, text in found.items() if text}
