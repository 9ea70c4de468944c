"""Requests that no client of ours would send, to a real gateway over real connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from tickgate_sandbox import SandboxSettings

from ..storm.contract import Rpc
from ..storm.oracle import LATE_WRITE, Oracle
from ..storm.questions import Question, Scene, questions
from ..storm.truth import Market, Truth
from ..support.running import running
from ..support.stores import postgres_url, redis_url
from .found import Found
from .mutate import spoil_message, spoil_wire

_AT_ONCE: Final = 40
_DEADLINE: Final = 2.0
_HANG: Final = 20.0
"""Seconds within which any call must have ended, on a machine that does much else."""

_LOOKS: Final = 20
"""How often memory is looked at."""

_FINE: Final = frozenset(
    {
        "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNAVAILABLE",
        "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED", "DATA_LOSS", "CANCELLED", "(late)",
    }
)  # fmt: skip
"""Statuses that a request may be answered with; UNIMPLEMENTED is for reasons of the contract alone."""

_MARKET: Final = SandboxSettings(at="2026-11-20T15:00:00Z", speed=0, step=3.0, seed=7)


async def fuzz_requests(seed: int, count: int) -> Found:
    """Send *count* requests to every call of the contract, spoilt in every way."""
    dice = random.Random(seed)
    found = Found("requests")
    truth = Truth(Market(at=_MARKET.at or "", step=_MARKET.step, seed=_MARKET.seed))
    now = truth.market.start
    oracle = Oracle(truth, lambda _: now, 0)
    scene = Scene(dice, truth, oracle, truth.contracts("AAPL", 8), lambda: now)
    asked = list(questions().values())
    settings: dict[str, Any] = {
        "alpaca": {"budget": {"data_per_minute": 1_000_000, "trading_per_minute": 1_000_000}},
    }
    async with AsyncExitStack() as parts:
        settings["redis_url"] = parts.enter_context(redis_url())
        settings["postgres_url"] = parts.enter_context(postgres_url())
        stack = await parts.enter_async_context(running(_MARKET, **settings))
        gate = asyncio.Semaphore(_AT_ONCE)
        left = iter(range(count))

        async def caller(channel: grpc.aio.Channel) -> None:
            for number in left:
                async with gate:
                    await _try(channel, dice.choice(asked), scene, dice, found)
                if number % max(1, count // _LOOKS) == 0:
                    found.look()

        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_metadata_size", 1 << 20))
        channels = [grpc.aio.insecure_channel(stack.target, options=options) for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            for number in range(_AT_ONCE):
                group.create_task(caller(channels[number % len(channels)]))
        for channel in channels:
            await channel.close()
        found.look()
        await _still_works(stack.target, asked, scene, found)
    return found


async def _try(
    channel: grpc.aio.Channel, question: Question, scene: Scene, dice: random.Random, found: Found
) -> None:
    rpc = question.rpc
    data, metadata = _request(question, scene, dice)
    try:
        async with asyncio.timeout(_HANG):
            answers = await _send(channel, rpc, data, metadata)
    except grpc.aio.AioRpcError as error:
        _look_at_failure(rpc, error, data, found)
        return
    except TimeoutError:
        found.object("a hang", f"{rpc} {data.hex()}")
        return
    found.outcomes["OK"] += 1
    for answer in answers:
        try:
            rpc.response.FromString(answer)
        except Exception as error:  # noqa: BLE001 - whatever protobuf says of it
            found.object("an answer that is none", f"{rpc} {error} {answer[:200]!r}")


def _request(
    question: Question, scene: Scene, dice: random.Random
) -> tuple[bytes, Sequence[tuple[str, str | bytes]]]:
    request: Any = question.make(scene)
    kind = dice.randrange(10)
    if kind < 4:
        data = spoil_message(dice, request).SerializeToString()
    elif kind < 9:
        data = spoil_wire(dice, request.SerializeToString())
    else:
        data = request.SerializeToString()
    return data, _metadata(dice) if dice.random() < 0.3 else ()


def _metadata(dice: random.Random) -> Sequence[tuple[str, str | bytes]]:
    odd: Sequence[tuple[str, str | bytes]] = (
        ("x-request-id", "a" * dice.choice((1, 64, 65, 4000))),
        ("x-request-id", "\x20\x7e"),
        ("x-request-id", ""),
        ("authorization", "Bearer " + "x" * dice.choice((0, 10, 5000))),
        ("authorization", "Basic Zm9vOmJhcg=="),
        ("authorization", "tg_"),
        (
            "traceparent",
            dice.choice(("00-" + "0" * 32 + "-" + "0" * 16 + "-01", "zz", "00-ff-ff-ff")),
        ),
        ("tracestate", "a=" + "b" * 600),
        ("baggage", ",".join(f"k{n}=v" for n in range(200))),
        ("odd-bin", dice.randbytes(dice.choice((0, 1, 3000)))),
        ("grpc-previous-rpc-attempts", "99999"),
        ("grpc-tags-bin", dice.randbytes(50)),
    )
    return dice.sample(odd, dice.randint(1, 4))


async def _send(channel: grpc.aio.Channel, rpc: Rpc, data: bytes, metadata: Any) -> list[bytes]:
    if rpc.asks_on:
        call: Any = channel.stream_stream(rpc.path)(timeout=0.2, metadata=metadata)
        answers: list[bytes] = []
        try:
            await call.write(data)
            while len(answers) < 5 and (answer := await call.read()) is not grpc.aio.EOF:
                answers.append(answer)
        except asyncio.InvalidStateError:
            pass  # it is over already; its status is looked at below
        finally:
            if len(answers) >= 5:
                call.cancel()
        if len(answers) < 5 and await call.code() is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                await call.code(),
                await call.initial_metadata(),
                await call.trailing_metadata(),
                await call.details(),
            )
        return answers
    if rpc.answers_on:
        timeout = 0.2 if rpc.service == "StreamService" else _DEADLINE
        stream: Any = channel.unary_stream(rpc.path)
        return [answer async for answer in stream(data, timeout=timeout, metadata=metadata)]
    ask: Any = channel.unary_unary(rpc.path)
    return [await ask(data, timeout=_DEADLINE, metadata=metadata)]


def _look_at_failure(rpc: Rpc, error: grpc.aio.AioRpcError, data: bytes, found: Found) -> None:
    info = _info(error)
    # The caller's own library says INTERNAL where a deadline passes while it writes.
    name = "(late)" if error.details() == LATE_WRITE and info is None else error.code().name
    found.outcomes[name] += 1
    unsupported = name == "UNIMPLEMENTED" and info is not None and info.reason == "NOT_SUPPORTED"
    if name not in _FINE and not unsupported:
        found.object(f"status {name}", f"{rpc} {data[:300].hex()} {error.details()} {info}")
    if name == "INVALID_ARGUMENT" and info is None:
        found.object(
            "a refusal that does not explain itself", f"{rpc} {data[:300].hex()} {error.details()}"
        )


def _info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    trailers: Mapping[str, Any] = dict(error.trailing_metadata() or ())
    data = trailers.get("grpc-status-details-bin")
    if data is None:
        return None
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(data).details:
        if detail.Unpack(info):
            return info
    return None


async def _still_works(target: str, asked: Sequence[Question], scene: Scene, found: Found) -> None:
    """After all of that every call is as good as before."""
    async with grpc.aio.insecure_channel(target) as channel:
        for question in asked:
            if question.rpc.service == "StreamService" or not str(question.rpc).startswith("Quote"):
                continue
            try:
                await question.rpc.on(channel)(question.make(scene), timeout=10)
            except grpc.aio.AioRpcError as error:
                if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED):
                    found.object(
                        "a gateway that no longer works", f"{question.rpc} {error.details()}"
                    )
