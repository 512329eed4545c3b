"""The comparison of servers with QEMU: it finds what is wrong, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from xml.etree import ElementTree

import pytest
from twisted.internet.task import Clock

from tests.support.wires import FAULTS, MemoryWire, small_fake
from twisted_qmon import Monitor, QMPFactory
from twisted_qmon.conformance.comparing import KINDS, kind_of
from twisted_qmon.conformance.random_cases import BATCH, MAX_LOST
from twisted_qmon.conformance.report import DIFFERS, KNOWN, OK, SKIPPED, Outcome, Report
from twisted_qmon.conformance.run import GROUPS, run
from twisted_qmon.conformance.session import CHECKS, INTRUSIVE
from twisted_qmon.conformance.talk import Differs
from twisted_qmon.testing import Delay, FakeQEMU, Raw

# Checks that take long. What they find is in the first test, and in those of the faults that they are there for.
SLOW = (
    "nesting of 1024 is taken, and more is refused",
    "a message of a mebibyte is taken",
    "a bad token is shown whole",
)


def compare(
    make: Callable[[FakeQEMU], MemoryWire] = MemoryWire, *, groups: Collection[str] = GROUPS, count: int = 100
) -> Report:
    """Compare a server."""
    fake = small_fake()
    return run(lambda: make(fake), seed=5, count=count, kind="qemu", intrusive=True, groups=groups)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Without the checks that take long, but for those that the test is about."""
    where = FAULTS[request.node.callspec.params["fault"]][1] if "fault" in request.fixturenames else ""
    for name in SLOW:
        if not where or not re.match(where, name):
            monkeypatch.delitem(CHECKS, name)


@pytest.mark.slow
def test_a_good_server() -> None:
    """A fake QEMU is like QEMU in all but one thing, which is known."""
    report = compare(count=300)
    # It cuts a token off that is longer than a mebibyte, as the server of this package does.
    assert [each.name for each in report.differences] == ["a bad token is shown whole"]
    assert report.known == []
    assert {outcome.group for outcome in report.outcomes} == set(GROUPS)
    assert len(report.outcomes) > 500
    skipped = {outcome.text for outcome in report.outcomes if outcome.status == SKIPPED}
    assert skipped == {"the server has one client at a time", "the server has no blockdev-add"}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str, quick: None) -> None:
    """A server that is wrong in one way is found to be, and where it is wrong is said."""
    make, where = FAULTS[fault]
    if not where:
        with pytest.raises((Differs, TimeoutError)):
            compare(make)
        return
    groups = [group for group in GROUPS if group in where] or ["session"]
    differences = compare(make, groups=groups).differences
    assert any(re.match(where, text) for each in differences for text in (each.group, each.name)), [
        (each.group, each.name) for each in differences
    ]


def test_there_are_enough_faults() -> None:
    """There are many ways to be wrong."""
    assert len(FAULTS) > 30


@pytest.mark.parametrize("count", [1, 3])
def test_clients(count: int, quick: None) -> None:
    """A server that takes a second client at once differs, but for the kinds of which that is known."""
    fake = small_fake(one_client=False)
    names = [each.name for each in run(lambda: MemoryWire(fake), seed=count, count=0, kind="qemu").differences]
    assert names == ["one client is served at a time, the next one waits"]
    report = run(lambda: MemoryWire(fake), seed=count, count=0, kind="twisted-qmon", intrusive=True)
    assert report.differences == []
    assert report.known == ["clients at one socket"]
    assert all(outcome.status == OK for outcome in report.outcomes if outcome.name in INTRUSIVE)


def test_events_for_who_has_not_negotiated(quick: None) -> None:
    """A client that has not negotiated and gets events is seen."""
    fake = small_fake(one_client=False)
    shy: list[MemoryWire] = []

    class Leaky(MemoryWire):
        def __init__(self, fake: FakeQEMU) -> None:
            super().__init__(fake)
            shy.append(self)

        def came(self, data: bytes) -> bytes:
            if b'"STOP"' in data:
                shy[-1].waiting += data
            return data

    report = run(lambda: Leaky(fake), seed=1, count=0, kind="twisted-qmon", intrusive=True)
    assert [each.name for each in report.differences] == ["a client gets no events before it has negotiated"]


@pytest.mark.slow
def test_the_project_s_own_server() -> None:
    """The server of this package differs in what is known, and in nothing else."""
    factory = QMPFactory(Monitor(clock=Clock()))

    class Own(MemoryWire):
        def __init__(self) -> None:
            from twisted_qmon.testing.connections import Connection

            self.connection = Connection(factory)
            self.waiting = b""

    report = run(Own, seed=3, count=500, intrusive=True)
    assert report.kind == "twisted-qmon"
    assert report.differences == []
    assert set(report.known) == {known.name for known in KINDS["twisted-qmon"]} - {"an infinite number in a reply"} | (
        set(report.known) & {"an infinite number in a reply"}
    )
    strict = run(Own, seed=3, count=500, kind="strict", intrusive=True)
    assert len(strict.differences) == len([each for each in report.outcomes if each.status == KNOWN])


def test_kinds() -> None:
    """The kind of a server shows in its commands."""
    assert kind_of(frozenset({"query-pending", "query-status"})) == "twisted-qmon"
    assert kind_of(frozenset({"blockdev-add"})) == "qemu-storage-daemon"
    assert kind_of(frozenset({"blockdev-add", "query-status"})) == "qemu"


def test_a_server_that_dies(quick: None) -> None:
    """When replies stay out the rest is skipped, not waited for."""
    fake = small_fake()
    wires: list[int] = []

    class Dying(MemoryWire):
        def __init__(self, fake: FakeQEMU) -> None:
            wires.append(1)
            if len(wires) > 40:
                raise ConnectionRefusedError("gone")
            super().__init__(fake)

    count = (MAX_LOST + 2) * BATCH
    report = run(lambda: Dying(fake), seed=1, count=count, kind="qemu")
    assert any(each.text == "the server had no answer to those before" for each in report.outcomes)
    assert any(each.text == "too many replies were missing" for each in report.outcomes)
    assert len([each for each in report.outcomes if each.group == "random"]) == count
    assert "gone" in "\n".join(report.lines(1000))


@pytest.mark.parametrize("answer", [b'{"return": 5}\r\n', b'{"error": {"class": "CommandNotFound", "desc": "x"}}\r\n'])
def test_without_a_schema(answer: bytes) -> None:
    """What has no schema can't be compared."""
    fake = small_fake()
    fake.script("query-qmp-schema", Raw(answer, reply=True))
    with pytest.raises(Differs, match="no schema"):
        run(lambda: MemoryWire(fake), seed=1)


def test_no_server_of_qmp() -> None:
    """What is no QMP server is not compared."""
    fake = small_fake()
    fake.on_connect(Raw(b"SSH-2.0\r\n"), Delay(1))
    with pytest.raises(Differs, match="greeting"):
        run(lambda: MemoryWire(fake), seed=1)


def test_without_out_of_band_execution(quick: None) -> None:
    """What a server does not have is skipped: out-of-band execution, a machine, and much else."""
    fake = small_fake()
    fake.factory.capabilities = []
    fake.monitor.version = fake.recording.greeting["version"]  # type: ignore[assignment]
    skipped = {each.text for each in run(lambda: MemoryWire(fake), seed=1, count=0).outcomes if each.status == SKIPPED}
    assert {"the server has no out-of-band execution"} <= skipped


def test_report() -> None:
    """The report as text, and as XML without what XML can't say."""
    report = Report("7.2.22", "qemu", 5)
    report.outcomes += [
        Outcome("session", "one", OK),
        Outcome("session", "two", DIFFERS, "a\x00b\ud800\nc"),
        Outcome("random", "three", KNOWN, known=("this",)),
        Outcome("random", "four", SKIPPED, "no time"),
        Outcome("random", "five", DIFFERS, "d"),
    ]
    lines = report.lines(1)
    assert lines[:3] == [
        "7.2.22 (compared as qemu), seed 5",
        "session    1 ok, 1 differs",
        "random     1 differs, 1 known, 1 skipped",
    ]
    assert "... and 1 more" in lines
    assert "known differences: this" in lines
    assert lines[-1] == "5 looked at, 2 differences"
    root = ElementTree.fromstring(report.junit())
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) for suite in root] == [
        ("session", "2", "1", "0"),
        ("random", "3", "1", "1"),
    ]
    assert root[0][1][0].text == "a\ufffdb\ufffd\nc"
    assert Report("x", "qemu", 1).lines(1)[-1] == "0 looked at, no differences"


def test_every_check_has_its_name() -> None:
    """No two checks share a name."""
    assert not set(CHECKS) & set(INTRUSIVE)
    assert len(CHECKS) > 20
