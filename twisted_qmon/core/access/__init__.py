"""
Who asks, and what they may do: a table of rules in, a verdict out. No I/O but the reading of the rules' file.

Start with L{Access<twisted_qmon.core.access.file.Access>}: it turns an L{Identity<twisted_qmon.core.access.identity.Identity>}
and an endpoint into a L{Verdict<twisted_qmon.core.access.verdict.Verdict>}, which is all that a session knows of it.
"""
