"""
The replies of a batch of requests, on their way out together. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.logger import Logger

from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import GenericError
from twisted_qmon.qapi.json_text import JSONText
from twisted_qmon.qmp._server.messages import encode_error, encode_result
from twisted_qmon.qmp.json.writer import encode_into, encode_quickly, to_ascii, verbatim

if TYPE_CHECKING:
    from twisted_qmon._transport.write_queue import WriteQueue
    from twisted_qmon.core.request import Request
    from twisted_qmon.qmp._server.queue import Answer

__all__ = ["ReplyBuffer", "Reply"]

# The types of ids that look the same however they are written.
_SIMPLE_IDS = frozenset({str, int, type(ABSENT)})


class Reply(msgspec.Struct, rename={"result": "return"}, gc=False):
    """
    A successful reply, for L{encode_into<twisted_qmon.qmp.json.writer.encode_into>}.

    :ivar result: its C{return} member
    :ivar id: its C{id}, or L{ABSENT<twisted_qmon.ABSENT>}
    """

    result: Any
    id: Any


class ReplyBuffer:
    """
    Replies, encoded as they come and written together. None is lost because it can't be encoded: another takes its place.

    :param write_queue: where they go
    :ivar buffer: those that are not written yet
    """

    __slots__ = ("_write_queue", "buffer")
    _log = Logger()

    def __init__(self, write_queue: WriteQueue) -> None:
        self._write_queue = write_queue
        self.buffer = bytearray()

    def reply(self, request: Request | Answer) -> None:
        """Append the reply to a request that is done."""
        if request.error is None:
            self.result(request.result, request.id)
            return
        try:
            self.buffer += encode_error(request.error, request.id)
        except Exception:
            self._cannot_say(request.id)

    def result(self, result: Any, id: Any) -> None:
        """
        Append a successful reply.

        :param result: plain JSON data, or a L{JSONText<twisted_qmon.qapi.json_text.JSONText>}
        """
        buffer = self.buffer
        if type(id) in _SIMPLE_IDS:
            start = len(buffer)
            try:
                encode_into(Reply(verbatim(result.text) if type(result) is JSONText else result, id), buffer, -1)
                buffer += b"\r\n"
                return
            except Exception:
                del buffer[start:]
        # An id of another type, or what can't be encoded quickly.
        try:
            buffer += encode_result(result, id)
        except Exception:
            self._cannot_say(id)

    def only(self, result: Any, id: Any) -> None:
        """Write a successful reply at once; the buffer is empty. The parameters are those of L{result}."""
        if type(id) in _SIMPLE_IDS:
            try:
                line = encode_quickly(Reply(verbatim(result.text) if type(result) is JSONText else result, id))
            except Exception:
                pass  # the other way finds out what it was
            else:
                self._write_queue.reply(to_ascii(line + b"\r\n"))
                return
        self.result(result, id)
        self.flush()

    def flush(self) -> None:
        """Write all there is."""
        buffer = self.buffer
        data = to_ascii(bytes(buffer))
        buffer.clear()
        self._write_queue.reply(data)

    def _cannot_say(self, id: Any) -> None:
        # The core has looked at the result; this is for what it was told to trust, and for errors whose words are none.
        self._log.failure("while encoding the answer to the request {id!r}", id=id)
        self.buffer += encode_error(GenericError("The answer can't be encoded; the reason was logged"), id)
