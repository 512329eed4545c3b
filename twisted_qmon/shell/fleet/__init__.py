"""
C{qmon fleet URL ...}: the monitors behind a router. Start with L{words<twisted_qmon.shell.fleet.words>}, which reads the command
line.

For one member, all that C{qmon ADDRESS} can do is done by the same code: L{member<twisted_qmon.shell.fleet.member>} is a
L{Destination<twisted_qmon.shell.address.Destination>}, and L{session<twisted_qmon.shell.fleet.session>} a QMP server behind it.
What concerns many members is here: L{listing<twisted_qmon.shell.fleet.listing>},
L{scatter<twisted_qmon.shell.fleet.scatter>} with
L{report<twisted_qmon.shell.fleet.report>}, and L{events<twisted_qmon.shell.fleet.events>}.
"""
