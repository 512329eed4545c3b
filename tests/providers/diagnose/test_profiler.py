"""Where the time goes: L{twisted_qmon.providers.diagnose.profiler}."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.providers.diagnose.test_objects import Provided
from twisted_qmon import GenericError
from twisted_qmon.errors import CommandCancelled
from twisted_qmon.providers.diagnose import profiler
from twisted_qmon.providers.diagnose.heap import in_thread
from twisted_qmon.providers.diagnose.profiler import INTERVAL, MAX_PROFILE_SECONDS, MAX_SAMPLES


def _spin() -> None:
    end = time.perf_counter() + 0.05
    while time.perf_counter() < end:
        sum(range(100))


def _taken(provided: Provided, **arguments: Any) -> tuple[Any, list[tuple[int, int]]]:
    """A profile in which the program spins once, and the progress that was told."""
    progress: list[tuple[int, int]] = []
    results: list[Any] = []
    command = provided.monitor.execute("profile", arguments, progress=lambda *told: progress.append(told))
    command.addBoth(results.append)
    _spin()
    while not results:
        provided.clock.advance(0.5)
    return results[0], progress


def test_a_profile() -> None:
    """A tree for people that names the culprit, a file for speedscope, and progress on the way."""
    provided = Provided()
    for _ in range(5):
        info, progress = _taken(provided, seconds=1.2)
        if info["samples"] > 5:
            # A machine that is busy with other things gives it few.
            break
    assert progress == [(50, 120), (100, 120), (120, 120)]
    assert "_spin" in info["text"]
    assert "Recorded" not in info["text"]
    assert info["samples"] > 5
    assert info["interval"] == INTERVAL
    document = info["speedscope"]
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert "_spin" in {frame["name"] for frame in document["shared"]["frames"]}
    assert None not in document.values()
    (profile,) = document["profiles"]
    opened: list[int] = []
    for event in profile["events"]:
        if event["type"] == "O":
            opened.append(event["frame"])
        else:
            assert opened.pop() == event["frame"]
    assert opened == []
    assert provided.clock.getDelayedCalls() == []


def test_the_order_in_time_is_kept_if_asked_for() -> None:
    """Then each call is there for itself, and the file is larger."""
    provided = Provided()
    sizes = [0, 0]
    for seconds in (0.5, 1.0, 2.0):
        short, _ = _taken(provided, seconds=seconds)
        long, _ = _taken(provided, seconds=seconds, timeline=True)
        sizes = [len(info["speedscope"]["profiles"][0]["events"]) for info in (short, long)]
        if sizes[0] < sizes[1]:
            # A machine that is busy with other things gives it few samples.
            break
    assert sizes[0] < sizes[1]


def test_it_is_cancelled_at_once() -> None:
    """Nothing measures any more, and the next one can begin."""
    provided = Provided()
    answer = provided.monitor.execute("profile", {"seconds": 10})
    failed: list[Any] = []
    answer.addErrback(lambda failure: failed.append(failure.check(CommandCancelled)))
    with pytest.raises(GenericError, match="A profile is being taken already"):
        provided.execute("profile", seconds=1)
    (request,) = provided.monitor.pending
    request.cancel()
    assert failed == [CommandCancelled]
    assert provided.clock.getDelayedCalls() == []
    assert sys.getprofile() is None
    assert _taken(provided, seconds=0.1)[0]["seconds"] >= 0


def test_without_pyinstrument(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "pyinstrument", None)
    with pytest.raises(GenericError) as caught:
        Provided().execute("profile", seconds=1)
    assert str(caught.value) == "pyinstrument is not installed: pip install 'twisted-qmon[diagnose]'"


def test_one_that_can_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pyinstrument refuses is told, and the next one can begin."""
    import pyinstrument

    def refuse(*_args: object, **_keywords: object) -> None:
        raise RuntimeError("There is already a profiler running.")

    provided = Provided()
    with monkeypatch.context() as patch:
        patch.setattr(pyinstrument.Profiler, "start", refuse)
        with pytest.raises(GenericError, match=r"can't be taken: There is already a profiler running\."):
            provided.execute("profile", seconds=1)
    assert _taken(provided, seconds=0.1)[0]["seconds"] >= 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seconds": 0}, "Parameter 'seconds' expects a number of seconds up to 3600"),
        ({"seconds": 1e9}, "Parameter 'seconds' expects a number of seconds up to 3600"),
        ({"seconds": 1, "interval": 0}, "Parameter 'interval' expects a number of seconds from 0.0001 to 1"),
        ({"seconds": 60, "interval": 0.0001}, "Parameter 'interval' expects a number of seconds from 0.001 to 60"),
        ({"seconds": 1, "interval": 2}, "Parameter 'interval' expects a number of seconds from 0.0001 to 1"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], words: str) -> None:
    """In words that say what is right."""
    with pytest.raises(GenericError) as caught:
        Provided().execute("profile", **arguments)
    assert str(caught.value) == words


def test_a_long_one_has_fewer_samples() -> None:
    """There are never more than may be kept."""
    assert profiler._interval(MAX_PROFILE_SECONDS, None) == MAX_PROFILE_SECONDS / MAX_SAMPLES
    assert profiler._interval(10, 0.5) == 0.5


def test_what_a_person_sees() -> None:
    """How much was measured, and the tree."""
    provided = Provided()
    command = provided.monitor.command("profile")
    assert command is not None
    assert command.info.printer is not None
    info, _ = _taken(provided, seconds=0.1)
    head, blank, *tree = command.info.printer(info).splitlines()
    assert head.endswith("; one each 1.0 ms")
    assert blank == ""
    assert any("_spin" in line for line in tree)
    assert profiler._tree("nothing of it") == "nothing of it"


def test_threads_of_a_reactor_are_used() -> None:
    """Where it has some; otherwise it is done at once."""
    from twisted.internet.interfaces import IReactorThreads
    from zope.interface import directlyProvides

    class Pool:
        def callInThreadWithCallback(self, done: Any, function: Any, *args: Any, **keywords: Any) -> None:
            done(True, function(*args, **keywords))

    class Reactor:
        def getThreadPool(self) -> Pool:
            return Pool()

        def callFromThread(self, function: Any, *args: Any) -> None:
            function(*args)

    reactor = Reactor()
    results: list[int] = []
    in_thread(reactor, sum, [1, 2]).addCallback(results.append)
    directlyProvides(reactor, IReactorThreads)
    deferred: Deferred[int] = in_thread(reactor, sum, [3, 4])
    deferred.addCallback(results.append)
    assert results == [3, 7]
