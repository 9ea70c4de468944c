"""Who calls, by API key."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from ..errors import KeysUnread, NotPermitted, Unauthenticated
from ..identity.api_key import ApiKey, digest_of
from ..identity.consumer import Consumer, Limits, Scope
from ..market.time import format_rfc3339
from ..observe.counters import KeyCounts
from ..ports import Clock

NO_KEY: Final = "no valid API key: send `authorization: Bearer tg_…`, from the gateway's operator"
"""What is said of a key that is missing, malformed or unknown: whoever guesses learns nothing from which it is."""

_LONGEST: Final = 128
"""Characters of what is sent that are looked at; a token has fewer."""

_NO_DIGEST: Final = "0" * 64
"""Compared with where nothing was found, so that this takes as long as the rest."""


class _Known(Struct, frozen=True):
    """A key, and who calls with it."""

    key: ApiKey
    consumer: Consumer
    ends: bool
    """Whether it has ended, or will."""


class KeyDoor:
    """Lets in whoever sends an API key, for what the key is for.

    Keys are looked up by the keyed hash of the whole token, which is made of whatever is sent. Nobody who lacks the
    secret can steer it, so neither the time nor the words of a refusal tell which keys or names exist.
    """

    wants_certificate = False

    def __init__(self, secret: bytes, defaults: Limits, clock: Clock, counts: KeyCounts) -> None:
        """Know no keys yet, and let nobody in.

        Args:
            secret: what tokens are hashed under.
            defaults: limits of those whose key does not say.
            clock: tells when a key has expired.
            counts: where it says how many keys are valid.
        """
        self._secret = secret
        self._defaults = defaults
        self._clock = clock
        self._counts = counts
        self._keys: Sequence[ApiKey] | None = None
        self._known: Mapping[str, _Known] = {}
        """By digest."""

        self._admitted: dict[str, _Known] = {}
        """By what was sent, of those who were known since the keys last changed: that need not be hashed again.

        A dictionary finds a text by a hash under a secret of this process, and compares it with none whose hash is
        another, so its time tells no more of a key than the answer does."""

        self._valid: frozenset[str] = frozenset()
        """Ids of keys that were good at the last look."""

    @property
    def is_ready(self) -> bool:
        """Whether the keys were ever known."""
        return self._keys is not None

    def load(self, keys: Sequence[ApiKey]) -> None:
        """Go by *keys* from now on."""
        keys = tuple(keys)
        if keys != self._keys:
            self._keys = keys
            self._known = {key.digest: self._understood(key) for key in keys}
            self._admitted.clear()
        self.look()

    def _understood(self, key: ApiKey) -> _Known:
        ends = key.revoked is not None or key.expires is not None
        return _Known(key, _consumer(key, self._defaults), ends)

    def look(self) -> None:
        """Look which keys are valid now."""
        now = self._clock.wall()
        self._valid = frozenset(key.id for key in self._keys or () if not _why_ended(key, now))
        self._counts.keys = len(self._valid)

    def admit(self, authorization: str, certificate: str, peer: str, scope: Scope) -> Consumer:
        """Return whose key *authorization* holds."""
        known = self._admitted.get(authorization)
        if known is None:
            known = self._identify(authorization)
        consumer = known.consumer
        # From here on they are told more: they hold the whole token.
        if known.ends:
            why = _why_ended(known.key, self._clock.wall())
            if why:
                raise Unauthenticated(why, consumer)
        if scope not in consumer.scopes:
            msg = f"the API key {known.key.id} lacks the scope {scope.value}, which this service takes"
            raise NotPermitted(msg, consumer)
        return consumer

    def _identify(self, authorization: str) -> _Known:
        # Before anything else, and of anything.
        digest = digest_of(_token_in(authorization), self._secret)
        if self._keys is None:
            raise KeysUnread
        known = self._known.get(digest)
        if not hmac.compare_digest(digest, _NO_DIGEST if known is None else known.key.digest):
            raise Unauthenticated(NO_KEY)
        assert known is not None, "no token has a hash of zeros"
        self._admitted[authorization] = known
        return known

    def check(self, consumer: Consumer) -> None:
        """Let whoever has a valid key stay, as of the last look."""
        if consumer.key_id in self._valid:
            return
        now = self._clock.wall()
        whys = (_why_ended(key, now) for key in self._keys or () if key.id == consumer.key_id)
        gone = f"the API key {consumer.key_id} is no longer kept by the gateway's operator"
        raise Unauthenticated(next(whys, "") or gone, consumer)


def _token_in(authorization: str) -> str:
    scheme, _, token = authorization[:_LONGEST].partition(" ")
    return token if scheme.lower() == "bearer" and token.isascii() else ""


def _why_ended(key: ApiKey, now: int) -> str:
    if key.revoked is not None:
        return f"the API key {key.id} has been revoked"
    if key.expires is not None and key.expires <= now:
        return f"the API key {key.id} expired at {format_rfc3339(key.expires)}"
    return ""


def _consumer(key: ApiKey, defaults: Limits) -> Consumer:
    own = key.limits
    limits: dict[str, Any] = {
        field: _limit(getattr(own, field), getattr(defaults, field))
        for field in Limits.__struct_fields__
    }
    return Consumer(key.name, key.id, key.scopes, Limits(**limits))


def _limit(own: float | None, default: float | None) -> float | None:
    """Return the limit that holds; 0 is none, which a key may say against the default."""
    return (default if own is None else own) or None
