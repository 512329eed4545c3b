"""
What is wrong with a value: the client's fault where it comes in, the program's fault where it goes out.
"""

from __future__ import annotations

__all__ = ["ArgumentError", "ResultError", "join_path"]


def join_path(path: list[str | int]) -> str:
    """
    :param path: names and indexes, innermost first
    :return: as QEMU writes it: C{a[0].b}
    """
    text = ""
    for part in reversed(path):
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


class ArgumentError(Exception):
    """
    An argument that is not what was declared, in QEMU's words. The path to it is put together on the way out.

    :param before: QEMU's words before the argument's name
    :param after: and after it
    :param leaf: only the innermost name is told, not the path: QEMU does so where a string or integer of the right JSON type
        has a value that is not allowed
    :param whole: what is told instead where no name leads to it: it is all the arguments together
    :ivar path: the names and indexes that lead to the argument, innermost first
    """

    def __init__(self, before: str, after: str, *path: str | int, leaf: bool = False, whole: str = "") -> None:
        super().__init__(before, after)
        self.before = before
        self.after = after
        self.leaf = leaf
        self.whole = whole
        self.path: list[str | int] = list(path)

    @classmethod
    def kind(cls, expected: str) -> ArgumentError:
        """:return: the one for a wrong JSON type"""
        return cls("Invalid parameter type for '", f"', expected: {expected}")

    @classmethod
    def value(cls, text: str) -> ArgumentError:
        """:return: the one for a string that is not a value of the enum"""
        return cls("Parameter '", f"' does not accept value '{text}'", leaf=True)

    @classmethod
    def missing(cls, name: str) -> ArgumentError:
        """:return: the one for a member that is required and not there"""
        return cls("Parameter '", "' is missing", name)

    @classmethod
    def unexpected(cls, name: str) -> ArgumentError:
        """:return: the one for a member that is not declared"""
        return cls("Parameter '", "' is unexpected", name)

    @classmethod
    def refused(cls, text: str) -> ArgumentError:
        """:return: the one for members of which the class's own constructor says that they won't do"""
        return cls("Invalid parameter '", f"': {text}", whole=text)

    def __str__(self) -> str:
        path = self.path
        if not path and self.whole:
            return self.whole
        if self.leaf:
            name = next((i for i, part in enumerate(path) if isinstance(part, str)), len(path))
            path = path[: name + 1]
        return f"{self.before}{join_path(path)}{self.after}"


class ResultError(TypeError):
    """
    A value that does not fit its annotation, or that JSON can't say. The path to it is put in front on the way out.

    :ivar why: what is wrong
    :ivar path: the names and indexes that lead to the value, innermost first
    """

    def __init__(self, why: str, *path: str | int) -> None:
        super().__init__(why)
        self.why = why
        self.path: list[str | int] = list(path)

    @classmethod
    def kind(cls, value: object, expected: str) -> ResultError:
        """:return: the one for a value of another type than expected"""
        text = repr(value)
        return cls(f"expected {expected}, not {type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}")

    def __str__(self) -> str:
        return f"{join_path(self.path)}: {self.why}" if self.path else self.why
