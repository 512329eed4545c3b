"""The files of the page keep the page's own rules."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from twisted_qmon.web.pages import FOLDER

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = sorted(FOLDER.glob("*.js"))
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())

#: A module of more lines has two subjects.
MAX_LINES = 300


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts(path: Path) -> None:
    """A script is short, imports only scripts beside it that are there, and makes no markup and no code of text."""
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES
    imports = re.findall(r'^import .* from "(.*)";$', text, re.MULTILINE)
    assert len(imports) == text.count("import ")
    for name in imports:
        assert name.startswith("./")
        assert (FOLDER / name).is_file()
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|javascript:"
    )
    assert re.findall(forbidden, text) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_from_elsewhere(path: Path) -> None:
    """No file names an address of another host, but for the name of SVG; and none is of a kind that is not served."""
    addresses = set(re.findall(r"\b(?:https?|wss?):/+[\w.-]+", path.read_text()))
    assert addresses <= {"http://www.w3.org"}
    assert not re.search(r"(?:src|href|url|import)\W{1,3}//", path.read_text())
    assert path.suffix in {".html", ".css", ".js", ".svg"}


def test_page_has_no_inline_script() -> None:
    """The page has neither scripts nor styles nor handlers in it: the policy that is sent with it forbids them."""
    text = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=", text) == []
    for address in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert (FOLDER / address.removeprefix("/static/")).is_file()


def test_nothing_is_imported_without_the_option() -> None:
    """Without C{--web} neither Klein nor Twisted's web server is imported."""
    program = "import sys, twisted_qmon.service, twisted_qmon.tap; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    modules = done.stdout.split()
    assert [name for name in modules if name.startswith(("klein", "werkzeug", "twisted.web", "twisted_qmon.web"))] == []
