"""
Commands that ship with it. Each is an ordinary provider, on the public interface alone.

L{human<twisted_qmon.providers.human>} is C{human-monitor-command}, L{quit<twisted_qmon.providers.quit>} ends the process,
L{jobs<twisted_qmon.providers.jobs>} is long work, L{process<twisted_qmon.providers.process>} is about this Twisted process, and
L{qemu<twisted_qmon.providers.qemu>} is a proxy in front of a real QEMU.
"""
