"""
What a monitor is: commands, requests, events. No bytes, no transport, no reactor.

Start with L{twisted_qmon.core.monitor}: a monitor has a registry of commands, a table of events, and a dispatcher that serves
requests. What a command's arguments and results are is said in L{twisted_qmon.qapi}.
"""
