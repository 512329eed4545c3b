"""
The limits of a session, which C{twistd qmon} and the factories have as defaults.

Those of messages are in L{twisted_qmon.qmp.json.limits}, those of connections in L{twisted_qmon._transport}, those of the human
monitor in L{twisted_qmon.hmp.protocol}. How many requests are in flight to a QEMU behind the monitor, for all clients together,
is C{UPSTREAM_IN_FLIGHT} in L{twisted_qmon.providers.qemu.upstream}; how many a client of the HTTP interface may have pending,
C{MAX_PENDING} in L{twisted_qmon.web.session}.
"""

from __future__ import annotations

__all__ = ["HIGH_WATER", "IN_FLIGHT", "MAX_DESCRIPTORS", "MAX_OUT_OF_BAND"]

#: In-band requests of a client that may run at a time, and be pending before its session is suspended: QEMU's
#: QMP_REQ_QUEUE_LEN_MAX.
IN_FLIGHT = 8

#: The same for out-of-band requests.
MAX_OUT_OF_BAND = 8

#: File descriptors that may come with one message, and wait for the command that takes them. If there are more, all are closed.
MAX_DESCRIPTORS = 1

#: Bytes of replies after which a batch of requests is interrupted to write them.
HIGH_WATER = 1 << 16
