"""
The servers that are measured, each a process of its own: C{python -m benchmarks.servers KIND SOCKET}.

It says C{ready} once it listens, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
from typing import Any


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("socket")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--commands", type=int, default=0)
    parser.add_argument("--rules", action="store_true", help="with rules of who may do what")
    parser.add_argument("--audit", action="store_true", help="with an audit file beside the socket")
    options = parser.parse_args()
    if options.uvloop:
        import uvloop
        from twisted.internet import asyncioreactor

        asyncioreactor.install(uvloop.new_event_loop())
    from twisted.internet import reactor, stdio
    from twisted.internet.protocol import Protocol

    class Parent(Protocol):
        """The parent's end of the pipe."""

        def connectionLost(self, reason: Any = None) -> None:
            if reactor.running:  # type: ignore[attr-defined]
                reactor.stop()  # type: ignore[attr-defined]

    if options.kind == "ours":
        from benchmarks.servers.measured import machine

        audit = f"{options.socket}.audit" if options.audit else None
        factory = machine(options.in_flight, options.commands, rules=options.rules, audit=audit)
    elif options.kind == "human":
        from benchmarks.servers.measured import human

        factory = human()
    else:
        # Only here: a contender's process holds nothing of ours.
        from benchmarks.servers.bare import bare

        factory = bare(options.kind)
    reactor.listenUNIX(options.socket, factory, backlog=1024)  # type: ignore[attr-defined]
    stdio.StandardIO(Parent())
    print("ready", flush=True)
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
