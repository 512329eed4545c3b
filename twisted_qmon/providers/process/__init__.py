"""
Commands about the Twisted process that the monitor lives in.

Start with L{Process}, the provider.
"""

from __future__ import annotations

from twisted_qmon.providers.process.provider import WATCH_PERIOD, Process

__all__ = ["WATCH_PERIOD", "Process"]
