"""The examples in docs/examples run, and do what they say."""

from __future__ import annotations

import hashlib
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.application.service import IServiceCollection, MultiService
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyObject

from tests.live.twistd_process import PATIENCE, Program, free_port, until
from twisted_qmon import Monitor
from twisted_qmon.interfaces import ICommandProvider, ICommandProviderFactory
from twisted_qmon.providers.jobs import Jobs
from twisted_qmon.testing import HMPConnection, QMPConnection

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"


@pytest.fixture
def load() -> Any:
    """Run a file of the examples, as a module."""

    def load(name: str) -> Any:
        return SimpleNamespace(**runpy.run_path(str(EXAMPLES / name), run_name=name.partition(".")[0]))

    return load


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock: Any) -> Monitor:
    return Monitor(clock=clock)


def test_the_readme_names_them_all() -> None:
    """Each file and package has its row, and there is no row without a file."""
    rows = set(re.findall(r"^\| `([^`]+)` \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    there = {path.name + "/" * path.is_dir() for path in EXAMPLES.iterdir() if path.name != "__pycache__"}
    assert rows == there - {"README.md"}


def test_a_long_job_tells_its_progress_and_its_result(
    load: Any, monitor: Monitor, clock: Clock, tmp_path: Path
) -> None:
    """The command returns at once; the job can be looked at and paused; its result is an event."""
    example = load("long_job.py")
    monitor.register(Jobs())
    monitor.register(example.Checksum())
    path = tmp_path / "big"
    path.write_bytes(b"x" * (3 * example.PIECE + 1))
    client = QMPConnection(monitor)
    client.send({"execute": "checksum", "arguments": {"job-id": "big", "path": str(path)}})
    assert {"return": {}} in client.received()
    (job,) = client.execute("query-jobs")["return"]
    assert 0 < job["current-progress"] < job["total-progress"] == 3 * example.PIECE + 1
    clock.pump([0.01] * 10)
    (event,) = [message for message in client.received() if message.get("event") == "CHECKSUM_COMPLETED"]
    assert event["data"] == {
        "job-id": "big",
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_a_long_job_that_can_not_begin_is_an_error(load: Any, monitor: Monitor) -> None:
    """What is wrong before the job begins is the answer to the command."""
    monitor.register(Jobs())
    monitor.register(load("long_job.py").Checksum())
    console = HMPConnection(monitor)
    assert "Error: Can't read /no/such/file: No such file or directory" in console.type("checksum big /no/such/file")


def test_a_service_emits_events_within_its_rate_limit(load: Any) -> None:
    """It measures four times a second; one place is heard of once a second; nothing comes when it is stopped."""
    example = load("service_events.py")
    assert verifyObject(ICommandProviderFactory, example.factory)
    reactor = MemoryReactorClock()
    monitor = Monitor(clock=reactor)
    root = MultiService()
    thermometer = example.factory.provider(reactor, root)
    assert verifyObject(ICommandProvider, thermometer)
    assert list(root) == [thermometer]
    monitor.register(thermometer)
    events: list[Any] = []
    monitor.subscribe(events.append, ["TEMPERATURE"])
    root.startService()
    reactor.pump([0.25] * 12)
    kitchen = [event for event in events if event["data"]["place"] == "kitchen"]
    # At 0, 1, 2 and 3 seconds; each time the latest measurement.
    assert len(kitchen) == 4
    latest = thermometer.query_temperature()["kitchen"]
    assert f"kitchen: {latest}" in HMPConnection(monitor).type("info temperature")
    root.stopService()
    reactor.pump([0.25] * 8)
    assert len([event for event in events if event["data"]["place"] == "kitchen"]) <= 5


def test_a_printer_draws_what_a_person_sees(load: Any, monitor: Monitor) -> None:
    """A bar for a person, plain numbers for a machine."""
    example = load("custom_printer.py")
    monitor.register(example.Disks())
    (disk,) = QMPConnection(monitor).execute("query-disks")["return"]
    assert set(disk) == {"path", "total", "used"}
    shown = HMPConnection(monitor).type("info disks")
    assert re.search(r"^/     \[#*-*\] +\d+ % of [\d.]+ TiB\r$", shown, re.MULTILINE), shown
    printer = monitor.command("query-disks").info.printer  # type: ignore[union-attr]
    assert printer is not None
    assert printer([{"path": "/", "total": 2**41, "used": 2**40}]) == "/     [##########----------]  50 % of 2.0 TiB"


def test_a_multiservice_has_its_own_monitor(load: Any) -> None:
    """Wherever it is put, its monitor knows the whole tree, and refuses to stop what it is in."""
    example = load("multiservice.py")
    reactor = MemoryReactorClock()
    shop = example.Shop(reactor, [], [])
    shop.setServiceParent(MultiService())
    console = HMPConnection(shop.monitor)
    assert console.type("sell tea 2") == "(qmon) "
    assert re.search(r"^tea: +10\r$", console.type("info stock"), re.MULTILINE)
    assert "Error: There are not 99 of 'cake'" in console.type("sell cake 99")
    assert "shop" in console.type("info services")
    assert "can't be stopped" in console.type("service-stop shop")


@pytest.mark.live
@pytest.mark.slow
class TestPrograms:
    """Those that are whole programs, run as such."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="qmon-") as name:
            yield Path(name)

    def test_embedding(self, folder: Path) -> None:
        """The .tac serves its pages, and a monitor that sees the whole application."""
        port = free_port()
        source = (EXAMPLES / "embedding.tac").read_text()
        assert "tcp:8080:" in source
        (folder / "embedding.tac").write_text(source.replace("tcp:8080:", f"tcp:{port}:"))
        twistd = ["-c", "from twisted.scripts.twistd import run; run()"]
        with Program(folder, [sys.executable, *twistd, "-ny", "embedding.tac"]) as program:
            qmp = program.qmp("web.qmp")
            services = {service["path"]: service for service in qmp.execute("query-services")}
            assert services[""]["name"] == "shop"
            assert services["0"]["running"] is True
            assert any(str(port) in info["address"] for info in qmp.execute("query-ports"))
            assert qmp.execute("service-stop", {"path": "0"}) == {}
            assert not any(str(port) in info["address"] for info in qmp.execute("query-ports"))

    def test_multiservice(self, folder: Path) -> None:
        """The shop runs as a program."""
        with Program(folder, [sys.executable, str(EXAMPLES / "multiservice.py")]) as program:
            qmp = program.qmp("shop.qmp")
            qmp.execute("sell", {"what": "tea"})
            assert qmp.execute("query-stock") == {"tea": 11, "cake": 3}

    def test_asyncio(self, folder: Path) -> None:
        """On asyncio's loop: coroutines of asyncio's as commands, a progress, and the monitor asked from asyncio code."""
        with Program(folder, [sys.executable, str(EXAMPLES / "asyncio_app.py")]) as program:
            qmp = program.qmp("app.qmp")
            until("the line that it prints", lambda: "fetched 2, serving" in program.output(), program)
            assert qmp.execute("fetch", {"count": 3}) == 5
            assert qmp.execute("query-fetched") == 5
            assert qmp.execute("query-reactor")["class"].endswith("AsyncioSelectorReactor")
            assert qmp.execute("query-reactor")["latency"]["worst"] < 5

    @pytest.mark.parametrize(
        ("provider", "command"),
        [
            ("long_job.Checksum", "checksum"),
            ("service_events.factory", "query-temperature"),
            ("custom_printer.Disks", "query-disks"),
        ],
    )
    def test_providers(self, provider: str, command: str, folder: Path) -> None:
        """Those that are loaded with C{--provider} are."""
        twistd = ["-c", "from twisted.scripts.twistd import run; run()", "-n", "qmon", "--provider", provider]
        with Program(folder, [sys.executable, *twistd], paths=[EXAMPLES]) as program:
            assert command in [info["name"] for info in program.qmp().execute("query-commands")]

    def test_the_package_is_found_by_name(self, folder: Path, python: str) -> None:
        """
        Built as a wheel and installed into a fresh virtual environment: found by name, listed in the help, and its commands are
        there, with the option that was given.
        """
        program = [python, "-c", "from twisted.scripts.twistd import run; run()", "-n", "qmon"]
        usage = subprocess.run([*program, "--help"], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
        assert re.search(r"^ +weather +the weather, wherever you are$", usage.stdout, re.MULTILINE), usage
        with Program(folder, [*program, "--provider", "weather:place=Oslo"], paths=[]) as process:
            qmp = process.qmp()
            assert qmp.execute("query-weather") == {"place": "Oslo", "celsius": 20.0}
            assert "weather-set" in [info["name"] for info in qmp.execute("query-commands")]
            assert any(info.get("name") == "WEATHER_CHANGE" for info in qmp.execute("query-qmp-schema"))
            qmp.execute("weather-set", {"celsius": 3})
            assert qmp.event("WEATHER_CHANGE")["data"] == {"place": "Oslo", "celsius": 3}

    def test_the_package_is_unregistered_at_run_time(self, folder: Path, python: str) -> None:
        """Its commands are gone from C{query-commands}, from C{help} and from the schema, and so is its event."""
        result = subprocess.run(
            [python, "-c", UNREGISTER], cwd=folder, capture_output=True, text=True, timeout=PATIENCE
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.split() == ["with", "3", "without", "0"]


UNREGISTER = """
import json
from twisted.internet.task import Clock
from twisted_qmon import Monitor
from twisted_qmon._twistd.plugins import find_provider
from twisted_qmon.testing import HMPConnection, QMPConnection

monitor = Monitor(clock=Clock())
provider = find_provider("weather")(Clock(), None)

def places():
    client = QMPConnection(monitor)
    told = [client.execute("query-commands"), client.execute("query-qmp-schema"), HMPConnection(monitor).type("help")]
    return sum("weather" in json.dumps(each) or "WEATHER" in json.dumps(each) for each in told)

monitor.register(provider)
print("with", places())
monitor.unregister(provider)
print("without", places())
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """
    The interpreter of a fresh virtual environment, into which the example package was installed, from a wheel that was built of
    it; what it needs is taken from ours.
    """
    folder = tmp_path_factory.mktemp("package")

    def run(*command: str) -> None:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=4 * PATIENCE)
        assert result.returncode == 0, result.stdout + result.stderr

    root = EXAMPLES.parent.parent
    _copy(EXAMPLES / "provider_package", folder / "package")
    run(sys.executable, "-m", "venv", "--without-pip", "environment")
    python = str(folder / "environment" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels", str(folder / "package"))
    (wheel,) = (folder / "wheels").glob("weather_monitor-*.whl")
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    run(*pip, "install", "-q", "--no-deps", "--no-compile", "--target", site, str(wheel))
    # Ours and what both need, as a virtual environment on top of this one would have them.
    ours = [path for path in sys.path if path.endswith("-packages")]
    Path(site, "beside.pth").write_text("\n".join([str(root), *ours]) + "\n")
    return python


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if (
            path.is_file()
            and not {"build", "__pycache__"} & set(path.parts)
            and not path.parent.name.endswith(".egg-info")
        ):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())


def test_the_application_of_the_tac_is_one(load: Any) -> None:
    """The file makes an application with the web server and the monitor in it; nothing listens yet."""
    example = load("embedding.tac")
    root: Any = IServiceCollection(example.application)
    assert [service.name for service in root] == [None, "qmon"]
