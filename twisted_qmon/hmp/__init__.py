"""
The human monitor: a client of L{twisted_qmon.interfaces.IMonitor}, and of nothing else.

Start with L{twisted_qmon.hmp.console}, one person's session without I/O; L{twisted_qmon.hmp.protocol} serves it at an endpoint.
"""
