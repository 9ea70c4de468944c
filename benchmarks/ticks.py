"""Made-up quotes as Alpaca sends them: frames of msgpack, all but the instants made beforehand."""

from __future__ import annotations

import random
import string
import struct
from collections import Counter
from collections.abc import Sequence
from itertools import islice, product
from typing import Final

import msgspec

from tickgate_server.market.time import NANOS

UNIVERSE: Final = tuple(
    f"B{''.join(letters)}" for letters in islice(product(string.ascii_uppercase, repeat=3), 10_000)
)
"""10,000 made-up symbols."""

_ROUNDS: Final = 20
"""Quotes of each symbol before they repeat."""

_CHEAPEST, _DEAREST = 2_000, 50_000
"""Cents at which a symbol may start."""

_STEP: Final = 3
"""Cents by which a bid moves at most."""

_VENUES: Final = "VQPZNKCJXY"
_encode = msgspec.msgpack.Encoder().encode


class Ticks:
    """Frames of quotes over some symbols, each as often as the others, in an order that chance made once.

    After `_ROUNDS` quotes of each symbol they come again.
    """

    def __init__(self, symbols: Sequence[str], in_frame: int) -> None:
        """Make frames of *in_frame* quotes over *symbols*."""
        chance = random.Random(0)
        order: list[str] = []
        for _ in range(_ROUNDS):
            order += chance.sample(symbols, len(symbols))
        bids = {symbol: chance.randrange(_CHEAPEST, _DEAREST) for symbol in symbols}
        whole = len(order) // in_frame * in_frame
        self._symbols = [order[at : at + in_frame] for at in range(0, whole, in_frame)]
        self._pieces = [
            _pieces([_quote(symbol, bids, chance) for symbol in frame]) for frame in self._symbols
        ]

    def frame(self, number: int, instant: int) -> bytes:
        """Return frame *number*, its quotes stamped with *instant*, nanoseconds of the market's time."""
        pieces = self._pieces[number % len(self._pieces)]
        return _stamp(instant).join(pieces)

    def sent(self, frames: int) -> Counter[str]:
        """Return how many quotes of each symbol are in the first so many frames."""
        loops, rest = divmod(frames, len(self._symbols))
        counted: Counter[str] = Counter()
        for number, symbols in enumerate(self._symbols):
            for symbol in symbols:
                counted[symbol] += loops + (number < rest)
        return +counted


def _quote(symbol: str, bids: dict[str, int], chance: random.Random) -> bytes:
    bid = bids[symbol] = bids[symbol] + chance.randint(-_STEP, _STEP)
    record = {
        "T": "q",
        "S": symbol,
        "bx": chance.choice(_VENUES),
        "bp": bid / 100,
        "bs": 100 * chance.randint(1, 20),
        "ax": chance.choice(_VENUES),
        "ap": (bid + chance.randint(1, 5)) / 100,
        "as": 100 * chance.randint(1, 20),
        "c": ["R"],
        "z": "C",
    }
    head, *rest = _encode(record)
    # One more pair than there is: the instant, which comes when the quote is sent.
    return bytes([head + 1, *rest]) + b"\xa1t"


def _pieces(records: Sequence[bytes]) -> list[bytes]:
    """Return what stands before, between and behind the instants of a frame."""
    first, *rest = records
    return [b"\xdc" + struct.pack(">H", len(records)) + first, *rest, b""]


def _stamp(instant: int) -> bytes:
    """Return *instant* as a msgpack timestamp of 64 bits."""
    seconds, nanos = divmod(instant, NANOS)
    return b"\xd7\xff" + struct.pack(">Q", nanos << 34 | seconds)
