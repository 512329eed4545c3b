"""
The project's rules that no linter knows: which way imports point, what is public, that it is documented, and in which words.
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
FOLDERS = [path.parent for path in FILES if path.name == "__init__.py"]

FACADE = "the facade"
# Each folder and each module at the top may import what is listed before it. Those on one line don't import each other.
LAYERS: list[set[str]] = [
    {"_text", "errors", "info", "_reactor", "_log_publisher"},
    {"interfaces"},
    {"qapi"},
    {"core"},
    {"_transport", "_twistd"},
    {"qmp", "hmp"},
    {FACADE},
    {"providers", "web", "ssh", "fleet"},
    {"watchdog", "metrics"},
    {"testing"},
    {"conformance"},
    {"service", "shell"},
    {"tap", "__main__", "pytest_plugin"},
]
# What a folder must not import although it is listed before it.
APART = {"hmp": {"core", "qapi"}}
FUNCTION_LINES = 60
MAX_ANY = 350

# Words that are not used in the package and the documentation, and the terms that are.
WORDS = {
    "catalogue": "command index",
    "lane": "request queue",
    "misfit": "argument error",
    "outbox": "reply buffer or write queue",
    "road": "way, path, dispatcher",
    "shape": "type, form",
    "undertaking": "long operation",
    "unfit": "result error",
    "makes? no sense": "is not valid",
    "nobody": "no client, no caller, none",
    "somebody": "a client, a caller, another process",
    "whoever": "a client that, a caller that",
}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in FILES}


def _top(module: str) -> str:
    """The folder or module at the top that a module belongs to: C{"core"} for twisted_qmon.core.events."""
    top = f"{module}.".split(".")[1]
    return top if any(top in names for names in LAYERS) else FACADE


def _folder(module: str) -> str:
    """The folder that a module is in; a module at the top stands for itself."""
    path = MODULES[module]
    return module if path.name == "__init__.py" or path.parent.name == "twisted_qmon" else module.rpartition(".")[0]


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            # `from twisted_qmon import errors` imports a module, `from twisted_qmon.errors import X` a name of it.
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


class _AtRunTime(ast.NodeTransformer):
    """Takes out what only a type checker sees."""

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else node


def _at_run_time(path: Path) -> ast.AST:
    tree: ast.AST = _AtRunTime().visit(ast.parse(path.read_text()))
    return tree


def test_every_module_has_its_layer() -> None:
    """A new folder, or a new module at the top, is entered in the table of layers."""
    there = {name.split(".")[1] for name in MODULES if "." in name}
    assert there == {name for names in LAYERS for name in names} - {FACADE}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_point_one_way(path: Path) -> None:
    """A module imports only what its layer may know; also where only a type checker sees it, but for the facade."""
    top = _top(_name(path))
    ranks = {name: rank for rank, names in enumerate(LAYERS) for name in names}
    wrong = []
    # The facade offers what is above it too, and imports that only when it is asked for.
    tree = _at_run_time(path) if top == FACADE else ast.parse(path.read_text())
    for line, target in _imports(tree):
        if not target.startswith("twisted_qmon.") or target == "twisted_qmon.__version__":
            continue
        other = _top(target)
        if other != top and (ranks[other] >= ranks[top] or other in APART.get(top, ())):
            wrong.append(f"{path.name}:{line} imports {target}")
    assert wrong == []


def test_no_cycle_between_folders() -> None:
    """No folder needs another one that needs it, wherever in a file the import stands; what a type checker sees apart."""
    needs: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        targets = {
            target if target in MODULES else target.rpartition(".")[0] for _, target in _imports(_at_run_time(path))
        }
        needs.setdefault(_folder(name), set()).update(_folder(target) for target in targets if target in MODULES)
    for folder, others in needs.items():
        others.discard(folder)
    while free := {folder for folder in needs if not needs[folder] & set(needs)}:
        needs = {folder: others for folder, others in needs.items() if folder not in free}
    assert needs == {}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_each_folder_says_what_it_is(folder: Path) -> None:
    """The docstring of each folder says what it is, and names the module or the class to start with."""
    module = importlib.import_module(_name(folder / "__init__.py"))
    assert module.__doc__
    named = re.findall(r"L\{(?:[^}<]*<)?([\w.]+)>?\}", module.__doc__)
    assert [name for name in named if name in getattr(module, "__all__", ()) or name.startswith("twisted_qmon.")]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_references_lead_somewhere(path: Path) -> None:
    """What a docstring refers to by its full name is there."""
    names = re.findall(r"L\{(?:[^}<]*<)?(twisted_qmon[\w.]*)>?\}", path.read_text())
    assert [name for name in names if not _exists(name)] == []


def _exists(name: str) -> bool:
    module, attributes = name, list[str]()
    while module not in MODULES:
        module, _, last = module.rpartition(".")
        attributes.insert(0, last)
    value: Any = importlib.import_module(module)
    for attribute in attributes:
        if isinstance(value, InterfaceClass):
            return attribute in value.names(all=True)
        if not hasattr(value, attribute):
            return attribute in getattr(value, "__annotations__", ())
        value = getattr(value, attribute)
    return True


def test_tests_are_where_the_code_is() -> None:
    """The tests of a folder are in the folder of the same name."""
    package, tests = ROOT / "twisted_qmon", ROOT / "tests"
    here = {path.parent.relative_to(package).as_posix().replace("_", "") for path in package.rglob("__init__.py")}
    apart = {"data", "live", "project", "support"}
    theirs = {path.parent.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    assert theirs - apart - here == set()


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_only_one_function_imports_the_reactor(path: Path) -> None:
    """The global reactor is fetched in one function of _reactor.py: the choice of reactor stays the user's."""
    if path.name == "_reactor.py":
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
    msgspec takes what QEMU refuses, so its JSON functions are used by the readers and the writer of qmp, and for the
    lines of the audit. What else it does, such as the conversion of types, is not restricted.
    """
    users = {
        "twisted_qmon.core.audit.record",
        "twisted_qmon.qmp.json.fast",
        "twisted_qmon.qmp.json.writer",
        "twisted_qmon.qmp._client.replies",
    }
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


def test_types_have_names() -> None:
    """C{Any} is for what may really be anything: the word is used less often than this in the whole package, imports aside."""
    assert sum(_words(path, "Any") for path in FILES) < MAX_ANY


def _words(path: Path, word: str) -> int:
    """:return: how often a word is in a module, in strings and comments too, but not in its imports"""
    text = path.read_text()
    imports = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for number in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    lines = enumerate(text.splitlines(), 1)
    return sum(len(re.findall(rf"\b{word}\b", line)) for number, line in lines if number not in imports)


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


IN_A_THREAD = [name for name in MODULES if _top(name) in {"core", "_transport", "hmp", "watchdog"}]
IN_A_THREAD += ["twisted_qmon.qmp.protocol", *(name for name in MODULES if name.startswith("twisted_qmon.qmp._server"))]


@pytest.mark.parametrize("name", IN_A_THREAD)
def test_what_the_watchdog_runs_does_not_log_by_itself(name: str) -> None:
    """What may run in the watchdog's thread has its log events taken to the main one: no logger there is a plain one."""
    plain = [
        node.lineno
        for node in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "Logger"
        and not any(ast.unparse(keyword) == "observer=publish" for keyword in node.keywords)
    ]
    assert plain == []


@pytest.mark.parametrize("word", WORDS)
def test_words(word: str) -> None:
    """Where there is a usual term for a thing, that term is used."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "changelog.d").glob("*.md")]
    pages += [path for path in (ROOT / "docs").rglob("*") if path.suffix in {".md", ".py", ".tac"}]
    pattern = re.compile(rf"(?<![a-zA-Z]){word}s?(?![a-zA-Z])", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [*FILES, *pages]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], f"use: {WORDS[word]}"


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


def _public_values() -> Iterator[tuple[str, Any]]:
    """Each public function and class, where it is defined, with its full name."""
    for module in map(importlib.import_module, PUBLIC):
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if getattr(value, "__module__", None) == module.__name__:
                yield f"{module.__name__}.{name}", value


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class, but for those that its interfaces document."""
    if isinstance(value, InterfaceClass):
        yield from ((name, value[name]) for name in value.names())
        return
    promised = {name for interface in implementedBy(value) for name in interface}
    for name, member in vars(value).items():
        described = inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))
        if described and not name.startswith("_") and name not in promised:
            yield name, getattr(value, name)


def _documented() -> Iterator[tuple[str, Any]]:
    """Each public class, function, method and property, with its full name."""
    for full, value in _public_values():
        if isinstance(value, InterfaceClass) or inspect.isclass(value):
            yield full, value
            yield from ((f"{full}.{name}", member) for name, member in _members(value))
        elif inspect.isfunction(value):
            yield full, value


def test_no_public_name_without_docstring() -> None:
    """Every public class, function, method and property says what it promises, itself or through what it implements."""
    assert [name for name, value in _documented() if not _doc(value)] == []


def _doc(value: Any) -> str | None:
    return value.__doc__ if isinstance(value, property) or not callable(value) else inspect.getdoc(value)


def test_documented_parameters_exist() -> None:
    """A C{:param x:} names a parameter that is there: a renamed one takes its documentation along."""
    wrong = []
    for name, value in _documented():
        named = re.findall(r":param (?:\*{0,2})(\w+):", _doc(value) or "")
        if not named or not callable(value) or isinstance(value, InterfaceClass):
            continue
        parameters = inspect.signature(value).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            wrong += [f"{name}: {parameter}" for parameter in named if parameter not in parameters]
    assert wrong == []
