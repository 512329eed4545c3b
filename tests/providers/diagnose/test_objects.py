"""Objects by type, and what has changed: L{twisted_qmon.providers.diagnose.objects}."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_qmon import Monitor
from twisted_qmon.hmp.printers import present
from twisted_qmon.providers.diagnose import Diagnose, heap, objects
from twisted_qmon.providers.diagnose.objects import ObjectCounter
from twisted_qmon.testing import QMPConnection


class Leaked:
    """What a planted leak is made of."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Odd:
    """One that can't say its size."""

    def __sizeof__(self) -> int:
        raise RuntimeError("no")


class _Bad(type):
    """The class of a class that has no name."""

    def __getattribute__(cls, name: str) -> Any:
        if name in ("__module__", "__name__", "__qualname__"):
            raise RuntimeError("no")
        return super().__getattribute__(name)


def played(clock: Clock, deferred: Deferred[Any]) -> Any:
    """Turn a reactor until a Deferred fires. :return: its result"""
    found: list[Any] = []
    deferred.addBoth(found.append)
    for _ in range(100_000):
        if found:
            break
        clock.advance(0)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


class Provided:
    """A monitor with the provider, and a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.provider = Diagnose(self.clock)
        self.monitor.register(self.provider)

    def execute(self, name: str, **arguments: Any) -> Any:
        """:return: the result of a command, after as many turns as it takes"""
        return played(self.clock, self.monitor.execute(name, arguments))

    def printed(self, name: str, **arguments: Any) -> str:
        """:return: what a person sees"""
        command = self.monitor.command(name)
        assert command is not None
        return present(command.info, self.execute(name, **arguments), arguments)


NAME = f"{__name__}.Leaked"


def test_a_leak_is_named_by_the_second_look() -> None:
    """A list that grows by 10,000 objects a second: the type is the first of those that have become more."""
    provided = Provided()
    leak = [Leaked(number) for number in range(100)]
    first = provided.execute("query-objects", limit=0)
    assert "since" not in first
    assert {"count", "size", "type"} == set(first["types"][0])
    assert first["type-count"] == len(first["types"])
    leak += [Leaked(number) for number in range(10_000)]
    provided.clock.advance(1)
    second = provided.execute("query-objects", limit=3)
    assert (second["since"], len(second["types"])) == (1.0, 3)
    worst = second["types"][0]
    assert (worst["type"], worst["count"], worst["count-change"]) == (NAME, 10_100, 10_000)
    assert worst["size-change"] > 10_000 * 16
    leak.clear()
    (gone,) = provided.execute("query-objects", type=NAME)["types"]
    assert (gone["count"], gone["count-change"]) == (0, -10_100)


def test_orders() -> None:
    """By each of the members, numbers the largest first."""
    provided = Provided()
    keep = [Leaked(1)]
    provided.execute("query-objects")
    keep.append(Leaked(2))
    for sort in ("count", "size", "count-change", "size-change"):
        argument = "change" if sort == "count-change" else sort
        numbers = [each[sort] for each in provided.execute("query-objects", sort=argument, limit=0)["types"]]
        assert numbers == sorted(numbers, reverse=True)
    names = [each["type"] for each in provided.execute("query-objects", sort="type", limit=0)["types"]]
    assert names == sorted(names)
    assert len(keep) == 2


def test_odd_objects_do_no_harm() -> None:
    """A size that can't be said is that of the plain object, a name that can't be said is a question mark."""
    bad: Any = _Bad("Bad", (), {})()
    keep = [_Odd(), bad]
    found = {each["type"]: each for each in Provided().execute("query-objects", limit=0)["types"]}
    assert found[f"{__name__}._Odd"]["size"] > 0
    assert found["?"]["count"] == 1
    assert len(keep) == 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The types with the most objects are remembered."""
    monkeypatch.setattr(objects, "MAX_TYPES", 5)
    clock = Clock()
    counter = ObjectCounter(clock)
    played(clock, Deferred.fromCoroutine(counter.look(lambda *_: None)))
    assert counter._last is not None
    assert len(counter._last[1]) == 5
    assert "dict" in counter._last[1]


def test_the_reactor_turns_meanwhile_and_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done in slices; a client sees how far it is, and can cancel it."""
    turns: list[Deferred[None]] = []

    def turn(_clock: object, _seconds: float) -> Deferred[None]:
        turns.append(Deferred())
        return turns[-1]

    monkeypatch.setattr(heap, "SLICE_SECONDS", 1e-9)
    monkeypatch.setattr(heap, "CHUNK", 50)
    monkeypatch.setattr(heap, "deferLater", turn)
    # What is counted, however little the monitor itself takes.
    counted: list[list[object]] = [[] for _ in range(2000)]
    provided = Provided()
    client = QMPConnection(provided.monitor)
    many = [[n] for n in range(1000)]
    client.send({"execute": "query-objects", "id": 1})
    progress: list[tuple[int, int]] = []

    for _ in range(5):
        (request,) = provided.monitor.pending
        progress.append((request.current, request.total))
        turns[-1].callback(None)
    assert progress == sorted(set(progress))
    assert progress[-1][0] < progress[-1][1] > 1000
    assert len(counted) == 2000
    request.cancel()
    del many
    assert not provided.monitor.pending
    assert "was cancelled" in str(client.received())
    assert [turn.called for turn in turns] == [True] * 6


def test_what_a_person_sees() -> None:
    """Tables, the second time with what has changed; nothing is wider than a terminal."""
    provided = Provided()
    lines = provided.printed("query-objects", limit=2).splitlines()
    assert lines[0].endswith("B")
    assert lines[2].split() == ["count", "size", "type"]
    assert lines[-1].startswith("... and ")
    keep = [Leaked(number) for number in range(1000)]
    provided.clock.advance(2)
    lines = provided.printed("query-objects").splitlines()
    assert lines[0].endswith("changes since 2.0 s ago")
    assert lines[2].split() == ["count", "change", "size", "change", "type"]
    assert lines[3].split()[1:2] == ["+1,000"]
    assert max(map(len, lines)) <= 80
    assert len(keep) == 1000
    assert provided.printed("query-objects", type="no.such.type").splitlines()[-1].split() == lines[2].split()
