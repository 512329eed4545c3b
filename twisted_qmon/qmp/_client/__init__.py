"""
The client's side of QMP.

Start with L{twisted_qmon.qmp._client.session}: negotiation, requests and replies, without I/O.
L{twisted_qmon.qmp._client.connection} is the Twisted protocol around it, L{twisted_qmon.qmp._client.reconnect} the service that
connects again.
"""
