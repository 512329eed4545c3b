"""
The human monitor: a client of L{twisted_qmon.interfaces.IMonitor}, and of nothing else.
"""
