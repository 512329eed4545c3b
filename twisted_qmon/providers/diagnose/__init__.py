"""
Commands that look into the process more closely than is free: where its time goes, what its memory is full of, what waits.

Start with L{Diagnose}, the provider.
"""

from __future__ import annotations

from twisted_qmon.providers.diagnose.provider import Diagnose

__all__ = ["Diagnose"]
