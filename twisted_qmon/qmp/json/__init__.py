"""
QEMU's dialect of JSON, in and out. No I/O.

Start with L{twisted_qmon.qmp.json.reader} (bytes to messages) and L{twisted_qmon.qmp.json.writer} (values to bytes).
"""
