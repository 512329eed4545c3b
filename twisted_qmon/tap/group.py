"""
What each group of options has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from twisted.python.usage import Options, UsageError

from twisted_qmon._transport.endpoints import server_endpoint, take_level

if TYPE_CHECKING:
    from twisted_qmon.service import MonitorService

__all__ = ["OptionGroup"]

_Convert: TypeAlias = Callable[[str], object]


class OptionGroup(Options):
    """
    Options that belong together: what they are, whether they are valid, and what becomes of them.

    L{Options<twisted_qmon.tap.Options>} inherits from each; Twisted collects their C{optParameters} and methods C{opt_NAME}.

    :cvar endpoints: the names of options that are server endpoint descriptions. Each may be repeated, and needs a method
        C{opt_NAME} that appends to the list C{self[NAME]}. They are checked here.
    :cvar lists: the names of other options that may be repeated, with such methods as well
    :cvar converters: by the name of an option, what makes a value of its text
    """

    optParameters: ClassVar[list[list[Any]]] = []
    endpoints: ClassVar[list[str]] = []
    lists: ClassVar[list[str]] = []
    converters: ClassVar[Mapping[str, _Convert]] = {}

    def __init_subclass__(cls) -> None:
        """Have an error about a value name the option, as Twisted's own message does not."""
        rows = []
        converters: dict[str, _Convert] = {}
        for base in cls.__bases__:
            converters.update(getattr(base, "converters", {}))
        for name, short, default, text, *convert in cls.__dict__.get("optParameters", ()):
            rows.append([name, short, default, text])
            if convert:
                converters[name] = _with_name(name, convert[0])
                rows[-1].append(converters[name])
        cls.optParameters = rows
        cls.converters = converters

    def check_endpoints(self, names: Sequence[str]) -> None:
        """
        :param names: the names of options
        :raise UsageError: when one of their descriptions is not valid
        """
        for name in names:
            for description in self[name]:
                try:
                    server_endpoint(None, take_level(description)[0])
                except ValueError as e:
                    raise UsageError(f"--{name}: {e}") from e

    def check(self) -> None:
        """
        Check what was given; all options have been parsed, and the descriptions of endpoints have been checked.

        :raise UsageError: when it is not valid
        """

    def serve(self, service: MonitorService) -> None:
        """
        Have the service do what the options say, beyond what it was made with (see L{makeService<twisted_qmon.tap.makeService>}).

        :raise SystemExit: with one line, when that fails
        """


def _with_name(name: str, convert: _Convert) -> _Convert:
    def converted(value: str) -> object:
        try:
            return convert(value)
        except ValueError as e:
            raise ValueError(f"--{name}: {value!r}: {e}") from e

    return converted
