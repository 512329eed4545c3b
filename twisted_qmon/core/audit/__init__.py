"""
Who did what: one record for each step of each command above C{observe}, and of each connection.

L{Audit<twisted_qmon.core.audit.trail.Audit>} is told what happens; L{AuditFile<twisted_qmon.core.audit.file.AuditFile>} writes
lines to a file, and never holds anything up.
"""
