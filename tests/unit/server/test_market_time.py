"""Instants: every nanosecond in, every nanosecond out, and nothing that is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.market.time import NANOS, format_rfc3339, parse_rfc3339

FIRST = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
INSTANTS = st.integers(FIRST * NANOS, LAST * NANOS + NANOS - 1)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59)


@given(INSTANTS)
def test_an_instant_survives_its_text(instant: int) -> None:
    """Whatever instant is written, the same nanosecond is read."""
    assert parse_rfc3339(format_rfc3339(instant)) == instant


@given(
    local=st.integers(FIRST + 86400, LAST - 86400),
    fraction=st.text("0123456789", max_size=9),
    offset=st.none() | OFFSETS,
)
def test_any_fraction_and_offset_is_read(local: int, fraction: str, offset: int | None) -> None:
    """A fraction of up to nine digits counts in full, and an offset moves the instant by itself."""
    minutes = offset or 0
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    zone = "Z" if offset is None else f"{sign}{hours:02d}:{rest:02d}"
    text = datetime.fromtimestamp(local, UTC).isoformat().removesuffix("+00:00")

    read = parse_rfc3339(text + (f".{fraction}" if fraction else "") + zone)
    assert read == (local - minutes * 60) * NANOS + int((fraction + "0" * 9)[:9])


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2022-08-17T10:07:40.286587431Z", 1_660_730_860_286_587_431),
        ("2026-08-30T14:53:54.905548592-04:00", 1_788_116_034_905_548_592),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
    ],
)
def test_known_instants(text: str, instant: int) -> None:
    """Texts that Alpaca sent mean the instants that anybody's arithmetic gives."""
    assert parse_rfc3339(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01 00:00:00Z",
        "2024-01-01T00:00:00z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00.1234567890Z",
        "2024-01-01T00:00:00,5Z",
        "2024-01-01T00:00Z",
        "2024-02-30T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:60Z",
        "2024-01-01T00:00:00+0400",
        "2024-01-01T00:00:00+04",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+05:60",
        "٢٠٢٤-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        " 2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z\n",
        "-2024-01-01T00:00:00Z",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """What is not RFC 3339 with a zone is no instant."""
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01"])
def test_an_offset_does_not_lead_out_of_the_calendar(text: str) -> None:
    """An instant that UTC has no date for is refused, so that whatever was read can be written."""
    with pytest.raises(ValueError, match="years 1 to 9999"):
        parse_rfc3339(text)


@given(st.text())
def test_arbitrary_text_is_read_or_refused(text: str) -> None:
    """No text does anything but name an instant or raise ValueError."""
    try:
        instant = parse_rfc3339(text)
    except ValueError:
        return
    assert parse_rfc3339(format_rfc3339(instant)) == instant


def test_zeros_of_a_fraction_are_cut() -> None:
    """Text carries the digits of a fraction that matter, and no fraction at all on a whole second."""
    assert format_rfc3339(0) == "1970-01-01T00:00:00Z"
    assert format_rfc3339(1) == "1970-01-01T00:00:00.000000001Z"
    assert format_rfc3339(500_000_000) == "1970-01-01T00:00:00.5Z"
    assert format_rfc3339(FIRST * NANOS) == "0001-01-01T00:00:00Z"
