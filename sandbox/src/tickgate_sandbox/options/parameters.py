"""How the query of a request for options is read."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation

from ..parameters import Parameters
from .chain import TermsFilter
from .occ import RIGHTS, THOUSANDTHS

_LONGEST_STRIKE = 99_999_999


class OptionParameters(Parameters):
    """The parameters of one request for options."""

    def terms(self) -> TermsFilter:
        """Return the filters that chains and contracts have in common.

        Raises:
            Refusal: one of them makes no sense.
        """
        exactly = self.day("expiration_date")
        return TermsFilter(
            right=self.choice("type", RIGHTS),
            root=self.text("root_symbol"),
            lowest=self._strike("strike_price_gte", ROUND_CEILING),
            highest=self._strike("strike_price_lte", ROUND_FLOOR),
            first=_latest(exactly, self.day("expiration_date_gte")),
            last=_earliest(exactly, self.day("expiration_date_lte")),
        )

    def _strike(self, name: str, rounding: str) -> int | None:
        """Return a strike in thousandths of a dollar."""
        value = self.text(name)
        if value is None:
            return None
        try:
            strike = Decimal(value)
        except InvalidOperation as error:
            raise self.refuse(f"invalid {name}: {value}") from error
        if not strike.is_finite():
            raise self.refuse(f"invalid {name}: {value}")
        # Beyond what a symbol can say there is nothing to tell apart.
        bounded = min(max(strike * THOUSANDTHS, Decimal(-1)), Decimal(_LONGEST_STRIKE + 1))
        return int(bounded.to_integral_value(rounding))


def _latest(*days: date | None) -> date | None:
    return max((day for day in days if day is not None), default=None)


def _earliest(*days: date | None) -> date | None:
    return min((day for day in days if day is not None), default=None)
