"""
Lines as a person types them, run one after another: those of C{-c}, or of standard input where there is no terminal. Start with
L{Session<twisted_qmon.shell.lines.session.Session>}, which the prompt uses, too.
"""
