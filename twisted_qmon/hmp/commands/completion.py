"""
What could come next in a typed line: commands, C{info} names, parameters, values, file names. No I/O.

Where a line goes verbatim to a QEMU, the parameters come from the text of its C{help}, and their values also from its schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from twisted_qmon.hmp.commands.command_index import SESSION, Names
from twisted_qmon.hmp.commands.help import entry_line
from twisted_qmon.info import CommandInfo, ParameterInfo, TypeInfo

__all__ = ["Candidate", "Completion", "complete", "quote"]

#: Parameters of these names are paths of files.
FILE_NAMES = frozenset({"filename", "file", "path", "target"})

_WORD = re.compile(r'[ \t]*(?P<word>"(?:[^"\\]|\\.)*(?:"|\\?$)|[^ \t]*)')
_NEEDS_QUOTES = re.compile(r'[\s"\\]')
_SECONDS = re.compile(r"[0-9.]+")
_REPEATED = re.compile(r"\s*watch\s+(?:[0-9.]+\s+)?")
_SHOWN = re.compile(r"[^\s\[\]]+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    One way to go on.

    :ivar text: what stands in place of the word
    :ivar help: what it is, in a few words; may be empty
    :ivar ends: the word is complete with it, so that a blank may follow
    """

    text: str
    help: str = ""
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Completion:
    """
    How a line could go on.

    :ivar start: where in the line the part begins that a candidate stands in for
    :ivar candidates: best first
    :ivar path: the beginning of a file name, unquoted, where one is expected: the caller knows the files. C{None}: none is.
    :ivar event: the beginning of an event's name, where one is expected: the caller can learn what events there are; else C{None}
    """

    start: int
    candidates: tuple[Candidate, ...] = ()
    path: str | None = None
    event: str | None = None


@dataclass(frozen=True, slots=True)
class _Slot:
    """
    One argument that a command takes.

    :ivar flag: it is given by its name alone
    :ivar value: of a flag: what has to follow it
    :ivar named: it may be given as C{name=value}
    """

    name: str
    kind: TypeInfo
    flag: bool = False
    value: _Slot | None = None
    named: bool = False

    @property
    def is_file(self) -> bool:
        return self.kind.kind == "file" or (self.kind.kind in ("str", "any") and self.name in FILE_NAMES)


_FILE = TypeInfo("file")
_TEXT = TypeInfo("any")
_ON_OFF = TypeInfo("bool")


def quote(text: str) -> str:
    """:return: the text as a word of a line, in double quotes where that is needed"""
    if text and not _NEEDS_QUOTES.search(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'


def complete(names: Names, line: str) -> Completion:
    """
    :param names: the commands that there are
    :param line: what is typed, up to the cursor
    :return: how it could go on
    """
    words = list(_words(line))
    start, word = words.pop()
    if not words:
        return _choose(start, word, _commands(names))
    first = words.pop(0)[1]
    sub = first == "info"
    if first in ("help", "?"):
        if [each for _, each in words] == ["info"]:
            return _choose(start, word, _commands(names, sub=True))
        return _choose(start, word, _commands(names)) if not words else Completion(start)
    if sub:
        if not words:
            return _choose(start, word, _commands(names, sub=True))
        first = words.pop(0)[1]
    elif names.find(first) in SESSION and not names.is_upstream(first):
        return _session_word(names, first, line, start, word, [each for _, each in words])
    first = first.partition("/")[0]
    return _argument(_slots(names, first, sub=sub), [each for _, each in words], start, word)


def _session_word(names: Names, first: str, line: str, start: int, word: str, before: Sequence[str]) -> Completion:
    """What may stand behind one of the words that are about the session."""
    if first == "watch":
        if not before or (len(before) == 1 and _SECONDS.fullmatch(before[0])):
            return _choose(start, word, _commands(names))
        # The line that is repeated, as if it stood alone.
        inner = _REPEATED.match(line)
        begin = inner.end() if inner is not None else 0
        found = complete(names, line[begin:])
        return replace(found, start=begin + found.start)
    if first == "events" and before[:1] == ["on"]:
        # Names may stand behind commas, too.
        name = word.rpartition(",")[2]
        return Completion(start + len(word) - len(name), event=name)
    values = {"events": ("on", "off"), "log": ("follow",)}.get(first, ())
    return Completion(start) if before else _choose(start, word, map(Candidate, values))


def _words(line: str) -> Iterator[tuple[int, str]]:
    """The words of a line and where they begin; the last one, which may be empty, is being typed."""
    at = 0
    while True:
        match = _WORD.match(line, at)
        assert match is not None
        yield match.start("word"), match["word"]
        at = match.end()
        if at >= len(line):
            return


def _choose(start: int, word: str, candidates: Iterable[Candidate]) -> Completion:
    return Completion(start, tuple(each for each in candidates if each.text.startswith(word)))


# -- commands


def _commands(names: Names, *, sub: bool = False) -> list[Candidate]:
    found: dict[str, str] = {}
    for entry in names.entries(sub=sub):
        if names.upstream is None or not names.is_upstream(entry.names[0], sub=sub):
            found[entry.names[0]] = entry.info.help
            for alias in entry.names[1:]:
                found.setdefault(alias, entry_line(entry))
    if names.upstream is not None:
        for name, text in (names.upstream.sub if sub else names.upstream.top).items():
            if names.is_upstream(name, sub=sub):
                found[name] = text.partition("\n")[0].partition(" -- ")[2]
    # Aliases, which are short, behind the names of what begins alike.
    return [Candidate(name, found[name]) for name in sorted(found, key=lambda name: (len(name) == 1, name))]


# -- arguments


def _slots(names: Names, word: str, *, sub: bool) -> list[_Slot]:
    if names.is_upstream(word, sub=sub):
        return _shown_slots(names, word, sub=sub)
    entry = names.find(word, sub=sub)
    return [] if entry is None else list(_declared_slots(entry.info))


def _declared_slots(info: CommandInfo) -> Iterator[_Slot]:
    types = _types(info.parameters)
    if info.items is None:
        for parameter in sorted(info.parameters or (), key=lambda parameter: parameter.optional):
            yield _Slot(parameter.name, parameter.type, named=True)
        return
    for item in info.items:
        slot = _Slot(item.key, {"F": _FILE, "b": _ON_OFF}.get(item.letter) or types.get(item.key, _TEXT))
        if item.letter == "-":
            yield _Slot(f"-{item.flag}", _TEXT, flag=True, value=slot if item.flag_value else None)
        elif item.letter != "/":
            yield slot


def _shown_slots(names: Names, word: str, *, sub: bool) -> list[_Slot]:
    """From C{NAMES PARAMS -- HELP}: brackets are around what is optional, bars between values."""
    upstream = names.upstream
    if upstream is None:
        return []
    text = (upstream.sub if sub else upstream.top)[word].partition("\n")[0].partition(" -- ")[0]
    types = _twin(names.commands, word, sub=sub)
    slots = []
    for shown in _SHOWN.findall(text)[2 if sub else 1 :]:
        name = shown.strip("<>,.")
        if shown.startswith("-"):
            slots += [_Slot(flag, _TEXT, flag=True) for flag in shown.split("|")]
        elif "|" in shown:
            slots.append(_Slot(name, TypeInfo("enum", values=tuple(shown.split("|")))))
        elif name and not any(c in shown for c in "=/") and name != word:
            slots.append(_Slot(name, types.get(name, _TEXT)))
    return slots


def _twin(commands: Mapping[str, CommandInfo], word: str, *, sub: bool) -> dict[str, TypeInfo]:
    """The types of the parameters, as far as the QMP command of the same name has them."""
    name = f"query-{word}" if sub else word
    for each in (name, name.replace("_", "-"), name.replace("-", "_")):
        if each in commands:
            return _types(commands[each].parameters)
    # Where a line sets one of a kind, QMP has a command that sets many: migrate_set_capability, migrate_set_parameter.
    many = name.replace("_", "-").removesuffix("y")
    many = f"{many}ies" if name.endswith("y") else f"{many}s"
    if many not in commands:
        return {}
    types = _types(commands[many].parameters)
    last = name.replace("_", "-").rpartition("-")[2]
    found = {last: TypeInfo("enum", values=tuple(types))}
    for kind in types.values():
        if kind.kind == "list" and kind.element is not None and kind.element.members:
            found.update(_types(kind.element.members))
    return found


def _types(parameters: Iterable[ParameterInfo] | None) -> dict[str, TypeInfo]:
    return {parameter.name: parameter.type for parameter in parameters or ()}


def _argument(slots: Sequence[_Slot], before: Sequence[str], start: int, word: str) -> Completion:
    """The argument that is being typed, behind those that were."""
    left = list(slots)
    for each in before:
        _take(left, each)
    named = {slot.name: slot for slot in left if slot.named}
    path, equals, value = word.partition("=")
    if equals and not word.startswith('"'):
        slot = _member(named, path)
        return Completion(start) if slot is None else _value(slot, start + len(path) + 1, value)
    candidates = [Candidate(slot.name) for slot in left if slot.flag]
    found = Completion(start)
    positional = next((slot for slot in left if not slot.flag), None)
    if positional is not None:
        found = _value(positional, start, word)
        if found.start != start:
            return found
    candidates += _names(named, path)
    return Completion(start, (*found.candidates, *_choose(start, word, candidates).candidates), found.path)


def _take(slots: list[_Slot], word: str) -> None:
    """Take away what a whole word stands for."""
    name = word.partition("=")[0].partition(".")[0]
    for slot in slots:
        if slot.flag:
            if slot.name == word:
                slots.remove(slot)
                if slot.value is not None:
                    slots.insert(0, slot.value)
                return
        elif not slot.named or "=" not in word or slot.name == name or not any(slot.name == name for slot in slots):
            if slot.named and "." in word.partition("=")[0]:
                # There may be more members to come.
                return
            slots.remove(slot)
            return


def _names(named: Mapping[str, _Slot], word: str) -> Iterator[Candidate]:
    """C{name=} for each parameter, C{name.member=} for the members of an object whose name is there."""
    head, dot, _ = word.rpartition(".")
    if dot:
        outer = _member(named, head)
        for member in _members(outer.kind) if outer is not None else ():
            yield Candidate(f"{head}.{member.name}" + ("." if _members(member.type) else "="), ends=False)
    else:
        for slot in named.values():
            yield Candidate(slot.name + ("." if _members(slot.kind) else "="), ends=False)


def _member(named: Mapping[str, _Slot], path: str) -> _Slot | None:
    first, *rest = path.split(".")
    slot = named.get(first)
    for name in rest:
        kind = slot.kind if slot is not None else _TEXT
        slot = next((_Slot(name, member.type) for member in _members(kind) if member.name == name), None)
    return slot


def _members(kind: TypeInfo) -> list[ParameterInfo]:
    """The members that an object of this type may have, those of all variants among them."""
    members = {member.name: member for option in kind.options for member in _members(option)}
    if kind.kind == "object":
        members.update({member.name: member for member in kind.members or ()})
    return list(members.values())


def _value(slot: _Slot, start: int, word: str) -> Completion:
    if slot.is_file:
        return Completion(start, path=_unquoted(word))
    values = _values(slot.kind)
    element = slot.kind.element
    if slot.kind.kind == "list" and element is not None:
        start += word.rfind(",") + 1
        word = word.rpartition(",")[2]
        values = _values(element)
        return Completion(start, tuple(Candidate(value, ends=False) for value in values if value.startswith(word)))
    return _choose(start, word, map(Candidate, values))


def _values(kind: TypeInfo) -> tuple[str, ...]:
    if kind.kind == "alternate":
        return tuple(value for option in kind.options for value in _values(option))
    return kind.values if kind.kind == "enum" else ("on", "off") if kind.kind == "bool" else ()


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:].removesuffix('"')) if word.startswith('"') else word
