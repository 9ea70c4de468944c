"""Replayed recordings come out as they were recorded: price text, sizes, venues, nanoseconds; no rule switched off."""

from __future__ import annotations

import gzip
import json
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import freshness_pb2, provenance_pb2, quote_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tickgate_sandbox import Plan, SandboxSettings

from ..support.recordings import REAL_RECORDINGS, write_recordings
from ..support.running import Stack, running
from ..support.tape import nanoseconds

SAMPLE = 1000
"""Points in time that are asked about."""

PLENTY = {"budget": {"data_per_minute": 1_000_000, "trading_per_minute": 1_000_000}}
"""A thousand instants are a thousand settings of the market's clock, and as many requests, within seconds."""

IBM = REAL_RECORDINGS / "quotes" / "IBM-2013-10-07.jsonl.gz"
needs_recordings = pytest.mark.skipif(
    not IBM.exists(), reason="the real recordings are not part of the project and not beside it"
)


@dataclass(frozen=True)
class Line:
    """One recorded quote; numbers are the text that stands in the file."""

    time: int
    fields: dict[str, Any]

    @property
    def sides(self) -> tuple[Decimal, Decimal]:
        """Bid and ask, zero for an empty side."""
        return Decimal(self.fields["bp"]), Decimal(self.fields["ap"])

    @property
    def kind(self) -> str:
        """What the quote is: "good", "locked", "crossed", "one-sided" or "empty"."""
        bid, ask = self.sides
        if not bid or not ask:
            return "one-sided" if bid or ask else "empty"
        return "locked" if bid == ask else "crossed" if bid > ask else "good"


def read_lines(path: Path, most: int | None = None) -> list[Line]:
    """Return the first *most* lines of a recording, or all."""
    with gzip.open(path, "rt") as file:
        fields = [json.loads(line, parse_float=str, parse_int=str) for line in file]
    return [Line(nanoseconds(line["t"]), line) for line in fields[:most]]


def points(lines: Sequence[Line], seed: int) -> list[int]:
    """Return instants to ask about: every odd state there is room for, and anywhere between the first and the last."""
    draw = random.Random(seed)
    odd = [line.time for line in lines if line.kind != "good"]
    chosen = draw.sample(odd, min(len(odd), SAMPLE // 4))
    chosen += [draw.randint(lines[0].time, lines[-1].time) for _ in range(SAMPLE - len(chosen))]
    return sorted(chosen)


async def check_points(stack: Stack, symbol: str, lines: Sequence[Line], seed: int) -> Counter[str]:
    """Ask for *symbol* at 1,000 points in time and compare each answer with the recorded line; count the kinds."""
    times = [line.time for line in lines]
    request = pb.GetQuoteRequest(
        symbol=symbol,
        feed=provenance_pb2.FEED_SIP,
        view=quote_pb2.QUOTE_VIEW_DERIVED,
        freshness=freshness_pb2.Freshness(max_age=Duration()),
    )
    kinds: Counter[str] = Counter()
    for instant in points(lines, seed):
        stack.sandbox.clock.seek(instant)
        await stack.refresh()
        answer = await stack.quotes.GetQuote(request)
        line = lines[bisect_right(times, instant) - 1]
        kinds[compare(answer.result, line, instant)] += 1
    return kinds


def compare(result: quote_pb2.QuoteResult, line: Line, instant: int) -> str:
    """Check that *result* is exactly what *line* says at *instant*; return the kind of the line."""
    if line.kind == "crossed":
        why = result.unavailable
        assert why.reason == reasons.ERROR_REASON_INVALID_DATA
        assert why.refusal.rule == "crossed"
        assert why.refusal.evidence == f"bid {line.fields['bp']} above ask {line.fields['ap']}"
        assert why.last_event_time.ToNanoseconds() == line.time
    elif line.kind == "empty":
        assert result.unavailable.reason == reasons.ERROR_REASON_NO_DATA
    elif result.WhichOneof("result") == "unavailable":
        # No rule is switched off: while the market is open a quote may be too old to be served.
        assert result.unavailable.reason == reasons.ERROR_REASON_TOO_STALE
        assert instant - line.time > 300 * 10**9
        return "too old"
    else:
        compare_quote(result.quote, line, instant)
    return line.kind


def compare_quote(quote: quote_pb2.Quote, line: Line, instant: int) -> None:
    """Check every field of *quote* against *line*, digit for digit."""
    fields = line.fields
    for side, price, size, venue in (("bid", "bp", "bs", "bx"), ("ask", "ap", "as", "ax")):
        if Decimal(fields[price]):
            served = getattr(quote, side)
            assert served.price.value == fields[price]
            assert str(served.size) == fields[size]
            assert served.exchange == fields[venue]
        else:
            assert not quote.HasField("bid" if side == "bid" else "ask")
    assert list(quote.conditions) == fields.get("c", [])
    assert quote.tape == fields["z"]
    assert quote.provenance.event_time.ToNanoseconds() == line.time
    assert quote.provenance.event_age.ToNanoseconds() == instant - line.time
    assert (quote_pb2.QUOTE_FLAG_LOCKED in quote.quality.flags) == (line.kind == "locked")


async def test_generated_recording_is_served_exactly(tmp_path: Path) -> None:
    """At 1,000 points of a recording made here, every answer is the recorded line or the reason why it is none."""
    recording = write_recordings(tmp_path, symbols=("AAPL", "IBM"))["AAPL"]
    lines = [
        Line(time, json.loads(text, parse_float=str, parse_int=str))
        for time, text in recording.quotes
    ]
    market = SandboxSettings(replay=tmp_path, speed=0, plan=Plan.PLUS)
    async with running(market, alpaca=PLENTY) as stack:
        kinds = await check_points(stack, "AAPL", lines, seed=1)

    assert min(kinds[kind] for kind in ("good", "locked", "crossed", "one-sided")) > 0


@needs_recordings
async def test_cut_of_ibm_is_served_exactly() -> None:
    """At 1,000 points of the first 20,000 NBBO updates of IBM on 2013-10-07 every answer is the recorded line."""
    lines = read_lines(IBM, 20_000)
    market = SandboxSettings(
        replay=REAL_RECORDINGS, symbols=("IBM",), at="2013-10-07T14:00:00Z", speed=0,
        max_records=20_000, plan=Plan.PLUS,
    )  # fmt: skip
    async with running(market, alpaca=PLENTY) as stack:
        kinds = await check_points(stack, "IBM", lines, seed=2)

    assert kinds["good"] > 0


@pytest.mark.slow
@needs_recordings
async def test_day_of_ibm_is_served_exactly() -> None:
    """At 1,000 points of IBM's whole 2013-10-07 every answer is the recorded line, crossed states refused by name."""
    lines = read_lines(IBM)
    # The file of the next day begins at midnight UTC: it is no part of this one's last point.
    market = SandboxSettings(
        replay=REAL_RECORDINGS, symbols=("IBM",), at="2013-10-07T14:00:00Z", speed=0,
        plan=Plan.PLUS,
    )  # fmt: skip
    async with running(market, alpaca=PLENTY) as stack:
        kinds = await check_points(stack, "IBM", lines, seed=3)

    assert sum(kinds.values()) == SAMPLE
    assert kinds["crossed"] > 0
    assert kinds["locked"] > 0
