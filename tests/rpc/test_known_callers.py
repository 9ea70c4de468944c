"""The Python client with a key and a certificate before real gateways that ask for them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import tickgate
from tickgate_server.identity.consumer import Limits, Scope
from tickgate_server.stores.key_file import KeyFile

from ..support.certificates import Authority
from ..support.keys import SECRET, made_key
from ..support.limited import limited
from ..support.running import running, second_gateway

AUTHORITY = Authority()


def keyed(folder: Path) -> dict[str, Any]:
    """Settings of a gateway that takes keys out of a file, and looks at it as often as may be."""
    return {
        "identity": {"keys": "file", "file": str(folder / "keys"), "reload_every": 0.1},
        "identity_secret": SECRET,
    }


async def test_a_key_opens_what_it_is_for(tmp_path: Path) -> None:
    """Without a key nobody is known, with one that lacks the scope it is named, and with a good one all goes."""
    keys = KeyFile(tmp_path / "keys")
    reader, reading = made_key("reader", [Scope.READ])
    await keys.add(reader)
    async with running(**keyed(tmp_path)) as stack:
        async with tickgate.connect(stack.target) as stranger:
            with pytest.raises(tickgate.Unauthenticated):
                await stranger.quote("AAPL")
            with pytest.raises(tickgate.Unauthenticated):
                await stranger.follow("AAPL").__aenter__()
            with pytest.raises(tickgate.Unauthenticated):
                await stranger.bars("AAPL", "1Day", "2026-09-01", "2026-09-10")
        async with tickgate.connect(stack.target, api_key=reading) as known:
            assert (await known.quote("AAPL")).symbol == "AAPL"
            assert [each.symbol async for each in known.assets("AAPL")]
            with pytest.raises(tickgate.NotPermitted, match="stream"):
                await known.follow("AAPL").__aenter__()
            with pytest.raises(tickgate.NotPermitted, match="history"):
                await known.bars("AAPL", "1Day", "2026-09-01", "2026-09-10")
            with pytest.raises(tickgate.NotPermitted, match="admin"):
                await known.invalidate_cache()


async def test_what_is_followed_ends_with_its_key(tmp_path: Path) -> None:
    """A key that is revoked ends what was followed with it by an error that says so, and nobody connects again."""
    keys = KeyFile(tmp_path / "keys")
    key, token = made_key()
    await keys.add(key)
    async with (
        running(**keyed(tmp_path)) as stack,
        tickgate.connect(stack.target, api_key=token) as client,
        client.follow("AAPL") as quotes,
        asyncio.timeout(20),
    ):
        await keys.revoke(key.id, stack.gateway.clock.wall())
        with pytest.raises(tickgate.Unauthenticated, match="revoked") as ended:
            async for _ in quotes:
                pass
        with pytest.raises(tickgate.Unauthenticated):
            await client.quote("AAPL")
    assert token not in str(ended.value)


async def test_a_caller_knows_what_is_left_to_him() -> None:
    """Each answer says how many calls a second are allowed and left, and beyond them the error says when to come."""
    async with (
        limited({"quant": Limits(calls_per_second=3)}) as gate,
        tickgate.connect(gate.stack.target, api_key=gate.tokens["quant"]) as client,
    ):
        await client.quote("AAPL")
        known = client.rate_limit
        assert known is not None
        assert known.limit == 3
        assert known.remaining <= 2
        calls = [client.quote("AAPL") for _ in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each for each in answers if isinstance(each, tickgate.LimitExceeded)]
    assert "calls a second" in refused[0].message
    delay = refused[0].retry_delay
    assert delay is not None
    assert 0 < delay.total_seconds() <= 20 / 3


async def test_several_gateways_with_keys_and_certificates(tmp_path: Path) -> None:
    """Over TLS, with a key and a certificate, both of two gateways are asked, health and streams included."""
    keys = KeyFile(tmp_path / "keys")
    key, token = made_key()
    await keys.add(key)
    files = AUTHORITY.issue("gateway").write(tmp_path, "gateway")
    mine = AUTHORITY.issue("quant")
    secured = keyed(tmp_path) | {
        "tls": files | {"client_authorities": AUTHORITY.write(tmp_path / "ca.pem")}
    }
    tls = tickgate.Tls(
        ca=AUTHORITY.certificate,
        certificate=mine.certificate,
        key=mine.key,
        server_name="localhost",
    )
    async with (
        running(**secured) as one,
        second_gateway(one, **secured) as other,
        tickgate.connect([one.target, other.target], api_key=token, tls=tls) as client,
        asyncio.timeout(30),
    ):
        starts: set[int] = set()
        while len(starts) < 2:
            starts.add((await client.status(timeout=20)).start_time_ns)
        async with client.follow("AAPL") as quotes:
            assert (await anext(quotes)).symbol == "AAPL"
