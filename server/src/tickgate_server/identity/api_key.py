"""API keys: what a caller shows, and what is kept of it."""

from __future__ import annotations

import hmac
import re
import secrets
import string
from functools import lru_cache
from typing import Final

from msgspec import Struct

from .consumer import Limits, Scope

_ALPHABET: Final = string.ascii_letters + string.digits
_ID_LENGTH: Final = 8
_SECRET_LENGTH: Final = 32
"""Letters and digits: 190 bits, which nobody guesses."""

_TOKEN: Final = re.compile(
    rf"tg_([A-Za-z0-9]{{{_ID_LENGTH}}})_[A-Za-z0-9]{{{_SECRET_LENGTH}}}", re.ASCII
)


KEY_NAME: Final = r"\A[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z"
"""Form of a consumer's name: it stands in logs as it is."""

KEY_ID: Final = rf"\A[A-Za-z0-9]{{{_ID_LENGTH}}}\Z"
DIGEST: Final = r"\A[0-9a-f]{64}\Z"


class ApiKey(Struct, frozen=True):
    """What is kept of an API key. The token itself is not."""

    id: str
    """The part of the token that is no secret, by which operators name it."""

    name: str
    """Consumer whose key it is; several keys may be one consumer's, while one replaces the other."""

    digest: str
    """`digest_of` the token, in hex."""

    scopes: frozenset[Scope]
    limits: Limits
    created: int
    """Nanoseconds of the wall clock."""

    expires: int | None = None
    """When it ends, nanoseconds of the wall clock; None never."""

    revoked: int | None = None
    """When it was revoked, nanoseconds of the wall clock."""


def new_token() -> tuple[str, str]:
    """Return the id of a new key and the token that its owner is shown, once."""
    key_id = _random(_ID_LENGTH)
    return key_id, f"tg_{key_id}_{_random(_SECRET_LENGTH)}"


def is_token(text: str) -> bool:
    """Tell whether *text* has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def digest_of(token: str, secret: bytes) -> str:
    """Return the keyed hash of *token*, in hex: HMAC-SHA256 (RFC 2104) under the gateway's *secret*.

    Who reads the store of keys can neither call with what stands there nor, without the secret, try tokens against it.
    """
    # Each call is asked for its key, and to prepare a hash takes longer than to finish it.
    hashing = _prepared(secret).copy()
    hashing.update(token.encode())
    return hashing.hexdigest()


@lru_cache(maxsize=4)
def _prepared(secret: bytes) -> hmac.HMAC:
    return hmac.new(secret, digestmod="sha256")


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
