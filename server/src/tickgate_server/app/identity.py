"""Who may call: the door, what keeps it up to date, and TLS, as the settings want them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from ..access.certificates import CertificateDoor
from ..access.door import Door, OpenDoor
from ..access.keys import KeyDoor
from ..errors import Unauthenticated
from ..fanout.mailbox import Closing
from ..identity.consumer import Consumer
from ..jobs.key_watch import KeyWatch
from ..market.unavailable import Reason
from ..observe.counters import Counters
from ..ports import Clock, KeyStore
from ..rpc.tls import Tls, TlsFiles
from ..settings import Settings
from . import policies
from .stores import Job

_log = structlog.get_logger(__name__)


class Identity:
    """The door of a gateway."""

    def __init__(
        self, settings: Settings, counters: Counters, clock: Clock, keys: KeyStore | None
    ) -> None:
        """Build what *settings* ask for; *keys* is where API keys are kept, if anywhere."""
        self.door: Door = OpenDoor()
        self.on_look: Callable[[], None] = lambda: None
        """Told when somebody's key may have ended."""

        self._settings = settings
        self._watch: KeyWatch | None = None
        limits = policies.consumer_limits(settings)
        if keys is not None:
            door = KeyDoor(settings.hashing_secret, limits, clock, counters.keys)
            self.door = door
            every = settings.identity.reload_every
            self._watch = KeyWatch(keys, door, counters.keys, every)
            self._watch.on_look = self._looked
        elif settings.tls.client_authorities:
            self.door = CertificateDoor(limits)

    async def begin(self) -> None:
        """Learn who may call.

        Raises:
            StoreUnusable: the keys cannot be read. A PostgreSQL that is away is no reason not to start: nobody is let
                in before it is back.
        """
        if self._watch is None:
            return
        if not self._settings.tls.certificate and not self._settings.listens_on_loopback:
            _log.warning("keys_in_the_clear", why="tls.certificate is not set")
        await self._watch.begin(needed=self._settings.identity.keys == "file")

    @property
    def known(self) -> asyncio.Event | None:
        """Set once it is known who may call; None where it is from the start."""
        return None if self._watch is None else self._watch.known

    def jobs(self) -> Sequence[Job]:
        """Return what must run while the gateway does."""
        return () if self._watch is None else (self._watch.run,)

    def _looked(self) -> None:
        self.on_look()

    def last_word(self, consumer: Consumer) -> Closing | None:
        """Return what the streams of *consumer* end with, if its key has ended."""
        try:
            self.door.check(consumer)
        except Unauthenticated as why:
            return Closing(Reason.UNAUTHENTICATED, str(why), 0.0)
        return None


def open_tls(settings: Settings, counters: Counters, clock: Clock) -> Tls | None:
    """Return what gRPC serves TLS with; None where the settings want none.

    Raises:
        CertificateUnusable: a file of it cannot be used.
    """
    tls = settings.tls
    if not tls.certificate:
        return None
    files = TlsFiles(
        Path(tls.certificate),
        Path(tls.private_key),
        Path(tls.client_authorities) if tls.client_authorities else None,
    )
    return Tls(files, tls.reload_every, clock, counters)
