"""
What one thing costs: measurements in this process, or of whole programs.

Each module has C{MEASUREMENTS}: by name, what takes how many pairs there are to be and how many seconds each is to take, and
yields rows of the table. L{benchmarks.sections} has them all. A few are commands as well, which say more.
"""
