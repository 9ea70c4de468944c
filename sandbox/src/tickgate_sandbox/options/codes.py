"""Exchange and condition codes of options, as Alpaca's meta endpoints list them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXCHANGES: Final[Mapping[str, str]] = {
    "A": "AMEX - NYSE American",
    "B": "BOX - Boston Options Exchange",
    "C": "CBOE - Cboe Options Exchange",
    "D": "EMERALD - Miami International Stock Exchange Emerald Options",
    "E": "EDGX - Cboe EDGX Options Exchange",
    "H": "GEMX - Nasdaq GEMX",
    "I": "ISE - Nasdaq International Securities Exchange",
    "J": "MRX - Nasdaq MRX",
    "M": "MIAX - Miami International Stock Exchange",
    "N": "NYSE - NYSE Arca",
    "O": "OPRA - Options Price Reporting Authority",
    "P": "PEARL - Miami International Stock Exchange Pearl Options",
    "Q": "NASD - Nasdaq Options",
    "S": "SPHR - Miami International Stock Exchange Sapphire Options",
    "T": "BX - Nasdaq BX Options",
    "U": "MEMX - Members Options Exchange",
    "W": "C2 - Cboe C2 Options Exchange",
    "X": "PHLX - Nasdaq PHLX",
    "Z": "BATS - Cboe BZX Options Exchange",
}
"""Exchange letter to name."""

CONDITIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "trade": {
        "A": "CANC - Transaction previously reported is now cancelled",
        "B": "OSEQ - Transaction is being reported late and is out of sequence",
        "C": "CNCL - Transaction is the last reported and is now cancelled",
        "D": "LATE - Transaction is being reported late, but is in the correct sequence",
        "E": "CNCO - Transaction was the opening one of this day and is now cancelled",
        "F": "OPEN - Transaction is a late report of the opening trade and is out of sequence",
        "G": "CNOL - Transaction was the only one of this day and is now cancelled",
        "H": "OPNL - Transaction is a late report of the opening trade, in the correct sequence",
        "I": "AUTO - Transaction was executed electronically",
        "J": "REOP - Transaction is a reopening of a contract whose trading was halted",
        "S": "ISOI - Transaction was the execution of an Intermarket Sweep Order",
        "a": "SLAN - Single Leg Auction Non ISO",
        "b": "SLAI - Single Leg Auction ISO",
        "c": "SLCN - Single Leg Cross Non ISO",
        "d": "SLCI - Single Leg Cross ISO",
        "e": "SLFT - Single Leg Floor Trade",
        "f": "MLET - Multi Leg autoelectronic trade",
        "g": "MLAT - Multi Leg Auction",
        "h": "MLCT - Multi Leg Cross",
        "i": "MLFT - Multi Leg floor trade",
        "j": "MESL - Multi Leg autoelectronic trade against single leg(s)",
        "k": "TLAT - Stock Options Auction",
        "l": "MASL - Multi Leg Auction against single leg(s)",
        "m": "MFSL - Multi Leg floor trade against single leg(s)",
        "n": "TLET - Stock Options autoelectronic trade",
        "o": "TLCT - Stock Options Cross",
        "p": "TLFT - Stock Options floor trade",
        "q": "TESL - Stock Options autoelectronic trade against single leg(s)",
        "r": "TASL - Stock Options Auction against single leg(s)",
        "s": "TFSL - Stock Options floor trade against single leg(s)",
        "t": "CBMO - Multi Leg Floor Trade of Proprietary Products",
        "u": "MCTP - Multilateral Compression Trade of Proprietary Products",
        "v": "EXHT - Extended Hours Trade",
    },
    "quote": {
        " ": "Regular Trading",
        "A": "Eligible for Automatic Execution",
        "B": "Bid Contains Customer Trading Interest",
        "C": "Both Bid and Offer Contain Customer Trading Interest",
        "F": "Non-Firm Quote",
        "I": "Indicative Value",
        "O": "Offer Contains Customer Trading Interest",
        "R": "Rotation",
        "T": "Trading Halted",
        "X": "Offer Side of Quote Not Firm; Bid Side Firm",
        "Y": "Bid Side of Quote Not Firm; Offer Side Firm",
    },
}
"""Kind of tick to condition letter to name: the letters of OPRA."""
