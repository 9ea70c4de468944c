"""Exchange and condition codes, as Alpaca's meta endpoints list them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXCHANGES: Final[Mapping[str, str]] = {
    "A": "NYSE American (AMEX)",
    "B": "NASDAQ OMX BX",
    "C": "National Stock Exchange",
    "D": "FINRA ADF",
    "E": "Market Independent",
    "H": "MIAX",
    "I": "International Securities Exchange",
    "J": "Cboe EDGA",
    "K": "Cboe EDGX",
    "L": "Long Term Stock Exchange",
    "M": "Chicago Stock Exchange",
    "N": "New York Stock Exchange",
    "P": "NYSE Arca",
    "Q": "NASDAQ OMX",
    "S": "NASDAQ Small Cap",
    "T": "NASDAQ Int",
    "U": "Members Exchange",
    "V": "IEX",
    "W": "CBOE",
    "X": "NASDAQ OMX PSX",
    "Y": "Cboe BYX",
    "Z": "Cboe BZX",
}
"""Exchange letter to name."""

_BOTH_TRADE_PLANS = {
    "C": "Cash Sale",
    "F": "Intermarket Sweep",
    "H": "Price Variation Trade",
    "I": "Odd Lot Trade",
    "L": "Sold Last",
    "M": "Market Center Official Close",
    "N": "Next Day",
    "P": "Prior Reference Price",
    "Q": "Market Center Official Open",
    "R": "Seller",
    "U": "Extended Trading Hours (Sold Out of Sequence)",
    "V": "Contingent Trade",
    "X": "Cross Trade",
    "4": "Derivatively Priced",
    "7": "Qualified Contingent Trade (QCT)",
    "8": "Placeholder For 611 Exempt",
    "9": "Corrected Consolidated Close",
}

_CTA_TRADES = _BOTH_TRADE_PLANS | {
    " ": "Regular Sale",
    "B": "Average Price Trade",
    "E": "Automatic Execution",
    "K": "Rule 127 or Rule 155",
    "O": "Market Center Opening Trade",
    "T": "Extended Hours Trade",
    "Z": "Sold (Out of Sequence)",
    "5": "Market Center Reopening Trade",
    "6": "Market Center Closing Trade",
}

_UTP_TRADES = _BOTH_TRADE_PLANS | {
    "@": "Regular Sale",
    "A": "Acquisition",
    "B": "Bunched Trade",
    "D": "Distribution",
    "G": "Bunched Sold Trade",
    "K": "Rule 155 Trade (AMEX)",
    "O": "Opening Prints",
    "S": "Split Trade",
    "T": "Form T",
    "W": "Average Price Trade",
    "Y": "Yellow Flag Regular Trade",
    "Z": "Sold (Out of Sequence)",
    "1": "Stopped Stock (Regular Trade)",
    "5": "Re-Opening Prints",
    "6": "Closing Prints",
}

_CTA_QUOTES = {
    "A": "Slow Quote Offer Side",
    "B": "Slow Quote Bid Side",
    "C": "Closing",
    "E": "Slow Quote LRP Bid Side",
    "F": "Slow Quote LRP Offer Side",
    "H": "Slow Quote Bid And Offer Side",
    "L": "Market Maker Quotes Closed",
    "N": "Non Firm Quote",
    "O": "Opening Quote",
    "R": "Regular Market Maker Open",
    "U": "Slow Quote LRP Bid And Offer Side",
    "W": "Slow Quote Set Slow List",
    "4": "On Demand Intra Day Auction",
}

_UTP_QUOTES = {
    "A": "Manual Ask Automated Bid",
    "B": "Manual Bid Automated Ask",
    "F": "Fast Trading",
    "H": "Manual Bid And Ask",
    "I": "Order Imbalance",
    "L": "Closed Quote",
    "N": "Non Firm Quote",
    "O": "Opening Quote Automated",
    "R": "Regular Two Sided Open",
    "U": "Manual Bid And Ask Non Firm",
    "X": "Order Influx",
    "Y": "No Offer No Bid One Sided Open",
    "Z": "No Open No Resume",
    "4": "Intraday Auction",
}

CONDITIONS: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "trade": {"A": _CTA_TRADES, "B": _CTA_TRADES, "C": _UTP_TRADES},
    "quote": {"A": _CTA_QUOTES, "B": _CTA_QUOTES, "C": _UTP_QUOTES},
}
"""Kind of tick to tape to condition letter to name."""
