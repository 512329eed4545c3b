"""The one command that runs every check finds what it runs, and installs what the tests talk to."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CI = (ROOT / ".ci" / "run").read_text()

# Programs that come with us or with a dependency of ours, and are installed beside Python.
INSTALLED_BY_PIP = {"qmon", "qmp-shell", "ssh-audit", "twist", "twistd"}


def test_needed_programs_are_installed() -> None:
    """Each program that a live test or a shell session of the documentation starts is installed by .ci/run."""
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    needed = set(re.findall(r'\bneed\("([^"]+)"\)', tests))
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        needed |= set(re.findall(r"^\$ (?:\.?venv/bin/)?([a-z]\S*)", page.read_text(), re.MULTILINE))
    installed = set(re.findall(r"^have (\S+) \|\|", CI, re.MULTILINE))
    assert needed - installed - INSTALLED_BY_PIP - {"pip", "python3"} == set()


@pytest.mark.parametrize(("heading", "ends"), [("## Run it", "twistd -n qmon"), ("## Test it", "python -m pytest")])
def test_readme_commands(heading: str, ends: str) -> None:
    """The README has the two commands that .ci/run takes from it: the first block below each heading."""
    assert f'readme_command "{heading}"' in CI
    part = (ROOT / "README.md").read_text().partition(f"\n{heading}\n")[2]
    block = re.match(r"\n```sh\n([^\n]*)\n```\n", part)
    assert block is not None
    assert block[1].startswith("python3 -m venv ")
    assert block[1].endswith(ends)


def test_oldest_versions_are_those_of_setup_cfg() -> None:
    """The oldest version that setup.cfg allows of what users install is one that .ci/run tests with."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    for_users = [text for name, text in extras.items() if name not in {"test", "browser", "docs", "dev"}]
    allowed = "\n".join([setup["options"]["install_requires"], *for_users])
    pinned = (ROOT / ".ci" / "oldest.txt").read_text()
    for name, version in re.findall(r"^([\w.]+)(?:\[\w+\])?>=([\d.]+)$", allowed, re.MULTILINE):
        assert re.search(rf"^{re.escape(name)}=={re.escape(version)}(\.0)*(;|$)", pinned, re.MULTILINE), name
