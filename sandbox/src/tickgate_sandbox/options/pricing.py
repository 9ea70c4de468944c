"""A made-up price of an option: Black and Scholes with a volatility that knows no news."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

RATE: Final = 0.04
"""Interest a year."""

_FLAT_VOLATILITY = 0.28
_SMILE = 0.6
"""What the volatility gains with the square of the distance from the money."""

_DAYS = 365.0


class Greeks(NamedTuple):
    """How the price moves, in Alpaca's order and units."""

    delta: float
    gamma: float
    rho: float
    """Per percentage point of interest."""
    theta: float
    """Per day."""
    vega: float
    """Per percentage point of volatility."""


def volatility(spot: float, strike: float) -> float:
    """Return the made-up volatility a year at *strike*, 0.28 being 28 %."""
    return _FLAT_VOLATILITY + _SMILE * math.log(strike / spot) ** 2


def price(*, call: bool, spot: float, strike: float, years: float) -> float:
    """Return the price in the unit of *spot* and *strike*; *years* are left, more than none."""
    d1, d2 = _distances(spot, strike, years)
    discounted = strike * math.exp(-RATE * years)
    if call:
        return spot * _normal(d1) - discounted * _normal(d2)
    return discounted * _normal(-d2) - spot * _normal(-d1)


def greeks(*, call: bool, spot: float, strike: float, years: float) -> Greeks:
    """Return the greeks of the same option."""
    d1, d2 = _distances(spot, strike, years)
    root = math.sqrt(years)
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    discounted = strike * math.exp(-RATE * years)
    sign = 1 if call else -1
    decay = spot * density * volatility(spot, strike) / (2 * root)
    interest = sign * RATE * discounted * _normal(sign * d2)
    return Greeks(
        delta=sign * _normal(sign * d1),
        gamma=density / (spot * volatility(spot, strike) * root),
        rho=sign * discounted * years * _normal(sign * d2) / 100,
        theta=-(decay + interest) / _DAYS,
        vega=spot * density * root / 100,
    )


def _distances(spot: float, strike: float, years: float) -> tuple[float, float]:
    spread = volatility(spot, strike) * math.sqrt(years)
    d1 = math.log(spot / strike) / spread + RATE * years / spread + spread / 2
    return d1, d1 - spread


def _normal(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2
