"""
The machine protocol, QMP: both its ends.

Start with L{twisted_qmon.qmp.protocol} for the server and L{twisted_qmon.qmp.client} for the client. L{twisted_qmon.qmp.json} is
QEMU's dialect of JSON, which both share; the rest of each end is in a folder of its own, and private.
"""
