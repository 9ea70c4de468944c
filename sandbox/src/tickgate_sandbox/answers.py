"""The forms in which Alpaca answers: JSON, two kinds of JSON error, and nginx pages."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

NOT_FOUND: Final = 40410000
"""Trading API code: no such thing."""
UNPROCESSABLE: Final = 42210000
"""Trading API code: a parameter makes no sense."""
RATE_LIMITED: Final = 42910000
"""Trading API code: too many requests."""


class Refusal(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, message: str, code: int | None = None) -> None:
        """Answer with *status*.

        Args:
            status: The HTTP status.
            message: The sentence in the body.
            code: Alpaca's own number; the trading API has one, the data API has none.
        """
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code

    def response(self) -> web.Response:
        """Return the error as it goes on the wire."""
        body: dict[str, Any] = {"message": self.message}
        if self.code is not None:
            body = {"code": self.code} | body
        return json_response(body, status=self.status)


def bad_request(message: str) -> Refusal:
    """Return the refusal of a data or control request that makes no sense."""
    return Refusal(HTTPStatus.BAD_REQUEST, message)


def unprocessable(message: str) -> Refusal:
    """Return the trading API's refusal of a parameter that makes no sense."""
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, message, UNPROCESSABLE)


async def read_body(request: web.Request, kind: Any) -> Any:
    """Return the body of *request* as *kind*.

    Raises:
        Refusal: it is none; the message says what is wrong with it.
    """
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise bad_request(str(error)) from error


def json_response(body: Any, status: int = 200) -> web.Response:
    """Return *body* as JSON; `msgspec.Raw` inside it leaves as the text it holds."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )


def html_response(status: HTTPStatus, title: str) -> web.Response:
    """Return a stock nginx error page."""
    heading = f"{status.value} {title}"
    page = (
        f"<html>\r\n<head><title>{heading}</title></head>\r\n<body>\r\n"
        f"<center><h1>{heading}</h1></center>\r\n<hr><center>nginx</center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    return web.Response(text=page, status=status, content_type="text/html")


def unauthorized() -> web.Response:
    """Return what a missing or wrong key gets: a page, not JSON."""
    return html_response(HTTPStatus.UNAUTHORIZED, "Authorization Required")


def uri_too_long() -> web.Response:
    """Return what too many symbols in one URL get."""
    return html_response(HTTPStatus.REQUEST_URI_TOO_LONG, "Request-URI Too Large")
