"""The gateway's clocks, and the job that keeps the market's time right."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable

import structlog

from ..errors import UpstreamFailure
from ..market.session import Calendar, ClockReading, MarketNow, MarketSession, Span, TradingDay
from ..market.time import NANOS
from ..market.unavailable import Reason
from ..ports import ClockSource, ReferenceSource

_log = structlog.get_logger(__name__)

_SET_BACK = 5 * NANOS
"""Nanoseconds by which a reading must lie before the clock to have been set back: less is the noise of the network."""


class MarketClock:
    """The three clocks of the gateway, and the session that the market's one falls into.

    In a replay the recording owns market time: it is counted on from the last reading of the upstream's clock, at the
    speed that the reading gave. Otherwise market time is civil time, and a reading only settles the session.
    """

    def __init__(
        self,
        *,
        follows_upstream: bool,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        """Take the time from *monotonic* (seconds) and *wall* (nanoseconds).

        Args:
            follows_upstream: the upstream's clock is the market's time, as in a sandbox.
        """
        self.monotonic = monotonic
        self.wall = wall
        self._follows = follows_upstream
        self._reactions: list[Callable[[], None]] = []
        self._when_moved: list[Callable[[], None]] = []
        self._reading: ClockReading | None = None
        self._read_at = 0.0
        self._calendar: Calendar | None = None
        self._session: MarketSession | None = None
        self._session_span = (0, 0)

    @property
    def reading(self) -> ClockReading | None:
        """The last reading of the upstream's clock."""
        return self._reading

    def market(self) -> int:
        """Return nanoseconds of the market's time."""
        if self._reading is None or not self._follows:
            return self.wall()
        elapsed = (self.monotonic() - self._read_at) * self._reading.speed
        return self._reading.market_time + int(elapsed * NANOS)

    def when_set_back(self, react: Callable[[], None]) -> None:
        """Call *react* whenever somebody sets the clock of a replay back: what is held is then from the future."""
        self._reactions.append(react)

    def when_moved(self, react: Callable[[], None]) -> None:
        """Call *react* whenever somebody sets the clock of a replay, either way: what is between never happens."""
        self._when_moved.append(react)

    def set_reading(self, reading: ClockReading) -> None:
        """Take over what the upstream's clock says now."""
        ahead = reading.market_time - self.market()
        set_back = self._follows and ahead < -_SET_BACK
        # The faster a replay, the more the noise of the network is in its time.
        noise = _SET_BACK * max(1.0, reading.speed)
        moved = self._follows and abs(ahead) > noise
        self._reading = reading
        self._read_at = self.monotonic()
        self._session_span = (0, 0)
        for react in (*(self._reactions if set_back else ()), *(self._when_moved if moved else ())):
            react()

    def set_calendar(self, calendar: Calendar) -> None:
        """Take over the trading days."""
        self._calendar = calendar
        self._session_span = (0, 0)

    def session(self) -> MarketSession | None:
        """Return the session now, or None when neither clock nor calendar is known."""
        return self.session_at(self.market())

    def session_at(self, now: int) -> MarketSession | None:
        """Return the session now, which the market's clock has just been read for."""
        begin, end = self._session_span
        if not begin <= now < end:
            self._session, self._session_span = self._find_session(now)
        return self._session

    def span_at(self, instant: int) -> Span | None:
        """Return the session that the calendar plans for *instant*, or None outside of what is known."""
        return None if self._calendar is None else self._calendar.span_at(instant)

    def last_day(self, date: datetime.date) -> TradingDay | None:
        """Return the last trading day up to and with *date*, or None outside of what is known."""
        return None if self._calendar is None else self._calendar.last_day(date)

    def session_ends(self) -> int | None:
        """Return when the session now ends, nanoseconds of market time, or None when it is not known."""
        now = self.market()
        found = None if self._calendar is None else self._calendar.session_at(now)
        return None if found is None else found[1]

    def _find_session(self, now: int) -> tuple[MarketSession | None, tuple[int, int]]:
        found = None if self._calendar is None else self._calendar.session_at(now)
        if found is None or self._reading is None:
            return None, (0, 0)
        session, ends = found
        return self._settle(session, now), (now, ends)

    def _settle(self, planned: MarketSession, now: int) -> MarketSession:
        # The calendar is a plan; the clock knows of a market-wide halt. It speaks for the session it was read in.
        reading = self._reading
        if reading is None or self._calendar is None:
            return planned
        read_in = self._calendar.session_at(reading.market_time)
        if read_in is None or not reading.market_time <= now < read_in[1]:
            return planned
        if reading.is_open:
            return MarketSession.OPEN
        return MarketSession.CLOSED if planned is MarketSession.OPEN else planned

    def snapshot(self) -> MarketNow | None:
        """Return the market's time and what comes next, or None before the first reading."""
        if self._reading is None:
            return None
        now, calendar = self.market(), self._calendar
        next_open = None if calendar is None else calendar.next_open(now)
        next_close = None if calendar is None else calendar.next_close(now)
        return MarketNow(
            market_time=now,
            session=self.session(),
            next_open=next_open or self._reading.next_open,
            next_close=next_close or self._reading.next_close,
            provenance=self._reading.provenance,
        )


class MarketClockKeeper:
    """Reads the upstream's clock and calendar: at the start, regularly, and at each edge of a session."""

    def __init__(
        self,
        clock: MarketClock,
        source: ClockSource,
        reference: ReferenceSource,
        *,
        interval: float,
        patience: float,
    ) -> None:
        """Keep *clock* right.

        Args:
            interval: seconds between readings.
            patience: seconds that one reading may take.
        """
        self._clock = clock
        self._source = source
        self._reference = reference
        self._interval = interval
        self._patience = patience
        self._failing_for: Reason | None = None

    def session(self) -> MarketSession | None:
        """Return the session now, or None when it is not known."""
        return self._clock.session()

    async def now(self, deadline: float) -> MarketNow:
        """Return the market's time, reading the upstream's clock first if that has never succeeded."""
        known = self._clock.snapshot()
        if known is None:
            await self.refresh(deadline)
            known = self._clock.snapshot()
        if known is None:  # pragma: no cover - refresh sets a reading or raises
            msg = "refresh left no reading"
            raise AssertionError(msg)
        return known

    async def refresh(self, deadline: float) -> None:
        """Read clock and calendar now.

        Raises:
            UpstreamFailure: the clock could not be read. A calendar that cannot be had leaves the session unknown.
        """
        self._clock.set_reading(await self._source.clock(deadline))
        try:
            self._clock.set_calendar(await self._reference.calendar(*self._around_now(), deadline))
        except UpstreamFailure as failure:
            _log.warning(
                "calendar_unavailable", reason=failure.reason.name, message=failure.message
            )

    def _around_now(self) -> tuple[datetime.date, datetime.date]:
        # The longest closure of the exchange in living memory, in September 2001, lasted six days.
        today = datetime.datetime.fromtimestamp(self._clock.market() // NANOS, datetime.UTC).date()
        span = datetime.timedelta(days=10)
        return today - span, today + span

    async def try_refresh(self, patience: float) -> None:
        """Read clock and calendar within *patience* seconds; a failure is only logged."""
        try:
            await self.refresh(self._clock.monotonic() + patience)
            self._failing_for = None
        except UpstreamFailure as failure:
            # A sandbox's clock is read every second: each reason is told once.
            if failure.reason is not self._failing_for:
                self._failing_for = failure.reason
                _log.warning(
                    "market_clock_unavailable", reason=failure.reason.name, message=failure.message
                )
        except Exception:  # noqa: BLE001 - a fault of ours must not take down what can still answer
            _log.exception("market_clock_failed")

    async def run(self) -> None:
        """Keep reading until cancelled, the first time after one pause."""
        while True:
            await asyncio.sleep(self._pause())
            await self.try_refresh(self._patience)

    def _pause(self) -> float:
        reading, ends = self._clock.reading, self._clock.session_ends()
        if reading is None or ends is None or reading.speed <= 0:
            return self._interval
        to_edge = (ends - self._clock.market()) / NANOS / reading.speed
        # Just after the edge, so that the upstream has passed it too.
        return min(self._interval, max(to_edge, 0.0) + 0.05)
