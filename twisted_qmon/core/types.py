"""
The types for annotations, under the name that the first release documented: they live in L{twisted_qmon.qapi.types}.
"""

from __future__ import annotations

from twisted_qmon.qapi.types import *  # noqa: F403
