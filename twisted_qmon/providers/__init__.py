"""
The commands that ship with twisted-qmon.
"""
