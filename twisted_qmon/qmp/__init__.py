"""
The machine protocol, QMP: both its ends.
"""
