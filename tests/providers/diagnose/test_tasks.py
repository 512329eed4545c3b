"""What waits, where, and for how long: L{twisted_qmon.providers.diagnose.tasks}."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredList, getDebugging, inlineCallbacks, setDebugging

from tests.providers.diagnose.test_objects import Provided
from twisted_qmon import GenericError
from twisted_qmon.providers.diagnose import tasks


@pytest.fixture(autouse=True)
def _stop() -> Iterator[None]:
    """Whatever a test leaves behind, the next one is not traced."""
    yield
    setDebugging(False)


class _Shop:
    """Has what waits."""

    def delivered(self, result: object) -> object:
        """Called when it fires."""
        return result

    async def order(self, gate: Deferred[None]) -> None:
        """A coroutine that waits in another one."""
        await self.wait(gate)

    async def wait(self, gate: Deferred[None]) -> None:
        """The inner one."""
        await gate

    @inlineCallbacks
    def old(self, gate: Deferred[None]) -> Generator[Deferred[None], None, None]:
        """A generator that inlineCallbacks runs."""
        yield gate


def _places(result: Any, name: str) -> list[Any]:
    return [place for place in result["places"] if place["name"].endswith(name)]


def test_a_deferred_that_never_fires_has_a_place_and_an_age() -> None:
    """The place is what it would call; the age counts from the first look."""
    provided, shop = Provided(), _Shop()
    gone: list[Deferred[Any]] = [Deferred() for _ in range(3)]
    for each in gone:
        each.addCallback(shop.delivered)
    (place,) = _places(provided.execute("query-tasks", limit=0), "_Shop.delivered")
    assert (place["kind"], place["count"], place["age"], place["age-from"]) == ("deferred", 3, 0.0, "look")
    assert place["stack"][0]["file"] == __file__
    assert place["stack"][0]["line"] == _Shop.delivered.__code__.co_firstlineno
    provided.clock.advance(60)
    gone.append(Deferred().addCallback(shop.delivered))
    (place,) = _places(provided.execute("query-tasks", limit=0), "_Shop.delivered")
    assert (place["count"], place["age"]) == (4, 60.0)
    for each in gone:
        each.callback(None)
    assert _places(provided.execute("query-tasks", limit=0), "_Shop.delivered") == []


def test_coroutines_have_their_stack() -> None:
    """One place each for coroutines and generators; what they await, and what they result in, is no place of its own."""
    provided, shop = Provided(), _Shop()
    gates: list[Deferred[None]] = [Deferred() for _ in range(3)]
    gc.collect()
    before = provided.execute("query-tasks", limit=0)
    results = [
        Deferred.fromCoroutine(shop.order(gates[0])),
        Deferred.fromCoroutine(shop.order(gates[1])),
        shop.old(gates[2]),
    ]
    found = provided.execute("query-tasks", limit=0)
    assert found["coroutines"] - before["coroutines"] == 3
    # The gates, which nothing waited for.
    assert before["deferreds"] - found["deferreds"] == 3
    (order,) = _places(found, "_Shop.order")
    assert (order["kind"], order["count"]) == ("coroutine", 2)
    assert [frame["source"] for frame in order["stack"]] == ["await self.wait(gate)", "await gate"]
    (old,) = _places(found, "_Shop.old")
    assert [frame["source"] for frame in old["stack"]] == ["yield gate"]
    for gate in gates:
        gate.callback(None)
    assert all(result.called for result in results)


def test_a_loop_that_goes_on_does_not_get_old() -> None:
    """It is at the same place at each look, but what it awaits is new."""
    provided = Provided()
    gates: list[Deferred[None]] = []

    async def loop() -> None:
        while True:
            gates.append(Deferred())
            await gates[-1]

    running = Deferred.fromCoroutine(loop())
    provided.execute("query-tasks")
    provided.clock.advance(100)
    assert _places(provided.execute("query-tasks", limit=0), "loop")[0]["age"] == 100.0
    gates[-1].callback(None)
    assert _places(provided.execute("query-tasks", limit=0), "loop")[0]["age"] == 0.0
    running.addErrback(lambda _: None)
    running.cancel()


def test_a_request_of_the_monitor_knows_its_age() -> None:
    """Exactly, at the first look; whether its handler is a coroutine or returns a Deferred."""
    provided, shop = Provided(), _Shop()
    gates: list[Deferred[Any]] = [Deferred(), Deferred()]
    provided.monitor.register_command("deliver", lambda: gates[0].addCallback(shop.delivered))
    provided.monitor.register_command("order", lambda: shop.order(gates[1]))
    answers = [provided.monitor.execute("deliver"), provided.monitor.execute("order")]
    provided.clock.advance(7)
    found = provided.execute("query-tasks", limit=0)
    numbers = set()
    for name in ("_Shop.delivered", "_Shop.order"):
        (place,) = _places(found, name)
        assert (place["age"], place["age-from"]) == (7.0, "request")
        numbers.update(place["requests"])
    assert numbers == {request.number for request in provided.monitor.pending}
    for gate in gates:
        gate.callback(None)
    assert all(answer.called for answer in answers)


def test_a_deferred_that_waits_for_another_one_is_part_of_its_story() -> None:
    """What the outer one will call is told at the inner one, which is what has not fired."""
    provided, shop = Provided(), _Shop()
    inner: Deferred[Any] = Deferred()
    outer: Deferred[Any] = Deferred()
    outer.addCallback(lambda _: inner)
    outer.addErrback(partial(shop.delivered))
    outer.callback(None)
    (place,) = _places(provided.execute("query-tasks", limit=0), "_Shop.delivered")
    assert place["count"] == 1
    inner.callback(None)


def test_one_that_nothing_waits_for_and_subclasses() -> None:
    """It has no name; a DeferredList is a Deferred; what is no Python function has no place."""
    provided = Provided()
    bare: Deferred[Any] = Deferred()
    listed: Deferred[Any] = Deferred().addCallback(print)
    both = DeferredList([listed]).addCallback(_Shop().delivered)
    found = provided.execute("query-tasks", limit=0)
    assert _places(found, "_Shop.delivered")[0]["count"] == 1
    assert [place for place in found["places"] if place["name"] == ""]
    assert not bare.called
    assert not both.called


def test_coroutines_that_twisted_does_not_run() -> None:
    """Those of asyncio are found too; they have an age, and no Deferred."""
    provided = Provided()
    loop = asyncio.new_event_loop()

    async def forever() -> None:
        await asyncio.sleep(1e6)

    task = loop.create_task(forever())
    loop.run_until_complete(asyncio.sleep(0))
    (place,) = _places(provided.execute("query-tasks", limit=0), "forever")
    assert (place["kind"], place["age"]) == ("coroutine", 0.0)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


def test_order_filter_and_limit() -> None:
    """The oldest, the most, or by name; a text in a name or a file; so many places."""
    provided, shop = Provided(), _Shop()
    old: list[Deferred[Any]] = [Deferred().addCallback(shop.delivered)]
    provided.execute("query-tasks")
    provided.clock.advance(5)
    many: list[Deferred[Any]] = [Deferred().addCallback(lambda _: None) for _ in range(500)]
    first = provided.execute("query-tasks", limit=1)
    assert first["places"][0]["age"] == 5.0
    assert first["place-count"] > 1
    assert provided.execute("query-tasks", limit=1, sort="count")["places"][0]["count"] == 500
    names = [place["name"] for place in provided.execute("query-tasks", limit=0, sort="name")["places"]]
    assert names == sorted(names)
    found = provided.execute("query-tasks", filter="_Shop.deliv")
    assert (found["place-count"], found["places"][0]["name"]) == (1, "_Shop.delivered")
    assert provided.execute("query-tasks", filter=__file__)["place-count"] == 2
    assert (len(old), len(many)) == (1, 500)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than can be remembered there is no age; what has fired is forgotten."""
    monkeypatch.setattr(tasks, "MAX_REMEMBERED", 0)
    provided = Provided()
    waits: Deferred[Any] = Deferred().addCallback(_Shop().delivered)
    (place,) = _places(provided.execute("query-tasks", limit=0), "_Shop.delivered")
    assert "age" not in place
    monkeypatch.undo()
    provided.execute("query-tasks")
    assert waits in provided.provider._tasks._first
    del waits
    remembered = provided.provider._tasks._first
    assert all(isinstance(key, object) for key in remembered)


def test_with_a_trace_they_know_where_they_were_made() -> None:
    """From when it is on; it ends by itself, and when it is told to."""
    provided, shop = Provided(), _Shop()
    provided.execute("task-trace", enable=True, seconds=60)
    assert getDebugging()
    bare: Deferred[Any] = Deferred()
    awaited: Deferred[Any] = Deferred()
    result = Deferred.fromCoroutine(shop.order(awaited))
    found = provided.execute("query-tasks", limit=0, filter="test_with_a_trace")
    made = [(place["kind"], place["created"]["source"]) for place in found["places"]]
    assert ("deferred", "bare: Deferred[Any] = Deferred()") in made
    assert ("coroutine", "awaited: Deferred[Any] = Deferred()") in made
    assert found["traced"]
    assert "\n  made at " in provided.printed("query-tasks", filter="test_with_a_trace")
    provided.clock.advance(60)
    assert not getDebugging()
    provided.execute("task-trace", enable=True)
    provided.execute("task-trace", enable=False)
    assert not getDebugging()
    assert provided.clock.getDelayedCalls() == []
    with pytest.raises(GenericError, match="expects a number of seconds up to 86400"):
        provided.execute("task-trace", enable=True, seconds=0)
    awaited.callback(None)
    assert (bare.called, result.called) == (False, True)


def test_what_has_ended_meanwhile_is_left_out() -> None:
    """Between two slices a Deferred may fire, and a coroutine come to its end."""
    provided = Provided()
    looking = provided.provider._tasks
    fired: Deferred[Any] = Deferred()
    groups: dict[object, Any] = {}

    async def quick() -> None:
        await fired

    coroutine = quick()
    result = Deferred.fromCoroutine(coroutine)
    fired.callback(None)
    looking._group(groups, tasks._Found(), [fired, coroutine])
    assert groups == {}
    assert result.called


def test_what_a_person_sees() -> None:
    """A line for each place with number, age and requests, and the lines of its stack."""
    provided, shop = Provided(), _Shop()
    gates: list[Deferred[Any]] = [Deferred(), Deferred(), Deferred()]
    provided.monitor.register_command("deliver", lambda: gates[0].addCallback(shop.delivered))
    answer = provided.monitor.execute("deliver")
    gates[1].addCallback(shop.delivered)
    provided.clock.advance(3)
    printed = provided.printed("query-tasks", filter="_Shop.delivered")
    assert "1 deferred _Shop.delivered, 3.0s, request 1" in printed
    assert "1 deferred _Shop.delivered, at least 0ms" in printed
    assert "    def delivered(self, result: object) -> object:" in printed
    assert "more (limit=0 shows all)" in provided.printed("query-tasks", limit=1)
    assert "(nothing waits for it)" in provided.printed("query-tasks", limit=0)
    gates[0].callback(None)
    assert answer.called
