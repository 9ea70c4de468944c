"""Spans: parts of a traced call, and nothing at all of one that is not traced."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import StatusCode

from tickgate_server.errors import UpstreamTimeout
from tickgate_server.guards.flights import Flights
from tickgate_server.observe import traces
from tickgate_server.observe.spans import Span, current, enter, reason_of, span
from tickgate_server.observe.traces import OtelTracer

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"


class Recording:
    """A tracer, and the spans that it has recorded."""

    def __init__(self, share: float = 1.0, chance: float = 0.0) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OtelTracer(provider.get_tracer("test"), share, lambda: chance)

    def begin(self, traceparent: str = "") -> Span:
        """Begin to trace a call, and enter it."""
        root = self.tracer.begin("QuoteService/GetQuote", traceparent)
        assert root is not None
        enter(root)
        return root

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """What has ended, by name."""
        return {one.name: one for one in self._exporter.get_finished_spans()}


def parent_of(one: ReadableSpan) -> int | None:
    """The id of the span that *one* is a part of."""
    return None if one.parent is None else one.parent.span_id


async def test_parts_are_parts_of_what_was_being_done() -> None:
    """A span opened within another is its part, and one opened behind it is not."""
    recording = Recording()
    root = recording.begin()
    with span("outer", feed="iex") as outer:
        with span("inner", "client", keys=2):
            pass
        outer.tell(status=200)
    with span("next"):
        pass
    root.end()

    spans = recording.spans
    assert spans["QuoteService/GetQuote"].parent is None
    assert parent_of(spans["outer"]) == spans["QuoteService/GetQuote"].context.span_id
    assert parent_of(spans["inner"]) == spans["outer"].context.span_id
    assert parent_of(spans["next"]) == spans["QuoteService/GetQuote"].context.span_id
    assert dict(spans["outer"].attributes or {}) == {
        "tickgate.feed": "iex",
        "http.response.status_code": 200,
    }
    assert dict(spans["inner"].attributes or {}) == {"db.operation.batch.size": 2}


async def test_a_call_that_is_not_traced_makes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a trace every block gets one and the same object, and OpenTelemetry is not asked for anything."""
    recording = Recording(share=0.0)
    monkeypatch.setattr(traces, "OtelSpan", None)

    assert recording.tracer.begin("QuoteService/GetQuote", "") is None
    assert recording.tracer.begin("QuoteService/GetQuote", SAMPLED[:-2] + "00") is None
    assert current() is None
    assert span("one", keys=1) is span("other")
    with span("one") as told:
        told.tell(rows=1)
    assert not recording.spans


@given(lots=st.lists(st.floats(0, 1, exclude_max=True), min_size=1), share=st.floats(0, 1))
def test_the_share_is_drawn_by_lot(lots: list[float], share: float) -> None:
    """A call is traced when its lot is below the share, and not otherwise: of a hundred even lots 1 % is one."""
    draws = iter(lots)
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    tracer = OtelTracer(provider.get_tracer("test"), share, lambda: next(draws))
    drawn = [tracer.begin("S/M", "") is not None for _ in lots]
    assert drawn == [lot < share for lot in lots]

    even = iter(number / 100 for number in range(100))
    one_percent = OtelTracer(provider.get_tracer("test"), 0.01, lambda: next(even))
    assert sum(one_percent.begin("S/M", "") is not None for _ in range(100)) == 1


async def test_a_caller_who_traces_is_the_parent() -> None:
    """A sampled traceparent is honoured whatever the share is, and the call belongs to that trace."""
    recording = Recording(share=0.0)
    root = recording.begin(SAMPLED)
    root.end()
    assert root.trace_id == TRACE
    found = recording.spans["QuoteService/GetQuote"]
    assert parent_of(found) == 0xB7AD6B7169203331


async def test_a_caller_who_does_not_trace_may_be_drawn() -> None:
    """A traceparent that is not sampled leaves it to the lot; the trace is the caller's all the same."""
    recording = Recording(share=0.5, chance=0.4)
    root = recording.begin(SAMPLED[:-2] + "00")
    root.end()
    assert root.trace_id == TRACE


@given(
    st.text(max_size=80)
    | st.from_regex(r"\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?\Z")
)
def test_no_traceparent_breaks_a_call(text: str) -> None:
    """Whatever a caller sends as traceparent, it is a trace or it is none, and never a failure."""
    recording = Recording(share=0.0)
    root = recording.tracer.begin("S/M", text)
    assert root is None or len(root.trace_id) == 32


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UpstreamTimeout("late"), "UPSTREAM_TIMEOUT"),
        (asyncio.CancelledError("time is up"), "CANCELLED"),
        (ValueError("postgresql://me:secret@host"), "ValueError"),
        (UnicodeDecodeError("ascii", b"key", 0, 1, "secret"), "UnicodeDecodeError"),
    ],
)
async def test_a_failure_is_told_by_name(error: BaseException, reason: str) -> None:
    """A block that fails says its reason, or the name of its class; what a library says of it stays out."""
    recording = Recording()
    root = recording.begin()
    with pytest.raises(type(error)), span("part"):
        raise error
    root.end()
    part = recording.spans["part"]
    assert (part.status.status_code, part.status.description) == (StatusCode.ERROR, reason)
    assert not part.events
    assert "secret" not in part.to_json()
    assert reason_of(error) == reason


async def test_what_outlives_a_call_is_nobodys() -> None:
    """A task that goes on when the call has ended opens no spans any more."""
    recording = Recording()
    root = recording.begin()
    go_on = asyncio.Event()

    async def outlive() -> None:
        await go_on.wait()
        with span("late"):
            pass

    task = asyncio.create_task(outlive())
    root.end()
    go_on.set()
    await task
    assert set(recording.spans) == {"QuoteService/GetQuote"}


async def test_a_trace_has_so_many_parts() -> None:
    """A stream that never ends does not fill the memory with spans: what is left out is counted."""
    recording = Recording()
    root = recording.begin()
    for _ in range(1005):
        with span("part"):
            pass
    root.end()
    attributes: Any = recording.spans["QuoteService/GetQuote"].attributes
    assert attributes["tickgate.parts_left_out"] == 5


async def test_a_shared_call_is_part_of_its_first_asker() -> None:
    """What two callers wait for is in the trace of the first; the second's has the word and a link to it."""
    first, second = Recording(), Recording()
    flights: Flights[str, str] = Flights(5.0, asyncio.get_running_loop().time)
    begun, answered = asyncio.Event(), asyncio.Event()

    async def start(keys: list[str], _: float) -> dict[str, str]:
        with span("wire"):
            begun.set()
            await answered.wait()
        return dict.fromkeys(keys, "found")

    async def ask(recording: Recording) -> str:
        root = recording.begin()
        deadline = asyncio.get_running_loop().time() + 5
        await flights.join(["AAPL"], start, deadline)
        root.end()
        return root.trace_id

    leader = asyncio.create_task(ask(first))
    await begun.wait()
    follower = asyncio.create_task(ask(second))
    # One turn of the loop, in which it boards.
    await asyncio.sleep(0)
    answered.set()
    leading, _ = await asyncio.gather(leader, follower)

    assert set(first.spans) == {"QuoteService/GetQuote", "wire"}
    assert set(second.spans) == {"QuoteService/GetQuote"}
    joined = second.spans["QuoteService/GetQuote"]
    assert [event.name for event in joined.events] == ["joined"]
    assert [f"{link.context.trace_id:032x}" for link in joined.links] == [leading]
    assert not first.spans["QuoteService/GetQuote"].events
