"""API keys in a file."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
import structlog
from msgspec import Meta, Struct
from msgspec.structs import replace

from ..errors import StoreDown, StoreUnusable
from ..identity.api_key import DIGEST, KEY_ID, KEY_NAME, ApiKey
from ..identity.consumer import Limits, Scope

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_LARGEST: Final = 64 << 20
"""Bytes; a key takes some 300."""

_OTHERS_WRITE: Final = 0o022
_OTHERS_READ: Final = 0o044

_Count = Annotated[int, Meta(ge=0)]


class _Limits(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The limits of a key, as its line has them."""

    calls_per_second: Annotated[float, Meta(ge=0)] | None = None
    symbols_per_batch: _Count | None = None
    streams: _Count | None = None
    symbols_per_stream: _Count | None = None
    history_points_per_day: _Count | None = None


class _Line(Struct, forbid_unknown_fields=True):
    """A key, as its line has it: what somebody misspells must not be passed over."""

    id: Annotated[str, Meta(pattern=KEY_ID)]
    name: Annotated[str, Meta(pattern=KEY_NAME)]
    digest: Annotated[str, Meta(pattern=DIGEST)]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    created: int
    expires: int | None = None
    revoked: int | None = None
    limits: _Limits = msgspec.field(default_factory=_Limits)


class KeyFile:
    """`KeyStore` in a file: JSON, a key a line, times in nanoseconds.

    A change writes the whole file anew beside the old and takes its place, so a reader finds the one or the other.
    Writers take turns.
    """

    def __init__(self, path: Path) -> None:
        """Keep keys at *path*, which need not exist before the first is added."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        """Inode, size and time of change (of its mode, too) of what was last read."""

        self._keys: Sequence[ApiKey] = ()

    async def everything(self) -> Sequence[ApiKey]:
        """Return all keys, oldest first; the very same while nobody writes."""
        return await asyncio.to_thread(self._read)

    async def add(self, key: ApiKey) -> None:
        """Keep a new key; the first makes the file, which nobody else may read."""
        await asyncio.to_thread(self._change, lambda keys: keys.append(key))

    async def revoke(self, key_id: str, time: int) -> ApiKey | None:
        """Revoke a key as of *time*."""

        def revoke(keys: list[ApiKey]) -> ApiKey | None:
            for place, key in enumerate(keys):
                if key.id == key_id:
                    keys[place] = key if key.revoked is not None else replace(key, revoked=time)
                    return keys[place]
            return None

        return await asyncio.to_thread(self._change, revoke)

    def _read(self) -> Sequence[ApiKey]:
        try:
            with open(self._path, "rb", opener=_at_once) as file:
                found = os.fstat(file.fileno())
                _check_regular(found)
                seen = (found.st_ino, found.st_size, found.st_ctime_ns)
                if seen == self._seen:
                    return self._keys
                self._check_mode(found.st_mode)
                text = file.read(_LARGEST + 1)
        except OSError as error:
            msg = f"the API keys in {self._path} cannot be read ({error.strerror})"
            raise StoreDown(msg) from error
        self._keys, self._seen = self._parsed(text), seen
        return self._keys

    def _check_mode(self, mode: int) -> None:
        if mode & _OTHERS_WRITE:
            msg = (
                f"{self._path}: others may write to it, and could give themselves whatever they like:"
                " chmod go-w it, and look who has done what"
            )
            raise StoreUnusable(msg)
        if mode & _OTHERS_READ:
            _log.warning("keys_readable", file=str(self._path), mode=f"{mode & 0o777:o}")

    def _parsed(self, text: bytes) -> list[ApiKey]:
        if len(text) > _LARGEST:
            msg = f"{self._path}: is larger than {_LARGEST >> 20} MiB"
            raise StoreUnusable(msg)
        keys: list[ApiKey] = []
        ids, digests = set[str](), set[str]()
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                key = _key(msgspec.json.decode(line, type=_Line))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                msg = f"{self._path}, line {number}: {error}"
                raise StoreUnusable(msg) from error
            if key.id in ids or key.digest in digests:
                msg = f"{self._path}, line {number}: the key {key.id} stands there twice"
                raise StoreUnusable(msg)
            ids.add(key.id)
            digests.add(key.digest)
            keys.append(key)
        return sorted(keys, key=lambda key: (key.created, key.id))

    def _change(self, change: Callable[[list[ApiKey]], T]) -> T:
        path = self._path.resolve()
        try:
            with _turn(path.parent):
                keys = list(self._read()) if path.exists() else []
                changed = change(keys)
                _replace(path, b"".join(msgspec.json.encode(_line(key)) + b"\n" for key in keys))
        except OSError as error:
            msg = f"the API keys in {self._path} cannot be written ({error.strerror})"
            raise StoreDown(msg) from error
        return changed


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting: a pipe would wait for its writer, and whoever stops the gateway for both."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, "it is no regular file")


def _key(line: _Line) -> ApiKey:
    limits = Limits(**msgspec.structs.asdict(line.limits))
    return ApiKey(
        line.id,
        line.name,
        line.digest,
        frozenset(line.scopes),
        limits,
        line.created,
        line.expires,
        line.revoked,
    )


def _line(key: ApiKey) -> _Line:
    return _Line(
        key.id,
        key.name,
        key.digest,
        [scope for scope in Scope if scope in key.scopes],
        key.created,
        key.expires,
        key.revoked,
        _Limits(**msgspec.structs.asdict(key.limits)),
    )


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Wait for other writers: of this machine, by a lock on *folder*, since the file itself is replaced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        # What was put in the place of another must be there after a loss of power, too.
        os.fsync(descriptor)
    finally:
        # The lock goes with it.
        os.close(descriptor)


def _replace(path: Path, text: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _keep_owner(path, descriptor)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _keep_owner(path: Path, descriptor: int) -> None:
    """Leave the file to whom it belongs: root may have been asked to make a key that the gateway reads."""
    with suppress(FileNotFoundError):
        before: Any = path.stat()
        os.fchmod(descriptor, before.st_mode & 0o777)
        with suppress(PermissionError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
