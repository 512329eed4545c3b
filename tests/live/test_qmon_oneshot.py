"""The commands of C{qmon} that run and end, with every kind of server."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.needs import need
from tests.live.qmon_program import COMMAND, SERVERS, Qmon, environment, next_event, ours, serving
from tests.live.real_qemu import RealQemu
from tests.live.terminal import Terminal
from tests.live.twistd_process import PATIENCE, Twistd, until
from tests.support.shop import CONTROLS

pytestmark = pytest.mark.live


@pytest.fixture
def twistd(tmp_path: Path) -> Iterator[Twistd]:
    """A server of ours."""
    with ours(tmp_path) as twistd:
        yield twistd


@pytest.fixture
def qmon(tmp_path: Path) -> Qmon:
    """Runs C{qmon} at the server of ours."""
    return Qmon(tmp_path, "./qmp.sock")


@pytest.mark.parametrize("kind", SERVERS)
def test_each_command_with_each_server(kind: str, tmp_path: Path) -> None:
    """Commands run, are listed and described, whatever serves them; an unknown one fails with the server's words."""
    with serving(kind, tmp_path) as address:
        qmon = Qmon(tmp_path, address)
        status, out, err = qmon("exec", "query-version")
        assert (status, err) == (0, "")
        assert "qemu" in json.loads(out)
        status, out, err = qmon("exec", "frobnicate", "a=b")
        assert (status, out) == (1, "")
        assert "frobnicate" in err
        names = {json.loads(line)["name"] for line in qmon("commands")[1].splitlines()}
        assert {"query-version", "query-jobs", "quit"} - names == set()
        assert "query-jobs" in qmon("commands", "*jobs", "--table")[1]
        entry, *types = json.loads(qmon("schema", "job-cancel")[1])
        assert entry["meta-type"] == "command"
        assert entry["arg-type"] in {each["name"] for each in types}
        assert re.search(r"^  id: +str$", qmon("schema", "job-cancel", "--table")[1], re.MULTILINE)


@pytest.mark.parametrize(
    "address",
    ["./qmp.sock", "unix:./qmp.sock", "unix:./qmp.sock:timeout=9"],
)
def test_addresses(twistd: Twistd, tmp_path: Path, address: str) -> None:
    """A path and an endpoint lead to the same server, also in the environment."""
    status, out, err = Qmon(tmp_path, address)("exec", "query-status")
    assert (status, err, json.loads(out)["running"]) == (0, "", True)


def test_an_endpoint_that_leads_nowhere(tmp_path: Path) -> None:
    """An endpoint that can't be parsed is wrong usage; one where no server is, no connection."""
    assert Qmon(tmp_path, "tcp:port=x")("exec", "query-status")[0] == 2
    status, _, err = Qmon(tmp_path, "unix:./none:timeout=9")("exec", "query-status")
    assert (status, err) == (3, "qmon: no connection to unix:./none:timeout=9: No such file or directory\n")


def test_a_big_result_through_an_endpoint(twistd: Twistd, tmp_path: Path) -> None:
    """What goes through Twisted comes complete."""
    status, out, _ = Qmon(tmp_path, "unix:./qmp.sock:timeout=9")("exec", "text", "size:=5000000")
    assert status == 0
    assert len(json.loads(out)) == 5_000_000


def test_one_command_imports_no_twisted(twistd: Twistd, tmp_path: Path) -> None:
    """C{qmon ADDRESS exec} imports neither Twisted nor anything else that is not needed."""
    words = [sys.executable, "-X", "importtime", *COMMAND[1:], "./qmp.sock", "exec", "query-status"]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert json.loads(done.stdout)["running"] is True
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "twisted_qmon.shell.client" in imported
    assert not {
        name for name in imported if name.partition(".")[0] in ("twisted", "zope", "msgspec", "rich", "asyncio")
    }


def test_interrupted(twistd: Twistd, qmon: Qmon) -> None:
    """Ctrl-C cancels the command at the server: nothing is pending, status 130, no traceback."""
    process = qmon.start("exec", "wait")
    client = twistd.qmp()
    until("the command", lambda: [each for each in client.execute("query-pending") if each["command"] == "wait"])
    assert qmon.interrupt(process) == (130, "", "")
    assert client.execute("query-pending") == []


def test_too_late(twistd: Twistd, qmon: Qmon) -> None:
    """A command that takes too long is cancelled at the server: status 4."""
    assert qmon("exec", "wait", "--timeout", "0.2") == (4, "", "qmon: Command 'wait' timed out after 0.2 s\n")
    assert twistd.qmp().execute("query-pending") == []


@pytest.mark.parametrize("kind", ["ours", "qemu"])
def test_no_wait(kind: str, tmp_path: Path) -> None:
    """A command that is not waited for is done all the same."""
    with serving(kind, tmp_path) as address:
        qmon = Qmon(tmp_path, address)
        if kind == "ours":
            assert qmon("exec", "sell", "--no-wait") == (0, "", "")
        else:
            assert qmon("exec", "cont", "--no-wait") == (0, "", "")
            assert json.loads(qmon("exec", "query-status")[1])["running"] is True


@pytest.mark.parametrize(
    ("words", "out"),
    [
        ("exec text size:=20000000", '"xxxxxxxxx'),
        ("-c 'text 20000000'", "xxxxxxxxxx"),
        ("< lines", "xxxxxxxxxx"),
    ],
)
def test_output_closed_early(twistd: Twistd, tmp_path: Path, words: str, out: str) -> None:
    """20 MB into a pipe that is closed after the first bytes: no traceback, no error."""
    (tmp_path / "lines").write_text("text 20000000\ninfo status\n")
    line = " ".join([*COMMAND, "./qmp.sock", words, "| head -c 10"])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, out, "")


@pytest.mark.parametrize("words", ["exec text size:=20000000 --table", "-c 'text 20000000'", "log --follow"])
def test_a_pager_left_early(twistd: Twistd, tmp_path: Path, words: str) -> None:
    """20 MB, or a log without end in which nothing more happens, into C{less}: C{q} ends both at once, without an error."""
    twistd.qmp().execute("hostile", {"how": "log"})
    line = " ".join([*COMMAND, "./qmp.sock", words, "|", need("less")])
    script = f"set -o pipefail; {line}; echo status $?"
    with Terminal(tmp_path, program=["bash", "-c", script]) as terminal:
        terminal.shows("logged" if "log" in words else "x" * 99)
        terminal.types("q")
        assert terminal.ends() == 0
        assert terminal.screen.splitlines()[-1].endswith("status 0")
        assert "Traceback" not in terminal.screen
        assert b"qmon: " not in terminal.raw


def test_a_full_disk(twistd: Twistd, tmp_path: Path) -> None:
    """Output that can't be written is one line."""
    line = " ".join([*COMMAND, "./qmp.sock", "exec", "query-status > /dev/full"])
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (1, "qmon: cannot write the output: No space left on device\n")


@pytest.mark.parametrize("how", ["return", "raise", "event", "log"])
def test_text_of_the_server_is_harmless(twistd: Twistd, qmon: Qmon, tmp_path: Path, how: str) -> None:
    """Every control character in a result, an error, an event or a log entry is written as an escape."""
    texts = [*qmon("exec", "hostile", f"how={how}"), *qmon("exec", "hostile", f"how={how}", "--table")]
    if how == "event":
        process = qmon.start("events", "SALE", "--json")
        texts += [next_event(process, lambda: qmon("exec", "hostile", "how=event")), *Qmon.interrupt(process)]
    if how == "log":
        texts += [*qmon("log"), *qmon("log", "--table")]
    written = "".join(str(text) for text in texts)
    assert {"return": "returned", "raise": "raised", "event": "sold", "log": "logged"}[how] in written
    assert not set(written) & (set(CONTROLS) - {"\n", "\t"})


def test_events_across_a_restart(tmp_path: Path) -> None:
    """A QEMU that is killed and started again is followed on; each state of the connection is said on standard error."""
    with RealQemu(tmp_path) as qemu:
        process = Qmon(tmp_path, str(qemu.socket)).start("events", "--json")
        other = Qmon(tmp_path, str(qemu.other))
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            other("exec", "cont")
            line = next_event(process, lambda: other("exec", "cont"), lambda: other("exec", "stop"))
            assert json.loads(line)["event"] in ("RESUME", "STOP")
            qemu.kill()
            assert "reconnecting" in process.stderr.readline()
            qemu.start()
            assert process.stderr.readline() == f"qmon: {qemu.socket}: connected again\n"
            other("exec", "cont")
            assert json.loads(process.stdout.readline())["event"]
        finally:
            status, _, err = Qmon.interrupt(process)
    assert (status, err) == (130, "")


def test_events_by_number(twistd: Twistd, tmp_path: Path, qmon: Qmon) -> None:
    """
    What happened while the connection was lost comes when it is back: none is missing, none comes twice. C{--after} begins
    behind a number; after a restart of the server its events are others, and all of them come.
    """
    client = twistd.qmp()

    def sell(*numbers: int) -> None:
        for number in numbers:
            client.execute("sell", {"what": "hats", "number": number})

    sell(0)
    process = qmon.start("events", "SALE", "--json")
    line = json.loads(next_event(process, lambda: sell(1)))
    assert line["number"] >= 2
    [mine] = [each for each in client.execute("query-connections-monitor") if each["last-command"] == "select-events"]
    client.execute("client-disconnect", {"session": mine["session"]})
    sell(2, 3, 4)
    assert process.stdout is not None
    assert process.stderr is not None
    seen = [line]
    while seen[-1]["data"]["number"] < 4:
        seen.append(json.loads(process.stdout.readline()))
    assert [each["data"]["number"] for each in seen if each["data"]["number"] > 1] == [2, 3, 4]
    numbers = [each["number"] for each in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    other = qmon.start("events", "SALE", "--after", str(numbers[-3]), "--json")
    assert other.stdout is not None
    assert [json.loads(other.stdout.readline())["number"] for _ in range(2)] == numbers[-2:]
    assert Qmon.interrupt(other) == (130, "", "")
    twistd.popen.kill()
    twistd.popen.wait(PATIENCE)
    (tmp_path / "qmp.sock").unlink()
    with ours(tmp_path) as again:
        again.qmp().execute("sell", {"what": "gloves", "number": 9})
        assert json.loads(process.stdout.readline())["data"] == {"what": "gloves", "number": 9}
    status, _, err = Qmon.interrupt(process)
    assert status == 130
    assert err.count("reconnecting") >= 2
    assert "the server was restarted: its whole history of events follows" in err


def test_events_for_one_who_has_seen_enough(twistd: Twistd, tmp_path: Path) -> None:
    """When the reader of the pipe has gone it ends, although no further event comes."""
    line = " ".join([*COMMAND, "./qmp.sock", "events SALE | head -n 1"])
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert '"hats"' in next_event(process, lambda: twistd.qmp().execute("sell", {"what": "hats"}))
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")


def test_after_needs_numbered_events(tmp_path: Path) -> None:
    """A QEMU does not number its events: C{--after} is a clear error."""
    with serving("qemu", tmp_path) as address:
        status, out, err = Qmon(tmp_path, address)("events", "--after", "1")
    assert (status, out) == (1, "")
    assert "does not number its events" in err


def test_log(twistd: Twistd, qmon: Qmon) -> None:
    """The log is shown, and followed: an entry that is logged later comes by itself, the whole of it."""
    process = qmon.start("log", "--follow", "--level", "error")
    time.sleep(0.7)
    qmon("exec", "hostile", "how=log")
    assert process.stdout is not None
    entry = json.loads(process.stdout.readline())
    assert (entry["level"], entry["namespace"]) == ("error", "tests.support.shop")
    assert Qmon.interrupt(process) == (130, "", "")
    status, out, _ = qmon("log", "--level", "error")
    assert (status, [json.loads(line) for line in out.splitlines()]) == (0, [entry])


def test_a_terminated_process_is_no_traceback(twistd: Twistd, qmon: Qmon) -> None:
    """SIGTERM ends it as it ends any program."""
    process = qmon.start("events")
    time.sleep(0.5)
    process.terminate()
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == -signal.SIGTERM
