"""
The options of C{twistd qmon} from a file.

::

    qmp = ["unix:qmp.sock", "mtls:4433:key=server.key:cert=server.pem:ca=clients.pem"]
    access = "access.toml"
    audit-required = true
    drain = 10
"""

from __future__ import annotations

import getopt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from twisted_qmon._text import printable
from twisted_qmon.core.access.file import load_toml
from twisted_qmon.core.access.rules import AccessError

__all__ = ["ConfigError", "ParsedOptions", "with_config"]

#: The option that names the file.
OPTION = "config"

# What ends the process, or would be a circle.
_NOT_IN_A_FILE = frozenset({OPTION, "help", "version"})


class ConfigError(ValueError):
    """The file can't be used. The text is one line: the file, the key and the reason."""


class ParsedOptions(Protocol):
    """What is used of C{twisted.python.usage.Options}."""

    @property
    def longOpt(self) -> Sequence[str]:
        """The long options, as C{getopt} takes them."""

    @property
    def shortOpt(self) -> str:
        """The short ones."""

    @property
    def converters(self) -> Mapping[str, Callable[[str], object]]:
        """By the name of an option, what makes a value of its text."""

    def get(self, key: str) -> object:
        """:return: the default of an option; a list if it may be repeated"""


def with_config(options: ParsedOptions, given: Sequence[str]) -> list[str]:
    """
    :param options: what the arguments are for
    :param given: the arguments
    :return: them, behind those from the file that they name: a later argument wins. Of an option that may be repeated, the file's
        are left out if there are others.
    :raise ConfigError: when the file can't be used
    """
    try:
        pairs, _ = getopt.getopt(list(given), options.shortOpt, list(options.longOpt))
    except getopt.GetoptError:
        # It is said where they are parsed.
        return list(given)
    names = {name.removeprefix("--").replace("_", "-") for name, _ in pairs}
    files = [value for name, value in pairs if name == f"--{OPTION}"]
    if not files:
        return list(given)
    if len(files) > 1:
        raise ConfigError(f"--{OPTION} is given twice")
    return [*_Config(options, files[0]).arguments(names), *given]


class _Config:
    """
    One file.

    :raise ConfigError: when it can't be read
    """

    def __init__(self, options: ParsedOptions, path: str) -> None:
        self._options = options
        self._path = path
        self._takes_value = {name.rstrip("=").replace("_", "-"): name.endswith("=") for name in options.longOpt}
        try:
            self._document: Mapping[str, object] = load_toml(path)
        except AccessError as e:
            raise ConfigError(str(e)) from e

    def arguments(self, without: set[str]) -> list[str]:
        """:return: the arguments, all of them checked, without those for some options"""
        return [
            argument
            for key, value in self._document.items()
            for argument in list(self._arguments_for(key, value))
            if key not in without
        ]

    def _arguments_for(self, key: str, value: object) -> Iterator[str]:
        takes_value = self._takes_value.get(key)
        if takes_value is None or key in _NOT_IN_A_FILE:
            raise self._error(key, "there is no such option")
        if not takes_value:
            if not isinstance(value, bool):
                raise self._error(key, f"true or false is expected, not {value!r}")
            if value:
                yield f"--{key}"
            return
        if isinstance(value, list) and isinstance(self._options.get(key), list):
            for each in value:
                yield f"--{key}={self._text(key, each)}"
        else:
            yield f"--{key}={self._text(key, value)}"

    def _text(self, key: str, value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self._error(key, f"a string or a number is expected, not {value!r}")
        converter = self._options.converters.get(key)
        if converter is not None:
            self._check(converter, str(value))
        return str(value)

    def _check(self, converter: Callable[[str], object], text: str) -> None:
        try:
            converter(text)
        except ValueError as e:
            # Which names the option.
            raise ConfigError(f"{self._path}: {printable(str(e))}") from e

    def _error(self, key: str, reason: str) -> ConfigError:
        return ConfigError(f"{self._path}: {printable(key)}: {printable(reason)}")
