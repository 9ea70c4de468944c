"""Everything that is thrown at the gateway: each fault has a name, a beginning and an end.

What the sandbox can do is read from its own lists of faults: a new kind without a line here fails before anything
starts.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args
from urllib.parse import urlsplit

import msgspec
import psycopg
import redis as redis_client
from psycopg.sql import SQL, Literal

from tickgate_sandbox import faults as sandbox_faults
from tickgate_sandbox.stream import faults as feed_faults

from .stage import GatewayHouse, Stage

Act = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which something goes wrong, for a while."""

    name: str
    family: str
    begin: Act
    end: Act
    holds: float = 0.5
    """Seconds that it lasts at least, beside the round of calls that is made under it."""

    cut: bool = False
    """Whether it strikes the gateway itself or the way to it, so that a call may get no answer of its own."""

    doubtful: bool = False
    """Whether the upstream answers, and rightly in its own words, that it has nothing."""

    breaks_feed: bool = False
    """Whether the live feed has to connect anew. It waits the longer, the sooner it was lost again."""

    unknowable: bool = False
    """Whether records may be lost of which nobody can ever know."""


# ------------------------------------------------------------------------------ the sandbox's own

_LATEST: Final = "/v2/stocks/quotes/latest"

UPSTREAM: Final[Mapping[str, Sequence[tuple[str, dict[str, Any]]]]] = {
    "status": (
        ("status 500", {"status": 500}),
        (
            "status 503 as a page",
            {"status": 503, "body": "<html>busy</html>", "content_type": "text/html"},
        ),
        ("status 429", {"status": 429, "headers": {"Retry-After": "1"}}),
        ("status 401", {"status": 401}),
        ("status 403 of data", {"status": 403, "path": "/v2/stocks"}),
        ("status 422 of data", {"status": 422, "path": "/v2/stocks"}),
    ),
    "latency": (("latency", {"seconds": 1.0}), ("latency beyond every deadline", {"seconds": 6.0})),
    "hang": (("hang", {}),),
    "reset": (("reset", {}), ("every second answer reset", {"times": 30})),
    "truncate": (("truncate", {}),),
    "garbage": (("garbage", {}),),
    "html_401": (("html_401", {}),),
    "null_body": (("null_body", {}),),
    "empty_body": (("empty_body", {}),),
    "reply": (
        ("reply []", {"body": "[]"}),
        ("reply {}", {"body": "{}"}),
        ("reply of numbers for texts", {"body": '{"quotes":{"AAPL":{"t":5,"bp":"x"}},"bars":7}'}),
    ),
    "wrong_symbol": (("wrong_symbol", {"symbol": "NOBODY", "path": _LATEST}),),
    "drop_symbols": (
        ("drop_symbols", {"symbols": ["AAPL", "MSFT"], "path": _LATEST}),
        ("drop_symbols of snapshots", {"symbols": ["TSLA"], "path": "/v2/stocks/snapshots"}),
    ),
    "short_pages": (("short_pages", {"records": 90, "path": "/v2/stocks"}),),
    "empty_page": (
        ("empty_page", {"path": "/v2/stocks"}),
        ("a second page that is empty", {"path": "/v2/stocks", "page": 2, "times": 5}),
    ),
    "same_token": (("same_token", {"path": "/v2/stocks"}),),
}
"""What each kind of the REST API's faults is thrown as."""

_NOTHING: Final = frozenset(
    {"null_body", "empty_body", "reply", "wrong_symbol", "drop_symbols", "empty_page", "garbage"}
)

FEED: Final[Mapping[str, Sequence[tuple[str, dict[str, Any]]]]] = {
    "handshake": (("handshake 503", {"status": 503}),),
    "refuse": (
        ("auth refused 500", {"code": 500, "close": True}),
        ("subscription refused", {"code": 500, "on": "subscribe", "times": 2}),
    ),
    "occupied": (("occupied (406)", {"seconds": 2.0}),),
    "slow_auth": (("slow_auth", {"seconds": 1.0}),),
    "partial_ack": (("partial_ack", {"count": 2, "times": 2}),),
    "hold_slot": (("hold_slot", {"seconds": 2.0}),),
    "mute": (("mute", {}), ("mute without pings", {"pings": False})),
    "error": (
        ("error 500", {"code": 500, "close": True}),
        ("slow client (407)", {"code": 407, "close": True}),
    ),
    "close": (("close", {}),),
    "drop": (("drop", {}), ("drop by reset", {"reset": True})),
    "cut_frame": (("cut_frame", {}),),
    "garbage": (("garbage frame", {}),),
}
"""What each kind of the streams' faults is thrown as."""

_SUDDEN: Final = frozenset({"error", "close", "drop", "cut_frame", "garbage"})


def _kinds(union: Any) -> set[str]:
    """Return the kinds of a union of tagged structs."""
    return {str(msgspec.inspect.type_info(one).tag) for one in get_args(union)}  # type: ignore[attr-defined]


def _of_sandbox() -> list[Fault]:
    assert _kinds(sandbox_faults.AnyFault) == UPSTREAM.keys(), (
        "a fault of the sandbox is not thrown"
    )
    assert _kinds(feed_faults.AnyStreamFault) == FEED.keys(), "a fault of the streams is not thrown"

    async def clear(stage: Stage) -> None:
        await stage.sandbox.control("DELETE", "faults")
        await stage.sandbox.control("DELETE", "stream/faults")

    def arm(kind: str, body: dict[str, Any]) -> Act:
        async def begin(stage: Stage) -> None:
            await stage.sandbox.control("POST", "faults", {"kind": kind, **body})

        return begin

    def strike(kind: str, body: dict[str, Any]) -> Act:
        async def begin(stage: Stage) -> None:
            await stage.sandbox.control("POST", "stream/faults", {"kind": kind, **body})
            if kind not in _SUDDEN | {"mute"}:
                # Its occasion is the next connection.
                await stage.sandbox.control("POST", "stream/faults", {"kind": "drop"})

        return begin

    rest = [
        Fault(f"rest: {name}", "rest", arm(kind, body), clear, doubtful=kind in _NOTHING)
        for kind, thrown in UPSTREAM.items()
        for name, body in thrown
    ]
    feed = [
        Fault(
            f"feed: {name}",
            "feed",
            strike(kind, body),
            clear,
            # A socket must be mute for longer than the gateway takes to ask why.
            holds=8.0 if kind == "mute" else 1.0,
            breaks_feed=True,
            unknowable=kind == "mute",
        )
        for kind, thrown in FEED.items()
        for name, body in thrown
    ]
    return rest + feed


# -------------------------------------------------------------------------------------- the stores


def _redis(*words: Any, password: str = "") -> Act:
    async def act(stage: Stage) -> None:
        def tell() -> None:
            parts = urlsplit(stage.redis.url)
            url = (
                stage.redis.url
                if not password
                else parts._replace(netloc=f":{password}@127.0.0.1:{parts.port}").geturl()
            )
            with redis_client.Redis.from_url(url) as client:
                client.execute_command(*words)
                if words[:3] == ("CONFIG", "SET", "requirepass"):
                    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        await asyncio.to_thread(tell)

    return act


async def _restore_password(stage: Stage) -> None:
    await _redis("CONFIG", "SET", "requirepass", stage.keys.redis, password=_OTHER)(stage)


_OTHER: Final = "another"


def _in_thread(act: Callable[[Stage], Any]) -> Act:
    async def run(stage: Stage) -> None:
        await asyncio.to_thread(act, stage)

    return run


def _restart_postgres(stage: Stage) -> None:
    stage.postgres.stop()
    stage.postgres.start()


def _sql(stage: Stage, *statements: Any) -> None:
    with psycopg.connect(stage.postgres.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


_END_OTHERS: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
)


def _read_only(switch: str) -> Act:
    return _in_thread(
        lambda stage: _sql(
            stage,
            SQL("ALTER SYSTEM SET default_transaction_read_only = {}").format(Literal(switch)),
            "SELECT pg_reload_conf()",
            _END_OTHERS,
        )
    )


async def _nothing(stage: Stage) -> None:
    """Leave it to itself."""


def _of_stores() -> list[Fault]:
    store = {
        "redis": (
            ("killed", _in_thread(lambda s: s.redis.kill()), _in_thread(lambda s: s.redis.start())),
            ("stopped", _in_thread(lambda s: s.redis.pause()), _in_thread(lambda s: s.redis.resume())),
            ("another password", _redis("CONFIG", "SET", "requirepass", _OTHER), _restore_password),
            ("read-only", _redis("REPLICAOF", "127.0.0.1", "1"), _redis("REPLICAOF", "NO", "ONE")),
            ("out of memory", _redis("CONFIG", "SET", "maxmemory", "1"), _redis("CONFIG", "SET", "maxmemory", "0")),
        ),
        "postgres": (
            ("killed", _in_thread(lambda s: s.postgres.kill()), _in_thread(lambda s: s.postgres.start())),
            ("stopped", _in_thread(lambda s: s.postgres.pause()), _in_thread(lambda s: s.postgres.resume())),
            ("restarted", _in_thread(_restart_postgres), _nothing),
            ("connections ended", _in_thread(lambda s: _sql(s, _END_OTHERS)), _nothing),
            ("read-only", _read_only("on"), _read_only("off")),
        ),
    }  # fmt: skip
    return [
        Fault(f"{name}: {what}", name, begin, end)
        for name, faults in store.items()
        for what, begin, end in faults
    ]


# ------------------------------------------------------------------------------------- the network


def _on(link: str, act: Callable[[Any], None]) -> Act:
    async def run(stage: Stage) -> None:
        act(stage.links[link])

    return run


def _mended(link: str) -> Act:
    async def run(stage: Stage) -> None:
        proxy = stage.links[link]
        # What was swallowed is gone, as no network would have it: the connections must not live on as if nothing was.
        proxy.reset()
        proxy.mend()

    return run


_WAYS: Final[Mapping[str, tuple[Callable[[Any], None], bool]]] = {
    "latency": (lambda proxy: proxy.delay(0.2), False),
    "jitter": (lambda proxy: proxy.delay(0.02, 0.3), False),
    "throttle": (lambda proxy: proxy.throttle(30_000), False),
    "reset": (lambda proxy: proxy.reset(), True),
    "half-close": (lambda proxy: proxy.half_close(), True),
    "blackhole": (lambda proxy: proxy.blackhole(), True),
    "cut after 4 kB": (lambda proxy: proxy.cut_after(4096), True),
    "refused": (lambda proxy: proxy.refuse(), True),
}
"""What can happen on a way, and whether its connections have to be made anew afterwards."""


def _of_network() -> list[Fault]:
    return [
        Fault(
            f"way to {link}: {name}",
            "network",
            _on(link, act),
            _mended(link) if spoils else _on(link, lambda proxy: proxy.mend()),
            holds=1.0,
            cut=link == "client",
            breaks_feed=link == "feed",
        )
        for link in ("rest", "feed", "redis", "postgres", "client")
        for name, (act, spoils) in _WAYS.items()
    ]


# ------------------------------------------------------------------------------------- the process


def _signalled(number: signal.Signals, status: int) -> Act:
    async def run(stage: Stage) -> None:
        house = stage.gateway
        house.signal(number, status)
        ended = await house.wait(30.0)
        assert ended is not None, f"the gateway did not end on {number.name}"

    return run


async def _start_again(stage: Stage) -> None:
    await stage.gateway.start()


def _holding(number: signal.Signals) -> Act:
    async def run(stage: Stage) -> None:
        stage.gateway.signal(number)

    return run


def _of_process() -> list[Fault]:
    return [
        Fault("gateway: SIGTERM", "process", _signalled(signal.SIGTERM, 0), _start_again, cut=True),
        Fault("gateway: SIGKILL", "process", _signalled(signal.SIGKILL, -9), _start_again, cut=True),
        Fault(
            "gateway: SIGSTOP", "process",
            _holding(signal.SIGSTOP), _holding(signal.SIGCONT), holds=1.0, cut=True,
        ),
    ]  # fmt: skip


def every_fault() -> Sequence[Fault]:
    """Return all of them."""
    found = [*_of_process(), *_of_sandbox(), *_of_stores(), *_of_network()]
    assert len({one.name for one in found}) == len(found)
    return found


__all__ = ["FEED", "UPSTREAM", "Fault", "GatewayHouse", "every_fault"]
