"""
Lines typed at a real QEMU 7.2, and what it printed: the same commands, declared the same way, print the same here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.support.qemu_hmp_commands import QEMUCommands
from twisted_qmon import Monitor
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.testing import HMPConnection

GOLDEN: list[tuple[str, str]] = [
    (line, text)
    for line, text in json.loads((Path(__file__).parent.parent / "data" / "hmp-golden.json").read_text())["hmc"]
]

#: Lines whose answer has nothing to do with the monitor; docs/compatibility.md lists them with the reasons.
DIFFERENT = {
    "log foo": "QEMU's own table of log items",
}


def _monitor() -> Monitor:
    monitor = Monitor(clock=Clock())
    monitor.register(QEMUCommands(), shadow=True)
    monitor.register(HumanMonitorCommand())
    return monitor


def _runs() -> list[list[tuple[str, str]]]:
    """
    The lines, one list for each QEMU that they were typed at: it keeps the format of C{print/d} for the next C{print}, and after
    C{print/c} the recording went on with a new one.
    """
    lines = [(line, text) for line, text in GOLDEN if line not in DIFFERENT]
    cut = [line for line, _ in lines].index("p /c 200") + 1
    return [lines[:cut], lines[cut:]]


def test_human_monitor_command_prints_what_qemu_prints() -> None:
    """Each line's text is the same, line ends included."""
    for lines in _runs():
        monitor = _monitor()
        for line, text in lines:
            answers: list[Any] = []
            monitor.execute("human-monitor-command", {"command-line": line}).addBoth(answers.append)
            assert (line, answers) == (line, [text])


def test_a_person_is_shown_what_qemu_shows() -> None:
    """
    The same lines typed at a prompt print the same, and the prompt follows each. Behind QEMU's words for an unknown command there
    may be a line that says what was meant.
    """
    suggested = 0
    for lines in _runs():
        person = HMPConnection(_monitor(), prompt="(qemu) ")
        for line, text in lines:
            printed = person.type(line)
            if text.startswith("unknown command: "):
                printed, count = re.subn(r"did you mean [^\r]*\?\r\n", "", printed)
                suggested += count
            assert (line, printed) == (line, f"{text}(qemu) ")
    assert suggested == 1


@pytest.mark.parametrize("line", DIFFERENT)
def test_the_lines_left_out_are_recorded(line: str) -> None:
    """A line is only left out for a reason that still holds."""
    assert line in dict(GOLDEN)


#: More of QEMU's answers, taken from a QEMU 7.2.22 with C{-machine none}.
@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("  cpu", 'unexpected end of expression\r\nTry "help   cpu" for more information\r\n'),
        (
            "info   version x",
            'version: extraneous characters at the end of line\r\nTry "help info   version" for more information\r\n',
        ),
        ("info /x", "unknown command: 'info '\r\n"),
        ("/", "unknown command: ''\r\n"),
        ("/x", "unknown command: ''\r\n"),
        ("info x ", "unknown command: 'info x'\r\n"),
        ("eject - x", 'eject: unsupported option - \r\nTry "help eject" for more information\r\n'),
        ("eject -fx", "Error: Device 'x' not found\r\n"),
        ("eject -ff x", 'eject: extraneous characters at the end of line\r\nTry "help eject" for more information\r\n'),
        ("object_add", 'object_add: string expected\r\nTry "help object_add" for more information\r\n'),
        ("print/z 1", "invalid char in format: 'z'\r\nTry \"help print\" for more information\r\n"),
        ("print/", 'unexpected end of expression\r\nTry "help print" for more information\r\n'),
        ("print/5xw 1", "0x1\r\n"),
        ("print $eax", 'unknown register\r\nTry "help print" for more information\r\n'),
        ("print 'é'", 'missing terminating \' character\r\nTry "help print" for more information\r\n'),
        ("print 010", "0x8\r\n"),
        ("print 08", 'print|p: extraneous characters at the end of line\r\nTry "help print" for more information\r\n'),
        ("print/d -7/2", "-3\r\n"),
        ("print/d -7%2", "-1\r\n"),
        ("print/u -1", "18446744073709551615\r\n"),
        ("print/o 8", "010\r\n"),
        ("print/c 10", "'\\n'\r\n"),
        ("i/x 1 .2", "portl[0x0001]\r\n"),
        ("block_resize x .5G", 'invalid size\r\nTry "help block_resize" for more information\r\n'),
        ("block_resize x 0.5B", 'invalid size\r\nTry "help block_resize" for more information\r\n'),
        ("block_resize x 1.", "Error: Cannot find device='x' nor node-name=''\r\n"),
        ("block_resize x 0x10M", "Error: Cannot find device='x' nor node-name=''\r\n"),
        ("block_resize x 9999999P", 'invalid size\r\nTry "help block_resize" for more information\r\n'),
        ("block_resize x 1.5e3", 'invalid size\r\nTry "help block_resize" for more information\r\n'),
        ("set_link a onx", "Expected 'on' or 'off'\r\nTry \"help set_link\" for more information\r\n"),
        (
            "info version\nx",
            'version: extraneous characters at the end of line\r\nTry "help info version" for more information\r\n',
        ),
        ("info\nversion", "7.2.22Debian 1:7.2+dfsg-7+deb12u18+b3\r\n"),
        ("help quit q", "quit|q  -- quit the emulator\r\n"),
        ("help info version x", "info version  -- show the version of QEMU\r\n"),
        ("help info foo", "unknown command: 'info foo'\r\n"),
        ("help foo bar", "unknown command: 'foo'\r\n"),
        ("help quit/x", "unknown command: 'quit/x'\r\n"),
        ("help info/version", "unknown command: 'info/version'\r\n"),
        ("screendump a -f", 'screendump: value expected for -f\r\nTry "help screendump" for more information\r\n'),
        ("screendump a -fpng", "Error: There is no console to take a screendump from\r\n"),
        ("screendump a -z", 'screendump: unsupported option -z\r\nTry "help screendump" for more information\r\n'),
        ('savevm "a\\z"', 'savevm: string expected\r\nTry "help savevm" for more information\r\n'),
        (
            'savevm "a"b',
            'savevm: extraneous characters at the end of line\r\nTry "help savevm" for more information\r\n',
        ),
        ("migrate -d", 'migrate: string expected\r\nTry "help migrate" for more information\r\n'),
        (
            "migrate -r -d x:1",
            'migrate: extraneous characters at the end of line\r\nTry "help migrate" for more information\r\n',
        ),
        ("migrate -- x", 'migrate: unsupported option --\r\nTry "help migrate" for more information\r\n'),
        ("cpu ()", "invalid char ')' in expression\r\nTry \"help cpu\" for more information\r\n"),
        ("device_add", "Error: Parameter 'driver' is missing\r\n"),
        ("device_add a,b", "Error: 'a' is not a valid device model name\r\n"),
        ("print '''", "0x27\r\n"),
        ("print ' '+1", "0x21\r\n"),
    ],
)
def test_more_of_qemus_words(line: str, text: str) -> None:
    """What else a QEMU said, each line in a process of its own."""
    answers: list[Any] = []
    _monitor().execute("human-monitor-command", {"command-line": line}).addBoth(answers.append)
    assert answers == [text]
