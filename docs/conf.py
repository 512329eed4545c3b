"""
How Sphinx builds the documentation: ``python -m sphinx -W -b html docs docs/_build``
"""

import sys
from pathlib import Path

here = Path(__file__).parent
sys.path[:0] = [str(here), str(here.parent)]

from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.interfaces import IDelayedCall  # noqa: E402

import twisted_qmon  # noqa: E402
from twisted_qmon.core import dispatcher, request  # noqa: E402

# autodoc looks up annotations, and this module would import in a circle if it knew its own.
vars(request).update(Dispatcher=dispatcher.Dispatcher, Deferred=Deferred, IDelayedCall=IDelayedCall)

project = "twisted-qmon"
author = "the twisted-qmon authors"
version = release = twisted_qmon.__version__
html_title = f"twisted-qmon {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings"]
exclude_patterns = ["_build", "examples/*/README.md", "figures"]
html_theme = "furo"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# The languages of our own blocks (tests/project/test_docs.py plays them) have no highlighter.
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 100
