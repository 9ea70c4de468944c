"""What the operator's manual names is there."""

from __future__ import annotations

import re

from pydantic import BaseModel

from tests.deploy.files import MANUAL, ROOT
from tickgate_server.market.unavailable import Reason
from tickgate_server.settings import Settings

TEXT = MANUAL.read_text()
SOURCE = "\n".join(path.read_text() for path in (ROOT / "server/src/tickgate_server").rglob("*.py"))


def part(heading: str) -> str:
    """Return the text below *heading*, up to the next one."""
    found = re.search(rf"^#+ {heading}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def test_every_section_of_the_settings_is_told() -> None:
    """The table of settings has each section that there is, and names settings that exist."""
    first = re.findall(r"^\| ([^|]+) \|", part("Settings by section"), re.MULTILINE)
    sections = {
        name
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }

    assert set(re.findall(r"`(\w+)`", " ".join(first))) == sections | {"watchlists"}


def test_every_setting_that_is_named_exists() -> None:
    """Each `section.field` that the manual names is a setting."""
    fields: dict[str, set[str]] = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            fields[name] = set(field.annotation.model_fields)
    named = [
        (section, field)
        for section, field in re.findall(r"`([a-z_]+)\.([a-z_]+)(?: = [^`]+)?`", TEXT)
        if section in fields
    ]

    assert len(named) > 30
    assert [pair for pair in named if pair[1] not in fields[pair[0]] and pair not in REPORTED] == []


REPORTED = {
    *(("store", field) for field in ("state", "write_failures", "size_bytes")),
    *(("ingestion", field) for field in ("state", "message", "lag", "dropped", "heartbeat_time")),
    *(("error_log", field) for field in ("store", "dropped")),
    *(("alpaca", upstream) for upstream in ("data", "trading")),
}
"""Fields of GetStatus, whose parts are called as sections are, and names of upstreams."""


def test_every_line_of_the_log_that_is_named_exists() -> None:
    """Each event that the manual names is one that the gateway writes."""
    rows = re.findall(r"^\| ([^|]+) \|", part("What the log and callers say"), re.MULTILINE)
    events = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", " ".join(rows)))

    assert len(events) > 15
    # A field of GetStatus, and names that are put together.
    events -= {"last_write_failure"}
    written = [
        *re.findall(r'"([a-z_]+)"', SOURCE),
        *(f"{log}_lines_dropped" for log in ("call", "audit")),
    ]
    assert events - set(written) == set()


def test_every_reason_for_no_data_leads_on() -> None:
    """The runbook about missing data knows each reason for which a value can be missing."""
    told = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", part("No data")))
    missing = {reason.name for reason in Reason if reason.value <= Reason.CIRCUIT_OPEN.value} - {
        "NOT_SUPPORTED"
    }

    assert missing <= told
