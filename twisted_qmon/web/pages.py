"""
The files of the page, as they are in the package.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from twisted.web.http import CACHED

from twisted_qmon.web.answers import PAGE_HEADERS, Refusal

if TYPE_CHECKING:
    from twisted_qmon.web.channel import WebRequest

__all__ = ["FOLDER", "Pages"]

#: Where they are.
FOLDER = Path(__file__).parent / "static"

_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


class _File(NamedTuple):
    kind: bytes
    body: bytes
    tag: bytes


class Pages:
    """The files, read when it is made: no name that comes in a request leads to any other."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        for path in FOLDER.iterdir():
            kind = _TYPES.get(path.suffix)
            if kind is not None:
                body = path.read_bytes()
                self._files[path.name] = _File(kind, body, b'"%b"' % sha256(body).hexdigest()[:32].encode("ascii"))

    def send(self, request: WebRequest, name: str, *, keep: bool = True) -> bytes:
        """
        :param keep: the browser may keep it. Not a page whose status depends on who asks.
        :return: the body of a file; empty if the browser has it
        :raise Refusal: when there is no such file
        """
        file = self._files.get(name)
        if file is None:
            raise Refusal(404, "There is no such file")
        # Not kept without asking: a new version is to be seen at once, with its parts together.
        for header, value in PAGE_HEADERS.items():
            request.setHeader(header, value)
        request.setHeader(b"Content-Type", file.kind)
        if not keep:
            request.setHeader(b"Cache-Control", b"no-store")
        elif request.setETag(file.tag) is CACHED:
            return b""
        request.setHeader(b"Content-Length", b"%d" % len(file.body))
        return file.body
