"""
The commands of C{qmon ADDRESS COMMAND} that run and end, a module each (C{describe} has three). Each module has a function
C{run_NAME(address, words)} that L{twisted_qmon.shell.main} calls.

They use the blocking L{Client<twisted_qmon.shell.client.Client>}. L{arguments<twisted_qmon.shell.oneshot.arguments>} reads
C{key=value}.
"""
