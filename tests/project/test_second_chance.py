"""
What is run once more when tests failed: L{tests.support.second_chance}, in a pytest of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

CONFTEST = """
from pathlib import Path
from tests.support.second_chance import SecondChance

def pytest_configure(config):
    config.pluginmanager.register(SecondChance(Path("again")))
"""

GOOD = """
import pytest

def test_unit():
    pass

@pytest.mark.live
def test_live():
    pass
"""

LIVE = """
import pytest

pytestmark = pytest.mark.live

@pytest.fixture
def broken():
    raise OSError

@pytest.fixture
def breaks():
    yield
    raise OSError

def test_fails():
    assert False

@pytest.mark.parametrize("word", ["a b", "["])
def test_with_a_name(word):
    assert False

def test_before(broken):
    pass

def test_behind(breaks):
    assert False
"""

UNIT = """
def test_unit():
    assert False
"""

AGAIN = [
    "test_live.py::test_fails",
    "test_live.py::test_with_a_name[a b]",
    "test_live.py::test_with_a_name[[]",
    "test_live.py::test_before",
    "test_live.py::test_behind",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "again"),
    [
        ({"good": GOOD}, None),
        ({"good": GOOD, "live": LIVE}, AGAIN),
        ({"live": LIVE, "unit": UNIT}, None),
        ({"live": LIVE, "not_python": "def"}, None),
        ({"live": LIVE, "crash": "import os\ndef test_crash():\n    os._exit(1)\n"}, None),
        ({"live": LIVE, "stop": "import pytest\ndef test_stop():\n    pytest.exit('enough')\n"}, None),
        ({"live": LIVE, "interrupt": "def test_interrupt():\n    raise KeyboardInterrupt\n"}, None),
    ],
    ids=["good", "live", "unit", "syntax", "crash", "exit", "interrupt"],
)
def test_what_is_run_again(tmp_path: Path, files: dict[str, str], again: list[str] | None) -> None:
    """Live tests that failed, if nothing else went wrong; otherwise nothing, which fails the run."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = live\n")
    for name, content in files.items():
        (tmp_path / f"test_{name}.py").write_text(content)
    pytest_itself = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(pytest_itself, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    path = tmp_path / "again"
    assert (path.read_text().splitlines() if path.exists() else None) == again, done.stdout
    assert (done.returncode == 0) == (set(files) == {"good"}), done.stdout
