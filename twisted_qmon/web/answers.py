"""
What goes back: status codes, headers, bodies.

Text of clients and programs is only ever sent as JSON, which no browser takes for a page: C{nosniff} says so too.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.http import RESPONSES

from twisted_qmon.core.access.verdict import PermissionDenied
from twisted_qmon.errors import (
    LOGGED,
    CommandError,
    CommandTimedOut,
    GenericError,
    InvalidArguments,
    ShuttingDown,
)
from twisted_qmon.info import JSON
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qmp.json.writer import encode_message, verbatim

__all__ = [
    "ERRORS",
    "HEADERS",
    "JSON_TYPE",
    "PAGE_HEADERS",
    "Refusal",
    "encode_document",
    "encode_error",
    "encode_return",
    "status_of",
]

JSON_TYPE = b"application/json"

#: What each answer has: it is no page, is in no other page's frame, and goes to no other origin.
HEADERS: Mapping[bytes, bytes] = {
    b"Cache-Control": b"no-store",
    b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
}

#: What the page has besides, and its files: no script but these files, and no address of it elsewhere.
PAGE_HEADERS: Mapping[bytes, bytes] = {
    b"Cache-Control": b"no-cache",
    b"Content-Security-Policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    b"Cross-Origin-Opener-Policy": b"same-origin",
    b"Referrer-Policy": b"no-referrer",
}

#: The status codes of errors, and what each means. The OpenAPI document has them too.
ERRORS: Mapping[int, str] = {
    400: "The command failed, or the request is not valid HTTP or not JSON.",
    401: "There is no valid token or session cookie.",
    403: "The caller may not do that, or the request comes from another site.",
    404: "There is no such command, request or page.",
    405: "The method is not one of this address.",
    408: "The request did not come in time.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "The arguments are not those that the command takes.",
    429: "The token has too many requests pending.",
    500: "Something unexpected happened; it was logged.",
    503: "The monitor is shutting down.",
    504: "The command's deadline passed.",
}


class Refusal(Exception):
    """
    An answer that is an error, and no command's.

    :param status: one of L{ERRORS}
    :param desc: what is wrong, for a person to read
    :param headers: more headers
    """

    def __init__(self, status: int, desc: str, headers: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__(desc)
        self.status = status
        self.error = GenericError(desc)
        self.headers = headers or {}


def status_of(error: CommandError, *, known: bool = True) -> int:
    """
    :param error: what a command was answered with
    :param known: there is such a command
    :return: the status code
    """
    if isinstance(error, PermissionDenied):
        return 403
    if not known and error.error_class == "CommandNotFound":
        return 404
    if isinstance(error, InvalidArguments):
        return 422
    if isinstance(error, CommandTimedOut):
        return 504
    if isinstance(error, ShuttingDown):
        return 503
    return 500 if error.desc.endswith(LOGGED) else 400


def encode_document(value: JSON) -> bytes:
    """:return: plain JSON data as a body"""
    return encode_message(value)


def encode_return(result: JSON | JSONText) -> bytes:
    """
    :return: the body of a command's success
    :raise TypeError: when JSON has no form for the result
    """
    return encode_message({"return": verbatim(result.text) if type(result) is JSONText else result})


def encode_error(error: CommandError) -> bytes:
    """:return: the body of an error"""
    return encode_message({"error": error.to_wire()})


def error_headers(refusal: Refusal, body: bytes) -> list[tuple[bytes, bytes]]:
    """:return: the headers of a refusal that comes before its request was read; the connection ends with it"""
    headers = {
        **HEADERS,
        b"Content-Type": JSON_TYPE,
        b"Content-Length": b"%d" % len(body),
        b"Connection": b"close",
        **refusal.headers,
    }
    return list(headers.items())


def reason(status: int) -> bytes:
    """:return: the words of a status line"""
    return RESPONSES.get(status, b"Error")
