"""Memory that fills for real."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow  # a gigabyte is filled by what the past is read with
@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells its memory by /proc")
def test_reads_go_on_while_memory_is_short() -> None:
    """Streams whose readers stop fill the memory: nothing heavy is begun, cached quotes go on, and it comes back."""
    scenario = [sys.executable, "-m", "tests.support.short_of_memory"]
    done = subprocess.run(scenario, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
