"""The rules of requests that say what of the past is kept, each with its field and the sentence the caller gets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tickgate.v1 import admin_service_pb2 as pb

from ..market.timeframe import Timeframe
from ..market.watchlist import Watchlist
from .history_requests import SeriesReader, ShapeWanted

MOST_KEPT: Final = 1000
"""Symbols of a watchlist and of a backfill."""

MOST_TIMEFRAMES: Final = 10
DEFAULT_REFRESH_DAYS: Final = 366
LONGEST_REFRESH: Final = 3660
LONGEST_BACKFILL_ID: Final = 64

_NAME: Final = re.compile(r"[a-z0-9._-]{1,64}", re.ASCII)


class KeepingReader(SeriesReader):
    """Reads one request of an operator about the past. Call `done` before using what was read."""

    def backfill_wanted(self, request: pb.StartBackfillRequest) -> ShapeWanted:
        """Read what a backfill shall fetch."""
        key, symbols = self.shape(request, MOST_KEPT)
        start, end = self.bounds(request)
        return ShapeWanted(key, symbols, self.interval(start, end, option=key.of_option))

    def watchlist(self, message: pb.Watchlist) -> Watchlist:
        """Read a watchlist, changed now."""
        if message.refresh_days > LONGEST_REFRESH:
            rule = f"1 to {LONGEST_REFRESH} days, or 0 for {DEFAULT_REFRESH_DAYS}"
            self.refuse("refresh_days", rule)
        return Watchlist(
            name=self.name("name", message.name),
            symbols=self.symbols(message.symbols, MOST_KEPT),
            record=message.record,
            refresh_timeframes=self._timeframes(message.refresh_timeframes),
            refresh_days=message.refresh_days or DEFAULT_REFRESH_DAYS,
            update_time=self.moment.wall,
        )

    def name(self, field: str, text: str) -> str:
        """Read *field*, the name of a watchlist."""
        if _NAME.fullmatch(text) is None:
            self.refuse(field, "a name is 1 to 64 of a to z, 0 to 9, dot, dash and underscore")
        return text

    def backfill_id(self, text: str) -> str:
        """Read `id` of a backfill."""
        if not 1 <= len(text) <= LONGEST_BACKFILL_ID or not (text.isascii() and text.isprintable()):
            rule = f"the id of a backfill is 1 to {LONGEST_BACKFILL_ID} printable ASCII characters"
            self.refuse("id", rule)
        return text

    def _timeframes(self, texts: Sequence[str]) -> tuple[Timeframe, ...]:
        if len(texts) > MOST_TIMEFRAMES:
            self.refuse("refresh_timeframes", f"at most {MOST_TIMEFRAMES}, not {len(texts)}")
            return ()
        found: list[Timeframe] = []
        for index, text in enumerate(texts):
            field = f"refresh_timeframes[{index}]"
            timeframe = self.timeframe(field, text)
            if timeframe in found:
                self.refuse(field, f"a timeframe is named once, however it is written: {timeframe}")
            elif timeframe is not None:
                found.append(timeframe)
        return tuple(found)
