"""A process that leaks, spins and waits for what never comes, and what its monitor says of it."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.live.needs import missing, need
from tests.live.twistd_process import PATIENCE, Twistd, until

pytestmark = pytest.mark.live

# Each line that a test names is marked.
SHOP = """
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from twisted_qmon import CommandProvider, command


class Order:
    def __init__(self, number):
        self.number = number


class Shop(CommandProvider):
    def __init__(self):
        self.orders = []
        self.lost = Deferred()
        self.lost.addCallback(self.delivered)

    def delivered(self, parcel):  # the Deferred's place
        return parcel

    @command
    def leak(self):
        LoopingCall(self.grow).start(0.01)

    def grow(self):
        for number in range(100):
            self.orders.append(Order(number))  # the leak

    @command
    def spin(self):
        LoopingCall(self.price).start(0.01)

    def price(self):
        return sum(len(str(number)) for number in range(20_000))
"""


def _line(mark: str) -> int:
    return next(number for number, line in enumerate(SHOP.splitlines(), 1) if f"# {mark}" in line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the program."""
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def test_a_leak_and_what_never_comes_are_found(folder: Path) -> None:
    """The second look at the objects names the type, the trace of the memory the line, and the Deferred has place and age."""
    with Twistd(folder, ["--provider", "shop.Shop"], paths=[folder]) as process:
        qmp, spare = process.qmp(), process.qmp()
        (place,) = qmp.execute("query-tasks", {"filter": "Shop.delivered"})["places"]
        assert (place["stack"][0]["file"], place["stack"][0]["line"]) == (
            str(folder / "shop.py"),
            _line("the Deferred's place"),
        )

        qmp.execute("memory-trace", {"action": "start"})
        qmp.execute("query-objects")
        qmp.execute("leak")

        def culprit() -> Any:
            types = qmp.execute("query-objects", {"limit": 2})["types"]
            return next((each for each in types if each["type"] == "shop.Order" and each["count-change"] > 2000), None)

        assert until("the type", culprit, process)["count"] > 2000
        lines = qmp.execute("memory-trace", {"action": "top", "limit": 5})["lines"]
        assert (str(folder / "shop.py"), _line("the leak")) in [(each["file"], each["line"]) for each in lines]
        assert spare.execute("human-monitor-command", {"command-line": "memory-trace stop"}).startswith(
            "allocations are"
        )

        (place,) = qmp.execute("query-tasks", {"filter": "Shop.delivered"})["places"]
        assert 0.0 < place["age"] < PATIENCE
        assert place["age-from"] == "look"


def test_a_profile_opens_in_speedscope(folder: Path) -> None:
    """The tree names the culprit, others are answered meanwhile, and speedscope's own page shows the file."""
    npm, chromium = need("npm"), need("chromium")
    with Twistd(folder, ["--provider", "shop.Shop"], paths=[folder]) as process:
        qmp, other = process.qmp(), process.qmp()
        qmp.execute("spin")
        qmp.socket.sendall(b'{"execute": "profile", "arguments": {"seconds": 1.5}, "id": "p"}\n')
        pending = until(
            "progress",
            lambda: [each for each in other.execute("query-pending") if each.get("progress", {}).get("current")],
            process,
        )
        assert pending[0]["command"] == "profile"
        info = qmp._read()["return"]
    assert "Shop.price" in info["text"]

    packed = subprocess.run(
        [npm, "pack", "--silent", "speedscope@1.25.0"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if packed.returncode:
        missing(f"speedscope from the npm registry ({packed.stderr.strip()[:200]})")
    subprocess.run(["tar", "xzf", packed.stdout.split()[-1]], cwd=folder, check=True, timeout=60)
    # What `speedscope FILE` does: a script beside the page that hands over the file.
    data = base64.b64encode(json.dumps(info["speedscope"]).encode()).decode()
    script = folder / "profile.js"
    script.write_text(f"speedscope.loadFileFromBase64('shop.speedscope.json', '{data}')")
    page = f"file://{folder}/package/dist/release/index.html#localProfilePath={script}"
    shown = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder}/browser",
            "--virtual-time-budget=10000",
            "--dump-dom",
            page,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    ).stdout
    assert info["speedscope"]["profiles"][0]["name"] in shown
    assert "Time Order" in shown
    assert "Something went wrong" not in shown
