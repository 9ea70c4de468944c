"""The files of deploy/, read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"
MANUAL: Final = ROOT / "docs/operating.md"


def read_yaml(name: str) -> Any:
    """Return what the file *name* of deploy/ holds."""
    return yaml.safe_load((DEPLOY / name).read_text())


def rules() -> list[dict[str, Any]]:
    """Return every rule of Prometheus: alerts, and shares that are recorded."""
    return [
        rule for group in read_yaml("prometheus/rules.yml")["groups"] for rule in group["rules"]
    ]


def alerts() -> list[dict[str, Any]]:
    """Return the rules that alert."""
    return [rule for rule in rules() if "alert" in rule]


def headings(page: Path) -> set[str]:
    """Return what links to the headings of *page* say behind the #."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
