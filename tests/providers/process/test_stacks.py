"""Where threads and coroutines are: L{twisted_qmon.providers.process.stacks}."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from twisted_qmon.providers.process import stacks as _stacks
from twisted_qmon.providers.process.stacks import coroutines, stacks, threads


def _mine(name: str) -> list[_stacks.CoroutineInfo]:
    return [info for info in coroutines() if info.name.endswith(name)]


async def _inner_wait(gate: Deferred[None]) -> None:
    await gate


async def _outer_wait(gate: Deferred[None]) -> None:
    await _inner_wait(gate)


def test_this_thread_is_told_with_its_calls() -> None:
    """The main thread comes first, and its innermost call is at the end, with its source."""
    thread = threads()[0]
    assert thread.name == "MainThread"
    assert thread.id == threading.main_thread().ident
    mine = [frame for frame in thread.stack if frame.file == __file__]
    assert mine[-1].function.endswith("test_this_thread_is_told_with_its_calls")
    assert mine[-1].source == "thread = threads()[0]"


def test_another_thread_is_told_by_name() -> None:
    """A thread that waits is told with where it waits."""
    gate = threading.Event()
    ready = threading.Event()

    def wait_for_the_gate() -> None:
        ready.set()
        gate.wait(30)

    thread = threading.Thread(target=wait_for_the_gate, name="waiter")
    thread.start()
    try:
        assert ready.wait(30)
        found = next(info for info in threads() if info.name == "waiter")
        assert any(frame.function.endswith("wait_for_the_gate") for frame in found.stack)
    finally:
        gate.set()
        thread.join(30)


def test_a_coroutine_is_told_down_to_what_it_awaits() -> None:
    """One entry, from the outermost coroutine to the innermost; Twisted's own await is left out."""
    gate: Deferred[None] = Deferred()
    Deferred.fromCoroutine(_outer_wait(gate))
    (info,) = _mine("_outer_wait")
    assert info.count == 1
    assert [frame.function for frame in info.stack] == ["_outer_wait", "_inner_wait"]
    assert info.stack[-1].source == "await gate"
    assert _mine("_inner_wait") == []
    gate.callback(None)
    assert _mine("_outer_wait") == []


def test_coroutines_at_the_same_place_are_counted() -> None:
    """A thousand that wait at one line are one entry with a count."""
    gates: list[Deferred[None]] = [Deferred() for _ in range(1000)]
    for gate in gates:
        Deferred.fromCoroutine(_outer_wait(gate))
    assert [info.count for info in _mine("_outer_wait")] == [1000]
    for gate in gates:
        gate.callback(None)


def test_inline_callbacks_are_told_too() -> None:
    """A generator that inlineCallbacks runs is found through the Deferred it waits for; other generators are not told."""
    gate: Deferred[None] = Deferred()

    @inlineCallbacks
    def old_style() -> Generator[Deferred[None], Any, None]:
        yield gate

    def plain() -> Generator[int, None, None]:
        yield 1
        yield 2

    old_style()
    unrelated = plain()
    next(unrelated)
    (info,) = _mine("old_style")
    assert info.stack[0].source == "yield gate"
    assert _mine("plain") == []
    gate.callback(None)


def test_one_that_has_not_begun_does_not_wait() -> None:
    """A coroutine that nobody has started yet is not told."""
    gate: Deferred[None] = Deferred()
    coroutine = _outer_wait(gate)
    assert _mine("_outer_wait") == []
    coroutine.close()


def test_stacks_are_bounded(monkeypatch: Any) -> None:
    """Of a deep stack the innermost frames are told, of many places the busiest."""
    monkeypatch.setattr(_stacks, "MAX_FRAMES", 5)

    def deep(depth: int) -> _stacks.StacksInfo:
        return stacks() if depth == 0 else deep(depth - 1)

    info = deep(50)
    assert len(info.threads[0].stack) == 5
    monkeypatch.setattr(_stacks, "MAX_COROUTINES", 0)
    assert coroutines() == []
