"""
Types: from a handler's annotations to validation, conversion, QMP's schema and help. QEMU calls its own the QAPI.

Start with L{twisted_qmon.qapi.signature}: it compiles what one command takes and gives. The types for annotations are in
L{twisted_qmon.qapi.types}.
"""
