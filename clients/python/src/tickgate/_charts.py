"""Candles: in the terminal with plotext, as a picture with matplotlib. Each is an extra.

What is drawn is what came. Where a terminal has fewer columns than there are bars, the newest are drawn and the title
says so: a candle of several bars would be a bar that no market has sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._tables import source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from ._models import Bar

MARGIN = 14
"""Columns of a terminal's chart that prices and frame take."""

COLUMNS = 2
"""Columns of a terminal that a candle takes, the one between two of them included."""

UP, DOWN = "#1a7f37", "#cf222e"

HEIGHT = 24
"""Lines of a terminal's chart."""

PICTURES = (".png", ".svg", ".pdf")
"""Suffixes of the files that a picture may be drawn into."""


def plotter() -> Any:
    """Load what draws in a terminal.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to.
    """
    try:
        import plotext  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as absent:
        raise _absent("plotext", "plot") from absent
    return plotext


def painter() -> type[Figure]:
    """Load what draws pictures.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as absent:
        raise _absent("matplotlib", "png") from absent
    return Figure


def _absent(library: str, extra: str) -> ModuleNotFoundError:
    message = f"{library} is not installed: pip install 'tickgate[{extra}]'"
    return ModuleNotFoundError(message, name=library)


def newest(bars: Sequence[Bar], width: int) -> Sequence[Bar]:
    """The bars that a terminal of *width* columns has room for, oldest first."""
    ordered = _oldest_first(bars)
    return ordered[-max(1, (width - MARGIN) // COLUMNS) :]


def in_terminal(bars: Sequence[Bar], timeframe: str, width: int, *, color: bool) -> str:
    """Draw bars of one symbol with characters.

    Raises:
        ModuleNotFoundError: plotext is not installed; the message says how to.
    """
    plotext = plotter()
    shown = newest(bars, width)
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, HEIGHT)
    figure.title(_title(bars, timeframe, len(shown)))
    figure.draw(
        figure.candlestick(
            {
                "date": range(len(shown)),
                **{
                    name: [float(getattr(bar, name)) for bar in shown]
                    for name in ("open", "high", "low", "close")
                },
            }
        )
    )
    places = _ticks(len(shown), max(2, width // 24))
    figure.ruler("x").ticks(places, [_when(shown[place]) for place in places])
    drawn: str = figure.build().string(colorless=not color)
    figure.clear()
    return drawn


def picture(bars: Sequence[Bar], timeframe: str, path: Path) -> None:
    """Draw bars of one symbol into a file of the kind that its suffix names.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says how to.
    """
    shown = _oldest_first(bars)
    # Made without pyplot, which would look for a screen.
    figure = painter()(figsize=(12, 6), layout="constrained")
    axes = figure.add_subplot()
    thick = max(0.5, min(8.0, 600 / len(shown)))
    for color, some in ((UP, True), (DOWN, False)):
        chosen = [(at, bar) for at, bar in enumerate(shown) if (bar.close >= bar.open) is some]
        places = [at for at, _ in chosen]
        axes.vlines(
            places,
            [float(bar.low) for _, bar in chosen],
            [float(bar.high) for _, bar in chosen],
            colors=color,
            linewidth=min(1.0, thick),
        )
        # A bar that closes where it opened is still a line to be seen.
        axes.vlines(
            places,
            [float(min(bar.open, bar.close)) for _, bar in chosen],
            [float(max(bar.open, bar.close)) for _, bar in chosen],
            colors=color,
            linewidth=thick,
            capstyle="projecting",
        )
    places = _ticks(len(shown), 8)
    axes.set_xticks(places, [_when(shown[place]) for place in places])
    axes.set_ylabel("US dollars a share")
    axes.set_title(_title(bars, timeframe, len(shown)))
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)


def _oldest_first(bars: Sequence[Bar]) -> Sequence[Bar]:
    return bars if bars[0].start_time_ns <= bars[-1].start_time_ns else bars[::-1]


def _title(bars: Sequence[Bar], timeframe: str, shown: int) -> str:
    # Whoever passes a chart on passes on where it came from.
    said = f"{bars[0].symbol} {timeframe}, {source(bars[-1].provenance)}"
    return said if shown == len(bars) else f"{said}, the newest {shown:,} of {len(bars):,}"


def _when(bar: Bar) -> str:
    start = bar.start_time
    # Daily bars begin at midnight in New York, which is 4:00 or 5:00 in UTC.
    return (
        f"{start:%Y-%m-%d}"
        if start.minute == 0 and start.hour in (4, 5)
        else f"{start:%m-%d %H:%M}"
    )


def _ticks(count: int, most: int) -> list[int]:
    step = max(1, -(-count // most))
    return list(range(0, count, step))
