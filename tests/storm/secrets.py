"""The search for secrets in everything that a gateway has said: logs, files, statuses, errors, metrics, settings."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
import psycopg
import redis

from tickgate.v1 import admin_service_pb2 as admin
from tickgate.v1 import admin_service_pb2_grpc as admin_services
from tickgate.v1 import status_service_pb2 as status
from tickgate.v1 import status_service_pb2_grpc as status_services
from tools.programs import environment_without_settings

from .stage import GatewayHouse, Stage, channel

_REPRS: Final = """
from tickgate_server.settings import Settings
settings = Settings()
print(settings, repr(settings), settings.model_dump(), *(repr(part) for _, part in settings))
"""
"""In a process of its own: what judges imports no part of the server."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A secret that got out. What it is is not shown again."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"the {self.what} stands in {self.where}"


async def search(stage: Stage, corpus: Iterable[str]) -> tuple[list[Leak], Mapping[str, int]]:
    """Return what was found, and how much was searched, by place; *corpus* is what callers got to read."""
    places: dict[str, str] = {"statuses and their details": "\n".join(corpus)}
    for house in stage.houses:
        for number, life in enumerate(house.lives, 1):
            places[f"log of {house.name} {number}"] = "".join(life.program.lines)
    for path in sorted(stage.folder.rglob("*")):
        if path.is_file() and not path.name.startswith("secret"):
            data = path.read_bytes()
            if path.suffix == ".gz":
                data = gzip.decompress(data)
            places[path.name] = data.decode(errors="replace")
    places |= await _asked(stage)
    for house in stage.houses:
        places |= await _pages(house)
    places["config"] = await asyncio.to_thread(_run, stage, "-m", "tickgate_server", "config")
    places["reprs of settings"] = await asyncio.to_thread(_run, stage, "-c", _REPRS)
    places["redis"] = await asyncio.to_thread(_redis, stage)
    places["error log in PostgreSQL"] = await asyncio.to_thread(_error_log, stage)
    return leaks_in(places, stage.secrets), {where: len(text) for where, text in places.items()}


def leaks_in(places: Mapping[str, str], secrets: Mapping[str, str]) -> list[Leak]:
    """Return which of *secrets* stand in which of *places*."""
    return [
        Leak(what, where)
        for where, text in places.items()
        for what, secret in secrets.items()
        if secret in text
    ]


async def _asked(stage: Stage) -> dict[str, str]:
    """Return what a caller can ask for."""
    places: dict[str, str] = {}
    async with channel(stage.gateway.target) as way:
        stub: admin_services.AdminServiceAsyncStub = admin_services.AdminServiceStub(way)
        told = []
        token = ""
        for _ in range(20):
            page = await stub.ListErrors(
                admin.ListErrorsRequest(page_size=1000, page_token=token),
                metadata=stage.metadata, timeout=20,
            )  # fmt: skip
            told += [str(one) for one in page.errors]
            token = page.next_page_token
            if not token:
                break
        places["ListErrors"] = "\n".join(told)
        asked: status_services.StatusServiceAsyncStub = status_services.StatusServiceStub(way)
        answer = await asked.GetStatus(
            status.GetStatusRequest(), metadata=stage.metadata, timeout=20
        )
        places["GetStatus"] = str(answer)
    return places


async def _pages(house: GatewayHouse) -> dict[str, str]:
    """Return what the side port of *house* shows."""
    assert house.side, f"{house.name} did not say where its side port is"
    places: dict[str, str] = {}
    async with aiohttp.ClientSession() as session:
        for page in ("metrics", "livez", "readyz", "version"):
            async with session.get(f"http://{house.side}/{page}") as reply:
                places[f"/{page} of {house.name}"] = await reply.text()
    return places


def _run(stage: Stage, *arguments: str) -> str:
    """Return what a Python program writes that runs with the gateway's settings."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment_without_settings() | dict(stage.environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _redis(stage: Stage) -> str:
    with redis.Redis.from_url(stage.redis.url) as client:
        keys = list(client.scan_iter(count=1000))
        values = [client.get(key) for key in keys if client.type(key) == b"string"]
    return "\n".join(repr(one) for one in (*keys, *values))


def _error_log(stage: Stage) -> str:
    with psycopg.connect(stage.postgres.url) as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_name LIKE '%error%'"
        ).fetchall()
        rows = [
            str(row)
            for schema, name in tables
            for row in connection.execute(
                f'SELECT * FROM "{schema}"."{name}" LIMIT 100000'
            ).fetchall()
        ]
    return "\n".join(rows)
