"""
The names of C{twisted_qmon} are imported when they are first used.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import twisted_qmon

ROOT = Path(__file__).parent.parent


def _modules_after(code: str) -> set[str]:
    """:return: the modules that a fresh Python has imported after running the code"""
    program = f"{code}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_else() -> None:
    """C{import twisted_qmon} costs no Twisted, no msgspec and none of the package's own modules."""
    # A package may have put itself into each Python that starts, as zope.interface does up to 6.0.
    modules = _modules_after("import twisted_qmon") - _modules_after("")
    assert not {name for name in modules if name.startswith(("twisted.", "twisted_qmon.", "msgspec", "zope"))}


def test_commands_need_no_protocol() -> None:
    """A program that only provides commands pays for neither the protocols nor the service."""
    modules = _modules_after("from twisted_qmon import CommandProvider, command, Monitor")
    unwanted = ("twisted_qmon.qmp", "twisted_qmon.hmp", "twisted_qmon.service", "twisted_qmon.providers")
    assert not {name for name in modules if name.startswith(unwanted)}


@pytest.mark.parametrize("name", sorted(set(twisted_qmon.__all__)))
def test_each_name_comes_from_its_module(name: str) -> None:
    """A public name is the one that its module defines."""
    module = import_module(f"twisted_qmon.{twisted_qmon._HOMES[name]}")
    assert getattr(twisted_qmon, name) is getattr(module, name)


def test_type_checkers_see_the_same_names() -> None:
    """What a type checker reads and what is imported at run time are the same names of the same modules."""
    tree = ast.parse(Path(twisted_qmon.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    seen = {
        alias.name: (node.module or "").removeprefix("twisted_qmon.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == twisted_qmon._HOMES
    assert set(twisted_qmon.__all__) == set(seen)


def test_names_are_listed_before_they_are_used() -> None:
    """C{dir} and completion show the public names, imported or not."""
    assert set(twisted_qmon.__all__) <= set(dir(twisted_qmon))


def test_unknown_name() -> None:
    """A name that is not there raises AttributeError and names itself."""
    with pytest.raises(AttributeError, match="'Moniter'"):
        twisted_qmon.Moniter  # noqa: B018
