"""An authority of the tests' own, and certificates that it signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> dict[str, str]:
        """Put them into files of *folder*, as somebody does who renews them; return the settings that name them."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        for path, text in ((key, self.key), (certificate, self.certificate)):
            new = path.with_suffix(".new")
            new.write_bytes(text)
            new.chmod(0o600)
            new.replace(path)
        return {"certificate": str(certificate), "private_key": str(key)}


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "tickgate test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = _pem(
            _builder(self._name, self._name, self._key, DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(
        self,
        name: str,
        *,
        lasts: timedelta = DAY,
        begins: timedelta = -DAY,
        passphrase: bytes | None = None,
    ) -> Issued:
        """Return a certificate for *name*, good for this machine's loopback; an empty name leaves it out."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        certificate = (
            _builder(_name(name), self._name, key, lasts, begins)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        sealed = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return Issued(
            _pem(certificate), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)
        )

    def write(self, path: Path) -> str:
        """Put the authority's own certificate into a file, and return its name."""
        path.write_bytes(self.certificate)
        return str(path)

    def credentials(self, shown: Issued | None = None) -> grpc.ChannelCredentials:
        """Return what a caller trusts who trusts this authority, and the certificate that he shows."""
        if shown is None:
            return grpc.ssl_channel_credentials(self.certificate)
        return grpc.ssl_channel_credentials(self.certificate, shown.key, shown.certificate)


def _builder(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    lasts: timedelta,
    begins: timedelta = -DAY,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + lasts)
    )


def _name(common: str) -> x509.Name:
    named = [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "tests"), *named])


def _pem(certificate: x509.Certificate) -> bytes:
    text: Any = certificate.public_bytes(Encoding.PEM)
    return bytes(text)
