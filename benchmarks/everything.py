"""What it costs to know who calls, to limit them and to tell of it: gateways with it and without, side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Final

from . import consumer
from .evidence import expect_quotes, tier_hits
from .live import live_stage
from .load import Pressure, Question
from .processes import BrokenMeasurement, Process, wait_for
from .report import Table, count, micros, millis, spread
from .rounds import Contestant, Effort, Score, rate_of, take_turns
from .stage import KEPT, Round, Stage
from .streaming import BUSY_RATE, CALM_RATE, THOUSAND, Fanned, Following, age_of, fan
from .unary import BUSY, MANY, ONE
from .various import MEMORY

_MOST_ROUNDS: Final = 3
_SCRAPES: Final = 10
_PATIENCE: Final = 10.0
_OFF: Final = "nothing on"
_ON: Final = "everything on"
_ON_NAME: Final = "switch-on"
_BARE: Final = "bare grpc.aio echo"


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A gateway that answers from memory, and says so by its own counts, for it may log no calls."""

    stage: Stage
    question: Question

    def ask(self, calls: int, pressure: Pressure) -> Round:
        """Ask it.

        Raises:
            BrokenMeasurement: memory did not answer each time.
        """
        before = tier_hits(self.stage.gateway, MEMORY)
        done = self.stage.press(self.question, calls, pressure)
        hits = tier_hits(self.stage.gateway, MEMORY) - before
        if hits != calls * self.question.values:
            msg = f"{self.stage.gateway.name} counts {hits} hits for {calls} calls of {self.question.path}"
            raise BrokenMeasurement(msg)
        return done


def everything(stage: Stage, effort: Effort) -> Table:
    """Measure what each thing that can be switched on adds to a cached call."""
    keys = consumer.keys()
    singly: dict[str, Mapping[str, str]] = {
        _OFF: {},
        "API keys": keys,
        "API keys and limits": {**keys, **consumer.GENEROUS},
        "a log of calls": {"TICKGATE_LOG__CALLS": "true"},
        "an audit log": consumer.audited("switch-audit", stage.folder),
        "1 % of calls traced": consumer.traced(),
    }
    effort = Effort(min(_MOST_ROUNDS, effort.rounds), effort.seconds)
    rows: list[tuple[str, ...]] = []
    asked = 0
    with ExitStack() as parts:
        stages = {
            name: parts.enter_context(
                stage.beside(
                    f"switch-{number}", {**KEPT, **consumer.OFF, **settings}, everything=False
                )
            )
            for number, (name, settings) in enumerate(singly.items())
        }
        stages[_ON] = parts.enter_context(stage.beside(_ON_NAME, KEPT))
        for noun, question in (("GetQuote", ONE), (f"GetQuotes of {MANY.values}", MANY)):
            for each in stages.values():
                expect_quotes(each.gateway, question)
            with stages[_OFF].bare(question) as bare:
                contestants: dict[str, Contestant] = {
                    name: _Remembered(each, question).ask
                    for name, each in stages.items()
                    if question is ONE or name in {_OFF, _ON}
                }
                scores = take_turns({**contestants, _BARE: bare.ask}, effort, BUSY)
            rows += _rows(noun, scores)
            asked += sum(round_.run.calls for round_ in scores[_ON].rounds)
        scrape = _scrape(stages[_ON].gateway)
        _expect_told(stage.folder, asked)
    return Table(
        title="What identity, limits and telemetry cost a cached call",
        head=(
            *("", "calls/s", "p50 ms", "p99 ms", "server CPU µs/call", "more than off µs"),
            *("calls/s / off", "calls/s / bare"),
        ),
        rows=rows,
        notes=[
            f"{BUSY}. Each thing alone, then all of them, with /metrics; the limits are counted and never reached.",
            scrape,
            "Each round, the gateway's own count of hits in memory is that of the values asked for.",
            "Targets: everything on, at least 0.75 of the bare calls/s; 200,000 quotes/s a core.",
        ],
    )


def _expect_told(folder: Path, asked: int) -> None:
    """See that the audit log has so many lines, and that traces have come.

    Raises:
        BrokenMeasurement: they are not there.
    """
    audit, sink = folder / f"{_ON_NAME}.audit", folder / "otlp-sink.log"
    wait_for(
        lambda: audit.read_bytes().count(b"\n") >= asked or None,
        _PATIENCE,
        f"{asked} calls were answered, and the audit log has fewer lines",
    )
    wait_for(lambda: re.search(r"spans \d", sink.read_text()), _PATIENCE, "no trace has been sent")


def _scrape(gateway: Process) -> str:
    """Say what it takes to read /metrics, as Prometheus does every 15 seconds."""
    found = re.search(
        r'"http_listen":"127\.0\.0\.1:(\d+)"', gateway.log.read_text(errors="replace")
    )
    if found is None:
        raise BrokenMeasurement(f"{gateway.name} does not say where its metrics are")
    took, size = list[float](), 0
    for _ in range(_SCRAPES):
        cpu = gateway.cpu_seconds()
        with closing(HTTPConnection("127.0.0.1", int(found[1]), timeout=_PATIENCE)) as connection:
            connection.request("GET", "/metrics")
            size = len(connection.getresponse().read())
        took.append(gateway.cpu_seconds() - cpu)
    return f"To be scraped takes the gateway {millis(median(took))} ms of the loop that answers, for {size:,} bytes."


def _rows(noun: str, scores: Mapping[str, Score]) -> Iterator[tuple[str, ...]]:
    off, bare = scores[_OFF], scores[_BARE]
    for name, score in scores.items():
        more = [a.cpu - b.cpu for a, b in zip(score.rounds, off.rounds, strict=True)]
        yield (
            f"{noun}: {name}",
            count(score.rate),
            millis(score.percentile(50)),
            millis(score.percentile(99)),
            micros(score.cpu),
            "" if score in (off, bare) else f"{median(more) * 1e6:+.1f}",
            "" if score in (off, bare) else spread(score.pairs(off, rate_of)),
            "" if score is bare else spread(score.pairs(bare, rate_of)),
        )


def everything_streams(stage: Stage, effort: Effort) -> Table:
    """Measure what everything adds to fan-out, and to the way from an upstream frame to a reader."""
    loads = {
        "100 followers, 20,000 updates/s": Following.chance(100, BUSY_RATE),
        "50 followers, 5,000 updates/s": Following.chance(50, CALM_RATE),
    }
    rows: list[tuple[str, ...]] = []
    with ExitStack() as parts:
        stand = partial(live_stage, symbols=THOUSAND, folder=stage.folder, cores=stage.cores)
        off = stand("fan-out-off", everything=False, settings=consumer.OFF)
        stages = {
            _OFF: parts.enter_context(off),
            _ON: parts.enter_context(stand("fan-out-on")),
        }
        for title, load in loads.items():
            rounds: dict[str, list[Fanned]] = {name: [] for name in stages}
            for _ in range(min(_MOST_ROUNDS, effort.rounds)):
                for name, live in stages.items():
                    done, schedule = fan(live, load, effort.seconds)
                    schedule.unlink()
                    rounds[name].append(done)
            rows += _fanned(title, rounds)
    return Table(
        title="What identity, limits and telemetry cost fan-out",
        head=("", "absorbed/s", "age p50 ms", "age p99 ms", "server CPU", "CPU µs/delivery"),
        rows=rows,
        notes=[
            "Each follower follows 200 of 1,000 symbols, others than the next; rounds as in the table of fan-out.",
            (
                "Targets: of 100 followers 400,000/s absorbed and an age of p99 50 ms; of 50, from the frame to the"
                " reader, p50 5 ms and p99 25 ms."
            ),
        ],
    )


def _fanned(title: str, rounds: Mapping[str, Sequence[Fanned]]) -> Iterator[tuple[str, ...]]:
    for name, done in rounds.items():
        yield (
            f"{title}: {name}",
            count(median((one.delivered + one.conflated) / one.seconds for one in done)),
            *(millis(median(map(age_of(place), done))) for place in (0, 1)),
            f"{median(one.cpu / one.seconds for one in done):.2f}",
            micros(median(one.cost for one in done)),
        )
    pairs = list(zip(rounds[_ON], rounds[_OFF], strict=True))
    yield (
        f"{title}: on / off",
        "",
        *(spread([age_of(place)(a) / age_of(place)(b) for a, b in pairs]) for place in (0, 1)),
        spread([a.cpu / b.cpu for a, b in pairs]),
        spread([a.cost / b.cost for a, b in pairs]),
    )
