"""The pages of one answer."""

from __future__ import annotations

from ...errors import UpstreamUnreadable
from ...market.unavailable import Refusal
from .parse import SHOWN


class PagedParams:
    """Parameters of page after page, none of which may lead to one before: it would spend everybody's budget."""

    def __init__(self, params: dict[str, str]) -> None:
        self.params = params
        """Of the page to be asked for."""

        self._seen: set[str] = set()

    def goes_on(self, token: str | None) -> bool:
        """Turn to the page of *token*; tell whether there is one.

        Raises:
            UpstreamUnreadable: it has been turned to before.
        """
        if token is None:
            return False
        if token in self._seen:
            raise UpstreamUnreadable(Refusal("repeated_page", f"token {token[:SHOWN]!r}"), "paging")
        self._seen.add(token)
        self.params = self.params | {"page_token": token}
        return True
