"""
How near to QEMU a QMP server is: recorded cases, random ones, wrong arguments, and what a session must do.

L{twisted_qmon.conformance.run} runs it all against a server, and C{qmon conformance ADDRESS} shows what came out. The random
input is made in L{twisted_qmon.conformance.cases}; what is to be answered to it is said by a
L{FakeQEMU<twisted_qmon.testing.FakeQEMU>} with the server's own schema.
"""
