"""What the words of the command line mean, and how C{qmon} ends."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.shell.conftest import Qmon
from tests.shell.scripted import ScriptedServer
from twisted_qmon import __version__
from twisted_qmon.shell import main as main_module
from twisted_qmon.shell.main import USAGE, main

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help(qmon: Qmon, word: str) -> None:
    """Help is on standard output, and needs no server."""
    done = qmon(word)
    assert (done.status, done.out, done.err) == (0, USAGE, "")


def test_version(qmon: Qmon) -> None:
    """The version is the package's."""
    assert qmon("--version").out == f"qmon {__version__}\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nothing"], "'nothing' is not an address"),
        (["exec", "stop"], "an address comes before 'exec': qmon ./qmp.sock exec stop"),
        (["./x", "exce"], "'exce' is not a command of qmon: exec, events, "),
        (["./x", "exec"], "the following arguments are required: NAME"),
        (["./x", "exec", "a", "b"], "'b' is not an argument"),
        (["./x", "exec", "a", "--frob"], "unrecognized arguments: --frob"),
        (["./x", "exec", "a", "--timeout", "0"], "argument --timeout: invalid seconds value: '0'"),
        (["./x", "exec", "a", "--timeout", "nan"], "argument --timeout: invalid seconds value: 'nan'"),
        (["./x", "exec", "a", "--timeout", "1", "--no-wait"], "--no-wait and --timeout exclude each other"),
        (["./x", "exec", "a", "--json", "--table"], "not allowed with argument"),
        (["./x", "log", "--level", "loud"], "invalid choice: 'loud'"),
        (["./x", "schema"], "the following arguments are required: NAME"),
        (["./x", "whoami", "me"], "unrecognized arguments: me"),
    ],
)
def test_wrong_usage(qmon: Qmon, monkeypatch: pytest.MonkeyPatch, words: list[str], reason: str) -> None:
    """Wrong words are one error that names them, with status 2, before anything is connected."""
    monkeypatch.delenv("QMON_ADDRESS", raising=False)
    done = qmon(*words)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("qmon: ")
    assert reason in done.err


def test_each_subcommand_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """C{qmon ADDRESS COMMAND --help} works for each command, without a server."""
    for name in main_module._SUBCOMMANDS:
        with pytest.raises(SystemExit) as caught:
            main(["./x", name, "--help"])
        assert caught.value.code == 0
        assert f"usage: qmon ADDRESS {name}" in capsys.readouterr().out
        assert f"qmon ADDRESS {name}" in USAGE


def test_no_connection(qmon: Qmon, tmp_path: Path) -> None:
    """No server: one line that names the address and the reason, status 3."""
    done = qmon(f"{tmp_path}/none", "exec", "stop")
    assert (done.status, done.err) == (3, f"qmon: no connection to {tmp_path}/none: No such file or directory\n")


def test_refused_connection(qmon: Qmon) -> None:
    """The same over TCP."""
    done = qmon("127.0.0.1:1", "exec", "stop")
    assert (done.status, done.err) == (3, "qmon: no connection to 127.0.0.1:1: Connection refused\n")


def test_a_failed_command(qmon: Qmon, server: ScriptedServer) -> None:
    """The server's error is on standard error, made printable, status 1."""
    server.says({"error": {"class": "GenericError", "desc": "no\x1b[31m\x07 such\nthing"}, "id": 2})
    done = qmon("./x", "exec", "stop")
    assert (done.status, done.out, done.err) == (1, "", "qmon: no\\x1b[31m\\x07 such\nthing\n")


def test_interrupted(qmon: Qmon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: no traceback, status 130."""

    def interrupt(*unused: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("twisted_qmon.shell.client.open_socket", interrupt)
    done = qmon("./x", "exec", "stop")
    assert (done.status, done.out, done.err) == (130, "", "")


class _Broken(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error


def test_output_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    """A full disk is one line, status 1."""
    server.says({"return": {}, "id": 2})
    monkeypatch.setattr(sys, "stdout", _Broken(OSError(28, "No space left on device")))
    monkeypatch.setattr(sys, "stderr", err := io.StringIO())
    assert main(["./x", "exec", "stop"]) == 1
    assert err.getvalue() == "qmon: cannot write the output: No space left on device\n"


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """C{python -m twisted_qmon} is C{qmon}; one command imports neither Twisted nor msgspec, also when there is no server."""
    code = "import runpy, sys\ntry:\n runpy.run_module('twisted_qmon', run_name='__main__')\nexcept SystemExit as e:\n"
    code += " print(e.code, *sorted({'twisted', 'zope.interface', 'msgspec', 'rich'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, timeout=60, cwd=ROOT, check=True
    )
    assert done.stdout == f"qmon {__version__}\n0\n"
