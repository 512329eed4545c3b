"""
The pictures of the documentation, drawn from text: ``python docs/pictures.py`` writes docs/pictures/*.svg. A test
compares what is there with what this draws.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from twisted_qmon.providers.jobs.states import TRANSITIONS

INK, PAPER, SOFT, LINE, ACCENT = "#1c2733", "#ffffff", "#eef3f8", "#8aa0b5", "#b4461f"


class Picture:
    """An SVG in the making. Coordinates are pixels, from the upper left."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' font-family="sans-serif" font-size="13" role="img"><title>{escape(title)}</title>',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
            f' orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="6" fill="{PAPER}"/>',
        ]

    def text(self, x: float, y: float, text: str, *, anchor: str = "middle", size: int = 13, color: str = INK) -> None:
        """One line of text."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{color}">{escape(text)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, *lines: str, fill: str = SOFT) -> None:
        """A box with centred lines: the first is its name, the others say what it does."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" fill="{fill}" stroke="{LINE}"/>'
        )
        top = y + height / 2 - (len(lines) - 1) * 8 + 4
        for number, line in enumerate(lines):
            self.text(x + width / 2, top + 16 * number, line, size=14 if number == 0 else 11)

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """A line through these points, with a head at the last."""
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{INK}"{dash} marker-end="url(#head)"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, *, width: float = 1, color: str = LINE) -> None:
        """A plain line."""
        self.parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}" stroke-width="{width:g}"/>'
        )

    def svg(self) -> str:
        """The whole of it."""
        return "\n".join([*self.parts, "</svg>"]) + "\n"


# Each row imports only what is in the rows below it: as LAYERS in tests/project/test_rules.py, with what each does.
LAYERS: list[list[tuple[str, str]]] = [
    [
        ("tap", "the options of twistd qmon"),
        ("__main__", "python -m twisted_qmon"),
        ("pytest_plugin", "fixtures for pytest"),
    ],
    [("service", "make_monitor_service: endpoints, start, drain"), ("shell", "qmon, the terminal client")],
    [("conformance", "how near to QEMU a server is")],
    [("testing", "clients in memory, a fake QEMU, servers in a thread")],
    [("watchdog", "the thread that answers while the reactor is stuck"), ("metrics", "numbers for Prometheus")],
    [
        ("providers", "process, jobs, qemu, quit"),
        ("ssh", "SSH"),
        ("web", "page, HTTP"),
        ("fleet", "members, router"),
    ],
    [("qmp", "JSON, session, protocol, client"), ("hmp", "line, printers, console, protocol")],
    [("_transport", "connection, write queue, endpoints"), ("_twistd", "providers and plugins of others")],
    [("core", "monitor, dispatcher, requests, events")],
    [("qapi", "types: validation, conversion, schema")],
    [("interfaces", "what users provide and are given")],
    [("errors", ""), ("info", ""), ("_text", ""), ("_reactor", ""), ("_log_publisher", "")],
]


def layers() -> str:
    """The layers: what is lower may be imported by what is higher."""
    picture = Picture(660, 26 + 64 * len(LAYERS), "The layers of twisted-qmon")
    y = 16
    for number, row in enumerate(LAYERS):
        width = (620 - 20 * (len(row) - 1)) / len(row)
        for column, (name, what) in enumerate(row):
            picture.box(20 + column * (width + 20), y, width, 46, *filter(None, (name, what)))
        if number + 1 < len(LAYERS):
            picture.arrow((330, y + 46), (330, y + 64))
        y += 64
    return picture.svg()


def suspended() -> str:
    """A person waits for a command; a machine goes on."""
    picture = Picture(760, 470, "A suspended human monitor beside a QMP monitor")
    actors = {"person": 80, "HMP console": 230, "Monitor": 400, "QMP session": 560, "machine": 690}
    for name, x in actors.items():
        picture.box(x - 58, 14, 116, 30, name)
        picture.line(x, 44, x, 455)
    steps = [
        ("person", "HMP console", "balloon 512", False),
        ("HMP console", "Monitor", "execute → Deferred", False),
        ("machine", "QMP session", '"id": 1', False),
        ("QMP session", "Monitor", "submit query-status", False),
        ("Monitor", "QMP session", "done at once", True),
        ("QMP session", "machine", '"id": 1', True),
        ("person", "HMP console", "info status (waits)", False),
        ("Monitor", "HMP console", "the Deferred fires", True),
        ("HMP console", "person", "prompt", True),
        ("HMP console", "Monitor", "execute query-status", False),
        ("Monitor", "HMP console", "done at once", True),
        ("HMP console", "person", "running, prompt", True),
    ]
    y = 80
    top = bottom = 0.0
    for number, (source, target, text, back) in enumerate(steps):
        x1, x2 = actors[source], actors[target]
        picture.text((x1 + x2) / 2, y - 6, text, size=12, color=ACCENT if number in (0, 7) else INK)
        picture.arrow((x1, y), (x2, y), dashed=back)
        if number == 1:
            top = y
        if number == 7:
            bottom = y
        y += 32
    x = actors["HMP console"]
    picture.parts.append(
        f'<rect x="{x - 5}" y="{top:g}" width="10" height="{bottom - top:g}" fill="{ACCENT}" fill-opacity="0.25"'
        f' stroke="{ACCENT}"/>'
    )
    picture.text(x - 12, (top + bottom) / 2 - 8, "suspended", anchor="end", size=11, color=ACCENT)
    return picture.svg()


# Where each state of a job stands; the arrows between them come from the table that the code goes by.
_STATES = {
    "undefined": (70, 60),
    "created": (70, 150),
    "running": (230, 150),
    "paused": (230, 60),
    "ready": (390, 60),
    "standby": (550, 60),
    "waiting": (390, 150),
    "pending": (550, 150),
    "aborting": (230, 250),
    "concluded": (550, 250),
    "null": (550, 330),
}


def jobs() -> str:
    """The states of a job."""
    picture = Picture(640, 370, "The states of a job")
    names = {state.value: {after.value for after in follow} for state, follow in TRANSITIONS.items()}
    assert set(names) == set(_STATES), "a state is not drawn"
    for state, following in names.items():
        for after in sorted(following - {state}):
            _edge(picture, state, after, both=state in names[after])
    for state, (x, y) in _STATES.items():
        picture.box(x - 50, y - 16, 100, 32, state)
    return picture.svg()


def _edge(picture: Picture, source: str, target: str, *, both: bool) -> None:
    (x1, y1), (x2, y2) = _STATES[source], _STATES[target]
    if both:
        # There and back are drawn beside each other.
        shift = 7 if source < target else -7
        x1, x2, y1, y2 = (x1 + shift, x2 + shift, y1, y2) if x1 == x2 else (x1, x2, y1 + shift, y2 + shift)
    if (source, target) == ("created", "null"):
        picture.arrow((70, 166), (70, 330), (500, 330))
        return
    picture.arrow(_border(x1, y1, x2, y2), _border(x2, y2, x1, y1))


def _border(x: float, y: float, to_x: float, to_y: float) -> tuple[float, float]:
    """Where the line from the middle of a state's box leaves it."""
    dx, dy = to_x - x, to_y - y
    factor = min(50 / abs(dx) if dx else 1e9, 16 / abs(dy) if dy else 1e9)
    return x + dx * factor, y + dy * factor


PICTURES = {"layers": layers, "suspended": suspended, "jobs": jobs}


def main() -> None:
    """Write all of them."""
    folder = Path(__file__).parent / "pictures"
    folder.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw())


if __name__ == "__main__":
    main()
