"""
The monitor over SSH: a terminal with a line editor, single lines with an exit status, and QMP as a subsystem. It is built on
Twisted's conch and needs the extra C{ssh}. Start with L{twisted_qmon.ssh.factory}.
"""
