"""
C{qmon}, the terminal client of any QMP server: a monitor of this package, the proxy, a plain QEMU, qemu-storage-daemon.

L{twisted_qmon.shell.main} reads the command line. C{oneshot/} holds the commands that run and end, over a blocking socket and
without Twisted (L{twisted_qmon.shell.client}). All text goes through L{twisted_qmon.shell.output}, which is where what a server
sends is made harmless to a terminal.
"""
