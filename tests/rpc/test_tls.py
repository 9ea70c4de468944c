"""A gateway that serves TLS: who is believed, whom it believes, and certificates that are renewed while it runs."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from tickgate.v1 import admin_service_pb2 as admin_pb
from tickgate.v1 import admin_service_pb2_grpc as admin
from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import quote_service_pb2_grpc as quotes
from tickgate_server.errors import CertificateUnusable
from tickgate_server.identity.consumer import Scope
from tickgate_server.observe.counters import Counters
from tickgate_server.rpc.tls import Tls, TlsFiles
from tickgate_server.stores.key_file import KeyFile

from ..support.certificates import DAY, Authority, Issued
from ..support.fakes import HandClock
from ..support.keys import SECRET, bearer, made_key
from ..support.running import Stack, running

QUESTION = pb.GetQuoteRequest(symbol="AAPL")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
ALONE = (("grpc.use_local_subchannel_pool", 1),)
"""A channel that shares no connection with others."""

AUTHORITY = Authority()
STRANGER = Authority("somebody else")


def tls(folder: Path, issued: Issued | None = None, **given: Any) -> dict[str, Any]:
    """Settings of a gateway with TLS, whose certificate is looked at as often as may be."""
    files = (issued or AUTHORITY.issue("gateway")).write(folder, "gateway")
    return files | {"reload_every": 0.1} | given


@asynccontextmanager
async def channel(
    stack: Stack, authority: Authority = AUTHORITY, shown: Issued | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A new connection to the gateway of somebody who trusts *authority* and shows a certificate."""
    credentials = authority.credentials(shown)
    async with grpc.aio.secure_channel(stack.target, credentials, options=ALONE) as to:
        yield to


async def asked(to: grpc.aio.Channel, metadata: Any = ()) -> grpc.StatusCode:
    """Ask for a quote; return how that went."""
    stub: quotes.QuoteServiceAsyncStub = quotes.QuoteServiceStub(to)
    try:
        await stub.GetQuote(QUESTION, metadata=metadata, timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def shaken(stack: Stack, version: ssl.TLSVersion | None = None) -> x509.Certificate:
    """Return the certificate that the gateway shows to whoever connects, with *version* of TLS at most."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", stack.gateway.port), 5) as line,
        context.wrap_socket(line) as connection,
    ):
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


def common_name(certificate: x509.Certificate) -> str:
    """Return whose certificate it is."""
    return str(certificate.subject.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)[0].value)


async def until_shown(stack: Stack, name: str) -> x509.Certificate:
    """Connect until the gateway shows the certificate of *name*, and return it."""
    async with asyncio.timeout(10):
        while True:
            certificate = await asyncio.to_thread(shaken, stack)
            if common_name(certificate) == name:
                return certificate


# -------------------------------------------------------------------------------- who is believed


async def test_a_gateway_serves_tls_and_nothing_else(tmp_path: Path) -> None:
    """Whoever trusts the gateway's authority is answered; another trust, or no TLS, gets no connection at all."""
    async with running(tls=tls(tmp_path)) as stack:
        async with channel(stack) as to:
            assert await asked(to) is grpc.StatusCode.OK
        async with channel(stack, STRANGER) as to:
            assert await asked(to) is UNAVAILABLE
        # The stack's own channel speaks without.
        assert await asked(stack.channel) is UNAVAILABLE
        expires = stack.gateway.counters.certificate_expires
        shown = await asyncio.to_thread(shaken, stack)

    assert expires == int(shown.not_valid_after_utc.timestamp()) * 10**9


async def test_old_tls_is_refused(tmp_path: Path) -> None:
    """TLS 1.2 is the oldest that is taken."""
    async with running(tls=tls(tmp_path)) as stack:
        with (
            pytest.warns(DeprecationWarning, match="TLSv1_1"),
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            await asyncio.to_thread(shaken, stack, ssl.TLSVersion.TLSv1_1)
        assert common_name(await asyncio.to_thread(shaken, stack, ssl.TLSVersion.TLSv1_2))


# ------------------------------------------------------------------------------------- renewal


async def test_a_certificate_is_renewed_without_a_restart(tmp_path: Path) -> None:
    """New connections get the new certificate, those that are there go on, and its expiry is told."""
    async with running(tls=tls(tmp_path)) as stack, channel(stack) as before:
        assert await asked(before) is grpc.StatusCode.OK
        first = stack.gateway.counters.certificate_expires
        AUTHORITY.issue("renewed", lasts=3 * DAY).write(tmp_path, "gateway")
        await until_shown(stack, "renewed")

        assert await asked(before) is grpc.StatusCode.OK
        async with channel(stack) as after:
            assert await asked(after) is grpc.StatusCode.OK
        expires = stack.gateway.counters.certificate_expires

    assert first is not None
    assert expires is not None
    assert expires - first == pytest.approx(2 * DAY.total_seconds() * 1e9, abs=60e9)


Break = Callable[[Path], None]


def not_pem(folder: Path) -> None:
    """Something else in the certificate's place."""
    (folder / "gateway.pem").write_text("certificate")


def half(folder: Path) -> None:
    """A certificate that somebody is still writing."""
    path = folder / "gateway.pem"
    path.write_bytes(path.read_bytes()[:-100])


def no_key(folder: Path) -> None:
    """Something else in the key's place."""
    (folder / "gateway.key").write_text("key")


def another_key(folder: Path) -> None:
    """The key of another certificate: what a renewal looks like between its two files."""
    (folder / "gateway.key").write_bytes(AUTHORITY.issue("another").key)


def sealed(folder: Path) -> None:
    """A key with a passphrase."""
    AUTHORITY.issue("sealed", passphrase=b"hush").write(folder, "gateway")


def expired(folder: Path) -> None:
    """A certificate whose time is over."""
    AUTHORITY.issue("expired", begins=-2 * DAY, lasts=-DAY).write(folder, "gateway")


def early(folder: Path) -> None:
    """A certificate whose time has not come."""
    AUTHORITY.issue("early", begins=timedelta(hours=1)).write(folder, "gateway")


def gone(folder: Path) -> None:
    """No certificate at all."""
    (folder / "gateway.pem").unlink()


FAULTS = pytest.mark.parametrize(
    ("fault", "why"),
    [
        (not_pem, "gateway.pem: holds no certificates in PEM"),
        (half, "gateway.pem: holds no certificates in PEM"),
        (no_key, "gateway.key: holds no private key in PEM"),
        (another_key, "gateway.key: is not the key of the certificate in"),
        (sealed, "gateway.key: is encrypted"),
        (expired, "gateway.pem: expired at 20"),
        (early, "gateway.pem: is not valid before 20"),
        (gone, "gateway.pem: cannot be read (No such file or directory)"),
    ],
)


@FAULTS
async def test_a_gateway_does_not_start_without_its_certificate(
    tmp_path: Path, fault: Break, why: str
) -> None:
    """A certificate that callers would not take, or that cannot be used, is refused at the start by its file's name."""
    settings = tls(tmp_path)
    fault(tmp_path)
    with pytest.raises(CertificateUnusable) as refused:
        async with running(tls=settings):
            pass

    assert why in str(refused.value)


@FAULTS
async def test_a_broken_renewal_changes_nothing(tmp_path: Path, fault: Break, why: str) -> None:
    """A new certificate that cannot be used is said once in the log, the old one goes on, and a mended one is taken."""
    files = AUTHORITY.issue("first").write(tmp_path, "gateway")
    counters = Counters()
    # Certificates are good by the calendar.
    clock = HandClock(time.time_ns())
    named = TlsFiles(Path(files["certificate"]), Path(files["private_key"]))
    served = Tls(named, 1, clock, counters)
    first, expires = served._newest, counters.certificate_expires
    fault(tmp_path)
    with capture_logs() as logs:
        for _ in range(3):
            await served.look()
    assert served._newest is first
    assert counters.certificate_expires == expires
    assert served._change() is None
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert (line["event"], why in line["why"]) == ("certificate_refused", True)
    assert "hush" not in str(logs)

    AUTHORITY.issue("mended").write(tmp_path, "gateway")
    await served.look()
    assert served._change() is served._newest is not first
    assert served._change() is None


async def test_no_pipe_is_waited_for(tmp_path: Path) -> None:
    """A pipe where the certificate should be is refused at once: its reader would wait for ever, also at the stop."""
    files = AUTHORITY.issue("first").write(tmp_path, "gateway")
    certificate = Path(files["certificate"])
    served = Tls(
        TlsFiles(certificate, Path(files["private_key"])), 1, HandClock(time.time_ns()), Counters()
    )
    certificate.unlink()
    os.mkfifo(certificate)
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            await served.look()

    assert [line["why"] for line in logs] == [
        f"{certificate}: cannot be read (it is no regular file)"
    ]


async def test_what_was_refused_is_tried_again(tmp_path: Path) -> None:
    """A certificate that came before its time is taken when that has come, although no file changes any more."""
    files = AUTHORITY.issue("first").write(tmp_path, "gateway")
    clock = HandClock(time.time_ns())
    named = TlsFiles(Path(files["certificate"]), Path(files["private_key"]))
    served = Tls(named, 1, clock, Counters())
    first = served._newest
    early(tmp_path)
    await served.look()
    assert served._newest is first
    clock.advance(2 * 3600)
    await served.look()

    assert served._newest is not first


async def test_each_loss_is_said(tmp_path: Path) -> None:
    """Files that are lost, come back and are lost again, as on a disk of another machine, are said each time."""
    folder, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    folder.mkdir()
    files = AUTHORITY.issue("gateway").write(folder, "gateway")
    named = TlsFiles(Path(files["certificate"]), Path(files["private_key"]))
    served = Tls(named, 1, HandClock(time.time_ns()), Counters())
    with capture_logs() as logs:
        for _ in range(2):
            folder.rename(elsewhere)
            await served.look()
            await served.look()
            elsewhere.rename(folder)
            await served.look()
            await served.look()

    said = [line["event"] for line in logs]
    assert said == ["certificate_refused", "certificate_read"] * 2


# --------------------------------------------------------------------------- whom the gateway believes


def mutual(folder: Path, authority: Authority = AUTHORITY) -> dict[str, Any]:
    """Settings of a gateway that asks its callers for certificates of *authority*."""
    return tls(folder, client_authorities=authority.write(folder / "authorities.pem"))


async def test_callers_show_a_certificate(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever shows a certificate of the authority comes in under its common name; others get no connection."""
    async with running(tls=mutual(tmp_path), log={"calls": True, "format": "json"}) as stack:
        async with channel(stack, shown=AUTHORITY.issue("desk-7")) as to:
            assert await asked(to) is grpc.StatusCode.OK
        for shown in (None, STRANGER.issue("desk-7"), AUTHORITY.issue("late", lasts=-DAY / 2)):
            async with channel(stack, shown=shown) as to:
                assert await asked(to) is UNAVAILABLE
        async with channel(stack, shown=AUTHORITY.issue("")) as to:
            assert await asked(to) is grpc.StatusCode.UNAUTHENTICATED

    lines = [
        line for line in capfd.readouterr().err.splitlines() if "QuoteService/GetQuote" in line
    ]
    assert len(lines) == 2
    assert '"consumer":"desk-7"' in lines[0]


async def test_a_certificate_has_the_limits_of_the_settings(tmp_path: Path) -> None:
    """What a consumer may use that is known by its certificate is in the settings, and each name has its own."""
    limits = {"calls_per_second": 1}
    async with running(tls=mutual(tmp_path), limits=limits) as stack:
        for name in ("desk-7", "desk-8"):
            async with channel(stack, shown=AUTHORITY.issue(name)) as to:
                codes = [await asked(to) for _ in range(2)]
            assert codes == [grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED]


async def test_authorities_are_renewed_without_a_restart(tmp_path: Path) -> None:
    """Whose certificates are taken changes with the file, for connections from then on."""
    async with running(tls=mutual(tmp_path)) as stack:
        new = STRANGER.issue("desk-9")
        async with channel(stack, shown=new) as to:
            assert await asked(to) is UNAVAILABLE
        STRANGER.write(tmp_path / "authorities.pem")

        async def comes_in() -> bool:
            async with channel(stack, shown=new) as to:
                return await asked(to) is grpc.StatusCode.OK

        async with asyncio.timeout(10):
            while not await comes_in():
                pass
        async with channel(stack, shown=AUTHORITY.issue("desk-7")) as to:
            assert await asked(to) is UNAVAILABLE


async def test_with_keys_a_certificate_opens_the_line_alone(tmp_path: Path) -> None:
    """Where both are asked for the certificate lets a caller connect, and the key says who it is."""
    keys = KeyFile(tmp_path / "keys.jsonl")
    key, token = made_key(scopes=(Scope.READ,))
    await keys.add(key)
    identity = {"keys": "file", "file": str(tmp_path / "keys.jsonl")}
    async with running(tls=mutual(tmp_path), identity=identity, identity_secret=SECRET) as stack:
        async with channel(stack, shown=AUTHORITY.issue("host")) as to:
            assert await asked(to) is grpc.StatusCode.UNAUTHENTICATED
            assert await asked(to, bearer(token)) is grpc.StatusCode.OK
        async with channel(stack) as to:
            assert await asked(to, bearer(token)) is UNAVAILABLE


async def test_operators_call_with_a_certificate_from_this_machine(tmp_path: Path) -> None:
    """Without keys AdminService is for the gateway's own machine, with a certificate as without."""
    async with (
        running(tls=mutual(tmp_path)) as stack,
        channel(stack, shown=AUTHORITY.issue("operator")) as to,
    ):
        stub: admin.AdminServiceAsyncStub = admin.AdminServiceStub(to)
        await stub.ListErrors(admin_pb.ListErrorsRequest(), timeout=5)


async def test_a_key_that_all_may_read_is_said(tmp_path: Path) -> None:
    """A private key whose file everybody on the machine may read is used, and said in the log."""
    files = AUTHORITY.issue("gateway").write(tmp_path, "gateway")
    Path(files["private_key"]).chmod(0o644)
    named = TlsFiles(Path(files["certificate"]), Path(files["private_key"]))
    with capture_logs() as logs:
        Tls(named, 1, HandClock(time.time_ns()), Counters())

    assert [line["event"] for line in logs] == ["private_key_readable"]
