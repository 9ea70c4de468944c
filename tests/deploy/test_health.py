"""A health check asks a real gateway, and says in a sentence what came of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.running import running, settings_for
from tickgate_server.commands.health import health_target
from tickgate_server.errors import OrderError
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


async def test_a_gateway_with_tls_is_known_by_its_certificate(tmp_path: Path) -> None:
    """With TLS the gateway's own certificate is enough to ask it, and no other one is taken for it."""
    authority = Authority()
    tls = authority.issue("gateway").write(tmp_path, "gateway")
    other = authority.issue("other").write(tmp_path, "other")
    ca = Path(authority.write(tmp_path / "ca.pem"))
    async with running(tls=tls) as stack:

        def settings() -> Settings:
            return settings_for(stack.sandbox.url, listen=stack.target, tls=tls)

        target, own = health_target(settings, None, None, None, None)
        known = await ask_health(target, identity=own)
        by_authority = await ask_health(target, identity=Identity(ca))
        another = await ask_health(target, identity=Identity(Path(other["certificate"]), own=True))
        plain = await ask_health(target, patience=1.0)

    assert own == Identity(Path(tls["certificate"]), own=True)
    assert known.serves, known.said
    assert by_authority.serves
    assert not another.serves
    assert "certificate" in another.said
    assert not plain.serves


async def test_a_gateway_that_asks_for_certificates_is_shown_one(tmp_path: Path) -> None:
    """Where callers must show a certificate, the gateway's own will do if one of their authorities has signed it."""
    authority = Authority()
    ca = authority.write(tmp_path / "ca.pem")
    tls = authority.issue("gateway").write(tmp_path, "gateway") | {"client_authorities": ca}
    async with running(tls=tls) as stack:

        def settings() -> Settings:
            return settings_for(stack.sandbox.url, listen=stack.target, tls=tls)

        target, own = health_target(settings, None, None, None, None)
        shown = await ask_health(target, identity=own)
        nothing = await ask_health(target, identity=Identity(Path(ca)), patience=1.0)

    assert shown.serves, shown.said
    assert not nothing.serves


def test_arguments_that_do_not_fit_are_refused() -> None:
    """Half of a pair, and a certificate that would be shown to nobody, are refused in words."""
    own, key = Path("own.pem"), Path("own.key")

    with pytest.raises(OrderError, match="both or none"):
        health_target(Settings, NOBODY, None, own, None)
    with pytest.raises(OrderError, match="needs --ca"):
        health_target(Settings, NOBODY, None, own, key)


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
