"""
A Sphinx extension for docstrings as they are written here.

They mark up as Twisted's do (C{code}, L{name}, L{text<name>}, U{address}), with Sphinx's fields (:param x:). And zope
interfaces are no classes, so autodoc can't show them: the directive C{zopeinterface} does.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from zope.interface import Attribute
from zope.interface.interface import Method

_OPENING = re.compile(r"\b([CLUBI])\{")


def convert(text: str) -> str:
    """Epytext's inline markup as reStructuredText's. Braces inside C{...} may nest."""
    out = []
    position = 0
    while match := _OPENING.search(text, position):
        out.append(text[position : match.start()])
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        content = text[match.end() : end - 1].replace("\n", " ")
        content = re.sub(r"  +", " ", content)
        out.append(_inline(match.group(1), content))
        # reStructuredText ends a role only before a space or punctuation: L{Event}s.
        if end < len(text) and (text[end].isalnum()):
            out.append("\\ ")
        position = end
    out.append(text[position:])
    return "".join(out)


def _inline(kind: str, content: str) -> str:
    if kind == "C":
        return f"``{content}``"
    if kind == "U":
        return content
    if kind in "BI":
        return f"**{content}**" if kind == "B" else f"*{content}*"
    if match := re.fullmatch(r"(.*?)\s*<(.*)>", content):
        return f":py:obj:`{match.group(1)} <{match.group(2)}>`"
    return f":py:obj:`~{content}`" if "." in content else f":py:obj:`{content}`"


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = convert("\n".join(lines)).split("\n")


class ZopeInterface(SphinxDirective):
    """``.. zopeinterface:: package.module.IName`` shows an interface with its methods and attributes."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        interface = getattr(importlib.import_module(module), name)
        lines = [f".. py:class:: {self.arguments[0]}", ""]
        lines += _indent(interface.__doc__)
        for attribute, value in interface.namesAndDescriptions():
            if isinstance(value, Method):
                lines += [f"   .. py:method:: {attribute}{_signature(value)}", ""]
            else:
                assert isinstance(value, Attribute)
                lines += [f"   .. py:attribute:: {attribute}", ""]
            lines += ["   " + line for line in _indent(value.__doc__)]
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(StringList(lines, source=self.arguments[0]), 0, node)
        return node.children


def _indent(docstring: str) -> list[str]:
    return ["   " + line for line in convert(inspect.cleandoc(docstring)).split("\n")] + [""]


def _signature(method: Method) -> str:
    # From the source, since zope remembers neither annotations nor what is keyword-only.
    module = importlib.import_module(method.interface.__module__)
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ClassDef) and node.name == method.interface.__name__:
            for function in node.body:
                if isinstance(function, ast.FunctionDef) and function.name == method.getName():
                    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
                    return f"({ast.unparse(function.args)}){returns}"
    raise LookupError(method.getName())


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process)
    app.add_directive("zopeinterface", ZopeInterface)
    return {"parallel_read_safe": True}
