"""What the gateway raises on purpose.

GatewayError
├── InvalidRequest            the caller asked wrongly
├── Unauthenticated           nobody knows who calls
├── NotPermitted              the caller may not do this
├── LimitExceeded             the caller, or all callers together, have had what they may have for now
├── ShuttingDown              the gateway is stopping
├── NotFeedHolder             another process holds the live feed
├── TooManyStreams            the process has as many streams as it takes
├── NotFound                  what the request names does not exist here
├── NotSupported              this gateway lacks what the request takes
├── StoreDown                 the store cannot be had now
│   └── KeysUnread            nor have the API keys been read before
├── StoreUnusable             Redis, PostgreSQL or a file is there, or is said to be, and must not be used
├── CertificateUnusable       what the gateway was to serve TLS with cannot be used
└── UpstreamFailure           the upstream gave no answer that can be used
    ├── UpstreamTimeout       none before the deadline
    │   └── Crowded           not even sent: no place became free before the deadline
    ├── UpstreamUnreachable   connection refused, reset, cut off
    ├── UpstreamRejected      a status that says the question was wrong (400, 404, 422)
    ├── UpstreamBroken        5xx
    │   └── UnexpectedStatus  a status that no documentation names
    ├── UpstreamUnreadable    an answer that is not what the upstream documents
    ├── KeyRefused            401, or a 403 that is not about a subscription
    ├── NotEntitled           403 about a subscription
    ├── RateLimited           429
    ├── BudgetExhausted       not sent: the gateway's own count of requests is spent
    └── CircuitOpen           not sent: the upstream has failed repeatedly

OrderError                    what an operator has typed makes no sense

Each UpstreamFailure names the reason that a caller gets; `rpc/status` alone turns reasons into statuses.
"""

from __future__ import annotations

from typing import ClassVar

from .identity.consumer import ANYBODY, Consumer
from .market.unavailable import Reason, Refusal, Unavailable


class GatewayError(Exception):
    """Root of everything the gateway raises on purpose."""


class InvalidRequest(GatewayError):
    """The request breaks rules of the contract."""

    def __init__(self, violations: list[tuple[str, str]], *, left_out: int = 0) -> None:
        """Name every broken rule.

        Args:
            violations: pairs of the field's path in the request and the sentence the caller gets.
            left_out: how many others are not named.
        """
        super().__init__("; ".join(f"{field}: {rule}" for field, rule in violations))
        self.violations = violations
        self.left_out = left_out


class ShuttingDown(GatewayError):
    """The gateway is stopping and takes no more calls."""


class Unauthenticated(GatewayError):
    """Nobody knows who calls. The message tells nothing that the caller does not know already."""

    def __init__(self, message: str, consumer: Consumer = ANYBODY) -> None:
        """Say why; *consumer* is whose key it was, where it was one."""
        super().__init__(message)
        self.consumer = consumer


class NotPermitted(GatewayError):
    """The caller may not do this."""

    def __init__(self, message: str, consumer: Consumer = ANYBODY) -> None:
        """Say why; *consumer* is who it is, where that is known."""
        super().__init__(message)
        self.consumer = consumer


class LimitExceeded(GatewayError):
    """A limit of the gateway's own is reached."""

    def __init__(self, limit: str, message: str, retry_delay: float | None = None) -> None:
        """Say which.

        Args:
            limit: name of the limit, such as "calls_per_second"; it is counted by it.
            message: one sentence for the caller, naming the limit and what is allowed.
            retry_delay: seconds after which there is room again, if waiting helps.
        """
        super().__init__(message)
        self.limit = limit
        self.retry_delay = retry_delay


class NotFeedHolder(GatewayError):
    """Another process has the account's only connection to the live feed, or streams are switched off here."""


class TooManyStreams(GatewayError):
    """The process has as many streams as it takes."""


class NotFound(GatewayError):
    """What the request names does not exist here. The message says what."""


class NotSupported(GatewayError):
    """This gateway lacks what the request takes, such as a store. The message says what."""


class StoreDown(GatewayError):
    """The store cannot be had now. The message says why, without a secret."""


class KeysUnread(StoreDown):
    """The API keys cannot be had now, and never were: nobody can be told from anybody."""


class StoreUnusable(GatewayError):
    """A store must not be used: a wrong address, a cluster, a foreign schema, unreadable keys. The message says why."""


class CertificateUnusable(GatewayError):
    """What the gateway was to serve TLS with cannot be used. The message says which file, and why."""


class UpstreamFailure(GatewayError):
    """The upstream gave no answer that can be used."""

    reason: ClassVar[Reason]

    def __init__(
        self, message: str, *, retry_delay: float | None = None, upstream: str = ""
    ) -> None:
        """Say what happened.

        Args:
            message: one sentence for the caller, without a secret and without another library's words.
            retry_delay: seconds after which asking again makes sense, if known.
            upstream: whose limit was reached, such as "alpaca.data"; empty where it is not about a limit.
        """
        super().__init__(message)
        self.message = message
        self.retry_delay = retry_delay
        self.upstream = upstream

    def unavailable(self) -> Unavailable:
        """Return what a caller is told instead of a value."""
        return Unavailable(
            reason=self.reason,
            message=self.message,
            retry_delay=self.retry_delay,
            upstream=self.upstream,
        )


class UpstreamTimeout(UpstreamFailure):
    """No answer before the deadline."""

    reason = Reason.UPSTREAM_TIMEOUT


class Crowded(UpstreamTimeout):
    """No place became free before the deadline: nothing was sent, so it says nothing about the upstream."""


class UpstreamUnreachable(UpstreamFailure):
    """The connection was refused, reset or cut off."""

    reason = Reason.UPSTREAM_ERROR


class UpstreamRejected(UpstreamFailure):
    """The upstream calls the question wrong."""

    reason = Reason.UPSTREAM_ERROR

    def __init__(self, message: str, *, said: str, symbol: str = "") -> None:
        """Keep what is known of the matter.

        Args:
            message: one sentence for the caller.
            said: what the upstream said, for those who know its words.
            symbol: the one of several symbols for which it fails the whole question; empty where it names none.
        """
        super().__init__(message)
        self.said = said
        self.symbol = symbol


class UpstreamBroken(UpstreamFailure):
    """A 5xx."""

    reason = Reason.UPSTREAM_ERROR


class UnexpectedStatus(UpstreamBroken):
    """A status that no documentation names, such as a redirect: asking again would bring the same."""


class UpstreamUnreadable(UpstreamFailure):
    """The answer is not what the upstream documents."""

    reason = Reason.INVALID_DATA

    def __init__(self, refusal: Refusal, subject: str) -> None:
        """Name the rule that *subject* broke."""
        super().__init__(f"{subject}: refused by rule {refusal.rule}, {refusal.evidence}")
        self.refusal = refusal

    def unavailable(self) -> Unavailable:
        """Return the reason together with its evidence."""
        return Unavailable(reason=self.reason, message=self.message, refusal=self.refusal)


class KeyRefused(UpstreamFailure):
    """The upstream does not accept the gateway's credentials."""

    reason = Reason.UPSTREAM_UNAUTHENTICATED


class NotEntitled(UpstreamFailure):
    """The account's subscription does not cover the question."""

    reason = Reason.NOT_ENTITLED

    def __init__(self, message: str, *, said: str = "", about_feed: bool = False) -> None:
        """Keep what the upstream *said*, and whether it refuses the whole feed that was asked for."""
        super().__init__(message)
        self.said = said
        self.about_feed = about_feed


class RateLimited(UpstreamFailure):
    """The upstream answered 429."""

    reason = Reason.UPSTREAM_RATE_LIMITED


class BudgetExhausted(UpstreamFailure):
    """Nothing was sent: the gateway's own count of requests is spent."""

    reason = Reason.BUDGET_EXHAUSTED


class CircuitOpen(UpstreamFailure):
    """Nothing was sent: the upstream has failed repeatedly and is left alone for a while."""

    reason = Reason.CIRCUIT_OPEN


class OrderError(Exception):
    """What is asked for makes no sense; the message says which part of it, and the rule."""
