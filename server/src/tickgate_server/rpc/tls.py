"""The gateway's certificate, read again when its files change."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from ..errors import CertificateUnusable
from ..market.time import NANOS
from ..observe.counters import Counters
from ..ports import Clock

_log = structlog.get_logger(__name__)

_EVERYBODY_READS: Final = 0o004

_Seen = tuple[tuple[int, int, int], ...]


class TlsFiles(Struct, frozen=True):
    """PEM files."""

    certificate: Path
    """The gateway's own, and behind it those between it and its authority."""

    private_key: Path
    client_authorities: Path | None = None
    """Whose certificates callers must show; None asks for none."""

    @property
    def all(self) -> Sequence[Path]:
        """All of them."""
        named = (self.certificate, self.private_key, self.client_authorities)
        return [path for path in named if path is not None]


class Tls:
    """What gRPC serves with. Each new connection takes the newest certificate; those that are there stay.

    What cannot be used is said in the log, and the certificate before it goes on.
    """

    def __init__(self, files: TlsFiles, every: float, clock: Clock, counters: Counters) -> None:
        """Read *files*, and look at them again every so many seconds; say in *counters* when the certificate expires.

        Raises:
            CertificateUnusable: they cannot be read, do not belong together, or are out of date.
        """
        self._files = files
        self._every = every
        self._clock = clock
        self._counters = counters
        self._why = ""
        """What was last wrong with them."""

        self._seen = _look(files)
        self._newest = self._read()
        self._served = self._newest

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is opened with. TLS 1.2 at least, and the ciphers that gRPC takes by itself."""
        wants_certificates = self._files.client_authorities is not None
        return grpc.dynamic_ssl_server_credentials(
            self._newest,
            self._change,  # type: ignore[arg-type]  # the stubs do not know that None is no change
            wants_certificates,
        )

    async def run(self) -> None:
        """Look at the files again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            await self.look()

    async def look(self) -> None:
        """Read the files if they have changed, or could not be used the last time."""
        try:
            seen = await asyncio.to_thread(_look, self._files)
            if seen == self._seen and not self._why:
                return
            self._newest = await asyncio.to_thread(self._read)
        except CertificateUnusable as error:
            if str(error) != self._why:
                self._why = str(error)
                _log.error("certificate_refused", why=self._why)
            return
        self._seen, self._why = seen, ""
        _log.info("certificate_read", file=str(self._files.certificate))

    def _change(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what is newer than what gRPC has; called by its threads, before each handshake."""
        newest = self._newest
        if newest is self._served:
            return None
        self._served = newest
        return newest

    def _read(self) -> grpc.ServerCertificateConfiguration:
        files = self._files
        chain, key = _bytes_of(files.certificate), _bytes_of(files.private_key)
        certificate = _certificates(chain, files.certificate)[0]
        _check_key(certificate, key, files)
        self._check_dates(certificate)
        authorities = None
        if files.client_authorities is not None:
            authorities = _bytes_of(files.client_authorities)
            _certificates(authorities, files.client_authorities)
        self._counters.certificate_expires = _nanoseconds(certificate.not_valid_after_utc)
        if files.private_key.stat().st_mode & _EVERYBODY_READS:
            _log.warning("private_key_readable", file=str(files.private_key))
        return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)

    def _check_dates(self, certificate: x509.Certificate) -> None:
        now = self._clock.wall()
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if _nanoseconds(last) <= now:
            msg = f"{self._files.certificate}: expired at {last:%Y-%m-%dT%H:%M:%SZ}"
            raise CertificateUnusable(msg)
        if _nanoseconds(first) > now:
            msg = f"{self._files.certificate}: is not valid before {first:%Y-%m-%dT%H:%M:%SZ}"
            raise CertificateUnusable(msg)


def _look(files: TlsFiles) -> _Seen:
    found = []
    for path in files.all:
        try:
            status = path.stat()
        except OSError as error:
            raise _unreadable(path, error) from error
        found.append((status.st_ino, status.st_size, status.st_ctime_ns))
    return tuple(found)


def _bytes_of(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                msg = f"{path}: cannot be read (it is no regular file)"
                raise CertificateUnusable(msg)
            return file.read()
    except OSError as error:
        raise _unreadable(path, error) from error


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting: a pipe would wait for its writer, and whoever stops the gateway for both."""
    return os.open(path, flags | os.O_NONBLOCK)


def _unreadable(path: Path, error: OSError) -> CertificateUnusable:
    return CertificateUnusable(f"{path}: cannot be read ({error.strerror})")


def _certificates(text: bytes, path: Path) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError as error:
        # Without the library's words: they are about its insides.
        msg = f"{path}: holds no certificates in PEM"
        raise CertificateUnusable(msg) from error


def _check_key(certificate: x509.Certificate, key: bytes, files: TlsFiles) -> None:
    try:
        private = load_pem_private_key(key, None)
    except TypeError as error:
        msg = f"{files.private_key}: is encrypted; the gateway takes a key without a passphrase"
        raise CertificateUnusable(msg) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = f"{files.private_key}: holds no private key in PEM"
        raise CertificateUnusable(msg) from error
    if private.public_key() != certificate.public_key():
        msg = f"{files.private_key}: is not the key of the certificate in {files.certificate}"
        raise CertificateUnusable(msg)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp()) * NANOS
