"""Who calls, by certificate."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ..errors import NotPermitted, Unauthenticated
from ..identity.consumer import Consumer, Limits, Scope
from .peers import is_loopback

_SCOPES: Final = frozenset(Scope) - {Scope.ADMIN}

_MOST_NAMES: Final = 1024
"""Consumers that are kept; each is made again when it is needed."""


class CertificateDoor:
    """Lets in whoever shows a certificate that TLS has accepted, under the common name in it.

    They may do all but what operators may: those call from the gateway's own machine, with a certificate too.
    """

    wants_certificate = True

    def __init__(self, limits: Limits) -> None:
        """Let them use as much as *limits* says, each name for itself."""
        self._consumer = lru_cache(_MOST_NAMES)(
            lambda name, scopes: Consumer(name, "", scopes, limits)
        )

    def admit(self, authorization: str, certificate: str, peer: str, scope: Scope) -> Consumer:
        """Return who *certificate* is."""
        if not certificate:
            msg = "the certificate has no common name, by which this gateway knows its callers"
            raise Unauthenticated(msg)
        if scope is not Scope.ADMIN:
            return self._consumer(certificate, _SCOPES)
        if not is_loopback(peer):
            msg = (
                "AdminService takes callers with a certificate on the gateway's own machine only;"
                " from elsewhere it takes an API key with the scope admin (identity.keys)"
            )
            raise NotPermitted(msg, self._consumer(certificate, _SCOPES))
        return self._consumer(certificate, _SCOPES | {Scope.ADMIN})

    def check(self, consumer: Consumer) -> None:
        """Let everybody stay: what TLS has accepted is good for as long as the connection."""
