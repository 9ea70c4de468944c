"""What a refusal by an open circuit costs, and that the upstream is left alone meanwhile (issue 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from statistics import median, quantiles
from typing import Final

from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import status_service_pb2

from .evidence import CallLine, CallLog, ask, circuit_of_latest
from .load import Pressure, Question
from .processes import BrokenMeasurement
from .report import Table, count, micros, millis, spread
from .rounds import Contestant, Effort, Score, percentile_of, take_turns
from .sandbox import LISTED
from .stage import Round, Stage
from .unary import BUSY

_LENIENT: Final = Question(
    "/tickgate.v1.QuoteService/GetQuote", pb.GetQuoteRequest(symbol=LISTED[0])
)
_STRICT: Final = Question(
    "/tickgate.v1.QuoteService/GetQuote", pb.GetQuoteRequest(symbol=LISTED[0], strict=True)
)
_PRESSURE: Final = Pressure(connections=100, streams=10, rate=10)

_STEADY: Final = {
    "TICKGATE_ALPACA__BREAKER__GROWTH": "1",
    "TICKGATE_ALPACA__RETRIES__MOST": "0",
}
"""A cool-down that stays at a second, so that each round holds as many tries as another."""

_MOST_ROUNDS: Final = 3
_WARM_UP_CALLS: Final = 2000
"""Of each kind, which nobody counts."""

_MOST_TO_OPEN: Final = 50
"""Questions that may fail until the circuit opens; by default five in a row do it."""

_FOR_A_TRY: Final = frozenset({"UPSTREAM_ERROR"})
"""Why the few calls failed that had the upstream tried for them."""

_BARE: Final = "bare grpc.aio echo"


@dataclass(frozen=True, slots=True)
class _Refused:
    """Asks for what is refused, and sees that it was."""

    stage: Stage
    question: Question
    inside: list[float] = field(default_factory=list)
    """Seconds that the gateway itself says it took for each refusal."""

    tries: list[int] = field(default_factory=list)
    """Requests of each round that reached the upstream."""

    def ask(self, calls: int, pressure: Pressure) -> Round:
        """Ask.

        Raises:
            BrokenMeasurement: a call was not refused, or the upstream saw something else than the circuit's tries.
        """
        gateway, sandbox = self.stage.gateway, self.stage.sandbox
        log, asked, opened = CallLog(gateway.log), sandbox.requests(), self._opened()
        done = self.stage.press(self.question, calls, pressure)
        lines = log.wait_for(self.question, calls)
        tries, reopened = sandbox.requests() - asked, self._opened() - opened
        if tries != reopened:
            msg = (
                f"the circuit opened {reopened} times again, and the upstream saw {tries} requests"
            )
            raise BrokenMeasurement(msg)
        self._expect_refusals(lines)
        self.inside.extend(line.response_time_ms / 1e3 for line in lines if _is_refusal(line))
        self.tries.append(tries)
        return done

    def _opened(self) -> int:
        return circuit_of_latest(self.stage.gateway).opened

    def _expect_refusals(self, lines: list[CallLine]) -> None:
        code = "UNAVAILABLE" if self.question is _STRICT else "OK"
        others = {
            (line.code, line.reason)
            for line in lines
            if line.code != code or not (_is_refusal(line) or line.reason in _FOR_A_TRY)
        }
        if others:
            msg = f"calls were to be refused by the open circuit, and ended as {others}"
            raise BrokenMeasurement(msg)


def refusals(stage: Stage, effort: Effort) -> Table:
    """Compare refusals by an open circuit with a bare echo at the same rate."""
    with stage.beside("gateway-open", _STEADY) as failing:
        effort = Effort(min(_MOST_ROUNDS, effort.rounds), effort.seconds)
        stage.sandbox.fail()
        _open(failing)
        for question in (_LENIENT, _STRICT):
            failing.press(question, _WARM_UP_CALLS, BUSY)
        lenient, strict = _Refused(failing, _LENIENT), _Refused(failing, _STRICT)
        with failing.bare(_LENIENT) as bare:
            contestants: dict[str, Contestant] = {
                "refusal inside an answer": lenient.ask,
                "refusal as a status (strict)": strict.ask,
                _BARE: bare.ask,
            }
            scores = take_turns(contestants, effort, _PRESSURE)
        stage.sandbox.be_well()
    bare_score = scores[_BARE]
    row = partial(_row, bare=bare_score)
    named = zip(scores.items(), (lenient, strict, None), strict=True)
    return Table(
        title="Refusal by an open circuit at 1,000 calls/s",
        head=(
            *("", "calls/s", "p50 ms", "p99 ms", "server CPU µs/call", "p50 / bare", "p99 / bare"),
            *("in the handler p50 µs", "p99 µs", "upstream requests"),
        ),
        rows=[row(name, score, refused) for (name, score), refused in named],
        notes=[
            f"{_PRESSURE}; the answers' {bare_score.answer_bytes:,.0f} bytes are the echo's as well.",
            (
                "The upstream answers 503. The circuit lets one request a second through (growth 1, no retries, which"
                " differs from the defaults); the upstream saw those and no others, which each round checks against"
                " `circuit.opened` of GetStatus. In the handler: `response_time_ms` of the gateway's log of calls."
            ),
            "Targets: p99 at most 1.3 of the bare p99, at most 100 µs in the handler; of the replaced systems: 100 ms.",
        ],
    )


def _open(stage: Stage) -> None:
    for _ in range(_MOST_TO_OPEN):
        ask(stage.gateway, _LENIENT)
        if circuit_of_latest(stage.gateway).state == status_service_pb2.CIRCUIT_STATE_OPEN:
            return
    msg = f"the circuit did not open after {_MOST_TO_OPEN} failures"
    raise BrokenMeasurement(msg)


def _is_refusal(line: CallLine) -> bool:
    return line.reason == "CIRCUIT_OPEN"


def _row(name: str, score: Score, refused: _Refused | None, bare: Score) -> tuple[str, ...]:
    ratios: tuple[str, ...] = ("",) * 5
    if refused is not None:
        ratios = (
            *(spread(score.pairs(bare, percentile_of(percent))) for percent in (50, 99)),
            micros(median(refused.inside)),
            micros(quantiles(refused.inside, n=100, method="inclusive")[98]),
            count(sum(refused.tries)),
        )
    return (
        name,
        count(score.rate),
        millis(score.percentile(50)),
        millis(score.percentile(99)),
        micros(score.cpu),
        *ratios,
    )
