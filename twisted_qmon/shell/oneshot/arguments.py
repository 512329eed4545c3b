"""
The arguments of a command as they are typed in a shell: C{key=value} for text, C{key:=JSON} for everything else. No I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from twisted_qmon.shell.errors import UsageError

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["parse_arguments"]


def parse_arguments(words: Iterable[str]) -> dict[str, JSON]:
    """
    Read arguments. A key with dots is a member of an object: C{file.driver=file}.

    :raise UsageError: when a word has neither form, its JSON is none, or a key is given twice
    """
    arguments: dict[str, JSON] = {}
    for word in words:
        key, equals, value = word.partition("=")
        is_json = key.endswith(":")
        key = key.removesuffix(":")
        if not equals or not key:
            raise UsageError(f"{word!r} is not an argument: key=value for text, key:=JSON for anything else")
        _set(arguments, key, _decode(word, value) if is_json else value)
    return arguments


def _set(arguments: dict[str, JSON], key: str, value: JSON) -> None:
    # QAPI's names of vendors begin with two underscores and a domain, which has dots of its own.
    *path, last = [key] if key.startswith("__") else key.split(".")
    for member in path:
        inner = arguments.setdefault(member, {})
        if not isinstance(inner, dict):
            raise UsageError(f"argument {key!r} is given twice")
        arguments = inner
    if last in arguments:
        raise UsageError(f"argument {key!r} is given twice")
    arguments[last] = value


def _decode(word: str, text: str) -> JSON:
    try:
        value: JSON = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{word!r}: what follows ':=' is not JSON: {error}") from None
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
