"""Files of logs: packed when they are full, forgotten after a while, and honest about what they cannot take."""

from __future__ import annotations

import errno
import gzip
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickgate_server.observe import files
from tickgate_server.observe.counters import LogCounts
from tickgate_server.observe.files import LogFile, Rotation
from tickgate_server.observe.logs import CallLine, LineLog

from ...support.fakes import NOW
from ...support.waiting import until

DAY = 24 * 3600.0
SMALL = Rotation(size=1000, keep_seconds=30 * DAY, keep_files=100)


class Clock:
    """A wall clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        """Tell the time."""
        self.now += 0.001
        return self.now


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file that is closed pack to the end, on a busy machine as well."""
    monkeypatch.setattr(files, "_FAREWELL", 60.0)


def opened(path: Path, rotation: Rotation = SMALL, **given: Any) -> LogFile:
    """A file at *path*."""
    return LogFile(path, rotation, now=given.pop("now", Clock()), **given)


def packed(path: Path) -> list[Path]:
    """The packed files of *path*, oldest first."""
    return sorted(path.parent.glob(f"{path.name}.*.gz"))


def everything(path: Path) -> str:
    """All that was written to *path*, in order."""
    whole = [gzip.decompress(file.read_bytes()).decode() for file in packed(path)]
    return "".join([*whole, path.read_text()])


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    """What a loss of power has left of a line is ended at the start, and the next line stands whole behind it."""
    path = tmp_path / "calls.log"
    path.write_text("whole\n{torn")
    for line in ("first\n", "second\n"):
        file = opened(path)
        file.write(line)
        file.close()

    assert path.read_text() == "whole\n{torn\nfirst\nsecond\n"


def test_a_full_file_is_packed(tmp_path: Path) -> None:
    """What would make a file too large goes to the next, and the full one is packed: no line is lost or torn."""
    path = tmp_path / "calls.log"
    file = opened(path)
    lines = [f"{number:0400d}\n" for number in range(10)]
    for line in lines:
        file.write(line)
        assert path.stat().st_size <= SMALL.size
    file.close()
    opened(path).close()
    assert everything(path) == "".join(lines)
    assert len(packed(path)) == 4
    assert sorted(tmp_path.iterdir()) == sorted([path, *packed(path)])


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 1500), max_size=30),
    restarts=st.sets(st.integers(0, 30), max_size=3),
)
def test_nothing_is_lost_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], restarts: set[int]
) -> None:
    """Whatever the lengths of texts and however often the gateway restarts, all of them are there, in order."""
    path, clock = tmp_path_factory.mktemp("law") / "a.log", Clock()
    file = opened(path, now=clock)
    texts = [f"{number % 10}" * length + "\n" for number, length in enumerate(lengths)]
    for number, text in enumerate(texts):
        if number in restarts:
            file.close()
            file = opened(path, now=clock)
        file.write(text)
    file.close()
    opened(path, now=clock).close()
    assert everything(path) == "".join(texts)


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """What is made here can be read by nobody else, packed or not; a file that was there keeps its mode."""
    path, shared = tmp_path / "audit.log", tmp_path / "shared.log"
    shared.touch()
    shared.chmod(0o640)
    for one, mode in ((path, 0o600), (shared, 0o640)):
        file = opened(one)
        file.write("x" * 900 + "\n")
        file.write("y" * 900 + "\n")
        file.close()
        assert stat.S_IMODE(one.stat().st_mode) == mode
        assert stat.S_IMODE(packed(one)[0].stat().st_mode) == mode


def test_old_files_go(tmp_path: Path) -> None:
    """Packed files go when they are too old or too many, the oldest first; files of others stay."""
    path, clock = tmp_path / "a.log", Clock()
    other = tmp_path / "a.log.notes"
    other.touch()
    os.utime(other, (0, 0))
    rotation = Rotation(size=10, keep_seconds=30 * DAY, keep_files=3)
    file = opened(path, rotation, now=clock)
    for number in range(6):
        file.write(f"number {number}\n")
        os.utime(path, (clock.now, clock.now))
        clock.now += DAY
    file.close()
    file = opened(path, rotation, now=clock)
    file.close()
    assert [gzip.decompress(one.read_bytes()) for one in packed(path)] == [
        b"number 2\n",
        b"number 3\n",
        b"number 4\n",
    ]

    clock.now += 27.5 * DAY
    opened(path, rotation, now=clock).close()
    assert [gzip.decompress(one.read_bytes()) for one in packed(path)] == [b"number 4\n"]
    assert other.exists()


def test_old_files_go_while_it_runs(tmp_path: Path) -> None:
    """A gateway that writes little still looks every hour for files that have become too old."""
    path, clock = tmp_path / "a.log", Clock()
    file = opened(path, now=clock)
    old = tmp_path / "a.log.20260101T000000.000000Z.gz"
    old.touch()
    os.utime(old, (clock.now - 30 * DAY + 1800,) * 2)
    file.write("now\n")
    assert old.exists()
    clock.now += 3601
    file.write("an hour later\n")
    file.close()
    assert not old.exists()


def test_what_a_killed_gateway_left_is_packed(tmp_path: Path) -> None:
    """A full file that was not packed to its end is packed at the next start, and the torn part of it goes."""
    path = tmp_path / "a.log"
    (tmp_path / "a.log.20260930T000000.000000Z").write_text("left\n")
    (tmp_path / "a.log.20260930T000000.000000Z.gz.part").write_bytes(b"torn")
    opened(path).close()
    (left,) = packed(path)
    assert gzip.decompress(left.read_bytes()) == b"left\n"
    assert sorted(tmp_path.iterdir()) == [path, left]


@pytest.mark.parametrize("away", ["moved", "removed"])
def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path, away: str) -> None:
    """When logrotate moves the file, or somebody removes it, the next line begins another at its place."""
    path = tmp_path / "a.log"
    file = opened(path)
    file.write("one\n")
    if away == "moved":
        path.rename(tmp_path / "a.log.1")
    else:
        path.unlink()
    file.write("two\n")
    file.close()
    assert path.read_text() == "two\n"
    assert away == "removed" or (tmp_path / "a.log.1").read_text() == "one\n"


def test_a_file_that_is_cut_is_gone_on_with(tmp_path: Path) -> None:
    """When somebody empties the file, the next line is its first."""
    path = tmp_path / "a.log"
    file = opened(path)
    file.write("one\n")
    os.truncate(path, 0)
    file.write("two\n")
    file.close()
    assert path.read_bytes() == b"two\n"


def folder_missing(path: Path) -> Path:
    """A path in a folder that does not exist."""
    return path / "nowhere" / "a.log"


def a_pipe(path: Path) -> Path:
    """A named pipe without a reader."""
    os.mkfifo(path / "a.log")
    return path / "a.log"


def a_device(_: Path) -> Path:
    """Where nothing stays."""
    return Path(os.devnull)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (folder_missing, "its folder does not exist"),
        (lambda path: path, "Is a directory"),
        (a_pipe, "it is no regular file"),
        (a_device, "it is no regular file"),
    ],
)
def test_a_file_that_cannot_be_is_said_at_the_start(
    tmp_path: Path, place: Callable[[Path], Path], says: str
) -> None:
    """A path that cannot be a log is refused with a sentence that names it and why, and nothing waits."""
    path = place(tmp_path)
    with pytest.raises(OSError, match="cannot be written") as refused:
        opened(path)
    assert str(refused.value) == f"{path}: cannot be written ({says})"


def test_a_file_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    """Without permission the start says so; as root may do anything, another user tries where that is who tests."""
    if os.geteuid() == 0:
        tmp_path.chmod(0o700)
        program = (
            "import os, sys; from pathlib import Path\n"
            "from tickgate_server.observe.files import LogFile, Rotation\n"
            "os.seteuid(65534)\n"
            "try: LogFile(Path(sys.argv[1]), Rotation(1, 1, 1))\n"
            "except OSError as error: print(error)"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "a.log")]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    else:
        tmp_path.chmod(0o500)
        with pytest.raises(OSError, match="Permission denied") as refused:
            opened(tmp_path / "a.log")
        said = str(refused.value)
        tmp_path.chmod(0o700)
    assert said.strip() == f"{tmp_path}/a.log: cannot be written (Permission denied)"


def test_two_processes_do_not_share_a_file(tmp_path: Path) -> None:
    """A file that a process writes is refused to another, until the first has ended."""
    path = tmp_path / "a.log"
    file = opened(path)
    with pytest.raises(OSError, match="another process writes it"):
        opened(path)
    file.write("x" * 900 + "\n")
    file.write("y" * 900 + "\n")
    with pytest.raises(OSError, match="another process writes it"):
        opened(path)
    file.close()
    opened(path).close()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A disk with room for so many bytes: `os.write` takes what fits, and then fails as a full disk does."""
    room = {"bytes": 1 << 30}
    really = os.write

    def write(file: int, data: bytes) -> int:
        fitting = data[: room["bytes"]]
        if not fitting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room["bytes"] -= len(fitting)
        return really(file, fitting)

    monkeypatch.setattr(os, "write", write)
    return room


def test_adisk_tears_no_line(tmp_path: Path, disk: dict[str, int]) -> None:
    """What does not fit whole is not written at all; that is said once, and once that there is room again."""
    path, said = tmp_path / "a.log", list[str]()
    file = opened(path, complain=said.append)
    file.write("whole\n")
    disk["bytes"] = 3
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            file.write("does not fit\n")
    assert path.read_text() == "whole\n"
    disk["bytes"] = 1 << 30
    file.write("fits again\n")
    file.close()
    assert path.read_text() == "whole\nfits again\n"
    assert said == [
        f"{path}: cannot be written (No space left on device); its lines are dropped until it can be",
        f"{path}: can be written again",
    ]


async def test_a_log_counts_what_a_full_disk_cost(tmp_path: Path, disk: dict[str, int]) -> None:
    """Lines that a full disk cost are counted at once, and the log itself says how many when it goes on."""
    path, counts = tmp_path / "a.log", LogCounts()
    file = opened(path, complain=lambda _: None)
    log = LineLog(file, "json", counts, name="audit")
    disk["bytes"] = 0
    for number in range(5):
        log.write(NOW, a_line, number)
    await until(lambda: counts.dropped == 5)
    disk["bytes"] = 1 << 30
    log.write(NOW, a_line, 6)
    log.close()
    file.close()
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["event"], first["count"]) == ("audit_lines_dropped", 5)
    assert second["request_id"] == "id-6"
    assert counts.dropped == 5


def a_line(number: int) -> CallLine:
    """The line of a call."""
    return CallLine("", f"id-{number}", "S/M", "OK", 1.0, 1, 1, True, False)


def test_a_folder_that_vanishes_costs_its_lines_only(tmp_path: Path) -> None:
    """When the folder goes the lines are refused, with the reason; when it is back they are written."""
    folder, said = tmp_path / "logs", list[str]()
    folder.mkdir()
    path = folder / "a.log"
    file = opened(path, complain=said.append)
    path.unlink()
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        file.write("lost\n")
    folder.mkdir()
    file.write("kept\n")
    file.close()
    assert path.read_text() == "kept\n"
    assert "its folder does not exist" in said[0]


def test_complaints_go_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody else is told, a file that cannot be written is a line on standard error."""
    path = tmp_path / "a.log"
    file = LogFile(path, SMALL)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        file.write("lost\n")
    file.close()
    said = capsys.readouterr().err
    assert said.startswith(f"tickgate-server: {path}: cannot be written (Is a directory)")


def test_packing_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a full file is being packed lines are written, and the file may fill again."""
    path, begun, go_on = tmp_path / "a.log", threading.Event(), threading.Event()
    really = files._pack

    def slow(full: Path) -> None:
        begun.set()
        go_on.wait()
        really(full)

    monkeypatch.setattr(files, "_pack", slow)
    clock = Clock()
    file = opened(path, now=clock)
    for number in range(4):
        file.write(f"{number}" * 900 + "\n")
    assert begun.wait(5)
    assert path.read_text() == "3" * 900 + "\n"
    assert not packed(path)
    go_on.set()
    file.close()
    opened(path, now=clock).close()
    assert everything(path) == "".join(f"{number}" * 900 + "\n" for number in range(4))
