"""What the words of the command line mean, and how C{qmon} ends."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.python.failure import Failure

from tests.shell.conftest import Qmon
from tests.shell.scripted import ScriptedServer
from twisted_qmon import __version__
from twisted_qmon.shell.faults import _Faults
from twisted_qmon.shell.main import USAGE, main
from twisted_qmon.shell.subcommands import SUBCOMMANDS
from twisted_qmon.shell.terminal.start import _needs_extra

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
    for name in SUBCOMMANDS:
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


class _Closed(io.StringIO):
    """A pipe whose reader has gone, or a disk that is full."""

    def __init__(self, error: OSError, descriptor: int) -> None:
        super().__init__()
        self._error = error
        self._descriptor = descriptor

    def flush(self) -> None:
        raise self._error

    def fileno(self) -> int:
        return self._descriptor


@pytest.mark.parametrize(
    ("error", "words", "status", "told"),
    [
        (BrokenPipeError(), ["help"], 0, ""),
        (OSError(errno.ENOSPC, "full"), ["help"], 1, "qmon: cannot write the output: full\n"),
        (BrokenPipeError(), ["nothing"], 2, "qmon: 'nothing' is not an address"),
    ],
)
def test_output_that_can_not_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError, words: list[str], status: int, told: str
) -> None:
    """A reader that has gone is no error, a full disk is one line; what is buffered is no error again at the exit."""
    err = io.StringIO()
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", _Closed(error, out.fileno()))
        monkeypatch.setattr(sys, "stderr", err)
        assert main(words) == status
        monkeypatch.undo()
        if isinstance(error, BrokenPipeError) or status == 1:
            assert os.readlink(f"/proc/self/fd/{out.fileno()}") == os.devnull
    assert err.getvalue().startswith(told)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("words", "name"), [([], "run_prompt"), (["top"], "run_screen")])
def test_at_a_terminal(monkeypatch: pytest.MonkeyPatch, words: list[str], name: str) -> None:
    """There the prompt is run, and the screen."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setattr(sys, "stdout", _Terminal())
    module = "twisted_qmon.shell.terminal.loop" if name == "run_prompt" else "twisted_qmon.shell.top.screen"
    monkeypatch.setattr(f"{module}.{name}", lambda address: 5 if address.path == "./x" else 0)
    assert main(["./x", *words]) == 5


def test_top_needs_a_terminal(qmon: Qmon) -> None:
    """Without one it is wrong usage."""
    assert qmon("./x", "top").status == 2


def test_another_module_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the extra's own libraries are asked for; anything else is a fault of the installation, and shown as that."""

    def missing(module: str) -> None:
        raise ModuleNotFoundError("no", name="elsewhere")

    monkeypatch.setattr("twisted_qmon.shell.terminal.start.import_module", missing)
    with pytest.raises(ModuleNotFoundError):
        _needs_extra("a", "b")


def test_faults_are_shown() -> None:
    """A failure that is logged is a line, anything else that is logged is not shown."""
    shown: list[str] = []
    observer = _Faults(shown.append)
    observer({"log_namespace": "n"})
    observer({"log_namespace": "n", "log_failure": Failure(ValueError("x"))})
    assert shown == ["n: ValueError: x"]
