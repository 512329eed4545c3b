"""
The wheel as users have it: installed in fresh environments, without extras, with each extra alone, and with all::

    python -m tests.support.extras dist/*.whl

In each, every option that needs an extra is tried. Where the extra is installed it starts; where it is not, it ends with one line
that says what to install. It takes some minutes, and installs from PyPI.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from configparser import ConfigParser
from pathlib import Path

from tests.support.certificates import Authority

#: Seconds that anything may take.
PATIENCE = 40.0

ROOT = Path(__file__).parent.parent.parent

#: Extras that are not for users.
INTERNAL = {"test", "browser", "docs", "dev"}

LOCAL = "tcp:0:interface=127.0.0.1"

#: By extra, an option that needs it.
OPTIONS: dict[str, tuple[str, ...]] = {
    "tls": ("--qmp", "mtls:0:interface=127.0.0.1:key=key.pem:cert=cert.pem:ca=ca.pem"),
    "ssh": ("--ssh", LOCAL, "--ssh-host-key", "host_key", "--ssh-authorized-keys", "keys"),
    "web": ("--web", LOCAL),
    "metrics": ("--metrics", LOCAL),
    "fleet": ("--fleet", "ws://127.0.0.1:9/ws"),
}


def extras() -> list[str]:
    """:return: the extras for users"""
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    return [name for name in config["options.extras_require"] if name not in INTERNAL]


class Environment:
    """
    A virtual environment with the wheel.

    :param folder: where it is made
    :param wheel: what is installed
    :param names: the extras
    """

    def __init__(self, folder: Path, wheel: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self.names = set(names)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        wanted = f"{wheel}[{','.join(sorted(self.names))}]" if self.names else str(wheel)
        subprocess.run([folder / "venv" / "bin" / "pip", "install", "-q", wanted], check=True)
        self.run = folder / "run"
        self.run.mkdir()
        authority = Authority()
        server = authority.issue("localhost")
        files = {"ca.pem": authority.certificate, "cert.pem": server.certificate, "key.pem": server.key, "keys": b""}
        for name, data in files.items():
            (self.run / name).write_bytes(data)
            (self.run / name).chmod(0o600)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start C{twistd -n qmon}."""
        for path in self.run.glob("*.sock"):
            path.unlink()
        return subprocess.Popen(
            [self.program("twistd"), "-n", "--pidfile=", "qmon", "--hmp", "unix:hmp.sock", *words],
            cwd=self.run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment(),
        )  # fmt: skip

    def program(self, name: str) -> str:
        """:return: a program of the environment"""
        return str(self.folder / "venv" / "bin" / name)

    def environment(self) -> Mapping[str, str]:
        """:return: the variables of a program: nothing is found but what is installed"""
        return {"PATH": os.environ["PATH"], "HOME": str(self.run), "TERM": "xterm", "XDG_STATE_HOME": str(self.run)}


def starts(environment: Environment, *words: str) -> str:
    """:return: what it printed; empty if it serves"""
    process = environment.start(*words)
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and process.poll() is None:
            # The last thing of the start is that the human monitor listens.
            if (environment.run / "hmp.sock").exists():
                time.sleep(0.5)
                return "" if process.poll() is None else process.communicate()[0]
            time.sleep(0.05)
        return process.communicate(timeout=1)[0]
    finally:
        process.kill()
        process.communicate()


def complaint(output: str) -> str:
    """:return: the one line that says what is wrong"""
    lines = [line for line in output.splitlines() if "pip install" in line]
    return lines[0] if len(lines) == 1 and "Traceback" not in output else ""


def try_options(environment: Environment) -> Iterable[tuple[str, str]]:
    """:return: each extra, and what is wrong with its option; empty if nothing is"""
    for name, words in OPTIONS.items():
        output = starts(environment, *words)
        if name in environment.names:
            yield name, f"does not start: {output[-500:]}" if output else ""
        else:
            yield name, "" if f"twisted-qmon[{name}]" in complaint(output) else f"no clear line: {output[-500:]}"


def try_qmon(environment: Environment) -> Iterable[tuple[str, str]]:
    """The extras of C{qmon} and of C{profile}, at a server."""
    process = environment.start("--qmp", "unix:qmp.sock")
    try:
        end = time.monotonic() + PATIENCE
        while not (environment.run / "qmp.sock").exists() and time.monotonic() < end:
            time.sleep(0.05)
        done = subprocess.run(
            [environment.program("qmon"), "./qmp.sock", "exec", "profile", "seconds:=0.2", "--json"],
            cwd=environment.run, env=environment.environment(), capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        good = done.returncode == 0 and "speedscope" in done.stdout
        if "diagnose" in environment.names:
            yield "diagnose", "" if good else f"no profile: {done.stderr[-500:]}"
        else:
            yield (
                "diagnose",
                "" if "twisted-qmon[diagnose]" in complaint(done.stderr) else f"no clear line: {done.stderr}",
            )
        screen = _at_terminal(environment)
        if "shell" in environment.names:
            yield "shell", "" if "(qmon)" in screen else f"no prompt: {screen[-500:]}"
        else:
            yield "shell", "" if "twisted-qmon[shell]" in complaint(screen) else f"no clear line: {screen[-500:]}"
    finally:
        process.kill()
        process.communicate()


def _at_terminal(environment: Environment) -> str:
    """:return: what C{qmon} shows at a terminal until it has a prompt, or has ended"""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [environment.program("qmon"), "./qmp.sock"],
        cwd=environment.run, env=environment.environment(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    screen = b""
    end = time.monotonic() + PATIENCE
    try:
        while b"(qmon)" not in screen and time.monotonic() < end:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    screen += os.read(master, 65536)
                except OSError:
                    break
        return screen.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(master)


TRIALS: tuple[Callable[[Environment], Iterable[tuple[str, str]]], ...] = (try_options, try_qmon)


def main() -> int:
    """:return: 0 if all is as it has to be"""
    parser = argparse.ArgumentParser(prog="python -m tests.support.extras", description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("extras", nargs="*", help="only environments with these alone; by default none, each, and all")
    options = parser.parse_args()
    offered = extras()
    sets = [[name] for name in options.extras] or [[], *([name] for name in offered), offered]
    wrong = 0
    for names in sets:
        with tempfile.TemporaryDirectory(prefix="extras-") as folder:
            environment = Environment(Path(folder), options.wheel.resolve(), names)
            for trial in TRIALS:
                for extra, fault in trial(environment):
                    wrong += bool(fault)
                    what = fault or ("starts" if extra in environment.names else "says what to install")
                    print(f"with {', '.join(names) or 'none'}: {extra}: {what}", flush=True)
    print(f"{wrong} of these are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
