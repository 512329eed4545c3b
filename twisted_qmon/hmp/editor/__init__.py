"""
A line editor for people at a terminal that sends each key: over SSH, or telnet in character mode. No I/O: it is given
bytes, gives lines, and writes what the terminal is to show. Start with L{twisted_qmon.hmp.editor.editor}.

It needs C{wcwidth}, which is part of the extra C{ssh}.
"""
