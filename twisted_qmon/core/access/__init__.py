"""
Who asks, and what they may do: a table of rules in, a verdict out. No I/O but the reading of the rules' file, and of names.

Start with L{Access<twisted_qmon.core.access.file.Access>}: it turns an L{Identity<twisted_qmon.core.access.identity.Identity>}
and an endpoint into a L{Verdict<twisted_qmon.core.access.verdict.Verdict>}. A session has it in its
L{Standing<twisted_qmon.core.access.standing.Standing>}, and knows nothing else of it. How a server of a new kind makes one stands
in docs/architecture.md.
"""
