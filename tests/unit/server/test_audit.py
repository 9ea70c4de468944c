"""Lines of the audit log, whatever call they are made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.app.logs import _audit_line, _call_line
from tickgate_server.identity.consumer import Consumer
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.observe.audit import AuditLine
from tickgate_server.observe.logs import CallLine, Line
from tickgate_server.rpc.call import Call

DOCUMENT = Path(__file__).parents[3] / "docs/telemetry.md"

CALLS = st.builds(
    Call,
    method=st.just("QuoteService/GetQuotes"),
    request_id=st.text(max_size=20),
    deadline=st.just(0.0),
    peer=st.sampled_from(["ipv4:10.1.2.3:50412", "ipv6:%5B::1%5D:50412", "unix:", "%", ""]),
    started=st.just(0.0),
    consumer=st.sampled_from([Consumer(""), Consumer("desk-7", "Qm2xT9aB")]),
    code=st.sampled_from(["OK", "NOT_FOUND"]),
    reason=st.sampled_from([None, "NO_DATA"]),
    given=st.integers(0, 1000),
    symbols=st.integers(0, 50).map(lambda count: tuple(f"S{number}" for number in range(count))),
    tiers=st.lists(st.sampled_from(Tier), max_size=50).map(tuple),
    feed=st.sampled_from([None, *Feed]),
    interval=st.none() | st.builds(Interval, st.integers(0, 2**62), st.integers(0, 2**62)),
    points=st.dictionaries(st.sampled_from(Tier), st.integers(1, 10**6)),
)


@given(CALLS)
def test_a_line_counts_what_the_call_gave(call: Call) -> None:
    """Twenty symbols are named and all counted; of the past rows are counted, by tier, and they add up."""
    line = _audit_line(call, "call")
    assert list(line.symbols) == list(call.symbols[:20])
    assert line.symbols_asked == len(call.symbols)
    tiers = line.tiers or {}
    if call.points:
        assert line.values_given == sum(tiers.values()) == sum(call.points.values())
    else:
        assert line.values_given == call.given
        assert tiers == Counter(tier.value for tier in call.tiers)
    assert (line.consumer, line.key_id) == (
        call.consumer.name or None,
        call.consumer.key_id or None,
    )
    assert (line.start is None) == (call.interval is None)
    assert (
        msgspec.json.decode(msgspec.json.encode(line), type=AuditLine).request_id == call.request_id
    )


@given(CALLS, st.floats(0, 1000))
def test_a_call_always_makes_a_line(call: Call, seconds: float) -> None:
    """Whatever a call was, it makes a line that names who called: the consumer, or else the address, legibly."""
    line = _call_line(call, seconds, DataSource.SANDBOX)
    assert line.consumer == (
        call.consumer.name or call.peer.replace("%5B", "[").replace("%5D", "]")
    )
    assert (line.data_source is None) == (call.given == 0)


def documented(heading: str) -> set[str]:
    """The fields in the table below *heading*."""
    (section,) = re.findall(
        rf"^## {heading}$(.*?)^## ", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
    )
    rows: Iterable[str] = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    return {field for row in rows for field in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize(("heading", "kind"), [("The log", CallLine), ("The audit log", AuditLine)])
def test_every_field_is_documented(heading: str, kind: type[Line]) -> None:
    """The tables of the document name each field of a line, and no other."""
    assert documented(heading) == set(kind.__struct_fields__)


def test_the_lines_in_the_document_are_lines() -> None:
    """The examples of the document are lines as they are written, with no field that there is not."""
    examples: list[Any] = re.findall(
        r"^```json\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
    )
    call, audit = examples
    for example, kind in ((call, CallLine), (audit, AuditLine)):
        line = msgspec.json.decode(example, type=kind)
        assert msgspec.json.encode(line).decode() == example.strip()
