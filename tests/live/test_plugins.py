"""
C{twistd -n qmon PLUGIN} with every plugin of twistd that can be had: Twisted's own, and those of other packages, installed from
PyPI into an environment of their own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.live.needs import missing
from tests.live.twistd_process import PATIENCE, Twistd, free_port, until

pytestmark = [pytest.mark.live, pytest.mark.slow]

PACKAGES = ["twisted[conch]", "carbon", "whisper", "magic-wormhole-mailbox-server", "magic-wormhole-transit-relay"]

#: Seconds that the installation may take.
INSTALLATION = 300

LOCAL = "interface=127.0.0.1"

# What stands in carbon's own examples, with paths and ports for a test.
CARBON = """
[{section}]
STORAGE_DIR = {folder}
LOCAL_DATA_DIR = {folder}/whisper
WHITELISTS_DIR = {folder}
CONF_DIR = {folder}
LOG_DIR = {folder}/log
PID_DIR = {folder}
USER =
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {port}
PICKLE_RECEIVER_PORT = 0
CACHE_QUERY_PORT = 0
RELAY_METHOD = consistent-hashing
DESTINATIONS = 127.0.0.1:{other}:a
"""


@pytest.fixture(scope="session")
def twistd(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """
    The command C{twistd} of an environment with the packages, on top of the one that runs the tests.
    """
    folder = tmp_path_factory.mktemp("plugins")
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input", *PACKAGES]
    # Without this carbon installs itself below /opt/graphite.
    environment = {**os.environ, "GRAPHITE_NO_PREFIX": "True"}
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=INSTALLATION)
        query = [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
        packages = subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
        (Path(packages) / "tests.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        subprocess.run(install, check=True, timeout=INSTALLATION, env=environment, capture_output=True)
    except (OSError, subprocess.SubprocessError) as e:
        missing(f"packages from PyPI ({' '.join(PACKAGES)}): {getattr(e, 'stderr', None) or e}")
    return [python, "-c", "from twisted.scripts.twistd import run; run()"]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the process runs; short, for the sake of the unix sockets in it. To carbon's it is their root."""
    with tempfile.TemporaryDirectory(prefix="qmon-") as name:
        monkeypatch.setenv("GRAPHITE_ROOT", name)
        yield Path(name)


def answers(port: int) -> bool:
    """:return: whether a process listens at the port"""
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def carbon(folder: Path, port: int, section: str) -> list[str]:
    """Write the configuration of one of carbon's four. :return: its arguments"""
    text = CARBON.format(section=section, folder=folder, port=port, other=free_port())
    (folder / "carbon.conf").write_text(text)
    (folder / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 60s:1d\n")
    for name in ("storage-aggregation.conf", "aggregation-rules.conf", "rewrite-rules.conf", "relay-rules.conf"):
        (folder / name).write_text("")
    return [f"carbon-{section}", "--config", str(folder / "carbon.conf")]


def conch(folder: Path, port: int) -> list[str]:
    """Make a host key. :return: the arguments of Twisted's SSH server"""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (folder / "ssh_host_rsa_key").write_bytes(private)
    (folder / "ssh_host_rsa_key.pub").write_bytes(public)
    return ["conch", "--port", f"tcp:{port}:{LOCAL}", "--data", ".", "--auth", "memory:user:password"]


def manhole(folder: Path, port: int) -> list[str]:
    """:return: the arguments of the interactive interpreter over telnet"""
    (folder / "passwd").write_text("user:password\n")
    return ["manhole", "--telnetPort", f"tcp:{port}:{LOCAL}", "--passwd", "passwd"]


def inetd(folder: Path, port: int) -> list[str]:
    """:return: the arguments of the super-server; the ports of what it serves can't be chosen, so that is nothing"""
    (folder / "inetd.conf").write_text("# nothing\n")
    return ["inetd", "--file", "inetd.conf"]


# What follows `qmon`, for a folder and a port.
PLUGINS: dict[str, Callable[[Path, int], list[str]]] = {
    "conch": conch,
    "dns": lambda folder, port: ["dns", "--port", str(port), "--interface", "127.0.0.1"],
    "ftp": lambda folder, port: ["ftp", "--port", str(port), "--root", "."],
    "inetd": inetd,
    "mail": lambda folder, port: ["mail", "--smtp", f"tcp:{port}:{LOCAL}", "--no-pop3"],
    "manhole": manhole,
    "portforward": lambda folder, port: ["portforward", "--port", f"tcp:{port}:{LOCAL}", "--dest_port", "1"],
    "procmon": lambda folder, port: ["procmon", sys.executable, "-c", "import time; time.sleep(1000)"],
    "socks": lambda folder, port: ["socks", "--port", str(port)],
    "web": lambda folder, port: ["web", "--path", ".", "--listen", f"tcp:{port}:{LOCAL}"],
    "words": lambda folder, port: ["words", "--irc-port", f"tcp:{port}:{LOCAL}", "--auth", "memory:user:password"],
    "xmpp-router": lambda folder, port: ["xmpp-router", "--port", f"tcp:{port}:{LOCAL}"],
    "carbon-cache": lambda folder, port: carbon(folder, port, "cache"),
    "carbon-relay": lambda folder, port: carbon(folder, port, "relay"),
    "carbon-aggregator": lambda folder, port: carbon(folder, port, "aggregator"),
    "carbon-aggregator-cache": lambda folder, port: carbon(folder, port, "aggregator-cache"),
    "endpointforward": lambda folder, port: [
        # To a server that is there: the forwarder logs a traceback for one that is not.
        *("endpointforward", "--endpoint", f"tcp:{port}:{LOCAL}", "--dest_endpoint", f"unix:{folder / 'qmp.sock'}")
    ],
    "transitrelay": lambda folder, port: ["transitrelay", "--port", f"tcp:{port}:{LOCAL}"],
    "wormhole-mailbox": lambda folder, port: ["wormhole-mailbox", "--port", f"tcp:{port}:{LOCAL}"],
}
SILENT = {"inetd", "procmon"}


def test_all_are_known(twistd: list[str]) -> None:
    """Every plugin that twistd lists is in the table."""
    output = subprocess.run([*twistd, "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    commands = output.partition("Commands:")[2].splitlines()
    listed = {line.split()[0] for line in commands if line.startswith("    ") and not line.startswith("     ")}
    assert listed - {"qmon", "trial"} == set(PLUGINS)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugin(plugin: str, twistd: list[str], folder: Path) -> None:
    """It starts as under twistd itself, serves, is in the tree of services, its start is in the log, and it ends in order."""
    if plugin == "inetd" and not Path("/etc/services").exists():
        missing("/etc/services")
    port = free_port()
    arguments = PLUGINS[plugin](folder, port)
    with Twistd(folder, ["--qmp", "unix:qmp.sock", *arguments], twistd=twistd) as process:
        qmp = process.qmp()
        if plugin not in SILENT:
            until(f"{plugin} at its port", lambda: answers(port), process)
        services = qmp.execute("query-services")
        (hosted,) = [info for info in services if info["path"] == plugin]
        # The forwarder's service does not say that it runs.
        assert hosted["running"] is (plugin != "endpointforward")
        # What was logged before anybody could ask: all of its start.
        texts = [info["text"] for info in qmp.execute("query-log")]
        assert plugin in SILENT or any("starting on" in text for text in texts), texts
        qmp.execute("quit")
        assert process.ends() == 0, process.output()
        assert "Traceback" not in process.output()


@pytest.mark.parametrize("section", ["cache", "relay"])
def test_carbon_as_a_daemon(section: str, twistd: list[str], folder: Path) -> None:
    """What carbon takes from twistd's options and changes in them has its effect: the pid file, the log's folder."""
    arguments = carbon(folder, free_port(), section)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    command = [*twistd, "qmon", "--qmp", f"unix:{folder}/qmp.sock", *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=PATIENCE, capture_output=True)
    pid_file = folder / f"carbon-{section}-a.pid"
    pid = int(until("its pid", lambda: pid_file.exists() and pid_file.read_text()))
    try:
        assert os.listdir(folder / "log")
    finally:
        os.kill(pid, 15)
        until("its end", lambda: not pid_file.exists())
