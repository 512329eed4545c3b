"""
The server's side of a QMP conversation. No I/O.

Start with L{twisted_qmon.qmp._server.session}: negotiation, the order of requests and the bounds on them.
"""
