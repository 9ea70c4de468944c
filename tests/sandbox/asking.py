"""How these tests ask a sandbox: over a real socket, with a client that hides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from tickgate_sandbox import Sandbox, SandboxSettings, sandbox

KEYS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
"""Any pair will do, unless the sandbox was told otherwise."""

MARKET_OPEN = "2026-11-20T10:00:00-05:00"
"""A Friday on which the market is open."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])


class Client:
    """Asks one sandbox, with keys unless told otherwise."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str, /, **query: str) -> Answer:
        return await self.send("GET", path, params=query)

    async def get_as(self, headers: dict[str, str], path: str) -> Answer:
        return await self.send("GET", path, headers=headers)

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        body: Any = None,
    ) -> Answer:
        request = self._session.request(
            method,
            f"{self._url}{path}",
            headers=KEYS if headers is None else headers,
            params=params,
            data=body if isinstance(body, bytes | None) else msgspec.json.encode(body),
        )
        async with request as response:
            return Answer(response.status, dict(response.headers), await response.read())


def synthetic(**changes: Any) -> SandboxSettings:
    """Return settings of a made-up market whose time stands still while it is open."""
    defaults: dict[str, Any] = {"listen": "127.0.0.1:0", "at": MARKET_OPEN, "speed": 0.0}
    return SandboxSettings(**(defaults | changes))


@asynccontextmanager
async def asked(
    settings: SandboxSettings | None = None, **clocks: Callable[[], int]
) -> AsyncIterator[tuple[Sandbox, Client]]:
    """Run a sandbox and a client of it, which outlives it."""
    async with (
        # A connection of its own for each request, so that no fault is hidden by a retry.
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
        sandbox(settings or synthetic(), **clocks) as running,
    ):
        yield running, Client(session, running.url)
