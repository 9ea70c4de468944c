"""The fetches that one question reads along in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..market.interval import Interval
from ..market.series import HistoryQuestion
from ..ports import Priority, Walk
from .course import Course
from .fills import Fill, Fills
from .policy import HistoryPolicy
from .seat import Seat


class Fetching:
    """Finds a place where what is missing comes: in a fetch that is under way, or in a new one."""

    def __init__(
        self,
        fills: Fills,
        policy: HistoryPolicy,
        question: HistoryQuestion,
        course: Course,
        priority: Priority,
        deadline: float | None,
    ) -> None:
        """Fetch for *question*, in the name of *priority*, until *deadline*, seconds of the monotonic clock."""
        self._fills = fills
        self._policy = policy
        self._key = question.key
        self._course = course
        self._priority = priority
        self._deadline = deadline
        self._seats: list[Seat] = []
        self._lost: set[tuple[Seat, str]] = set()
        self.uses_store = False
        """Whether what was fetched may be read from the store."""

    def own(self, symbol: str, hole: Interval) -> Seat | None:
        """Return the seat in which the first instant of *hole* comes, where there is one already."""
        first = self._course.first(hole)
        for seat in self._seats:
            walk = seat.fill.walk
            lost = (seat, symbol) in self._lost
            if symbol in walk.symbols and first in walk.interval and not lost:
                return seat
        return None

    def join(self, symbol: str, hole: Interval, *, wanted: int | None) -> Seat | None:
        """Return a seat in a fetch of somebody else that brings the first instant of *hole*, or None."""
        for fill in self._fills.of(self._key.about(symbol)):
            if self._is_served(fill, symbol, hole, self._page(wanted)):
                wants = hole.intersection(fill.walk.interval)
                return self._sit(fill, {symbol: wants}, wanted)
        return None

    def start(
        self,
        symbol: str,
        hole: Interval,
        company: Callable[[Interval], Sequence[str]],
        *,
        wanted: int | None,
    ) -> Seat:
        """Begin to fetch *hole*, as far as nobody else fetches it.

        Args:
            symbol: whose.
            hole: what is missing.
            company: gives the symbols that miss the same.
            wanted: how many values are wanted; None is all.
        """
        policy, page = self._policy, self._page(wanted)
        hole = self._before_others(symbol, hole, page)
        symbols = [symbol]
        if wanted is None:
            most = self.most(hole)
            symbols += [one for one in company(hole) if self._is_free(one, hole)]
            symbols = symbols[:most]
        walk = Walk(
            key=self._key.about(symbol),
            symbols=tuple(symbols),
            interval=hole,
            newest_first=self._course.newest_first,
            page=page,
            priority=self._priority,
            patience=policy.page_patience,
        )
        return self._sit(self._fills.start(walk), dict.fromkeys(symbols, hole), wanted)

    def most(self, hole: Interval) -> int:
        """Return how many symbols may travel together.

        They come in the upstream's order and are read in the caller's: what comes early must be held until its turn.
        """
        policy = self._policy
        if self.uses_store:
            return policy.walk_symbols
        timeframe = self._key.timeframe
        if timeframe is None:
            return 1
        bars = (hole.end - hole.start) // timeframe.shortest + 1
        return min(policy.walk_symbols, max(1, policy.page * (policy.spool - 1) // bars))

    def has_asked(self, symbol: str) -> bool:
        """Tell whether the upstream was asked about *symbol*."""
        return any(symbol in seat.fill.walk.symbols for seat in self._seats)

    def lose(self, seat: Seat, symbol: str) -> None:
        """Look for *symbol* no longer in *seat*: what it needs has been let go."""
        self._lost.add((seat, symbol))
        seat.finish(symbol)

    def finish(self, symbol: str) -> None:
        """Want no more of *symbol*."""
        for seat in self._seats:
            seat.finish(symbol)

    def leave_store(self) -> None:
        """Read nothing more from the store."""
        self.uses_store = False
        for seat in self._seats:
            seat.uses_store = False

    def leave_failed(self) -> None:
        """Forget the fetches that have failed."""
        for seat in [seat for seat in self._seats if seat.fill.failure is not None]:
            seat.leave()
            self._seats.remove(seat)

    def leave(self) -> None:
        """Want nothing more."""
        for seat in self._seats:
            seat.leave()
        self._seats.clear()

    def _sit(self, fill: Fill, wants: dict[str, Interval], wanted: int | None) -> Seat:
        # Who wants little decides after each page whether it was enough.
        eager = wanted is None or wanted > self._policy.page * self._policy.spool
        seat = fill.sit(wants, eager=eager, uses_store=self.uses_store, deadline=self._deadline)
        self._seats.append(seat)
        return seat

    def _page(self, wanted: int | None) -> int:
        """Return how many records a page should have; one more than wanted, since the last of a page may go on."""
        policy = self._policy
        if wanted is None:
            return policy.page
        return min(policy.page, max(policy.least_page, wanted + 1))

    def _is_served(self, fill: Fill, symbol: str, hole: Interval, page: int) -> bool:
        return fill.walk.newest_first == self._course.newest_first and fill.offers(
            symbol, hole, self._priority, page=page, uses_store=self.uses_store
        )

    def _before_others(self, symbol: str, hole: Interval, page: int) -> Interval:
        """Return *hole* up to where a fetch that is under way has its turn."""
        own = [seat.fill for seat in self._seats if symbol in seat.fill.walk.symbols]
        for fill in (*self._fills.of(self._key.about(symbol)), *own):
            shared = hole.intersection(fill.walk.interval)
            if shared.empty or self._course.first(hole) in shared:
                continue
            there = self._course.onward(hole, self._course.first(shared))
            if fill in own or self._is_served(fill, symbol, there, page):
                hole = self._course.before(hole, shared)
        return hole

    def _is_free(self, symbol: str, hole: Interval) -> bool:
        """Tell whether nobody fetches anything of *hole* yet."""
        fills = self._fills.of(self._key.about(symbol))
        return all(fill.walk.interval.intersection(hole).empty for fill in fills)
