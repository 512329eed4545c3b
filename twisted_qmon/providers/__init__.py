"""
Commands that ship with it: L{human<twisted_qmon.providers.human>} (C{human-monitor-command}),
L{jobs<twisted_qmon.providers.jobs>},
L{process<twisted_qmon.providers.process>} (this Twisted process), L{quit<twisted_qmon.providers.quit>} and
L{qemu<twisted_qmon.providers.qemu>} (a real QEMU). Each is an ordinary provider, on the public interface alone.
"""
