"""
Commands that take long on QEMU, and complete here when they are done: C{qmon-migrate}, C{qmon-savevm}, C{qmon-drive-backup}
and the others.

Start with L{twisted_qmon.providers.qemu.long_commands.base}: it lists them, and says how to add one.
"""
