"""The file that somebody copies to keep settings in."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.programs import environment_without_settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_says_how_it_is_loaded(tmp_path: Path) -> None:
    """A copy of .env.example, loaded by the line that it holds, gives the gateway those settings."""
    shutil.copyfile(ROOT / ".env.example", tmp_path / ".env")
    with (tmp_path / ".env").open("a") as copy:
        copy.write("TICKGATE_DRAIN=3.5\n")
    (line,) = re.findall(r"`(set -a; .*?)`", (ROOT / ".env.example").read_text())
    shown = subprocess.run(
        ["/bin/sh", "-c", f"{line}; exec {sys.executable} -m tickgate_server config"],
        cwd=tmp_path,
        env=environment_without_settings(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(shown.stdout)["drain"] == 3.5
