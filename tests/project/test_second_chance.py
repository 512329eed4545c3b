"""
What is run once more when tests failed: L{tests.support.second_chance}, in a pytest of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.twistd_process import PATIENCE

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


def again_of(folder: Path, files: dict[str, str], *options: str) -> list[str] | None:
    """:return: what would be run again after a run of these files"""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = live\n")
    for name, content in files.items():
        (folder / f"test_{name}.py").write_text(content)
    words = ["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", *options]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode == 0) == (set(files) == {"good"}), done.stdout
    path = folder / "again"
    return path.read_text().splitlines() if path.exists() else None


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
    assert again_of(tmp_path, files) == again


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "again"),
    [({"live": LIVE}, AGAIN), ({"live": LIVE, "crash": "import os\ndef test_crash():\n    os._exit(1)\n"}, None)],
    ids=["live", "crash"],
)
def test_workers(tmp_path: Path, files: dict[str, str], again: list[str] | None) -> None:
    """The same where processes of pytest-xdist run the tests."""
    assert again_of(tmp_path, files, "-p", "xdist", "-n", "1") == again
