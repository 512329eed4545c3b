"""
The client's side of a QMP conversation.

Start with L{twisted_qmon.qmp._client.session} (the conversation, no I/O); L{twisted_qmon.qmp._client.connection} is the Twisted
protocol around it.
"""
