"""Which trades set a price, by the conditions under which they were reported."""

from __future__ import annotations

from typing import Final

from .occ import is_occ_symbol
from .trade import Trade

_PRICELESS: Final = frozenset("CGHIMNPQRUVWZ47")
"""Sale conditions of stocks under which a price is not the price of this moment.

By the tables of the consolidated tapes (CTA, "CTS Pillar Output Specification"; UTP, "UTP Trade Data Feed", both under
the update of the last sale):

- settled otherwise: C cash, N next day, R seller;
- agreed otherwise: H price variation, V contingent, W average price, 4 derivatively priced, 7 qualified contingent;
- too small: I odd lot;
- too late: G bunched sold, P prior reference price, U extended hours out of sequence, Z sold out of sequence;
- said again: M and Q, a market centre's official close and open.

T, a trade in extended hours, does not move the exchanges' last sale, and does move Alpaca's latest trade, which we
follow: before nine thirty it is the only price there is.
"""

_AVERAGE: Final = "B"
"""Average price on the tapes of the CTA; on that of the UTP the same letter is a bunched trade, which sets a price."""

_UTP_TAPE: Final = "C"

_VOID: Final = frozenset({"canceled", "incorrect"})
"""Amendments after which a trade counts no more. A "corrected" one is itself the correction."""

_OPTION_VOID: Final = frozenset("ACEG")
"""Conditions of options that take a trade back (OPRA, "Pillar Output Specification"): A cancel, C cancel the last, E
cancel the opening, G cancel the only one."""


def sets_price(trade: Trade) -> bool:
    """Tell whether *trade* is what its symbol traded at, at its moment."""
    if trade.amendment in _VOID:
        return False
    if is_occ_symbol(trade.symbol):
        return _OPTION_VOID.isdisjoint(trade.conditions)
    averaged = _AVERAGE in trade.conditions and trade.tape != _UTP_TAPE
    return not averaged and _PRICELESS.isdisjoint(trade.conditions)
