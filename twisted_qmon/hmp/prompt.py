"""
What a person sees first, and before each line. In the style of QEMU both are in L{twisted_qmon.hmp.qemu_style}.
"""

from __future__ import annotations

__all__ = ["HMP_STYLES", "PROMPT", "banner"]

#: Whose human monitor it looks like: ours, or QEMU's.
HMP_STYLES = ("qmon", "qemu")

#: The prompt, unless the program, or C{--prompt}, sets another.
PROMPT = "(qmon) "


def banner() -> str:
    """:return: the line that greets a person: the program's name, its version, and how to get help"""
    from twisted_qmon import __version__

    return f"twisted-qmon {__version__} monitor - type 'help' for more information"
