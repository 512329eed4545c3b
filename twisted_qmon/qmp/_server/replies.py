"""
The replies of a batch of requests, on their way out together. No I/O.

L{ReplyBuffer} encodes each: its bytes are made by L{twisted_qmon.qmp.json.writer}, and the form of an error or of a result that
is not plain by L{twisted_qmon.qmp._server.messages}.
"""

from __future__ import annotations

from reprlib import repr as short_repr
from typing import TYPE_CHECKING

import msgspec
from twisted.logger import Logger

from twisted_qmon._log_publisher import publish
from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import GenericError
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qmp._server.messages import encode_error, encode_result
from twisted_qmon.qmp.json.writer import NEWLINE, encode_quickly, to_ascii, verbatim

if TYPE_CHECKING:
    from twisted_qmon._transport.write_queue import WriteQueue
    from twisted_qmon.core.request import Request, RequestId
    from twisted_qmon.info import JSON

__all__ = ["ReplyBuffer", "Reply"]

# The types of ids that look the same however they are written.
_SIMPLE_IDS = frozenset({str, int, type(ABSENT)})


class Reply(msgspec.Struct, rename={"result": "return"}, gc=False):
    """
    A successful reply, for L{encode_quickly<twisted_qmon.qmp.json.writer.encode_quickly>}.

    :ivar result: its C{return} member
    :ivar id: its C{id}, or L{ABSENT<twisted_qmon.ABSENT>}
    """

    result: JSON | JSONText | msgspec.Raw
    id: RequestId


class ReplyBuffer:
    """
    Replies, encoded as they come and written together. One that can't be encoded is replaced by an error.

    :param write_queue: where they go
    :ivar errors: how many of them were errors
    :ivar size: bytes of those that are not written yet, without their line ends
    """

    __slots__ = ("_lines", "_write_queue", "errors", "size")
    _log = Logger(observer=publish)

    def __init__(self, write_queue: WriteQueue) -> None:
        self._write_queue = write_queue
        self._lines: list[bytes] = []
        self.size = 0
        self.errors = 0

    def reply(self, request: Request) -> None:
        """Append the reply to a request that is done."""
        if request.error is None:
            self.result(request.result, request.id)
            return
        self.errors += 1
        try:
            line = encode_error(request.error, request.id)
        except Exception:
            line = self._replacement(request.id)
        self._lines.append(line)
        self.size += len(line)

    def result(self, result: JSON | JSONText, id: RequestId) -> None:
        """
        Append a successful reply.

        :param result: plain JSON data, or a L{JSONText<twisted_qmon.qapi.types.json_text.JSONText>}
        """
        try:
            if type(id) in _SIMPLE_IDS:
                line = encode_quickly(Reply(verbatim(result.text) if type(result) is JSONText else result, id))
            else:
                line = encode_result(result, id)
        except Exception:
            line = self._encode_carefully(result, id)
        self._lines.append(line)
        self.size += len(line)

    def write(self, result: JSON | JSONText, id: RequestId) -> None:
        """Write a successful reply by itself, at once, while there are no others. The parameters are those of L{result}."""
        if type(id) in _SIMPLE_IDS:
            try:
                line = encode_quickly(Reply(verbatim(result.text) if type(result) is JSONText else result, id))
            except Exception:
                line = self._encode_carefully(result, id)
            self._write_queue.send(to_ascii(line + NEWLINE))
        else:
            self.result(result, id)
            self.flush(at_once=True)

    def flush(self, *, at_once: bool = False) -> None:
        """
        Write all there is.

        :param at_once: the client waits for it: send it now and not in a turn of the reactor, as nothing is to come that could
            go with it
        """
        data = to_ascii(NEWLINE.join(self._lines) + NEWLINE)
        self._lines.clear()
        self.size = 0
        if at_once:
            self._write_queue.send(data)
        else:
            self._write_queue.reply(data)

    def clear(self) -> None:
        """Forget all there is."""
        self._lines.clear()
        self.size = 0

    def _encode_carefully(self, result: JSON | JSONText, id: RequestId) -> bytes:
        try:
            return encode_result(result, id)
        except Exception:
            return self._replacement(id)

    def _replacement(self, id: RequestId) -> bytes:
        # The core has looked at the result; this is for what it was told to trust, and for errors whose desc is no text.
        self._log.failure("while encoding the reply to the request {id}", id=short_repr(id))
        return encode_error(GenericError("The answer can't be encoded; the reason was logged"), id)
