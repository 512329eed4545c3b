"""
The limits of messages: QEMU's.
"""

from __future__ import annotations

__all__ = ["MAX_MESSAGE", "MAX_NESTING", "MAX_TOKENS"]

#: Bytes of the longest message, of a client or of a server: QEMU's MAX_TOKEN_SIZE.
MAX_MESSAGE = 64 << 20

#: Tokens in one message.
MAX_TOKENS = 1 << 21

#: Arrays and objects inside each other, the message itself included.
MAX_NESTING = 1024
