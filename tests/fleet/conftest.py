"""
Autobahn, which a fleet needs, is not there on each Python that twisted-qmon is for.
"""

from importlib.util import find_spec

collect_ignore_glob = ["test_*.py"] if find_spec("autobahn") is None else []
