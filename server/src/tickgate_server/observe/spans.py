"""Spans: which part of a traced call took how long.

Anyone may open one. Most calls are not traced, and there it is one look at a context variable and makes nothing. Where
spans go to is not known here: `traces` sends them, and only `app` starts that.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Literal, Protocol, Self, TypeAlias

from ..market.unavailable import Reason

Told: TypeAlias = str | int | float | bool | tuple[str, ...]
"""What may be told of a span: numbers and names. Never a secret, and never what a library says of a failure."""

Kind = Literal["internal", "client"]
"""Whether a span is work of the gateway's own, or a question to somebody else."""


class Telling(Protocol):
    """Takes what is told of a span; of a call that is not traced nobody keeps it."""

    def tell(self, **told: Told) -> None:
        """Tell more of it."""
        ...


class Span(Telling, Protocol):
    """A part of a traced call, under way."""

    @property
    def trace_id(self) -> str:
        """Id of the trace, as W3C Trace Context writes it: 32 hex digits."""
        ...

    def begin(self, name: str, kind: Kind, told: dict[str, Told]) -> Span | None:
        """Begin a part of this part; None when the call is over, or has as many parts as are kept."""
        ...

    def join(self, leader: Span | None) -> None:
        """Note that it waits for work that is done for another call as well: for *leader*, where that is traced."""
        ...

    def fail(self, reason: str) -> None:
        """Note why it failed, by a name of ours."""
        ...

    def end(self) -> None:
        """End it, once."""
        ...


class Tracer(Protocol):
    """Decides which calls are traced."""

    def begin(self, method: str, traceparent: str) -> Span | None:
        """Begin to trace a call of *method*, or do not.

        Args:
            method: service and method, such as "QuoteService/GetQuote".
            traceparent: what the caller says of its own trace (W3C Trace Context); empty when it says nothing.
        """
        ...


_CURRENT: Final[ContextVar[Span | None]] = ContextVar("span", default=None)
"""What is being done. A task has the context of whoever began it, so what several callers share belongs to the trace of
the first who asked."""


class _Untraced:
    """Stands for the span of a call that is not traced."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, **told: Told) -> None:
        """Tell nobody."""


class _Scope:
    """A span for the length of a block."""

    __slots__ = ("_outer", "_span")

    def __init__(self, outer: Span, span: Span) -> None:
        self._outer = outer
        self._span = span

    def __enter__(self) -> Span:
        _CURRENT.set(self._span)
        return self._span

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        # Not reset by a token: a generator may be closed in another context than it was begun in.
        _CURRENT.set(self._outer)
        if error is not None:
            self._span.fail(reason_of(error))
        self._span.end()


_UNTRACED: Final = _Untraced()


def span(name: str, kind: Kind = "internal", **told: Told) -> _Scope | _Untraced:
    """Return a span for the length of a block, a part of what is being done.

    A block that is left by an exception has failed, for its `Reason` or by the name of its class.
    """
    outer = _CURRENT.get()
    if outer is None:
        return _UNTRACED
    inner = outer.begin(name, kind, told)
    return _UNTRACED if inner is None else _Scope(outer, inner)


def current() -> Span | None:
    """Return the span of what is being done; None where that is not traced."""
    return _CURRENT.get()


def enter(root: Span) -> None:
    """Let what this task does from now on be parts of *root*."""
    _CURRENT.set(root)


def reason_of(error: BaseException) -> str:
    """Return a name of why *error* came about that tells nothing it may have been told in confidence."""
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED"
    reason = getattr(error, "reason", None)
    return reason.name if isinstance(reason, Reason) else type(error).__name__
