"""The errors of the stream, in Alpaca's numbers and words."""

from __future__ import annotations

from typing import Final

MESSAGES: Final = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    408: "v2 not enabled",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    411: "insufficient scope",
    412: "option messages are only available in MsgPack format",
    413: "star subscription is not allowed for option quotes",
    500: "internal error",
}

INVALID_SYNTAX: Final = 400
NOT_AUTHENTICATED: Final = 401
AUTH_FAILED: Final = 402
ALREADY_AUTHENTICATED: Final = 403
AUTH_TIMEOUT: Final = 404
SYMBOL_LIMIT: Final = 405
CONNECTION_LIMIT: Final = 406
NOT_IN_PLAN: Final = 409
NO_SUCH_CHANNEL: Final = 410
MSGPACK_ONLY: Final = 412
NO_STAR: Final = 413
INTERNAL_ERROR: Final = 500


class StreamRefusal(Exception):
    """A message of the client is answered with an error; the socket stays open."""

    def __init__(self, code: int, message: str | None = None, *, close: bool = False) -> None:
        """Refuse with *code*.

        Args:
            code: Alpaca's number.
            message: The words; unset, those that belong to *code*.
            close: Whether the connection is closed after the error.
        """
        super().__init__(message if message is not None else MESSAGES.get(code, "unknown"))
        self.code = code
        self.close = close
