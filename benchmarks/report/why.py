"""
Why a goal is missed, where it is known to be: for the table of goals.
"""

from __future__ import annotations

_SYSTEM = "each command has two `write` calls of its own; see [access](access.md#what-it-costs)"

#: By workload and contender. Only what is missed is shown.
WHY: dict[tuple[str, str], str] = {
    ("5 arguments with validation, window 64", "ours, no arguments"): "see [below](#the-goals-that-are-missed)",
    (
        "pipelined, window 512",
        "bare echo",
    ): "the results of `query-name` and `query-status` are looked at member by member",
    ("with audit, ping-pong", "ours"): _SYSTEM,
    ("with audit, window 64", "ours"): _SYSTEM,
    ("start-up until it listens", "trivial plugin"): "there is more to import and to register",
}
