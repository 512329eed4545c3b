"""The write queue by itself: order, bounds and what is told of what was dropped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_qmon._transport.write_queue import WriteQueue


class Wire:
    """A transport that takes so many messages, then says that it is full."""

    def __init__(self, *, max_queued: int = 100, policy: str = "drop-oldest", pushes: bool = True) -> None:
        self.taken: list[bytes] = []
        self.room = 0
        self.calls: list[str] = []
        self.write_queue = WriteQueue(
            self.write,
            max_queued=max_queued,
            policy=policy,
            limit_exceeded=lambda: self.calls.append("exceeded"),
            blocked=lambda: self.calls.append("blocked"),
            unblocked=lambda: self.calls.append("unblocked"),
            push=(lambda: self.calls.append("pushed")) if pushes else None,
        )
        self.write_queue.lost_message = lambda n: b"lost %d" % n

    def write(self, data: bytes) -> None:
        self.taken.append(data)
        self.room -= 1
        if self.room <= 0:
            self.write_queue.block()

    def read(self, room: int) -> None:
        self.room = room
        self.write_queue.unblock()


def test_straight_through() -> None:
    """While the transport takes everything nothing waits."""
    wire = Wire()
    wire.room = 10
    wire.write_queue.reply(b"a")
    wire.write_queue.event(b"b")
    assert (wire.taken, wire.calls) == ([b"a", b"b"], [])


def test_push() -> None:
    """What a transport has taken it is told to send, if it can do so and is not full."""
    wire = Wire()
    wire.room = 2
    wire.write_queue.reply(b"a")
    wire.write_queue.push()
    assert wire.calls == ["pushed"]
    wire.write_queue.reply(b"b")
    wire.write_queue.push()
    wire.write_queue.close()
    wire.write_queue.push()
    assert wire.calls == ["pushed", "blocked"]
    Wire(pushes=False).write_queue.push()


def test_waits_in_order() -> None:
    """What waits goes out in order, as far as the transport takes it; block and unblock are told once each."""
    wire = Wire()
    wire.write_queue.block()
    wire.write_queue.block()
    for data in (b"1", b"2", b"3"):
        wire.write_queue.event(data)
        wire.write_queue.reply(data + b"r")
    wire.read(2)
    assert (wire.taken, wire.calls) == ([b"1", b"1r"], ["blocked", "blocked"])
    wire.read(100)
    assert wire.taken == [b"1", b"1r", b"2", b"2r", b"3", b"3r"]
    assert wire.calls == ["blocked", "blocked", "unblocked"]
    assert wire.write_queue.queued == 0


def test_disconnect() -> None:
    """Beyond the limit it is told once, and everything is dropped."""
    wire = Wire(policy="disconnect")
    wire.write_queue.block()
    wire.write_queue.reply(b"r" * 1000)
    for _ in range(10):
        wire.write_queue.event(b"x" * 30)
    assert wire.calls == ["blocked", "exceeded"]
    wire.read(100)
    assert wire.taken == []


def test_drop_oldest_in_place() -> None:
    """The oldest events go, replies stay, and one message tells how many, where the first of them was."""
    wire = Wire()
    wire.write_queue.block()
    wire.write_queue.reply(b"first")
    for n in range(5):
        wire.write_queue.event(b"%d" % n * 30)
        wire.write_queue.reply(b"r%d" % n)
    wire.read(100)
    assert wire.taken == [b"first", b"lost 2", b"r0", b"r1", b"2" * 30, b"r2", b"3" * 30, b"r3", b"4" * 30, b"r4"]
    assert wire.write_queue.lost == 2


def test_too_big_for_the_queue() -> None:
    """An event that is longer than all that may wait is lost by itself."""
    wire = Wire()
    wire.write_queue.block()
    wire.write_queue.event(b"x" * 101)
    wire.write_queue.event(b"x" * 101)
    wire.write_queue.event(b"y")
    wire.read(100)
    assert wire.taken == [b"lost 2", b"y"]
    assert wire.write_queue.lost == 2


def test_latest_per_key() -> None:
    """Of a rate-limited event the latest waits, in its own place, also after part of the queue has gone out."""
    wire = Wire()
    wire.write_queue.block()
    for n in range(9):
        wire.write_queue.event(b"a%d" % n, "a")
        wire.write_queue.event(b"b%d" % n, "b")
    wire.read(1)
    assert wire.taken == [b"a8"]
    wire.write_queue.event(b"a9", "a")
    wire.read(100)
    assert wire.taken == [b"a8", b"b8", b"a9"]
    assert wire.write_queue.lost == 0


@pytest.mark.parametrize("policy", ["disconnect", "drop-oldest"])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("reply"), st.just("")),
            st.tuples(st.just("event"), st.sampled_from(["", "a", "b"])),
            st.tuples(st.just("read"), st.integers(1, 6).map(str)),
        ),
        max_size=60,
    )
)
def test_nothing_doubled_or_out_of_order(policy: str, steps: list[tuple[str, str]]) -> None:
    """Whatever happens: every reply once, events at most once, all in order, and the bound kept."""
    wire = Wire(max_queued=40, policy=policy)
    wire.write_queue.block()
    sent = []
    for n, (what, argument) in enumerate(steps):
        data = b"%04d" % n
        if what == "reply":
            sent.append(data)
            wire.write_queue.reply(data)
        elif what == "event":
            wire.write_queue.event(data, argument or None)
        else:
            wire.read(int(argument))
        assert 0 <= wire.write_queue.queued <= 40
        if wire.write_queue.closed:
            return
    wire.read(1000)
    numbers = [data for data in wire.taken if not data.startswith(b"lost")]
    assert numbers == sorted(set(numbers))
    assert [data for data in numbers if data in sent] == sent
    told = sum(int(data.split()[1]) for data in wire.taken if data.startswith(b"lost"))
    assert told == wire.write_queue.lost
    assert wire.write_queue.queued == 0
