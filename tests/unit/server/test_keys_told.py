"""API keys, as operators are told of them."""

from __future__ import annotations

from tickgate_server.app.keys import KeyTold, table


def test_limits_are_told_to_the_last_digit() -> None:
    """A limit stands in the list as it was given, however large or small it is."""
    limits: dict[str, float] = {
        "calls_per_second": 0.1,
        "symbols_per_batch": 0,
        "history_points_per_day": 1_234_567,
        "streams": 10**12,
    }
    told = KeyTold(
        "Qm2xT9aB", "desk-7", "valid", ["read"], limits, "2026-10-01T15:00:00Z", None, None
    )

    assert table([told]).endswith(
        "calls_per_second=0.1 symbols_per_batch=0 history_points_per_day=1234567 streams=1000000000000"
    )
