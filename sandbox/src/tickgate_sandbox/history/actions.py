"""Corporate actions: what is recorded of them, a few that everybody knows, and what follows."""

from __future__ import annotations

import gzip
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import msgspec

from ..recordings import UNREADABLE, refusal
from ..timestamps import days_after, new_york
from .adjust import Adjustment, Factor

GROUPS: Final = {
    "reverse_split": "reverse_splits",
    "forward_split": "forward_splits",
    "unit_split": "unit_splits",
    "cash_dividend": "cash_dividends",
    "stock_dividend": "stock_dividends",
    "spin_off": "spin_offs",
    "cash_merger": "cash_mergers",
    "stock_merger": "stock_mergers",
    "stock_and_cash_merger": "stock_and_cash_mergers",
    "redemption": "redemptions",
    "name_change": "name_changes",
    "worthless_removal": "worthless_removals",
    "rights_distribution": "rights_distributions",
}
"""By type, as it is asked for, the group under which it is answered."""

_SYMBOLS = (
    "symbol",
    "old_symbol",
    "new_symbol",
    "source_symbol",
    "acquirer_symbol",
    "acquiree_symbol",
)
_CUSIPS = ("cusip", "old_cusip", "new_cusip", "source_cusip", "acquirer_cusip", "acquiree_cusip")
_DAYS = ("ex_date", "effective_date", "process_date")
"""The fields that can tell the day of an action, the first that is there."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _File(msgspec.Struct):
    corporate_actions: dict[str, list[msgspec.Raw]]


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """One event in the life of a company."""

    group: str
    """One of the values of `GROUPS`."""
    id: str
    day: date
    """Its ex-date, else when it took effect or was processed. Dates are those of the recording."""
    symbols: frozenset[str]
    cusips: frozenset[str]
    raw: bytes
    """As it is served."""

    def fields(self) -> dict[str, Any]:
        """Return what it says, numbers as exact decimals."""
        return {
            name: msgspec.json.decode(raw, type=Decimal)
            if raw[:1].isdigit()
            else msgspec.json.decode(raw)
            for name, raw in ((name, bytes(raw)) for name, raw in _FIELDS.decode(self.raw).items())
        }

    def shown(self, days: int) -> bytes:
        """Return it as JSON with every date moved by *days*."""
        if not days:
            return self.raw
        fields: dict[str, Any] = _FIELDS.decode(self.raw)
        for name, raw in fields.items():
            if name.endswith("_date"):
                value = msgspec.json.decode(raw)
                if isinstance(value, str) and _DATE.fullmatch(value):
                    fields[name] = days_after(date.fromisoformat(value), days).isoformat()
        return msgspec.json.encode(fields)


class CorporateActions:
    """Everything known of companies. Days are those of the recording."""

    def __init__(self, actions: Iterable[CorporateAction] = ()) -> None:
        """Know *actions*; of two with one id the last."""
        by_id = {action.id: action for action in actions}
        self._actions = sorted(by_id.values(), key=lambda one: (one.day, one.group, one.id))
        self._of: defaultdict[str, list[CorporateAction]] = defaultdict(list)
        for action in self._actions:
            for symbol in action.symbols:
                self._of[symbol].append(action)

    def __iter__(self) -> Iterator[CorporateAction]:
        """Yield every action in order of its day."""
        return iter(self._actions)

    def adjustment(
        self,
        symbol: str,
        adjustments: Collection[str],
        today: date,
        last_close: Callable[[date], bytes | None],
    ) -> Adjustment:
        """Return how bars of *symbol* are adjusted.

        Splits and stock dividends change prices and volumes, cash dividends prices. What a
        spin-off was worth is not part of it, so nothing is adjusted for one.

        Args:
            symbol: The share.
            adjustments: What to adjust for.
            today: Nothing is known yet of what comes later.
            last_close: Gives the last daily bar before a day, which tells what a dividend took.
        """
        factors = (
            _factor(action, symbol, adjustments, last_close)
            for action in self._of.get(symbol, ())
            if adjustments and action.day <= today
        )
        return Adjustment(tuple(factor for factor in factors if factor is not None))

    def names(self, symbol: str, as_of: date | None) -> Sequence[Name]:
        """Return the symbols under which the company had its records that was *symbol* then.

        Args:
            symbol: A symbol.
            as_of: The day whose symbols are meant; None takes *symbol* at its word.
        """
        if as_of is None:
            return [Name(symbol)]
        names = [Name(symbol)]
        known = as_of
        while (change := self._before(names[0].symbol, known)) is not None:
            names[:1] = [
                Name(change.old, until=new_york(change.day) - 1),
                Name(change.new, new_york(change.day), names[0].until),
            ]
            known = change.day
        known = as_of
        while (change := self._after(names[-1].symbol, known)) is not None:
            names[-1:] = [
                Name(change.old, names[-1].since, new_york(change.day) - 1),
                Name(change.new, new_york(change.day)),
            ]
            known = days_after(change.day, 1)
        return names

    def _before(self, symbol: str, day: date) -> _Change | None:
        """Return how who was *symbol* on *day* came to be so; a change counts from the day after."""
        changes = [one for one in self._changes(symbol) if one.new == symbol and one.day < day]
        return changes[-1] if changes else None

    def _after(self, symbol: str, day: date) -> _Change | None:
        """Return how who was *symbol* on *day* came to be another."""
        changes = [one for one in self._changes(symbol) if one.old == symbol and one.day >= day]
        return changes[0] if changes else None

    def _changes(self, symbol: str) -> Sequence[_Change]:
        return [
            _Change(action.day, fields["old_symbol"], fields["new_symbol"])
            for action in self._of.get(symbol, ())
            if action.group == GROUPS["name_change"]
            and (fields := action.fields())["old_symbol"] != fields["new_symbol"]
        ]


@dataclass(frozen=True, slots=True)
class Name:
    """A symbol and when it was a company's: both instants included, None without a bound."""

    symbol: str
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class _Change:
    day: date
    old: str
    new: str


def _factor(
    action: CorporateAction,
    symbol: str,
    adjustments: Collection[str],
    last_close: Callable[[date], bytes | None],
) -> Factor | None:
    before = new_york(action.day)
    fields = action.fields()
    if fields.get("symbol") != symbol:
        return None
    if "split" in adjustments and action.group in ("forward_splits", "reverse_splits"):
        shares = Fraction(fields["new_rate"]) / Fraction(fields["old_rate"])
        return Factor(before, 1 / shares, shares)
    if "split" in adjustments and action.group == "stock_dividends":
        shares = 1 + Fraction(fields["rate"])
        return Factor(before, 1 / shares, shares)
    if "dividend" in adjustments and action.group == "cash_dividends":
        bar = last_close(action.day)
        if bar is not None:
            close = Fraction(msgspec.json.decode(_FIELDS.decode(bar)["c"], type=Decimal))
            return Factor(before, 1 - Fraction(fields["rate"]) / close, Fraction(1))
    return None


def read_actions(paths: Sequence[Path]) -> list[CorporateAction]:
    """Return the corporate actions in recorded answers.

    Raises:
        RecordingError: a file is not what its name says.
    """
    found: list[CorporateAction] = []
    for path in paths:
        try:
            text = gzip.decompress(path.read_bytes())
            groups = msgspec.json.decode(text, type=_File).corporate_actions
            found += (
                corporate_action(group, bytes(raw))
                for group, list_ in groups.items()
                for raw in list_
            )
        except (KeyError, *UNREADABLE) as error:
            raise refusal([path], error) from error
    return found


def corporate_action(group: str, raw: bytes) -> CorporateAction:
    """Return the action that *raw* tells of, in Alpaca's shape.

    Raises:
        ValueError: it lacks an id or a day.
    """
    fields = msgspec.json.decode(raw, type=dict[str, Any])
    days = [fields[name] for name in _DAYS if fields.get(name)]
    if not days or not isinstance(fields.get("id"), str):
        raise ValueError(f"a corporate action has an id and a day: {raw.decode()}")
    return CorporateAction(
        group=group,
        id=fields["id"],
        day=date.fromisoformat(days[0]),
        symbols=_texts(fields, _SYMBOLS),
        cusips=_texts(fields, _CUSIPS),
        raw=raw,
    )


def _texts(fields: dict[str, Any], names: Sequence[str]) -> frozenset[str]:
    return frozenset(fields[name] for name in names if fields.get(name))


_AAPL, _AMZN, _NVDA, _TSLA = "037833100", "023135106", "67066G104", "88160R101"
_META = "30303M102"

_SPLITS: Final = (
    ("AAPL", _AAPL, "2000-06-21", 2),
    ("AAPL", _AAPL, "2005-02-28", 2),
    ("AAPL", _AAPL, "2014-06-09", 7),
    ("AAPL", _AAPL, "2020-08-31", 4),
    ("TSLA", _TSLA, "2020-08-31", 5),
    ("NVDA", _NVDA, "2021-07-20", 4),
    ("AMZN", _AMZN, "2022-06-06", 20),
    ("TSLA", _TSLA, "2022-08-25", 3),
    ("NVDA", _NVDA, "2024-06-10", 10),
)
"""Forward splits that everybody knows: symbol, CUSIP, ex-date, and new shares for an old one."""


def well_known_actions(symbols: Collection[str]) -> list[CorporateAction]:
    """Return the well-known splits and name changes of *symbols*, for recordings without any."""
    splits = (
        corporate_action(
            GROUPS["forward_split"],
            msgspec.json.encode(
                {
                    "id": _id(f"split/{symbol}/{day}"),
                    "symbol": symbol,
                    "cusip": cusip,
                    "old_rate": 1,
                    "new_rate": rate,
                    "process_date": day,
                    "ex_date": day,
                }
            ),
        )
        for symbol, cusip, day, rate in _SPLITS
        if symbol in symbols
    )
    facebook = corporate_action(
        GROUPS["name_change"],
        msgspec.json.encode(
            {
                "id": _id("name/FB/2022-06-09"),
                "old_symbol": "FB",
                "old_cusip": _META,
                "new_symbol": "META",
                "new_cusip": _META,
                "process_date": "2022-06-09",
            }
        ),
    )
    return [*splits, *([facebook] if facebook.symbols & frozenset(symbols) else [])]


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tickgate-sandbox/{name}"))
