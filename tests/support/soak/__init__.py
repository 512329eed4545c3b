"""
Everything switched on, for as long as wanted: C{python -m tests.support.soak --minutes 30}.

In L{stage<tests.support.soak.stage>} are the processes, in L{lives<tests.support.soak.lives>} what their clients do, in
L{figures<tests.support.soak.figures>} what is looked at, and what has to hold.
"""
