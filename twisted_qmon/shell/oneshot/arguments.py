"""
The arguments of a command as they are typed in a shell: C{key=value} for text, C{key:=JSON} for everything else. No I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from twisted_qmon.shell.errors import UsageError

__all__ = ["parse_arguments"]


def parse_arguments(words: Iterable[str]) -> dict[str, Any]:
    """
    Read arguments. A key with dots is a member of an object: C{file.driver=file}.

    :raise UsageError: when a word has neither form, its JSON is none, or a key is given twice
    """
    arguments: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        is_json = key.endswith(":")
        key = key.removesuffix(":")
        if not equals or not key:
            raise UsageError(f"{word!r} is not an argument: key=value for text, key:=JSON for anything else")
        _set(arguments, key, _decode(word, value) if is_json else value)
    return arguments


def _set(arguments: dict[str, Any], key: str, value: object) -> None:
    # QAPI's names of vendors begin with two underscores and a domain, which has dots of its own.
    path = [key] if key.startswith("__") else key.split(".")
    for member in path[:-1]:
        arguments = arguments.setdefault(member, {})
        if not isinstance(arguments, dict):
            raise UsageError(f"argument {key!r} is given twice")
    if path[-1] in arguments:
        raise UsageError(f"argument {key!r} is given twice")
    arguments[path[-1]] = value


def _decode(word: str, text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{word!r}: what follows ':=' is not JSON: {error}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
