"""Callers: every call once in each round, and some all the time, each answer given to the judge."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from .matrix import ANSWERED, Matrix
from .oracle import Asked, Oracle
from .questions import Question, Scene, known_symbols

MARGIN: Final = 6.0
"""Seconds past its deadline by which a call must have ended, on a machine that has much else to do."""

LOOK: Final = 1.2
"""Seconds for which somebody looks in on a live stream."""

_LOOK_EVERY: Final = 0.05
_PAUSE: Final = 0.03
"""Seconds between two calls of a caller who never stops."""

_FALSE: Final = frozenset(
    {"SYMBOL_UNKNOWN", "CONTRACT_UNKNOWN", "CONTRACT_EXPIRED", "INVALID_REQUEST"}
)


@dataclass(slots=True)
class Weather:
    """What is struck now, for whoever has to judge a failure by it."""

    name: str = "calm"
    cut: bool = False
    """Whether the way to the gateway, or its process, is struck or was a moment ago."""

    stalls: list[tuple[float, float]] = field(default_factory=list)
    """When, by the monotonic clock, this process itself did not get round to anything, and for how many seconds."""

    looked: float = field(default_factory=time.monotonic)
    """When this process last got round to looking at itself."""

    corpus: set[str] = field(default_factory=set)
    """Words that callers got to read with failures, for the search for secrets."""

    async def watch_ourselves(self) -> None:
        """Note when the judge has kept everybody waiting, which is no fault of the gateway's."""
        while True:
            self.looked = time.monotonic()
            await asyncio.sleep(_LOOK_EVERY)
            stalled = time.monotonic() - self.looked - _LOOK_EVERY
            if stalled > _LOOK_EVERY:
                self.stalls.append((self.looked, stalled))

    def stalled_since(self, began: float) -> float:
        """Return the seconds lost since *began*, those that last still too."""
        before = sum(seconds for when, seconds in self.stalls if when + seconds > began)
        return before + max(0.0, time.monotonic() - self.looked - _LOOK_EVERY)


class Load:
    """The callers of one gateway after the other."""

    def __init__(
        self,
        scene: Scene,
        questions: Mapping[str, Question],
        channels: Sequence[grpc.aio.Channel],
        weather: Weather,
        metadata: Callable[[], Any],
    ) -> None:
        """Ask *questions* on *channels*, of which the first leads to the gateway that follows feeds."""
        self.matrix = Matrix()
        self._scene = scene
        self._questions = questions
        self._channels = channels
        self._weather = weather
        self._metadata = metadata
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def _oracle(self) -> Oracle:
        return self._scene.oracle

    def start(self, callers: int) -> None:
        """Let so many callers ask and ask."""
        loop = asyncio.get_running_loop()
        self._tasks += [loop.create_task(self._ask_on(number)) for number in range(callers)]

    async def stop(self) -> None:
        """Let them go; fail when one of them has stumbled."""
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        self._tasks.clear()

    async def round(self) -> None:
        """Ask every question once, all at the same time."""
        async with asyncio.TaskGroup() as group:
            for question in self._questions.values():
                group.create_task(self.ask(question, self._channels[0]))

    async def _ask_on(self, number: int) -> None:
        dice = random.Random(self._scene.dice.random())
        unary = [one for one in self._questions.values() if one.rpc.service != "StreamService"]
        weights = [
            6 if one.rpc.service in ("QuoteService", "HistoryService") else 1 for one in unary
        ]
        while True:
            (question,) = dice.choices(unary, weights)
            # Every fourth call goes to the other gateway, where there is one.
            channel = self._channels[-1] if dice.random() < 0.25 else self._channels[0]
            await self.ask(question, channel)
            await asyncio.sleep(_PAUSE)

    async def ask(
        self, question: Question, channel: grpc.aio.Channel, *, judged: bool = True
    ) -> None:
        """Ask *question* and have the answer judged, which may take longer than to answer it."""
        weather = self._weather.name
        asked = Asked(str(question.rpc), weather, latest=question.latest)
        request = question.make(self._scene)
        began = time.monotonic()
        patience = question.patience
        if question.rpc.service == "StreamService":
            label = await self._look_in(question, channel, request, asked)
        else:
            label = await self._answer(question, channel, request, asked, judged=judged)
        took = time.monotonic() - began
        if self._hung(began, patience * max(1, question.pages)):
            self._oracle.found.object("a call that hung", f"{asked} {took:.1f} s")
        self.matrix.enter(str(question.rpc), weather, label, took)

    async def _answer(
        self,
        question: Question,
        channel: grpc.aio.Channel,
        request: Any,
        asked: Asked,
        *,
        judged: bool,
    ) -> str:
        answers: list[Message] = []
        try:
            for _ in range(question.pages):
                began = time.monotonic()
                answers += await self._call(question, channel, request)
                if self._hung(began, question.patience):
                    self._oracle.found.object("a call that hung", str(asked))
                token = _next_page(answers[-1]) if question.pages > 1 and answers else ""
                if not token:
                    break
                request.page_token = token
        except grpc.aio.AioRpcError as error:
            return self._failed(error, request, asked)
        if not judged:
            return ANSWERED
        before = self._oracle.found.values.total()
        reasons = self._oracle.found.reasons.copy()
        for answer in answers:
            self._oracle.judge(answer, asked)
        question.check(self._scene, request, answers, asked)
        new = self._oracle.found.reasons - reasons
        if new and self._oracle.found.values.total() == before:
            return next(iter(new))
        return ANSWERED

    def _hung(self, began: float, patience: float) -> bool:
        took = time.monotonic() - began
        return (
            took > patience + MARGIN
            and took - self._weather.stalled_since(began) > patience + MARGIN
        )

    async def _call(self, question: Question, channel: grpc.aio.Channel, request: Any) -> list[Any]:
        call = question.rpc.on(channel)(
            request, timeout=question.patience, metadata=self._metadata()
        )
        if not question.rpc.answers_on:
            return [await call]
        return [message async for message in call]

    async def _look_in(
        self, question: Question, channel: grpc.aio.Channel, request: Any, asked: Asked
    ) -> str:
        """Read a live stream for a moment."""
        asked.streamed = True
        metadata = self._metadata()
        rpc = question.rpc.on(channel)
        call = (
            rpc(metadata=metadata, timeout=LOOK)
            if question.rpc.asks_on
            else rpc(request, metadata=metadata, timeout=LOOK)
        )
        heard = 0
        try:
            if question.rpc.asks_on:
                await call.write(request)
            while (message := await call.read()) is not grpc.aio.EOF:
                heard += message.WhichOneof("event") in ("updates", "statuses")
                self._oracle.judge(message, asked)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and heard:
                return ANSWERED
            return self._failed(error, request, asked)
        except asyncio.InvalidStateError:
            pass  # the stream was over before anything could be said on it; its status follows
        finally:
            call.cancel()
        with suppress(asyncio.CancelledError):
            if not heard and await call.code() is not grpc.StatusCode.OK:
                failure = grpc.aio.AioRpcError(
                    await call.code(),
                    await call.initial_metadata(),
                    await call.trailing_metadata(),
                    await call.details(),
                )
                return self._failed(failure, request, asked)
        return ANSWERED if heard else "(nothing)"

    def _failed(self, error: grpc.aio.AioRpcError, request: Any, asked: Asked) -> str:
        self._weather.corpus.add(f"{error.details()} {error.trailing_metadata()}")
        label = self._oracle.refused(error, asked, cut=self._weather.cut)
        if (
            label in _FALSE
            and known_symbols(request)
            and len(known_symbols(request)) == _asked(request)
        ):
            what = f"{asked} {known_symbols(request)}: {label} {error.details()}"
            self._oracle.found.object("a reason that is not so", what)
        return label


def _asked(request: Any) -> int:
    return int(bool(getattr(request, "symbol", ""))) + len(getattr(request, "symbols", ()))


def _next_page(answer: Any) -> str:
    for holder in (answer, getattr(answer, "page", None)):
        if holder is not None and "next_page_token" in holder.DESCRIPTOR.fields_by_name:
            return str(holder.next_page_token)
    return ""
