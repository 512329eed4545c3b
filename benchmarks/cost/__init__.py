"""
What one thing costs.

C{growth} and C{startup} are rows of the table that C{python -m benchmarks} prints. The others are commands of their own; the
docstring of each says what it measures:
C{python -m benchmarks.cost.proxy}, C{big_messages}, C{slow_clients}, C{process_provider}.
"""
