"""C{python -m twisted_qmon} is C{qmon}."""

from __future__ import annotations

import sys

from twisted_qmon.shell.main import main

if __name__ == "__main__":
    sys.exit(main())
