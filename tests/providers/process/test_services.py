"""The tree of services: L{twisted_qmon.providers.process.services}."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.application import strports
from twisted.application.service import Application, IService, MultiService, Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon.errors import GenericError
from twisted_qmon.providers.process.services import MAX_SERVICES, Services, describe, find, is_inside, path_of, walk


def _child(parent: Any, name: str | None = None, service: Any = None) -> Any:
    service = Service() if service is None else service
    if name is not None:
        service.setName(name)
    service.setServiceParent(parent)
    return service


def _tree() -> Any:
    """root: [web: [0, cache], 1, mail]"""
    root = MultiService()
    web = _child(root, "web", MultiService())
    _child(web)
    _child(web, "cache")
    _child(root)
    _child(root, "mail")
    return root


def test_paths_are_names_or_indices() -> None:
    """The tree as a flat list: parents first, names joined by slashes, the index in the parent for one without a name."""
    assert [path for path, _ in walk(_tree())] == ["", "web", "web/0", "web/cache", "1", "mail"]


def test_describes_a_service() -> None:
    """A service is told by path, name (empty without), class and whether it runs."""
    service = Service()
    info = describe("a/0", service)
    assert (info.path, info.name, info.class_, info.running) == (
        "a/0",
        "",
        "twisted.application.service.Service",
        False,
    )
    service.setName("x")
    service.startService()
    info = describe("a/x", service)
    assert (info.name, info.running) == ("x", True)


def test_the_application_is_a_root() -> None:
    """What Application() makes is walked like any other service."""
    application = Application("shop")
    _child(application, "till")
    assert [(path, service.name) for path, service in walk(IService(application))] == [("", "shop"), ("till", "till")]


@pytest.mark.parametrize("name", ["a/b", "", "1", "/"])
def test_a_name_that_would_be_ambiguous_is_not_used(name: str) -> None:
    """A name with a slash, an empty one, or one that is the index of a sibling, gives way to the index."""
    root = MultiService()
    _child(root, "first")
    service = _child(root)
    service.name = name
    assert path_of(root, service) == "1"
    assert find(root, "1") is service


def test_a_number_that_is_nobodys_index_is_a_name() -> None:
    """A service called after its port is found by that."""
    root = MultiService()
    service = _child(root, "8080")
    assert path_of(root, service) == "8080"


_names = st.sampled_from(["", "a", "b", "0", "1", "x/y", "é"])


@settings(deadline=None)
@given(st.recursive(st.none(), lambda inner: st.lists(st.tuples(_names, inner))))
def test_every_service_is_found_at_its_path(shape: Any) -> None:
    """Whatever the names, paths are unique, and lead to the service that they were told for."""

    def build(shape: Any) -> Any:
        service: Any = Service() if shape is None else MultiService()
        for name, inner in shape or ():
            child = build(inner)
            child.setServiceParent(service)
            child.name = name
        return service

    root = build(shape)
    walked = list(walk(root))
    assert len({path for path, _ in walked}) == len(walked)
    for path, service in walked:
        assert find(root, path) is service
        assert path_of(root, service) == path


@pytest.mark.parametrize("path", ["nobody", "web/nobody", "web/0/0", "0", "/", "web/", "/web", "-1", " web"])
def test_a_path_that_leads_nowhere_is_an_error(path: str) -> None:
    """The error names the path; an index does not stand for a service that has a name."""
    with pytest.raises(GenericError, match="^Service '.*' not found$"):
        find(_tree(), path)


def test_the_walk_is_bounded() -> None:
    """A tree without end does not make an endless list, and a deep one no recursion."""
    root = MultiService()
    deepest: Any = root
    for _ in range(3000):
        deepest = _child(deepest, "s", MultiService())
    assert len(list(walk(root))) == 3001
    wide = MultiService()
    for _ in range(MAX_SERVICES + 10):
        wide.services.append(Service())
    assert len(list(walk(wide))) == MAX_SERVICES


def test_is_inside_follows_the_parents() -> None:
    """A service is inside itself and its ancestors, and not in its siblings or children."""
    root = _tree()
    cache, web, mail = find(root, "web/cache"), find(root, "web"), find(root, "mail")
    assert is_inside(cache, cache)
    assert is_inside(cache, web)
    assert is_inside(cache, root)
    assert not is_inside(web, cache)
    assert not is_inside(mail, web)


class _Recorder(Service):
    """A service that records the calls, and stops and starts as it was told."""

    def __init__(self, *, stops: Any = None, starts: Any = None, prepares: Any = None) -> None:
        self.calls: list[str] = []
        self.stops, self.starts, self.prepares = stops, starts, prepares

    def privilegedStartService(self) -> Any:
        self.calls.append("privilegedStartService")
        if isinstance(self.prepares, Exception):
            raise self.prepares

    def startService(self) -> Any:
        self.calls.append("startService")
        super().startService()
        if isinstance(self.starts, Exception):
            raise self.starts
        return self.starts

    def stopService(self) -> Any:
        self.calls.append("stopService")
        super().stopService()
        return self.stops


class StopAndStartTests(SynchronousTestCase):
    """What C{service-stop} and C{service-start} do to services."""

    def setUp(self) -> None:
        self.own: list[Any] = []
        self.services = Services(lambda: self.own)

    def _running(self, service: Any) -> Any:
        service.startService()
        if hasattr(service, "calls"):
            service.calls.clear()
        return service

    def test_starting_prepares_first(self) -> None:
        """Both calls are made, in twistd's order: without the first one a strports service would not listen again."""
        service = _Recorder()
        self.assertIsNone(self.successResultOf(self.services.start("s", service)))
        self.assertEqual(service.calls, ["privilegedStartService", "startService"])

    def test_a_strports_service_listens_again(self) -> None:
        """Stopped and started, the port is there again."""
        reactor = MemoryReactorClock()
        service = strports.service("tcp:8080", Factory(), reactor=reactor)
        service.privilegedStartService()
        service.startService()
        self.assertEqual(len(reactor.tcpServers), 1)
        self.successResultOf(self.services.stop("web", service))
        self.assertFalse(service.running)
        self.successResultOf(self.services.start("web", service))
        self.assertTrue(service.running)
        self.assertEqual(len(reactor.tcpServers), 2)

    def test_a_port_that_is_busy_the_second_time_is_an_error(self) -> None:
        """Twisted itself only logs that; here the service is stopped, and who asked is told."""
        reactor = MemoryReactorClock()
        service = strports.service("tcp:8080", Factory(), reactor=reactor)
        service.privilegedStartService()
        service.startService()
        self.successResultOf(self.services.stop("web", service))
        self.patch(service.endpoint, "listen", lambda _: fail(OSError("port in use")))
        error = self.failureResultOf(self.services.start("web", service), GenericError).value
        self.assertEqual(str(error), "Service 'web' could not be started: port in use")
        self.assertFalse(service.running)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_completes_when_the_service_has_stopped(self) -> None:
        """The answer waits for the Deferred of stopService."""
        stopped: Deferred[None] = Deferred()
        service = self._running(_Recorder(stops=stopped))
        answer = self.services.stop("s", service)
        self.assertNoResult(answer)
        stopped.callback(None)
        self.assertIsNone(self.successResultOf(answer))

    def test_completes_when_the_service_has_started(self) -> None:
        """A service whose startService returns a Deferred or a coroutine has started when that has fired."""
        started: Deferred[None] = Deferred()

        class Slow(Service):
            async def startService(self) -> None:
                super().startService()
                await started

        answer = self.services.start("s", Slow())
        self.assertNoResult(answer)
        started.callback(None)
        self.assertIsNone(self.successResultOf(answer))

    def test_the_monitors_own_is_refused(self) -> None:
        """One that is, contains or is part of the monitor's own service is refused, and nothing changes."""
        root = MultiService()
        own = _child(root, "qmon", MultiService())
        inner = _child(own, "qmp")
        self.own = [own]
        self._running(root)
        for path, service in (("", root), ("qmon", own), ("qmon/qmp", inner)):
            with self.assertRaises(GenericError) as raised:
                self.services.stop(path, service)
            self.assertEqual(
                str(raised.exception), f"Service '{path}' serves this monitor and can't be stopped through it"
            )
        self.assertEqual([bool(service.running) for service in (root, own, inner)], [True, True, True])

    def test_a_sibling_of_the_monitors_own_is_not_refused(self) -> None:
        """Everything else can be stopped."""
        root = MultiService()
        self.own = [_child(root, "qmon")]
        web = _child(root, "web")
        self._running(root)
        self.successResultOf(self.services.stop("web", web))
        self.assertFalse(web.running)

    def test_one_that_is_stopped_is_not_stopped_again(self) -> None:
        """Many services break when they are stopped twice."""
        service = _Recorder()
        with self.assertRaisesRegex(GenericError, "^Service 's' is not running$"):
            self.services.stop("s", service)
        self.assertEqual(service.calls, [])

    def test_one_that_runs_is_not_started_again(self) -> None:
        """Nor is one that has a part which runs: it would listen twice. Nothing is called."""
        root = MultiService()
        service = self._running(_child(root, "s", _Recorder()))
        for path, what in (("a/s", service), ("a", root)):
            with self.assertRaisesRegex(GenericError, "^Service 'a/s' is already running$"):
                self.services.start(path, what)
        self.assertEqual(service.calls, [])

    def test_one_thing_at_a_time(self) -> None:
        """What is still stopping, or is around or in something that is, is neither stopped nor started."""
        stopped: Deferred[None] = Deferred()
        root = MultiService()
        service = _child(root, "s", _Recorder(stops=stopped))
        other = _child(root, "other")
        self._running(root)
        answer = self.services.stop("s", service)
        for act in (self.services.stop, self.services.start):
            for path, what in (("", root), ("s", service)):
                with self.assertRaisesRegex(GenericError, f"^Service '{path}' is being started or stopped$"):
                    act(path, what)
        self.successResultOf(self.services.stop("other", other))
        stopped.callback(None)
        self.successResultOf(answer)
        self.successResultOf(self.services.start("s", service))

    def test_giving_up_does_not_interfere(self) -> None:
        """When who asked gives up, the service goes on stopping, and is being stopped until it has."""
        cancelled: list[object] = []
        stopped: Deferred[None] = Deferred(cancelled.append)
        service = self._running(_Recorder(stops=stopped))
        answer = self.services.stop("s", service)
        answer.cancel()
        self.failureResultOf(answer)
        self.assertEqual(cancelled, [])
        with self.assertRaisesRegex(GenericError, "is being started or stopped"):
            self.services.start("s", service)
        stopped.callback(None)
        self.successResultOf(self.services.start("s", service))

    def test_one_that_fails_to_stop_is_told(self) -> None:
        """A failing stopService is logged, and answered with its reason."""
        service = self._running(_Recorder(stops=fail(ValueError("stuck"))))
        error = self.failureResultOf(self.services.stop("s", service), GenericError).value
        self.assertEqual(str(error), "Service 's' stopped with an error: stuck")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_part_that_fails_to_stop_is_told(self) -> None:
        """A MultiService calls itself stopped even if a part failed; who asked is told all the same."""
        root = MultiService()
        inner = _child(root, "inner", MultiService())
        _child(inner, "good", _Recorder(stops=succeed(None)))
        bad = _child(inner, "bad", _Recorder(stops=fail(ValueError("stuck"))))
        self._running(root)
        error = self.failureResultOf(self.services.stop("r", root), GenericError).value
        self.assertEqual(str(error), "Service 'r' stopped with an error: stuck")
        # Twisted logs it as well, as an error that nobody handled, when its Deferred is collected.
        bad.stops = None
        gc.collect()
        self.assertGreaterEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_one_that_fails_to_start_is_stopped_again(self) -> None:
        """Whether preparing or starting fails, it is left stopped and the reason told, by its type if it has no words."""
        for recorder, reason in (
            (_Recorder(prepares=OSError("port in use")), "port in use"),
            (_Recorder(starts=ValueError()), "ValueError"),
            (_Recorder(starts=fail(ValueError("late"))), "late"),
        ):
            error = self.failureResultOf(self.services.start("s", recorder), GenericError).value
            self.assertEqual(str(error), f"Service 's' could not be started: {reason}")
            self.assertEqual(recorder.calls[-1], "stopService")
            self.assertFalse(recorder.running)
            self.assertEqual(len(self.flushLoggedErrors()), 1)
