"""The storm of `make faults`, two minutes of it, and the proof that its judge can find something."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from tickgate.v1 import error_reason_pb2, provenance_pb2, quote_pb2, quote_service_pb2
from tickgate.v1 import history_service_pb2 as history
from tickgate_sandbox.timestamps import SECOND

from ..storm.contract import contract
from ..storm.faults import every_fault
from ..storm.oracle import Asked, Oracle
from ..storm.questions import Scene, questions
from ..storm.secrets import leaks_in
from ..storm.storm import Storm, sample
from ..storm.truth import Market, Truth

SEED = 31
"""Always the same, so that a red run is somebody's change; `make faults` draws another each time."""

SECONDS = 120.0
FAULTS = 24
"""As many as two minutes see; the ten of `make faults` see all."""


@pytest.mark.slow
@pytest.mark.timeout(600)  # two minutes of storm; a busy machine takes as long to set it up
async def test_a_storm_finds_nothing_wrong() -> None:
    """Under faults of every family nothing is invented, altered, lost in silence, crashed, hung or leaked."""
    storm = Storm(SEED, SECONDS, print)
    report = await storm.rage(sample(SEED, FAULTS), again=False)
    told = "\n".join(report.lines(grid=True))
    assert report.is_good, told
    assert report.matrix.answered > report.matrix.calls / 4, told


def test_every_call_is_asked() -> None:
    """A call of the contract that nobody asks fails here, and so does a fault of the sandbox that nobody throws."""
    assert questions().keys() == contract().keys()
    assert len(contract()) >= 40
    assert len(every_fault()) > 70
    assert {one.family for one in sample(1, 12)} == {one.family for one in every_fault()}


def test_the_judge_knows_nothing_of_the_gateway() -> None:
    """Truth, judge and questions import no part of the server."""
    modules = "tests.storm.oracle, tests.storm.truth, tests.storm.questions, tests.storm.followers, tests.storm.load"
    look = f"import sys, {modules}; sys.exit(any(name.startswith('tickgate_server') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", look], check=True)


# ------------------------------------------------------------------------------ the judge can fail


class Court:
    """A judge, and answers that are true until a test changes them."""

    def __init__(self) -> None:
        self.truth = Truth(Market(step=3.0))
        self.now = time.time_ns()
        start = self.truth.market.start
        self.oracle = Oracle(self.truth, lambda wall: start + wall - self.now, self.now - SECOND)
        self.asked = Asked("QuoteService.GetQuote")

    def quote(self) -> quote_pb2.Quote:
        """The quote that stands now."""
        ((at, record),) = self.truth.records(
            "quotes", "AAPL", self.truth.market.start, self.truth.market.start + 1
        )
        quote = quote_pb2.Quote(symbol="AAPL", conditions=record["c"], tape=record["z"])
        for side, place in ((quote.bid, "b"), (quote.ask, "a")):
            side.price.value = str(record[f"{place}p"])
            side.size, side.exchange = record[f"{place}s"], record[f"{place}x"]
        self._origin(quote.provenance, at)
        return quote

    def _origin(self, origin: provenance_pb2.Provenance, at: int) -> None:
        origin.source = provenance_pb2.DATA_SOURCE_SANDBOX
        origin.feed = provenance_pb2.FEED_IEX
        origin.served_from = provenance_pb2.TIER_UPSTREAM
        origin.event_time.FromNanoseconds(at)
        origin.receive_time.FromNanoseconds(self.now)
        origin.serve_time.FromNanoseconds(self.now)
        origin.event_age.FromNanoseconds(self.truth.market.start - at)

    def finds(self, message: Any) -> set[str]:
        """What is wrong with *message*."""
        self.oracle.found.violations.clear()
        self.oracle.judge(message, self.asked)
        return set(self.oracle.found.violations)


def change(name: str, value: Any) -> Callable[[quote_pb2.Quote], None]:
    """Set a field."""

    def apply(quote: quote_pb2.Quote) -> None:
        *way, last = name.split(".")
        part: Any = quote
        for step in way:
            part = getattr(part, step)
        setattr(part, last, value)

    return apply


def shift(name: str, seconds: float) -> Callable[[quote_pb2.Quote], None]:
    """Move a time of the provenance."""

    def apply(quote: quote_pb2.Quote) -> None:
        moment = getattr(quote.provenance, name)
        moment.FromNanoseconds(moment.ToNanoseconds() + round(seconds * SECOND))

    return apply


@pytest.mark.parametrize(
    ("alter", "kind"),
    [
        (change("bid.price.value", "1.23"), "an altered quote"),
        (change("ask.size", 1), "an altered quote"),
        (change("bid.exchange", "?"), "an altered quote"),
        (change("tape", "A"), "an altered quote"),
        (lambda quote: quote.ClearField("ask"), "an altered quote"),
        (lambda quote: quote.conditions.append("Z"), "an altered quote"),
        (change("symbol", "MSFT"), "an altered quote"),
        (shift("event_time", 1), "an invented quote"),
        (shift("event_time", 0.000000001), "an invented quote"),
        (
            change("provenance.source", provenance_pb2.DATA_SOURCE_ALPACA),
            "a value of another source",
        ),
        (change("provenance.feed", provenance_pb2.FEED_SIP), "a value of another feed"),
        (shift("receive_time", 3600), "a receive time that cannot be"),
        (shift("serve_time", -3600), "a serve time that cannot be"),
        (shift("event_age", 60), "an age that is not so"),
    ],
)
def test_an_altered_answer_is_found(alter: Callable[[quote_pb2.Quote], None], kind: str) -> None:
    """Of a true quote nothing is said; with any field altered, the judge says which wrong was done."""
    court = Court()
    quote = court.quote()
    assert court.finds(quote) == set()
    alter(quote)
    assert kind in court.finds(quote)


def test_an_old_value_sold_as_new_is_found() -> None:
    """A true quote of a minute ago, said to have been the latest now, is found."""
    court = Court()
    quote = court.quote()
    court.now -= 60 * SECOND
    for name in ("receive_time", "serve_time"):
        shift(name, 0)(quote)
    quote.provenance.event_age.FromNanoseconds(60 * SECOND)
    assert "a value that was not the latest" in court.finds(quote)


def test_missing_swapped_and_invented_rows_are_found() -> None:
    """A page of history without its third row, or with two rows swapped, is not the range; the true one is."""
    court = Court()
    scene = Scene(random.Random(1), court.truth, court.oracle, [], lambda: court.truth.market.start)
    question = questions()["HistoryService.ListTrades"]
    span = scene.truth.session_before()
    request = history.ListTradesRequest(symbols=["AAPL"])
    request.start_time.FromNanoseconds(span.open)
    request.end_time.FromNanoseconds(span.open + 60 * SECOND)
    page = history.ListTradesResponse()
    result = page.results.add(symbol="AAPL")
    for at, record in court.truth.records("trades", "AAPL", span.open, span.open + 60 * SECOND):
        row = result.page.trades.add(
            symbol="AAPL", size=record["s"], exchange=record["x"], conditions=record["c"],
            id=record["i"], tape=record["z"],
        )  # fmt: skip
        row.price.value = str(record["p"])
        row.provenance.event_time.FromNanoseconds(at)

    def finds() -> set[str]:
        court.oracle.found.violations.clear()
        question.check(scene, request, [page], Asked("HistoryService.ListTrades"))
        return set(court.oracle.found.violations)

    assert finds() == set()
    kept = list(result.page.trades)
    del result.page.trades[2]
    assert finds() == {"rows that are not those of the range"}
    del result.page.trades[:]
    result.page.trades.extend([kept[1], kept[0], *kept[2:]])
    assert finds() == {"rows that are not those of the range"}


def test_a_result_that_is_missing_or_false_is_found() -> None:
    """One result too few, and a reason that cannot be true, are found."""
    court = Court()
    scene = Scene(random.Random(1), court.truth, court.oracle, [], lambda: court.truth.market.start)
    check = questions()["QuoteService.GetQuotes"].check
    request = quote_service_pb2.GetQuotesRequest(symbols=["AAPL", "MSFT"])
    answer = quote_service_pb2.GetQuotesResponse()
    answer.results.add(symbol="AAPL").quote.CopyFrom(court.quote())
    check(scene, request, [answer], court.asked)
    assert set(court.oracle.found.violations) == {"a symbol without its one result"}
    court.oracle.found.violations.clear()
    why = answer.results.add(symbol="MSFT").unavailable
    why.reason = error_reason_pb2.ERROR_REASON_SYMBOL_UNKNOWN
    check(scene, request, [answer], court.asked)
    assert set(court.oracle.found.violations) == {"a reason that is not so"}


def test_a_secret_that_gets_out_is_found() -> None:
    """A key in the midst of a log is found, and neither what it is nor anything near it is told."""
    places = {"log": "connecting with hush-hush to the upstream", "config": "all is well"}
    (leak,) = leaks_in(places, {"Alpaca secret": "hush-hush", "Redis password": "open-sesame"})
    assert str(leak) == "the Alpaca secret stands in log"


def test_a_status_without_a_reason_is_found() -> None:
    """INTERNAL is never right, and a bare UNAVAILABLE only where the way to the gateway was cut."""
    court = Court()
    bare = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone"
    )
    court.oracle.refused(bare, court.asked, cut=True)
    assert not court.oracle.found.violations
    court.oracle.refused(bare, court.asked, cut=False)
    assert set(court.oracle.found.violations) == {"status UNAVAILABLE out of nowhere"}
    broken = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), "oops"
    )
    court.oracle.refused(broken, court.asked, cut=True)
    assert "status INTERNAL out of nowhere" in court.oracle.found.violations
