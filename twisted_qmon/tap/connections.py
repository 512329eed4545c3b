"""
The options of connections: where QMP and the human monitor are served, and within which limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_qmon._transport.factory import MAX_CONNECTIONS, READY_TIMEOUT
from twisted_qmon._transport.write_queue import MAX_QUEUED, SLOW_CLIENT
from twisted_qmon.hmp.prompt import HMP_STYLES, PROMPT
from twisted_qmon.qmp._server.limits import IN_FLIGHT
from twisted_qmon.qmp.json.limits import MAX_MESSAGE
from twisted_qmon.tap.group import OptionGroup
from twisted_qmon.tap.values import choice, count, number_of_bytes, seconds, seconds_or_off, some_bytes

if TYPE_CHECKING:
    from twisted_qmon.service.sessions import SessionKeywords


__all__ = ["ConnectionOptions"]


class ConnectionOptions(OptionGroup):
    """Where clients are served, and how."""

    optParameters = [
        ["prompt", None, PROMPT, "The human monitor's prompt."],
        ["hmp-style", None, "qmon",
         "Whose human monitor it looks like: ours (qmon), or QEMU's to the byte (qemu), for programs.", choice(HMP_STYLES)],
        ["in-flight", None, IN_FLIGHT, "In-band requests of a client that run at a time.", count],
        ["max-connections", None, MAX_CONNECTIONS, "Connections at each endpoint.", count],
        ["max-queued", None, MAX_QUEUED, "Bytes of events that wait for a client that does not read.", number_of_bytes],
        ["max-message", None, MAX_MESSAGE, "Bytes of the longest message.", some_bytes],
        ["slow-client", None, "disconnect",
         "Beyond --max-queued a client is disconnected (disconnect) or loses events (drop-oldest).", choice(SLOW_CLIENT)],
        ["negotiation-timeout", None, None, "Seconds for qmp_capabilities, or 'off'. [default: off]", seconds_or_off],
        ["idle-timeout", None, None,
         "Seconds without input before a client is disconnected, or 'off'. [default: off]", seconds_or_off],
        ["ready-timeout", None, READY_TIMEOUT, "Seconds that a greeting waits for a QEMU that is not connected yet.", seconds],
    ]  # fmt: skip
    endpoints = ["qmp", "hmp"]

    def opt_qmp(self, description: str) -> None:
        """Serve QMP at this server endpoint (repeatable). [default: unix:qmp.sock]"""
        self["qmp"].append(description)

    def opt_hmp(self, description: str) -> None:
        """Serve the human monitor at this server endpoint (repeatable). [default: unix:hmp.sock]"""
        self["hmp"].append(description)

    def check(self) -> None:
        """With neither endpoint both are served."""
        if not self["qmp"] and not self["hmp"]:
            self["qmp"] = ["unix:qmp.sock"]
            self["hmp"] = ["unix:hmp.sock"]

    def session_keywords(self) -> SessionKeywords:
        """:return: for L{make_monitor_service<twisted_qmon.service.make_monitor_service>}"""
        return {
            "prompt": self["prompt"],
            "hmp_style": self["hmp-style"],
            "in_flight": self["in-flight"],
            "max_message": self["max-message"],
            "negotiation_timeout": self["negotiation-timeout"],
            "max_connections": self["max-connections"],
            "max_queued": self["max-queued"],
            "slow_client": self["slow-client"],
            "idle_timeout": self["idle-timeout"],
            "ready_timeout": self["ready-timeout"],
        }
