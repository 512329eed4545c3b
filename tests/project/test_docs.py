"""
What the documentation shows is what happens.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.project.test_rules import FACADE, LAYERS
from tests.support.playing import LANGUAGES, Player, blocks, matches

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
FOLDERS = [ROOT / "twisted_qmon", *(path for path in (ROOT / "twisted_qmon").iterdir() if path.is_dir()), ROOT]
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_plays(page: Path) -> None:
    """Each Python block of the page runs, each conversation with a monitor goes as it is shown."""
    found = list(blocks(page))
    assert {block.language for block in found} <= LANGUAGES | {"hidden"}
    if {block.language for block in found} & {"python", "qmp", "hmp", "side-by-side"}:
        player = Player()
        for block in found:
            player.play(block)


def test_lines_match() -> None:
    """The comparison that the pages rely on can fail."""
    assert matches(["a", "...", "z"], ["a", "b", "c", "z"])
    assert matches(["a", "..."], ["a"])
    assert not matches(["a", "...", "z"], ["a", "b"])
    assert not matches(["a"], ["a", "b"])
    assert not matches(["a", "b"], ["a"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nassert not monitor, 17\n```\n", "17"),
        ('```qmp\n<- {"QMP": 1}\n```\n', "came"),
        ('```qmp\n-> {"execute": "qmp_capabilities"}\n```\n', "before this came"),
        ("```qmp\nhello\n```\n", "neither"),
        ("```hmp\n(qmon) info name\nnot this\n```\n", "printed"),
        ("```side-by-side\n  │\n(qmon) info version\n.. 2 seconds later\n```\n", "does not wait"),
        ("```side-by-side\n│\n(qmon) info version\nnot this\n```\n", "sees"),
        ('```side-by-side\n  │\n  │ -> {"execute": "query-name"}\n```\n', "after this came"),
    ],
)
def test_player_finds_fault(tmp_path: Path, text: str, complaint: str) -> None:
    """A page that shows what does not happen fails."""
    page = tmp_path / "page.md"
    page.write_text(text)
    player = Player()
    with pytest.raises(AssertionError, match=complaint):
        for block in blocks(page):
            player.play(block)


def test_pictures_are_drawn_from_what_is_there() -> None:
    """docs/pictures has what docs/pictures.py draws: after a change, run it."""
    pictures: dict[str, Any] = runpy.run_path(str(DOCS / "pictures.py"))["PICTURES"]
    assert {path.stem for path in (DOCS / "pictures").glob("*.svg")} == set(pictures)
    for name, draw in pictures.items():
        assert (DOCS / "pictures" / f"{name}.svg").read_text() == draw(), f"{name}.svg is out of date"


def test_architecture_is_true() -> None:
    """Each file, folder and name that the page about the architecture mentions is there, where it is said to be."""
    page = (DOCS / "architecture.md").read_text()
    package = ROOT / "twisted_qmon"
    files = set(re.findall(r"`([\w/]+\.py)`", page))
    assert {name for name in files if not (package / name).exists() and not (ROOT / name).exists()} == set()
    folders = set(re.findall(r"`([\w/]+)/`", page))
    assert {name for name in folders if not any((root / name).is_dir() for root in FOLDERS)} == set()
    everything = "\n".join(path.read_text() for path in package.rglob("*.py"))
    for name in re.findall(r"`([A-Z]\w+(?:\.\w+)?)`", page):
        assert _defines(everything, name), name
    for name, file in re.findall(r"`(\w[\w.]*)` (?:in |\()`([\w/]+\.py)`", page):
        assert _defines((package / file).read_text(), name), f"{name} is not in {file}"


def _defines(source: str, name: str) -> bool:
    """Whether a class, function or constant, or a method C{Class.method}, is defined in a source."""
    first, _, method = name.partition(".")
    if method and not re.search(rf"^    def {method}\b", source, re.MULTILINE):
        return False
    return re.search(rf"^(class|def|async def|    def) {first}\b|^{first}\b.* = ", source, re.MULTILINE) is not None


def test_layers_are_drawn() -> None:
    """The picture of the layers has those of the rules."""
    drawn = runpy.run_path(str(DOCS / "pictures.py"))["LAYERS"]
    assert [{name for name, _what in row} for row in reversed(drawn)] == [row for row in LAYERS if row != {FACADE}]


def test_access_rules_of_the_page(tmp_path: Path) -> None:
    """The rules that the page about access shows are rules that can be read."""
    from twisted_qmon.core.access.file import load_rules

    shown = [block.text for block in blocks(DOCS / "access.md") if block.language == "toml"]
    assert shown
    for text in shown:
        (tmp_path / "access.toml").write_text(text)
        load_rules(str(tmp_path / "access.toml"))


def test_qemu_levels_of_the_page() -> None:
    """The page about access names each QEMU command that needs less than admin, by its name or its family."""
    from twisted_qmon.providers.qemu.levels import OBSERVE, OPERATE

    named = re.findall(r"`([a-z_*-]+)`", (DOCS / "access.md").read_text())
    assert [name for name in OBSERVE | OPERATE if not any(fnmatchcase(name, pattern) for pattern in named)] == []


def test_each_option_is_documented() -> None:
    """The page about C{twistd qmon} has a row for each option, and no other."""
    from twisted_qmon.tap import Options

    options = {f"--{name.rstrip('=')}" for name in Options().longOpt} - {"--help", "--version"}
    rows = set(re.findall(r"^\| `(--[a-z-]+)", (DOCS / "twistd.md").read_text(), re.MULTILINE))
    assert rows == options


def test_each_command_is_documented() -> None:
    """The page about C{twistd qmon} names each command that it serves."""
    from twisted.internet.task import Clock
    from twisted.internet.testing import MemoryReactorClock

    from twisted_qmon import Monitor, make_monitor_service

    monitor = Monitor(clock=Clock())
    make_monitor_service(MemoryReactorClock(), monitor)
    served: list[dict[str, str]] = []
    monitor.execute("query-commands").addCallback(served.extend)
    named = set(re.findall(r"`([a-z_-]+)`", (DOCS / "twistd.md").read_text()))
    assert {command["name"] for command in served} - named - {"qmp_capabilities"} == set()


@pytest.mark.slow
def test_docs_build(tmp_path: Path) -> None:
    """Sphinx builds the documentation without a warning (where it is installed)."""
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
