"""
The one place that fetches the global reactor.

Importing C{twisted.internet.reactor} installs one, and the choice (C{twistd --reactor=...}) must stay the user's until the last
moment: hence a function, and nowhere else (U{https://github.com/twisted/twisted/issues/3785}).
"""

from __future__ import annotations

from typing import Any

__all__ = ["global_reactor"]


def global_reactor() -> Any:
    """:return: the global reactor, installed now if none has been"""
    from twisted.internet import reactor

    return reactor
