"""Addresses of Redis: what they mean, and what is no address."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from tickgate_server.errors import StoreUnusable
from tickgate_server.stores.redis.address import CLUSTER, client_for

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("redis://127.0.0.1", {"host": "127.0.0.1", "port": 6379, "db": 0}),
        ("REDIS://cache:7000/3", {"host": "cache", "port": 7000, "db": 3}),
        ("redis://cache?db=4", {"host": "cache", "db": 4}),
        ("redis://[::1]:7000", {"host": "::1", "port": 7000}),
        ("redis://me:p%40ss%2F@cache", {"host": "cache", "username": "me", "password": "p@ss/"}),
        ("redis://:p@ss@cache", {"host": "cache", "password": "p@ss"}),
        ("rediss://cache:7000", {"host": "cache", "port": 7000}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}),
        ("unix://:secret@/run/my%20redis.sock", {"path": "/run/my redis.sock", "password": "secret"}),
    ],
)  # fmt: skip
def test_an_address_is_understood(url: str, known: dict[str, object]) -> None:
    """Host, port, database and credentials are those of the address, the latter percent-decoded."""
    arguments = client_for(url, 0.25, 5).connection_pool.connection_kwargs
    assert {name: arguments[name] for name in known} == known


def test_nothing_waits_or_tries_again() -> None:
    """Connecting is bounded, and no command is tried twice."""
    pool = client_for("redis://cache", 0.25, 5).connection_pool
    assert pool.max_connections == 5
    assert pool.connection_kwargs["socket_connect_timeout"] == 0.25
    assert pool.connection_kwargs["retry"].get_retries() == 0


def test_tls_is_verified_unless_told_otherwise() -> None:
    """A certificate must be trusted and name the host; options can take that back."""

    def connection(url: str) -> SSLConnection:
        made = client_for(url, 0.25, 5).connection_pool.make_connection()  # type: ignore[no-untyped-call]
        assert isinstance(made, SSLConnection)
        return made

    strict = connection("rediss://cache")
    assert strict.ssl_context.get().verify_mode.name == "CERT_REQUIRED"
    assert strict.ssl_context.get().check_hostname
    assert (
        not connection("rediss://cache?ssl_check_hostname=False").ssl_context.get().check_hostname
    )
    lax = connection("rediss://cache?ssl_cert_reqs=none")
    assert lax.ssl_context.get().verify_mode.name == "CERT_NONE"


def test_sentinels_are_asked_for_a_name() -> None:
    """All Sentinels are known, each leaves time for the others, and each side has its own password."""
    url = "redis+sentinel://me:secret@one,two:7000,[::1]:7001/prices?db=3&sentinel_password=other"
    pool = client_for(url, 0.25, 5).connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "prices"
    ours = pool.connection_kwargs
    assert (ours["db"], ours["username"], ours["password"]) == (3, "me", "secret")
    theirs = [s.connection_pool.connection_kwargs for s in pool.sentinel_manager.sentinels]
    asked = [(kwargs["host"], kwargs["port"]) for kwargs in theirs]
    assert asked == [("one", 26379), ("two", 7000), ("::1", 7001)]
    assert {(kwargs["password"], kwargs["socket_timeout"]) for kwargs in theirs} == {
        ("other", 0.25 / 4)
    }


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cache:6379",
        "http://cache",
        "redis://",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}/x@cache",
        f"redis://me:{SECRET}@cache:port",
        f"redis://:{SECRET}@cache:70000",
        f"redis://:{SECRET}@cache/prices",
        f"redis://:{SECRET}@cache/-1",
        f"redis://:{SECRET}@cache,other",
        f"redis://:{SECRET}@cache?db=one",
        f"redis://:{SECRET}@cache?{SECRET}",
        f"redis://:{SECRET}@[::1",
        f"redis://:{SECRET}@cache?max_connections=4",
        f"redis://:{SECRET}@cache?socket_timeout=4",
        f"rediss://:{SECRET}@cache?ssl_cert_reqs=maybe",
        f"rediss://:{SECRET}@cache?ssl_ca_certs=/no/such/file",
        f"unix://:{SECRET}@?db=0",
        f"redis+sentinel://:{SECRET}@cache",
        f"redis+sentinel://:{SECRET}@/prices",
        f"redis+sentinel://:{SECRET}@cache/prices/more?ssl=1",
        f"redis+cluster://:{SECRET}@cache",
        f"rediss+cluster://:{SECRET}@cache",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """It is one sentence about the setting, and holds nothing of a password."""
    with pytest.raises(StoreUnusable, match=r"^redis_url: .") as refused:
        client_for(url, 0.25, 5)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_cluster_is_refused() -> None:
    """The sentence says what to give instead."""
    with pytest.raises(StoreUnusable) as refused:
        client_for("redis+cluster://cache", 0.25, 5)
    assert str(refused.value) == CLUSTER


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    """Files are read at the start, where somebody reads the complaint."""
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(StoreUnusable, match="TLS files"):
        client_for(f"rediss://cache?ssl_ca_certs={file}", 0.25, 5)
