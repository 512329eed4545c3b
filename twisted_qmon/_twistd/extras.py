"""
What is installed only with an extra.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

__all__ = ["missing_modules", "need_extra"]

# What each extra brings, besides what is there anyway, and what it is for.
_EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "fleet": ("a fleet needs Autobahn, which needs Python 3.11", ("autobahn", "txaio")),
    "metrics": ("prometheus_client is not installed", ("prometheus_client",)),
    "ssh": ("SSH needs twisted[conch] and wcwidth", ("cryptography", "bcrypt", "wcwidth")),
    "web": ("Klein is not installed", ("klein",)),
}


def missing_modules(extra: str) -> str:
    """:return: that an extra is not installed, and how to install it; empty if it is"""
    needs, modules = _EXTRAS[extra]
    if all(find_spec(module) is not None for module in modules):
        return ""
    return f"{needs}: pip install 'twisted-qmon[{extra}]'"


def need_extra(extra: str) -> None:
    """:raise ImportError: when an extra is not installed, with one line that says how to install it"""
    missing = missing_modules(extra)
    if missing:
        raise ImportError(missing)
