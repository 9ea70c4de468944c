"""The endpoint of corporate actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

import msgspec
from aiohttp import web

from ..answers import bad_request, json_response
from ..clock import MarketClock
from ..parameters import Parameters, data_parameters, token
from ..timestamps import days_after, new_york_date
from .actions import GROUPS, CorporateAction, CorporateActions

MOST_ACTIONS: Final = 1_000
"""Corporate actions on one page."""

_ACTIONS = 100
_SORTS = frozenset({"asc", "desc"})
_FILTERS = ("symbols", "cusips", "types", "start", "end")


class CorporateActionsApi:
    """Splits, dividends, mergers and other events, in order of their days."""

    def __init__(
        self, actions: CorporateActions, clock: MarketClock, moved_by: Callable[[], int]
    ) -> None:
        """Answer from *actions*.

        Args:
            actions: What is known, in the days of the recording.
            clock: Market time: nothing is told of the days after it.
            moved_by: Days by which recorded dates are moved before they are shown.
        """
        self._actions = actions
        self._clock = clock
        self._moved_by = moved_by

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes of this API."""
        return [web.get("/v1/corporate-actions", self._list)]

    async def _list(self, request: web.Request) -> web.Response:
        parameters = data_parameters(request)
        wanted = self._wanted(parameters)
        limit = parameters.limit(_ACTIONS, MOST_ACTIONS)
        offset = parameters.offset()
        if parameters.choice("sort", _SORTS) == "desc":
            wanted.reverse()
        groups: dict[str, list[msgspec.Raw]] = {}
        for action in wanted[offset : offset + limit]:
            shown = msgspec.Raw(action.shown(self._moved_by()))
            groups.setdefault(action.group, []).append(shown)
        more = len(wanted) > offset + limit
        return json_response(
            {
                "corporate_actions": groups,
                "next_page_token": token(offset + limit) if more else None,
            }
        )

    def _wanted(self, parameters: Parameters) -> list[CorporateAction]:
        """Return the actions that pass the filters, oldest first."""
        moved_by = self._moved_by()
        today = new_york_date(self._clock.now())
        known = [one for one in self._actions if days_after(one.day, moved_by) <= today]
        ids = _listed(parameters, "ids")
        if ids:
            if any(parameters.text(name) for name in _FILTERS):
                raise bad_request("ids cannot be combined with other filters")
            return [one for one in known if one.id in ids]
        groups = {_group(kind) for kind in _listed(parameters, "types")}
        symbols, cusips = _listed(parameters, "symbols"), _listed(parameters, "cusips")
        first: date = parameters.day("start") or today
        last: date = parameters.day("end") or today
        if last < first:
            raise bad_request("end should not be before start")
        return [
            one
            for one in known
            if first <= days_after(one.day, moved_by) <= last
            and (not groups or one.group in groups)
            and (not symbols or symbols & one.symbols)
            and (not cusips or cusips & one.cusips)
        ]


def _listed(parameters: Parameters, name: str) -> frozenset[str]:
    return frozenset(filter(None, (parameters.text(name) or "").split(",")))


def _group(kind: str) -> str:
    if kind not in GROUPS:
        raise bad_request(f"invalid type: {kind}")
    return GROUPS[kind]
