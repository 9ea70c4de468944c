"""Who is let in."""

from __future__ import annotations

from typing import Protocol

from ..errors import NotPermitted
from ..identity.consumer import ANYBODY, Consumer, Scope
from .peers import is_loopback


class Door(Protocol):
    """Tells who calls, and lets them use a service or not."""

    wants_certificate: bool
    """Whether the name in the caller's certificate matters, which is dear to look up."""

    def admit(self, authorization: str, certificate: str, peer: str, scope: Scope) -> Consumer:
        """Return who calls.

        Args:
            authorization: value of the metadata `authorization`; empty without any.
            certificate: common name of the caller's certificate, where it is wanted; empty without any.
            peer: address, as gRPC writes it.
            scope: what the service takes.

        Raises:
            Unauthenticated: nobody knows who that is.
            NotPermitted: they may not use it.
            KeysUnread: it cannot be told yet.
        """
        ...

    def check(self, consumer: Consumer) -> None:
        """Look whether *consumer*, who was let in, may stay; asked before each message of what takes long.

        Raises:
            Unauthenticated: the key has been revoked or has expired.
        """
        ...


class OpenDoor:
    """Asks nobody for a name, and lets whoever calls from the gateway's own machine do what operators may."""

    wants_certificate = False

    def admit(self, authorization: str, certificate: str, peer: str, scope: Scope) -> Consumer:
        """Let in whoever calls; operators from this machine alone."""
        if scope is Scope.ADMIN and not is_loopback(peer):
            msg = (
                "AdminService answers callers on the gateway's own machine only: call it from there,"
                " at a loopback address such as 127.0.0.1"
            )
            raise NotPermitted(msg)
        return ANYBODY

    def check(self, consumer: Consumer) -> None:
        """Let everybody stay."""
