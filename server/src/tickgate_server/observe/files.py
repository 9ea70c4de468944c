"""Files that logs are written to: packed when they are full, and forgotten after a while.

The standard library's rotating handlers pack while their lock is held, rename all files to number them, and know no
age; so only their idea is taken. One process writes a file, and one thread of it.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import re
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from ..market.time import NANOS

_MODE: Final = 0o600
"""Of files that are made here: what callers ask for is nobody else's business."""

_STAMP: Final = r"\d{8}T\d{6}\.\d{6}Z"
"""When a file was full, as its name says; the names of all of them are in the order of time."""

_PART: Final = ".part"
"""End of the name of a file that is not packed to its end."""

_TEND_EVERY: Final = 3600.0
"""Seconds between looks for files that have become too old."""

_LEVEL: Final = 6
"""How hard gzip tries: the library's own 9 takes three times as long for a percent."""

_AT_ONCE: Final = 1 << 20
"""Bytes that are packed at once: some milliseconds, most of them without the interpreter's lock."""

_FAREWELL: Final = 1.0
"""Seconds that packing gets when the gateway stops; the next start packs what is left."""


class Rotation(Struct, frozen=True):
    """When a file is packed, and how many packed ones are kept."""

    size: int
    """Bytes after which it is."""

    keep_seconds: float
    keep_files: int


class LogFile:
    """A file that lines are added to.

    When it is full it is renamed and the next begun, which takes no time; it is packed beside that by a thread of its
    own. When somebody has moved it away, as logrotate does, it is begun anew.
    """

    def __init__(
        self,
        path: Path,
        rotation: Rotation,
        complain: Callable[[str], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Open the file at *path*, which is made if it is not there.

        Args:
            path: where it is.
            rotation: when it is packed, and how many packed ones are kept.
            complain: is told, in a sentence, when the file can no longer be written, and when it can again. By default
                that is said on standard error, since the log itself may be what cannot be written.
            now: the wall clock, seconds.

        Raises:
            OSError: it cannot be written, or another process writes it. The message is a sentence.
        """
        self._path = path
        self._rotation = rotation
        self._complain = complain or _say
        self._now = now
        self._lock = threading.Lock()
        self._packing: threading.Thread | None = None
        self._again = False
        """Whether there is more to pack since packing began."""

        self._failing = False
        self._tended_at = now()
        try:
            self._file = self._open()
        except OSError as error:
            raise OSError(self._sentence(error)) from error
        # A process that was killed may have left some unpacked.
        self._pack()

    def write(self, text: str) -> None:
        """Add *text*, which is whole lines: all of it or nothing.

        Raises:
            OSError: it cannot be written now. Another try may do better.
        """
        try:
            self._write(text.encode())
        except OSError as error:
            if not self._failing:
                self._failing = True
                self._complain(f"{self._sentence(error)}; its lines are dropped until it can be")
            raise
        if self._failing:
            self._failing = False
            self._complain(f"{self._path}: can be written again")
        if self._now() - self._tended_at > _TEND_EVERY:
            self._pack()

    def flush(self) -> None:
        """Do nothing: nothing is held back here."""

    def close(self) -> None:
        """Close it. Packing that takes longer than a moment is left to the next start."""
        os.close(self._file)
        packing = self._packing
        if packing is not None:
            packing.join(_FAREWELL)

    def _write(self, data: bytes) -> None:
        self._follow()
        size = os.fstat(self._file).st_size
        if size and size + len(data) > self._rotation.size:
            self._rotate()
            size = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(data):
                # A disk that becomes full takes a part.
                written += os.write(self._file, data[written:])
        except OSError:
            # Nobody else writes it, so what is behind its former end is the torn part of these lines.
            with suppress(OSError):
                os.ftruncate(self._file, size)
            raise

    def _open(self) -> int:
        # Not waited for: a pipe would wait for its reader.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        file = os.open(self._path, flags, _MODE)
        try:
            _check_regular(file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise
        _end_torn(file)
        return file

    def _follow(self) -> None:
        """Begin the file anew if what is open is no longer the one at its path."""
        held = os.fstat(self._file)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            pass
        else:
            if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return
        self._renew()

    def _renew(self) -> None:
        before, self._file = self._file, self._open()
        os.close(before)

    def _rotate(self) -> None:
        mode = stat.S_IMODE(os.fstat(self._file).st_mode)
        self._path.rename(self._full_name())
        self._renew()
        # Whoever has let others read it means the next one as well.
        os.fchmod(self._file, mode)
        self._pack()

    def _full_name(self) -> Path:
        nanos = round(self._now() * NANOS)
        while True:
            seconds, rest = divmod(nanos, NANOS)
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
            name = self._path.with_name(f"{self._path.name}.{stamp}.{rest // 1000:06d}Z")
            if not name.exists() and not name.with_name(f"{name.name}.gz").exists():
                return name
            nanos += 1000

    # ------------------------------------------------------------------------------------ packing

    def _pack(self) -> None:
        self._tended_at = self._now()
        with self._lock:
            self._again = True
            if self._packing is None:
                self._packing = threading.Thread(target=self._run, name="log-packing", daemon=True)
                self._packing.start()

    def _run(self) -> None:
        while self._has_more():
            self._pack_all()

    def _has_more(self) -> bool:
        with self._lock:
            more, self._again = self._again, False
            if not more:
                self._packing = None
            return more

    def _pack_all(self) -> None:
        try:
            for part in self._siblings(f"{_STAMP}\\.gz{re.escape(_PART)}"):
                part.unlink()
            for full in self._siblings(_STAMP):
                _pack(full)
        except OSError as error:
            self._complain(f"{self._path}: a full file cannot be packed ({_why(error)})")
        with suppress(OSError):
            # Also when nothing could be packed: a disk that is full needs it most.
            self._forget()

    def _forget(self) -> None:
        newest_first = self._siblings(f"{_STAMP}(\\.gz)?")[::-1]
        oldest = self._now() - self._rotation.keep_seconds
        for number, file in enumerate(newest_first):
            if number >= self._rotation.keep_files or file.stat().st_mtime < oldest:
                file.unlink()

    def _siblings(self, ending: str) -> list[Path]:
        pattern = re.compile(rf"{re.escape(self._path.name)}\.{ending}", re.ASCII)
        return sorted(path for path in self._path.parent.iterdir() if pattern.fullmatch(path.name))

    def _sentence(self, error: OSError) -> str:
        return f"{self._path}: cannot be written ({_why(error)})"


def _pack(full: Path) -> None:
    """Pack the file *full* beside it, with its mode and time, and remove it."""
    packed = full.with_name(f"{full.name}.gz")
    part = packed.with_name(f"{packed.name}{_PART}")
    known = full.stat()
    try:
        with (
            full.open("rb") as source,
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb") as raw,
        ):
            with gzip.GzipFile(full.name, "wb", _LEVEL, raw, known.st_mtime) as target:
                shutil.copyfileobj(source, target, _AT_ONCE)
            raw.flush()
            os.fchmod(raw.fileno(), stat.S_IMODE(known.st_mode))
            os.fsync(raw.fileno())
        os.utime(part, ns=(known.st_atime_ns, known.st_mtime_ns))
        part.rename(packed)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    full.unlink()


def _end_torn(file: int) -> None:
    """End a line that a loss of power has torn, so that the next is not lost with it."""
    with suppress(OSError):
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            os.write(file, b"\n")


def _check_regular(file: int) -> None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(0, "it is no regular file")


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "its folder does not exist"
    if isinstance(error, BlockingIOError):
        return "another process writes it"
    return error.strerror or type(error).__name__


def _say(sentence: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"tickgate-server: {sentence}\n")
        sys.stderr.flush()
