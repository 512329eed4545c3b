"""
One monitor for any Twisted process, and one door to any QEMU.
"""

__version__ = "0.1.0"
