"""
The client's side of QMP.

Start with L{twisted_qmon.qmp._client.session}: negotiation, requests and replies, without I/O.
L{twisted_qmon.qmp._client.connection} is the Twisted protocol around it, L{twisted_qmon.qmp._client.reconnect} the service that
connects again.

Programs use L{QMPClient<twisted_qmon.QMPClient>}. Inside this package the proxy and C{qmon} are clients as well, each with its
own way of calling: both have the C{commands} of a server, and the proxy has C{connection}, C{session}, C{reconnect}, C{replies}
and C{waiters}, but not the client's C{events}.
"""
