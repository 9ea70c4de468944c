"""A health check asks a real gateway, and says in a sentence what came of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.running import running, settings_for
from tests.support.tls import certificate_of_this_process
from tickgate_server.app.health import health_target
from tickgate_server.rpc.health import Identity, ask_health
from tickgate_server.settings import Settings

NOBODY = "127.0.0.1:1"
"""Where nothing listens."""


async def test_a_gateway_that_serves_is_healthy() -> None:
    """A gateway that takes calls serves, and so does each of its services."""
    async with running() as stack:
        whole = await ask_health(stack.target)
        quotes = await ask_health(stack.target, "tickgate.v1.QuoteService")

    assert (whole.serves, whole.said) == (True, f"{stack.target} serves")
    assert quotes.serves


async def test_what_does_not_serve_is_said() -> None:
    """A service that is off, one that does not exist and a gateway that is not there are each told in words."""
    async with running(stream={"enabled": False}) as stack:
        off = await ask_health(stack.target, "tickgate.v1.StreamService")
        unknown = await ask_health(stack.target, "other.Service")
    nobody = await ask_health(NOBODY, patience=0.2)

    assert not any(health.serves for health in (off, unknown, nobody))
    assert (
        off.said
        == f"tickgate.v1.StreamService at {stack.target} does not serve: it says NOT_SERVING"
    )
    assert unknown.said.endswith("it has no service other.Service")
    assert nobody.said == f"{NOBODY}: nobody answers there, or not in time"


async def test_a_gateway_that_is_starting_is_waited_for() -> None:
    """A health check that comes before the gateway waits for it, as long as it has patience."""
    async with running() as first:
        port = first.gateway.port
    asked = asyncio.create_task(ask_health(f"127.0.0.1:{port}", patience=20.0))
    async with running(listen=f"127.0.0.1:{port}"):
        assert (await asked).serves


async def test_a_gateway_with_tls_is_known_by_its_certificate() -> None:
    """With TLS the gateway's own certificate is enough to ask it, and no other one is taken for it."""
    folder = certificate_of_this_process()
    tls = {"certificate": str(folder / "certificate.pem"), "private_key": str(folder / "key.pem")}
    async with running(tls=tls) as stack:
        target, own = health_target(
            lambda: settings_for(stack.sandbox.url, listen=stack.target, tls=tls),
            None,
            None,
            None,
            None,
        )
        known = await ask_health(target, identity=own)
        by_authority = await ask_health(target, identity=Identity(folder / "certificate.pem"))
        plain = await ask_health(target, patience=1.0)

    assert own is not None
    assert own.own
    assert known.serves, known.said
    assert by_authority.serves
    assert not plain.serves


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
        ("10.1.2.3:50051", "10.1.2.3:50051"),
    ],
)
def test_it_is_asked_where_it_listens(listen: str, asked: str) -> None:
    """Who listens on every address is asked on the machine's own."""
    assert health_target(lambda: Settings(listen=listen), None, None, None, None) == (asked, None)


def test_settings_are_not_read_where_a_target_is_given() -> None:
    """A gateway that is named is asked, whatever the settings say."""

    def none() -> Settings:
        raise AssertionError

    authority, certificate, key = Path("ca.pem"), Path("own.pem"), Path("own.key")

    assert health_target(none, NOBODY, None, None, None) == (NOBODY, None)
    target, identity = health_target(none, NOBODY, authority, certificate, key)
    assert (target, identity) == (NOBODY, Identity(authority, (certificate, key)))
