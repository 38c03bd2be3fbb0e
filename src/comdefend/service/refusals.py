"""Requests that are refused: one JSON error for each reason."""

import json
from http import HTTPStatus

from starlette.responses import Response


class RequestError(Exception):
    """A request is refused, or failed.

    Args:
        status: Of HTTP.
        message: What is wrong and what would be right, in a line.
        retry: Whether the same request may succeed a little later.
    """

    def __init__(self, status: HTTPStatus, message: str, retry: bool = False) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"retry-after": "1"} if retry else {}
        if status == HTTPStatus.UNAUTHORIZED:
            self.headers["www-authenticate"] = "Bearer"


def error_body(status: HTTPStatus, message: str) -> bytes:
    """Return the JSON of an error."""
    return json.dumps({"error": status.phrase, "status": status, "message": message}).encode()


def error_response(refused: RequestError, close: bool) -> Response:
    """Return an error as a response; ``close`` says that it is the connection's last."""
    headers = {**refused.headers, **({"connection": "close"} if close else {})}
    body = error_body(refused.status, refused.message)
    return Response(body, refused.status, headers, "application/json")
