"""
Which commands a person can type, and what helps to type them: the index of their names, C{info}, C{help}, completion. No I/O.

Start with L{twisted_qmon.hmp.commands.command_index}, which finds the command of a line.
"""
