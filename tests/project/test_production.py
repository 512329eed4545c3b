"""The files for production are what they have to be: units, options, rules, and a container's recipe."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.live.needs import need
from tests.live.twistd_process import PATIENCE, TWISTD, Twistd, free_port, until
from twisted_qmon.core.access.file import load_rules, load_toml
from twisted_qmon.tap import Options

ROOT = Path(__file__).parent.parent.parent
FILES = ROOT / "docs" / "examples" / "production"


def unit(name: str) -> ConfigParser:
    """:return: a unit of systemd"""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(FILES / name)
    return parser


def test_all_are_named() -> None:
    """The page and the folder's table name each file."""
    page = (ROOT / "docs" / "production.md").read_text()
    table = (FILES / "README.md").read_text()
    for path in FILES.iterdir():
        if path.name != "README.md":
            assert f"`{path.name}`" in table
            assert path.name in page or path.name.startswith("container")


@pytest.mark.parametrize("name", ["shop.toml", "container.toml"])
def test_options(name: str) -> None:
    """The files with options have none that C{twistd qmon} does not know."""
    known = {option.rstrip("=") for option in Options().longOpt}
    assert load_toml(str(FILES / name)).keys() <= known


@pytest.mark.parametrize("name", ["shop-access.toml", "container-access.toml"])
def test_rules(name: str) -> None:
    """The rules can be read."""
    load_rules(str(FILES / name))


def test_sockets_are_those_of_the_options() -> None:
    """The service's options take as many sockets as systemd makes."""
    made = (FILES / "shop.socket").read_text().count("\nListenStream=")
    taken = re.findall(r"systemd:domain=UNIX:index=(\d)", (FILES / "shop.toml").read_text())
    assert sorted(taken) == [str(n) for n in range(made)]


def test_the_service_runs_what_there_is() -> None:
    """What the unit starts are options of C{twistd}, C{twistd qmon} and another plugin."""
    words = unit("shop.service")["Service"]["ExecStart"].split()
    assert words[1:5] == ["-n", "--pidfile=", "qmon", "--config"]
    help_ = subprocess.run([*TWISTD, "--help"], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT).stdout
    assert f"    {words[6]} " in help_


def test_container() -> None:
    """What the container copies is there, it installs extras that there are, and runs the options that it copied."""
    text = (FILES / "Containerfile").read_text()
    for path in re.findall(r"docs/\S+\.toml", text):
        assert (ROOT / path).exists()
    wanted = re.findall(r"^ARG EXTRAS=(\S+)", text, re.MULTILINE)[0].split(",")
    extras = re.findall(r"^(\w+) =$", (ROOT / "setup.cfg").read_text().partition("extras_require]")[2], re.MULTILINE)
    assert set(wanted) <= set(extras)
    assert '"/etc/qmon/container.toml"' in text


@pytest.mark.live
@pytest.mark.slow
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """systemd's own check finds nothing to say, once the program is there."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here")
    for name in ("shop.service", "shop.socket"):
        shutil.copy(FILES / name, tmp_path)
    service = tmp_path / "shop.service"
    service.write_text(service.read_text().replace("/opt/shop/bin/twistd", sys.executable))
    done = subprocess.run(
        [analyze, "verify", str(service), str(tmp_path / "shop.socket")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "shop" not in done.stderr, done.stderr


@pytest.mark.live
@pytest.mark.slow
def test_the_container_starts(tmp_path: Path) -> None:
    """What the container runs starts, with its options and rules, at other ports."""
    need("curl")
    for name in ("container.toml", "container-access.toml"):
        text = (FILES / name).read_text().replace("/etc/qmon/", "")
        (tmp_path / name).write_text(text)
    metrics = free_port()
    words = ["--config", "container.toml", "--web", f"tcp:{free_port()}:interface=127.0.0.1"]
    with Twistd(tmp_path, [*words, "--metrics", f"tcp:{metrics}:interface=127.0.0.1"]) as server:
        assert server.qmp().execute("query-whoami")["level"] == "admin"
        until("the address of the page", (tmp_path / "web-tokens.toml.url").exists, server)
        url = f"http://127.0.0.1:{metrics}/metrics"
        scraped = subprocess.run(["curl", "-s", url], capture_output=True, text=True, timeout=PATIENCE).stdout
        assert "qmon_info" in scraped
