"""
Pictures of ``qmon`` in a terminal: ``python docs/terminals.py [NAME ...]`` runs the real program against a server of its own and
writes docs/pictures/terminals/*.svg. They differ from run to run (times, process ids), so no test compares them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pexpect
import pyte

DOCS = Path(__file__).parent
COLUMNS, LINES = 96, 24
CHARACTER, HEIGHT, MARGIN = 8.4, 18, 14
COLOURS = {
    "default": "#d8dee9",
    "black": "#3b4252",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "cyan": "#56b6c2",
    "brightblack": "#7f848e",
    "white": "#ffffff",
}
BACKGROUND = "#1e2127"

SERVER = '''
import time
from twisted.internet.defer import Deferred
from twisted_qmon import CommandProvider, Event, Request, command

class Shop(CommandProvider):
    events = (Event("SALE", what=str, number=int),)

    @command
    def bake(self, request: Request, seconds: float = 60.0) -> Deferred[str]:
        """bake a loaf"""
        clock, done = self.monitor.clock, Deferred()
        began = clock.seconds()
        def tick():
            passed = clock.seconds() - began
            request.progress(int(passed * 1000), int(seconds * 1000))
            if passed >= seconds:
                done.callback("a loaf")
            elif not done.called:
                clock.callLater(0.1, tick)
        tick()
        return done

    @command
    def count_loaves(self, seconds: float) -> None:
        """count them, and let everything else wait"""
        time.sleep(seconds)

    @command
    def sell(self, what: str, number: int = 1) -> None:
        """sell something"""
        self.monitor.emit("SALE", {"what": what, "number": number})
'''


class Window:
    """``qmon`` in a terminal."""

    def __init__(self, folder: Path, *words: str, address: str = "./qmp.sock") -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "twisted_qmon", address, *words],
            cwd=str(folder),
            env={**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(folder), "PYTHONPATH": str(DOCS.parent)},
            dimensions=(LINES, COLUMNS),
        )

    def reads(self, seconds: float) -> None:
        """Let it draw, for a time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self._stream.feed(self._child.read_nonblocking(65536, 0.05))
            except pexpect.TIMEOUT:
                continue

    def sees(self, text: str, seconds: float = 60.0) -> None:
        """Let it draw until some text is on the screen."""
        end = time.monotonic() + seconds
        while not any(text in line for line in self.screen.display):
            if time.monotonic() > end:
                raise RuntimeError(f"{text!r} does not appear")
            self.reads(0.2)

    def types(self, text: str, seconds: float = 1.0) -> None:
        """Press keys, and let it draw."""
        self._child.send(text)
        self.reads(seconds)

    def close(self) -> None:
        """End it."""
        self._child.close(force=True)


def _runs(screen: pyte.Screen, y: int) -> Iterator[tuple[int, str, str, bool, bool]]:
    """The pieces of a line that look alike: where, text, colour, bold, reversed."""
    x = 0
    while x < screen.columns:
        first = screen.buffer[y][x]
        end = x
        text = ""
        while end < screen.columns:
            here = screen.buffer[y][end]
            if (here.fg, here.bold, here.reverse) != (first.fg, first.bold, first.reverse):
                break
            text += here.data
            end += 1
        yield x, text, COLOURS.get(first.fg, COLOURS["default"]), first.bold, first.reverse
        x = end


def draw(screen: pyte.Screen, title: str) -> str:
    """:return: the screen as SVG"""
    width, height = 2 * MARGIN + screen.columns * CHARACTER, 2 * MARGIN + screen.lines * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
        f' role="img" aria-label="{escape(title)}">',
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        '<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">',
    ]
    for y in range(screen.lines):
        top = MARGIN + y * HEIGHT
        for x, text, colour, bold, reverse in _runs(screen, y):
            left = MARGIN + x * CHARACTER
            if reverse:
                parts.append(
                    f'<rect x="{left:.1f}" y="{top}" width="{len(text) * CHARACTER:.1f}" height="{HEIGHT}" fill="{colour}"/>'
                )
            if text.strip():
                weight = ' font-weight="bold"' if bold else ""
                parts.append(
                    f'<text x="{left:.1f}" y="{top + 14}" textLength="{len(text) * CHARACTER:.1f}"'
                    f' fill="{BACKGROUND if reverse else colour}"{weight}>{escape(text)}</text>'
                )
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def prompt(folder: Path) -> str:
    """The prompt: a result, an event above a line, completion."""
    window = Window(folder)
    window.sees("(qmon)")
    for line in ("info status", "events on", "sell bread 3", "info services"):
        window.types(line + "\r")
    window.types("bake 4\r", 5.2)
    window.types("info s\t", 0)
    window.sees("show the most important")
    try:
        return draw(window.screen, "the prompt of qmon")
    finally:
        window.close()


def top(folder: Path) -> str:
    """The screen of ``qmon top``."""
    words = [sys.executable, "-m", "twisted_qmon", "./qmp.sock", "exec"]
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
    baking = [
        subprocess.Popen(
            [*words, "bake", f"seconds:={seconds}"], cwd=folder, env=environment, stderr=subprocess.DEVNULL
        )
        for seconds in (20, 45, 90)
    ]
    window = Window(folder, "top")
    for number in range(8):
        subprocess.run(
            [*words, "sell", "what=bread", f"number:={number}"],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        window.reads(1.2)
    try:
        return draw(window.screen, "the screen of qmon top")
    finally:
        window.close()
        for process in baking:
            process.kill()
            process.wait()


def stuck(folder: Path) -> str:
    """A process whose reactor stands still, asked at the watchdog's socket."""
    window = Window(folder, address="./watchdog.sock")
    window.sees("(qmon)")
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
    words = [sys.executable, "-m", "twisted_qmon"]
    blocking = subprocess.Popen(
        [*words, "./qmp.sock", "exec", "count-loaves", "seconds:=12"],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    noticed = ""
    while "count_loaves" not in noticed:
        ask = [*words, "./watchdog.sock", "exec", "query-stalls"]
        noticed = subprocess.run(ask, cwd=folder, env=environment, capture_output=True, text=True).stdout
    for line in ("info status", "info stalls"):
        window.types(line + "\r", 1.5)
    try:
        return draw(window.screen, "the watchdog answers while the reactor is stuck")
    finally:
        window.close()
        blocking.wait()


def main() -> None:
    """Run a server, and draw each picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shop.py").write_text(SERVER)
        server = subprocess.Popen(
            [
                *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                *("-n", "--pidfile=", "--logfile=log", "qmon", "--name", "shop", "--provider", "shop.Shop"),
                *("--qmp", "unix:qmp.sock", "--watchdog", "unix:watchdog.sock"),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((name, str(DOCS.parent)))},
        )
        try:
            while not (folder / "qmp.sock").exists():
                time.sleep(0.1)
            (DOCS / "pictures" / "terminals").mkdir(exist_ok=True)
            for title, make in {"prompt": prompt, "top": top, "stuck": stuck}.items():
                if sys.argv[1:] and title not in sys.argv:
                    continue
                (DOCS / "pictures" / "terminals" / f"{title}.svg").write_text(make(folder))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
