"""Alpaca's words on a live feed that are no records: what it says of the connection, and what it is told."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Final

import msgspec

from ....market.live import Channel

WIRE_CHANNELS: Final[dict[Channel, tuple[str, ...]]] = {
    Channel.QUOTES: ("quotes",),
    # Corrections and cancellations come with them, unasked.
    Channel.TRADES: ("trades",),
    Channel.BARS: ("bars", "updatedBars"),
    Channel.DAILY_BARS: ("dailyBars",),
    Channel.TRADING_STATUSES: ("statuses",),
    Channel.PRICE_BANDS: ("lulds",),
}
"""What Alpaca calls a channel. A symbol is had when it is had on each of them."""

_SHOWN: Final = 100
"""Characters of an upstream's message that are passed on."""


class Code(Enum):
    """What an error is about; the value is Alpaca's number."""

    INVALID_SYNTAX = 400
    NOT_AUTHENTICATED = 401
    AUTH_FAILED = 402
    ALREADY_AUTHENTICATED = 403
    AUTH_TIMEOUT = 404
    SYMBOL_LIMIT = 405
    CONNECTION_LIMIT = 406
    SLOW_CLIENT = 407
    V2_NOT_ENABLED = 408
    INSUFFICIENT_SUBSCRIPTION = 409
    INVALID_ACTION = 410
    INSUFFICIENT_SCOPE = 411
    MSGPACK_ONLY = 412
    STAR_NOT_ALLOWED = 413
    INTERNAL = 500


class Control(msgspec.Struct):
    """A message about the connection."""

    T: str = ""
    msg: str = ""
    code: int = 0
    quotes: list[str] | None = None
    trades: list[str] | None = None
    bars: list[str] | None = None
    updated_bars: list[str] | None = msgspec.field(default=None, name="updatedBars")
    daily_bars: list[str] | None = msgspec.field(default=None, name="dailyBars")
    statuses: list[str] | None = None
    lulds: list[str] | None = None

    @property
    def is_error(self) -> bool:
        """Whether something was refused or went wrong."""
        return self.T == "error"

    @property
    def is_admission(self) -> bool:
        """Whether the credentials were accepted."""
        return self.T == "success" and self.msg == "authenticated"

    @property
    def error(self) -> Code | None:
        """What an error is about; None when this is none, or none that is known."""
        if not self.is_error:
            return None
        try:
            return Code(self.code)
        except ValueError:
            return None

    @property
    def said(self) -> str:
        """Alpaca's own words, fit for a log."""
        text = "".join(char for char in self.msg[:_SHOWN] if char.isprintable())
        return f"{self.code} {text}" if self.is_error else text

    @property
    def is_acknowledgement(self) -> bool:
        """Whether it names all that is subscribed."""
        return self.T == "subscription"

    def held(self, channel: Channel) -> set[str]:
        """Return the symbols that are subscribed on *channel*, by an acknowledgement."""
        on_wire = {
            "quotes": self.quotes,
            "trades": self.trades,
            "bars": self.bars,
            "updatedBars": self.updated_bars,
            "dailyBars": self.daily_bars,
            "statuses": self.statuses,
            "lulds": self.lulds,
        }
        # A channel without symbols may be left out.
        return set.intersection(*(set(on_wire[name] or ()) for name in WIRE_CHANNELS[channel]))


_CONTROLS: Final = frozenset({"success", "error", "subscription"})
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)

_as_controls = msgspec.msgpack.Decoder(list[Control])
_as_json_controls = msgspec.json.Decoder(list[Control])
_encode = msgspec.msgpack.Encoder().encode


def control_in(frame: bytes) -> Control | None:
    """Return the message about the connection that *frame* is; None when it holds records. Called for every frame."""
    # A message about the connection arrives alone: an array of one. Nearly always a type stands first, and that of a
    # record is one letter.
    if frame[:1] == b"\x91":
        if frame[2:5] == b"\xa1T\xa1":
            return None
    elif not frame.startswith((b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01")):
        return None
    return _only(_as_controls, frame)


def control_in_text(frame: str) -> Control | None:
    """Return the message about the connection that a frame of text is; None when it is none."""
    return _only(_as_json_controls, frame.encode())


def _only(
    decoder: msgspec.msgpack.Decoder[list[Control]] | msgspec.json.Decoder[list[Control]],
    frame: bytes,
) -> Control | None:
    try:
        (control,) = decoder.decode(frame)
    except _UNDECODABLE:
        return None
    return control if control.T in _CONTROLS else None


def authentication(key_id: str, secret: str) -> bytes:
    """Return the message that authenticates."""
    return _encode({"action": "auth", "key": key_id, "secret": secret})


def subscription(action: str, channel: Channel, symbols: Collection[str]) -> bytes:
    """Return the message that changes what is sent; *action* is "subscribe" or "unsubscribe"."""
    listed = list(symbols)
    return _encode({"action": action, **dict.fromkeys(WIRE_CHANNELS[channel], listed)})
