"""Everything that the storm rages in: real programs and servers, and a proxy of ours on each way between them."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import grpc
import psutil  # type: ignore[import-untyped]  # it ships no types

from tools.embedded import PostgresServer, RedisServer, postgres_server, redis_server
from tools.programs import (
    Program,
    environment_without_settings,
    gateway_program,
    sandbox_program,
)

from ..support.proxy import FaultProxy, fault_proxy
from .truth import Market

T = TypeVar("T")

MEBIBYTE: Final = 1 << 20

QUICK: Final = {
    # An outage of a second is over in a second, and not in the minute that it may take in production.
    "TICKGATE_ALPACA__BREAKER__COOL_DOWN": "0.3",
    "TICKGATE_ALPACA__BREAKER__COOL_DOWN_MOST": "1.5",
    "TICKGATE_ALPACA__BREAKER__KEY_COOL_DOWN_MOST": "1.5",
    "TICKGATE_ALPACA__KEEP_DENIED": "1",
    "TICKGATE_REFERENCE__RETRY_AFTER": "1",
    "TICKGATE_REFERENCE__CLOCK_INTERVAL": "5",
    "TICKGATE_STREAM__SILENCE": "3",
    "TICKGATE_STREAM__LINGER": "3",
    "TICKGATE_PROBE__IDLE": "5",
    "TICKGATE_DRAIN": "2",
    # No budget stands in the way of some hundred calls a second, and no tier answers for long in the upstream's place.
    "TICKGATE_ALPACA__BUDGET__DATA_PER_MINUTE": "1000000",
    "TICKGATE_ALPACA__BUDGET__TRADING_PER_MINUTE": "1000000",
    "TICKGATE_MEMORY__KEEP_OPEN": "0.5",
    "TICKGATE_MEMORY__KEEP_UNKNOWN": "2",
    "TICKGATE_OPTIONS__MAX_AGE": "1",
    "TICKGATE_OPTIONS__KEEP_CONTRACTS": "3",
    "TICKGATE_HISTORY__KEEP_CACHED": "3",
    "TICKGATE_INGESTION__LOOK_EVERY": "1",
}
"""Settings by which an hour's troubles fit into ten minutes."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets that are like no other text, so that any of them is found wherever it gets out."""

    key_id: str = field(default_factory=lambda: f"AKSTORM{secrets.token_hex(8).upper()}")
    secret: str = field(default_factory=lambda: f"stormsecret{secrets.token_hex(16)}")
    redis: str = field(default_factory=lambda: f"stormredis{secrets.token_hex(12)}")
    identity: str = field(default_factory=lambda: f"stormidentity{secrets.token_hex(24)}")


@dataclass(slots=True)
class Life:
    """One run of a gateway's process."""

    program: Program
    context: AbstractContextManager[Program]
    expected: set[int] = field(default_factory=lambda: {0})
    """Exit statuses that it may end with."""

    status: int | None = None
    resident: list[tuple[float, int, int]] = field(default_factory=list)
    """When, resident bytes and open files, as they were sampled."""

    @property
    def pid(self) -> int:
        """Its process."""
        return self.program.process.pid


class GatewayHouse:
    """A gateway that can be killed, stopped and started again, behind an address that stays."""

    def __init__(self, name: str, door: FaultProxy, start: Callable[[], Any]) -> None:
        """Be reached through *door*; *start* gives the context in which a program runs."""
        self.name = name
        self.door = door
        self.lives: list[Life] = []
        self._start = start

    @property
    def life(self) -> Life:
        """The newest run."""
        return self.lives[-1]

    @property
    def target(self) -> str:
        """Where callers find it, whichever run it is."""
        return f"127.0.0.1:{self.door.port}"

    @property
    def side(self) -> str:
        """Where its newest run serves `/metrics`, as it says in its log; "" where it does not."""
        said = (re.search(r'"http_listen":"([^"]+)"', line) for line in self.life.program.lines)
        return next((found[1] for found in said if found), "")

    async def start(self) -> None:
        """Run a new process, and wait until it takes calls."""
        context = self._start()
        program = await asyncio.to_thread(context.__enter__)
        self.lives.append(Life(program, context))
        address = await asyncio.to_thread(lambda: program.address)
        self.door.target_port = int(address.rpartition(":")[2])

    def signal(self, number: signal.Signals, *statuses: int) -> None:
        """Send *number*; the process may end with one of *statuses* for that."""
        self.life.expected.update(statuses)
        self.life.program.process.send_signal(number)

    async def wait(self, within: float) -> int | None:
        """Wait until the process has ended, and return its status; None when it does not in time."""
        life = self.life
        try:
            await asyncio.to_thread(life.program.process.wait, within)
        except Exception:  # noqa: BLE001 - subprocess's own word for "not yet"
            return None
        return await self.end(life)

    async def end(self, life: Life) -> int:
        """End *life* in order, unless it has ended, and read the rest of what it wrote."""
        if life.status is None:
            life.status = await asyncio.to_thread(life.program.stop)
        return life.status

    def sample(self, now: float) -> None:
        """Note how much memory and how many files the process holds."""
        life = self.life
        if life.program.process.poll() is None:
            process = psutil.Process(life.pid)
            life.resident.append((now, process.memory_info().rss, process.num_fds()))


class Sandbox:
    """The sandbox program, and its control."""

    def __init__(self, program: Program, session: aiohttp.ClientSession) -> None:
        self.program = program
        self.url = f"http://{program.address}"
        self._session = session

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Send a control request; return what it answers as JSON, or None."""
        async with self._session.request(method, f"{self.url}/sandbox/{path}", json=body) as reply:
            text = await reply.text()
            if reply.status >= 300:
                msg = f"the sandbox refuses {method} {path} {body}: {reply.status} {text}"
                raise AssertionError(msg)
        return await reply.json() if text else None

    async def get(self, path: str, **query: str) -> Any:
        """Ask what anybody may ask, past all proxies."""
        async with self._session.get(f"{self.url}{path}", params=query) as reply:
            reply.raise_for_status()
            return await reply.json()


@dataclass(slots=True)
class Stage:
    """What stands, while the storm lasts."""

    market: Market
    keys: Keys
    sandbox: Sandbox
    redis: RedisServer
    postgres: PostgresServer
    links: Mapping[str, FaultProxy]
    """The ways: `rest`, `feed`, `redis`, `postgres`, and `client` to the gateway."""

    gateway: GatewayHouse
    replica: GatewayHouse
    """Another one beside it, which follows no feed and shares Redis and PostgreSQL."""

    folder: Path
    """Where the gateways keep their files: the audit log, and API keys in a file."""

    environment: Mapping[str, str]
    """What the gateway is set to."""

    api_key: str = ""
    """Of a caller who may do everything; empty where the gateway asks for none."""

    @property
    def houses(self) -> Sequence[GatewayHouse]:
        """Both gateways."""
        return (self.gateway, self.replica)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What says who calls."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()

    @property
    def secrets(self) -> Mapping[str, str]:
        """Every text that must never get out, by what it is."""
        password = urlsplit(self.postgres.url).password or ""
        found = {
            "Alpaca key id": self.keys.key_id,
            "Alpaca secret": self.keys.secret,
            "Redis password": self.keys.redis,
            "PostgreSQL password": password,
            "identity secret": self.keys.identity,
            "API key": self.api_key,
        }
        if self.api_key:
            # Its middle part is an id, which may be seen; what follows it may not.
            found["API key's secret part"] = self.api_key.rpartition("_")[2]
        return {name: text for name, text in found.items() if text}


@asynccontextmanager
async def stage(
    market: Market,
    *,
    replica: bool = True,
    keys_in: str = "file",
    environment: Mapping[str, str] | None = None,
    quick: bool = True,
) -> AsyncIterator[Stage]:
    """Set everything up, and take it down again. Of the gateway everything is switched on.

    Args:
        market: the market of the sandbox.
        replica: whether a second gateway runs beside the first.
        keys_in: where API keys are kept: `file` or `postgres`.
        environment: more settings of the gateways.
        quick: whether the gateways are set to get over an outage quickly.
    """
    keys = Keys()
    async with AsyncExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="tickgate-storm-")))
        run_redis = redis_server(password=keys.redis)
        redis = await asyncio.to_thread(parts.enter_context, run_redis)
        postgres = await asyncio.to_thread(parts.enter_context, postgres_server())
        identity = ("--key-id", keys.key_id, "--secret", keys.secret, "--plan", "basic")
        run_sandbox = sandbox_program(*market.arguments, *identity)
        program = await asyncio.to_thread(parts.enter_context, run_sandbox)
        upstream = await asyncio.to_thread(lambda: int(program.address.rpartition(":")[2]))
        session = await parts.enter_async_context(
            aiohttp.ClientSession(
                headers={"APCA-API-KEY-ID": keys.key_id, "APCA-API-SECRET-KEY": keys.secret}
            )
        )
        targets = {
            "rest": upstream,
            "feed": upstream,
            "redis": redis.port,
            "postgres": postgres.port,
            "client": 1,
            "replica": 1,
        }
        links = {
            name: await parts.enter_async_context(fault_proxy(port))
            for name, port in targets.items()
        }
        given = {
            "APCA_API_KEY_ID": keys.key_id,
            "APCA_API_SECRET_KEY": keys.secret,
            "TICKGATE_ALPACA__DATA_URL": f"http://127.0.0.1:{links['rest'].port}",
            "TICKGATE_ALPACA__TRADING_URL": f"http://127.0.0.1:{links['rest'].port}",
            "TICKGATE_ALPACA__STREAM_URL": f"ws://127.0.0.1:{links['feed'].port}",
            "TICKGATE_IDENTITY__KEYS": keys_in,
            "TICKGATE_IDENTITY__FILE": str(folder / "keys.json") if keys_in == "file" else "",
            "TICKGATE_IDENTITY_SECRET": keys.identity,
            "TICKGATE_LIMITS__STREAMS": "500",
            "TICKGATE_LIMITS__CALLS_PER_SECOND": "100000",
            # Nobody listens there: a collector that is away is nobody's trouble either.
            "TICKGATE_TRACES__ENDPOINT": "http://127.0.0.1:1",
            "TICKGATE_TRACES__SHARE": "0.05",
            **(QUICK if quick else {}),
            **(environment or {}),
        }
        api_key = await asyncio.to_thread(_new_key, given | {"TICKGATE_POSTGRES_URL": postgres.url})
        stores = {
            "redis_url": _through(links["redis"], redis.url),
            "postgres_url": _through(links["postgres"], postgres.url),
        }
        houses = [
            _house(
                name,
                links[door],
                given | more | {"TICKGATE_AUDIT__FILE": str(folder / f"audit-{name}")},
                stores,
                f"127.0.0.1:{links['rest'].port}",
            )
            for name, door, more in (
                ("gateway", "client", {}),
                ("replica", "replica", {"TICKGATE_STREAM__ENABLED": "false"}),
            )
        ]
        built = Stage(
            market, keys, Sandbox(program, session), redis, postgres, links, houses[0], houses[1],
            folder,
            given | {f"TICKGATE_{name.upper()}": url for name, url in stores.items()},
            api_key,
        )  # fmt: skip
        for house in houses[: 1 + replica]:
            parts.push_async_callback(_close, house)
            await house.start()
        yield built


def _house(
    name: str, door: FaultProxy, given: Mapping[str, str], stores: Mapping[str, str], upstream: str
) -> GatewayHouse:
    def start() -> AbstractContextManager[Program]:
        return gateway_program(upstream, given, **stores)

    return GatewayHouse(name, door, start)


def _new_key(environment: Mapping[str, str]) -> str:
    """Return a new API key of somebody who may do everything, made as an operator makes it."""
    command = (
        "keys",
        "create",
        "storm",
        "--scopes",
        "read,stream,history,admin",
        "--expires",
        "1d",
    )
    done = subprocess.run(
        [sys.executable, "-m", "tickgate_server", *command],
        env=environment_without_settings() | dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


async def _close(house: GatewayHouse) -> None:
    """End every run of *house*, also one that holds its breath."""
    for life in house.lives:
        if life.program.process.poll() is None:
            life.program.process.send_signal(signal.SIGCONT)
        await house.end(life)


def _through(link: FaultProxy, url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{link.port}").geturl()


def channel(target: str) -> grpc.aio.Channel:
    """Return a connection of its own to *target*, which comes back soon after it was lost."""
    return grpc.aio.insecure_channel(
        target,
        options=(
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 2000),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.enable_retries", 0),
        ),
    )
