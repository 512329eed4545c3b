"""Lines are edited in telnet, too, where it speaks first: GNU's with a minus sign before the port."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.needs import need
from tests.live.terminal import Terminal
from tests.live.twistd_process import Twistd, free_port

pytestmark = pytest.mark.live


def test_telnet(tmp_path: Path) -> None:
    """Keys, history, completion, Ctrl-C, another size of the window, leaving."""
    port = free_port()
    arguments = [
        "--provider",
        "tests.support.shop.Shop",
        "--qmp",
        "unix:qmp.sock",
        "--hmp",
        f"tcp:{port}:interface=127.0.0.1",
    ]
    with Twistd(tmp_path, arguments) as twistd:
        client = twistd.qmp()
        program = [need("telnet"), "--", "127.0.0.1", f"-{port}"]
        with Terminal(tmp_path, columns=60, lines=20, program=program) as terminal:
            terminal.prompts()
            terminal.types("nfo statu\x01i\x05s")
            terminal.prompts("(qmon) info status")
            assert "running" in terminal.does("")
            terminal.types("\x1b[A\x15pai\tgreenish\t")
            terminal.prompts("(qmon) paint greenish-blue")
            terminal.enters("")
            terminal.shows("painted greenish-blue")
            terminal.prompts()
            terminal.enters("wait")
            terminal.until(
                "the command", lambda: [e for e in client.execute("query-pending") if e["command"] == "wait"]
            )
            terminal.types("\x03")
            terminal.shows("Command 'wait' was cancelled")
            terminal.prompts()
            terminal.types("x" * 50)
            terminal.prompts("(qmon) " + "x" * 50)
            terminal.resizes(30, 20)
            terminal.until("the line, folded", lambda: f"(qmon) {'x' * 50}" in terminal.screen.replace("\n", ""))
            terminal.types("\x15\x04")
            terminal.shows("Connection closed")
            terminal.ends()
