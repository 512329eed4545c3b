"""
What every server needs of a connection, whatever it says on it: bytes only, no word of QMP or HMP.

Start with L{twisted_qmon._transport.connection}.
"""
