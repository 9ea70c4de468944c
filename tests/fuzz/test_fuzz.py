"""Nonsense from callers and from the upstream, a little of it with a known seed.

`make fuzz` tries a hundred thousand of each.
"""

from __future__ import annotations

import random

import msgspec
import pytest

from tickgate.v1 import quote_service_pb2 as quotes

from .found import Found
from .http2 import ATTACKS, fuzz_http2
from .mutate import spoil_bytes, spoil_frame, spoil_json, spoil_message, spoil_wire
from .payloads import _compare, _Sent, fuzz_bodies, fuzz_frames
from .requests import fuzz_requests

SEED = 20261128
"""Nothing is special about it."""

MIDDLE = pytest.mark.parametrize(
    "seed", [SEED, pytest.param(SEED + 1, marks=pytest.mark.slow)], ids=["short", "middle"]
)


def tried(seed: int, few: int) -> int:
    """How many are tried: *few*, or ten times as many of the seed whose test is slow."""
    return few if seed == SEED else 10 * few


def nothing_wrong(found: Found) -> None:
    """Fail with everything that was found."""
    assert not found.wrong, "\n".join(found.lines())


@MIDDLE
@pytest.mark.timeout(300)
async def test_requests_are_answered_or_refused_with_reasons(seed: int) -> None:
    """Whatever bytes a caller sends: no INTERNAL, no hang, and each refusal explains itself."""
    found = await fuzz_requests(seed, tried(seed, 300))
    nothing_wrong(found)
    assert {"OK", "INVALID_ARGUMENT"} <= found.outcomes.keys()


@MIDDLE
@pytest.mark.timeout(300)
async def test_what_is_no_grpc_disturbs_nobody(seed: int) -> None:
    """Under floods, bombs and random bytes on its port the gateway answers whoever asks properly."""
    found = await fuzz_http2(seed, tried(seed, 1))
    nothing_wrong(found)
    assert found.outcomes.total() > len(ATTACKS)


@MIDDLE
@pytest.mark.timeout(300)
async def test_bodies_become_what_they_say_or_nothing(seed: int) -> None:
    """Of a spoilt body each value's numbers and times stand in it, or there is a reason why there is no value."""
    found = await fuzz_bodies(seed, tried(seed, 700))
    nothing_wrong(found)
    assert {"read", "UpstreamUnreadable"} <= found.outcomes.keys()


@MIDDLE
@pytest.mark.timeout(300)
def test_frames_become_what_they_say_or_nothing(seed: int) -> None:
    """Of a spoilt frame each value's numbers and times stand in it; what cannot be read is missed and said to be."""
    found = fuzz_frames(seed, tried(seed, 2_000))
    nothing_wrong(found)
    assert {"accept", "refuse", "missed"} <= found.outcomes.keys()


def test_a_made_up_number_is_noticed() -> None:
    """The comparison fails for a price, a size and a time that the payload does not hold."""

    class Value(msgspec.Struct):
        price: object
        size: int
        event_time: int

    sent = _Sent.of_json(b'{"p":10.50,"s":3,"t":"2026-10-01T15:00:00Z"}')
    (instant,) = sent.instants
    (price,) = (number for number in sent.numbers if str(number) == "10.50")
    for value, wrong in (
        (Value(price, 3, instant), 0),
        (Value(price + 1, 3, instant), 1),
        (Value(price, 999, instant), 1),
        (Value(price, 3, instant + 1), 1),
    ):
        found = Found("one value")
        _compare(value, sent, "it", found)
        assert found.wrong.total() == wrong


def test_a_seed_says_what_is_tried() -> None:
    """The same seed spoils the same things in the same ways, and nearly always changes something."""
    request = quotes.GetQuotesRequest(symbols=["AAPL", "MSFT"], min_quality=3)
    body = b'{"quotes":{"AAPL":{"bp":10.5,"t":"2026-10-01T15:00:00Z"}}}'
    frame = msgspec.msgpack.encode([{"T": "q", "S": "AAPL", "bp": 1.5}])

    def once(seed: int) -> list[bytes]:
        dice = random.Random(seed)
        return [
            spoil_bytes(dice, body),
            spoil_json(dice, body),
            spoil_frame(dice, frame, [frame]),
            spoil_wire(dice, request.SerializeToString()),
            spoil_message(dice, request).SerializeToString(deterministic=True),
        ]

    assert once(1) == once(1)
    assert len({tuple(once(seed)) for seed in range(50)}) > 45
