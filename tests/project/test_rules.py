"""
The rules of the house that no linter knows: which way imports point, what is public, and that it is documented.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass

import twisted_qmon

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "twisted_qmon").rglob("*.py"))

FACADE = "the facade"
# Each may import what stands above it, in this table, and itself. Those on one line don't know each other.
LAYERS: list[set[str]] = [
    {"errors", "info", "_reactor"},
    {"interfaces"},
    {"qapi"},
    {"core"},
    {"_transport", "_twistd"},
    {"qmp", "hmp"},
    {FACADE},
    {"testing", "providers"},
    {"service"},
    {"tap"},
]
FUNCTION_LINES = 60


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _part(module: str) -> str:
    """The part of the house that a module belongs to: C{"core"} for twisted_qmon.core.events."""
    return module.split(".")[1] if "." in module else FACADE


def _rank(part: str) -> int:
    [rank] = [rank for rank, parts in enumerate(LAYERS) if part in parts]
    return rank


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            # `from twisted_qmon import errors` imports a module, `from twisted_qmon.errors import X` a name of it.
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_point_one_way(path: Path) -> None:
    """errors, info, interfaces <- core <- qmp, hmp <- providers <- service <- tap; qmp and hmp don't know each other."""
    part = _part(_name(path))
    wrong = []
    tree = ast.parse(path.read_text())
    if part == FACADE:
        # It offers what is above it too, but imports that only when somebody asks.
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ]
    for line, target in _imports(tree):
        if not target.startswith("twisted_qmon.") or target == "twisted_qmon.__version__":
            continue
        other = target.split(".")[1]
        if not any(other in parts for parts in LAYERS):
            other = FACADE
        if other != part and _rank(other) >= _rank(part):
            wrong.append(f"{path.name}:{line} imports {target}")
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_nobody_imports_the_reactor(path: Path) -> None:
    """The global reactor is fetched in one function of _reactor.py, and by tap.py: the choice of reactor stays the user's."""
    if path.name in {"_reactor.py", "tap.py"}:
        tree: ast.AST = ast.Module([node for node in ast.parse(path.read_text()).body if not _is_function(node)], [])
    else:
        tree = ast.parse(path.read_text())
    forbidden = ("twisted.internet.reactor", "twisted.conch.recvline", "twisted.conch.manhole")
    assert [(line, name) for line, name in _imports(tree) if name.startswith(forbidden)] == []


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_msgspec_stays_where_it_is_contained(path: Path) -> None:
    """
    msgspec takes what QEMU refuses, so its JSON functions are used by the readers and the writer of qmp only. The core may ask
    C{msgspec.inspect} what a type is.
    """
    users = {"twisted_qmon.qmp.json.fast", "twisted_qmon.qmp.json.writer", "twisted_qmon.qmp._client.replies"}
    tree = ast.parse(path.read_text())
    names = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    } | {name for _line, name in _imports(tree)}
    if _name(path) not in users:
        assert not {name for name in names if name.startswith("msgspec.json")}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_functions_are_short(path: Path) -> None:
    """A function of more than 60 lines can't be taken in at a glance."""
    long = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno > FUNCTION_LINES
    ]
    assert long == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_log_calls_have_fields(path: Path) -> None:
    """A log call has a format and named values, never a finished string: who reads the log may want the values."""
    wrong = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"debug", "info", "warn", "error", "critical", "failure"}
        and isinstance(node.func.value, (ast.Name, ast.Attribute))
        and ast.unparse(node.func.value).endswith("_log")
        and any(not isinstance(argument, ast.Constant) for argument in node.args[:1])
    ]
    assert wrong == []


PUBLIC = [name for name in map(_name, FILES) if not any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_modules_name_what_is_public(name: str) -> None:
    """Each public module with anything in it has a docstring and an __all__, and everything in __all__ exists."""
    module = importlib.import_module(name)
    assert module.__doc__
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    names = getattr(module, "__all__", [])
    assert not own or names, "no __all__"
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(names) == len(set(names))


def test_facade() -> None:
    """What the documentation imports from twisted_qmon is there, and is in __all__."""
    promised = {
        "Monitor",
        "QMPFactory",
        "HMPFactory",
        "QMPClient",
        "CommandProvider",
        "command",
        "Event",
        "Request",
        "Size",
        "CommandError",
        "GenericError",
        "CommandNotFound",
        "DeviceNotActive",
        "DeviceNotFound",
        "KVMMissingCap",
    }
    assert promised - set(twisted_qmon.__all__) == set()


def _documented() -> Iterator[tuple[str, Any, set[str]]]:
    """Each public class, function and method, with its full name and the names that its interfaces document."""
    for module in map(importlib.import_module, PUBLIC):
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if getattr(value, "__module__", None) != module.__name__:
                continue
            full = f"{module.__name__}.{name}"
            if isinstance(value, InterfaceClass):
                yield full, value, set()
                for attribute in value.names():
                    yield f"{full}.{attribute}", value[attribute], set()
            elif inspect.isclass(value):
                promised = {attribute for interface in implementedBy(value) for attribute in interface}
                yield full, value, set()
                for attribute, member in vars(value).items():
                    if attribute.startswith("_") or attribute in promised:
                        continue
                    if inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod)):
                        yield f"{full}.{attribute}", getattr(value, attribute), promised
            elif inspect.isfunction(value):
                yield full, value, set()


def test_no_public_name_without_docstring() -> None:
    """Every public class, function, method and property says what it promises, itself or through what it implements."""
    assert [name for name, value, _promised in _documented() if not _doc(value)] == []


def _doc(value: Any) -> str | None:
    return value.__doc__ if isinstance(value, property) or not callable(value) else inspect.getdoc(value)


def test_documented_parameters_exist() -> None:
    """A C{:param x:} names a parameter that is there: a renamed one takes its documentation along."""
    wrong = []
    for name, value, _promised in _documented():
        named = re.findall(r":param (?:\*{0,2})(\w+):", _doc(value) or "")
        if not named or not callable(value) or isinstance(value, InterfaceClass):
            continue
        parameters = inspect.signature(value).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            wrong += [f"{name}: {parameter}" for parameter in named if parameter not in parameters]
    assert wrong == []
