"""
Reading a typed line: its words become the arguments of a command. No I/O.

Start with L{twisted_qmon.hmp.lines.line}, which follows a command's parameters; L{twisted_qmon.hmp.lines.args} follows a
declaration as QEMU has them.
"""
