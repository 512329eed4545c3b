"""
C{twistd} finds us: in a checkout, after C{pip install -e .}, and after C{pip install .}.

Each way of installing has a way of losing the plugin without a word, so these tests also run against the built wheel, from a
folder without the source (C{QMON_WHEEL} names the wheel then).
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

WHEEL = os.environ.get("QMON_WHEEL")
ROOT = Path(__file__).parent.parent.parent
in_checkout = pytest.mark.skipif(WHEEL is not None, reason="needs the source")


def _packages() -> list[str]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    return config["options"]["packages"].split()


def test_endpoint_is_found() -> None:
    """Twisted's own search lists the endpoint C{mtls:}, once."""
    assert [parser.prefix for parser in getPlugins(IStreamServerEndpointStringParser)].count("mtls") == 1


def test_plugin_is_found() -> None:
    """Twisted's own search lists the plugin, once."""
    found = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "qmon"]
    assert [getattr(maker, "module", None) for maker in found] == ["twisted_qmon.tap"]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["twistd", "twist"])
def test_program_lists_the_command(program: str, tmp_path: Path) -> None:
    """C{twistd --help} and C{twist --help}, in a process of their own, list C{qmon} and report no broken plugin."""
    environment = dict(os.environ)
    if WHEEL is None:
        environment["PYTHONPATH"] = str(ROOT)
    code = {
        "twistd": "from twisted.scripts.twistd import run; run()",
        "twist": "from twisted.application.twist._twist import Twist; Twist.main()",
    }[program]
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [line.split()[0] for line in done.stdout.splitlines() if line.split()[:1] == ["qmon"]] == ["qmon"], done
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("plugin", ["qmon_plugin", "qmon_mtls"])
def test_plugin_imports_nothing_of_ours(plugin: str, tmp_path: Path) -> None:
    """A C{twistd} that runs something else imports the plugins, and nothing more: neither our package, nor a reactor, nor TLS."""
    code = (
        f"import sys, twisted.plugins.{plugin}\n"
        "print(sorted(n for n in sys.modules if n.startswith(('twisted_qmon', 'OpenSSL')) or n == 'twisted.internet.reactor'))"
    )
    environment = dict(os.environ)
    if WHEEL is None:
        environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel: the one that was built already, or one built here from a copy of the source, without a network."""
    if WHEEL is not None:
        return Path(WHEEL)
    folder = tmp_path_factory.mktemp("build")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("twisted", "twisted_qmon"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import setuptools.build_meta as b; b.build_wheel('.')"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_wheel_has_the_plugin_and_no_more_of_twisted(wheel: Path) -> None:
    """Under C{twisted/} the wheel has our two files: one less, and C{twistd} can't find us; one more, and we break Twisted."""
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(name for name in names if name.startswith("twisted/")) == [
        "twisted/plugins/qmon_mtls.py",
        "twisted/plugins/qmon_plugin.py",
    ]


@pytest.mark.slow
def test_wheel_is_complete(wheel: Path) -> None:
    """The wheel has the type marker, the licence, and nothing outside the two packages."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "twisted_qmon/py.typed" in names
    assert "twisted_qmon/testing/recordings/7.2.json.gz" in names
    assert "twisted_qmon/conformance/recorded.json" in names
    assert any(name.endswith("/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"twisted", "twisted_qmon"}


@in_checkout
def test_every_package_is_listed() -> None:
    """The packages in setup.cfg, listed by hand, are the folders that there are."""
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "twisted_qmon").rglob("__init__.py")}
    assert set(_packages()) == folders | {"twisted.plugins"}


@in_checkout
def test_twisted_folders_are_no_packages() -> None:
    """An C{__init__.py} under C{twisted/} would hide Twisted in a checkout, and make pip delete Twisted's own."""
    assert [str(path) for path in (ROOT / "twisted").rglob("__init__.py")] == []
