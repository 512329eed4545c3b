"""The screen of C{qmon top}: what is known, and how it is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from twisted_qmon.shell.rows import Row
from twisted_qmon.shell.top.model import MAX_EVENTS, SORTS, Model
from twisted_qmon.shell.top.view import KEYS, State, draw, sparkline

HOSTILE = "".join(map(chr, range(32))) + "\x7f\x9b\u202e"


def _session(name: str, requests: Any) -> dict[str, Any]:
    return {"session": name, "requests": requests}


def _pending(number: int, command: str = "wait", **more: Any) -> dict[str, Any]:
    return {"number": number, "command": command, "session": f"qmp-{number}", "seconds": float(number), **more}


def _text(model: Model, width: int = 100, height: int = 30, **state: Any) -> list[str]:
    lines = draw(model, State("TITLE", **state), width, height)
    assert len(lines) == height
    assert all(sum(len(text) for _, text in line) <= width for line in lines)
    return ["".join(text for _, text in line).rstrip() for line in lines]


FULL: dict[str, Any] = {
    "query-name": {"name": "shop"},
    "query-status": {"status": "running"},
    "query-whoami": {"session": "qmp-1"},
    "query-process": {"uptime": 3.0, "resident-memory": 1 << 20, "cpu-seconds": 1.0},
    "query-reactor": {"latency": {"last": 0.001, "worst": 0.2}},
    "query-connections-monitor": [_session("qmp-1", 500), _session("qmp-2", 10)],
    "query-pending": [_pending(2, progress={"current": 1, "total": 4}), _pending(7, "paint")],
    "query-jobs": [{"id": "j", "type": "backup", "status": "running", "current-progress": 3, "total-progress": 4}],
    "query-stalls": [{"seconds": 0.7, "stack": ["a.py:1", "b.py:2"]}, {"seconds": "x"}, "odd"],
}


def test_what_is_measured() -> None:
    """Rates come of two moments: the requests of others, the part of a processor. A session that is new or gone does no harm."""
    model = Model()
    model.update(FULL, 10.0)
    assert "requests" not in model.series
    later = {
        **FULL,
        "query-process": {"resident-memory": 2 << 20, "cpu-seconds": 2.0},
        "query-connections-monitor": [_session("qmp-1", 900), _session("qmp-2", 20), _session("qmp-3", 6), "odd"],
    }
    model.update(later, 12.0)
    model.update({**later, "query-connections-monitor": [_session("qmp-3", 6)]}, 14.0)
    assert list(model.series["requests"]) == [8.0, 0.0]
    assert list(model.series["cpu"]) == [0.5, 0.0]
    assert list(model.series["memory"]) == [1 << 20, 2 << 20, 2 << 20]
    assert list(model.series["late"]) == [0.001] * 3


def test_a_lost_connection_is_no_rate() -> None:
    """After a connection was lost the counters begin anew."""
    model = Model()
    model.update(FULL, 10.0)
    model.lost()
    model.update(FULL, 20.0)
    assert "requests" not in model.series


def test_odd_answers() -> None:
    """A server that answers something else leaves its part of the screen out."""
    model = Model()
    for _ in range(2):
        model.update(
            {**dict.fromkeys(FULL, "odd"), "query-reactor": {"latency": []}, "query-process": {"uptime": "x"}}, 1.0
        )
    assert model.series == {}
    assert model.rows() == []
    assert _text(model)[0] == " TITLE"


def test_rows() -> None:
    """Requests and jobs are rows, the oldest first; sorted in other ways, and filtered."""
    model = Model()
    model.update(FULL, 1.0)
    assert [row.key for row in model.rows()] == [7, 2, "j"]
    assert model.rows()[1] == Row("request", 2, "wait", "qmp-2", 2.0, (1, 4))
    orders = {}
    for _ in SORTS:
        model.sort_next()
        orders[model.sort] = [row.key for row in model.rows()]
    assert orders == {"name": ["j", 7, 2], "session": [2, 7, "j"], "progress": ["j", 2, 7], "age": [7, 2, "j"]}
    model.filter = "QMP-7"
    assert [row.key for row in model.rows()] == [7]
    model.update({"query-pending": [_pending(1, abandoned=True), {"odd": 1}, "odd"]}, 2.0)
    model.filter = ""
    assert [row.name for row in model.rows()] == ["wait (abandoned)"]


def test_events() -> None:
    """The last events are kept, and filtered."""
    model = Model()
    for number in range(MAX_EVENTS + 5):
        model.happened({"event": "STOP" if number % 2 else "RESUME", "data": {"n": number}})
    assert len(model.events) == MAX_EVENTS
    model.filter = "resume"
    assert {event["event"] for event in model.shown_events()} == {"RESUME"}


def test_the_whole_screen() -> None:
    """Title, summary with curves, rows with bars, events, stalls, keys: each where there is something to say."""
    model = Model()
    model.update(FULL, 1.0)
    model.update({**FULL, "query-process": {"uptime": 4.0, "resident-memory": 1 << 20, "cpu-seconds": 1.5}}, 2.0)
    model.happened({"event": "SALE", "timestamp": None, "data": {"what": "hats"}})
    text = _text(model, selected=1)
    assert text[0] == " TITLE  shop  running  up 4.0 s"
    labels = [line.split()[0] for line in text[1:5]]
    assert labels == ["requests", "late", "memory", "cpu"]
    assert "0/s, 2 clients" in text[1]
    assert "worst 200.0 ms" in text[2] or "worst 0.2 s" in text[2]
    assert "50 %" in text[4]
    assert text[5] == "PENDING 3   by age"
    assert "█████░░░░░░░░░░░░░░░  25 %" in text[7]
    assert text[9] == "EVENTS 1"
    assert text[10].endswith("SALE  what=hats")
    assert any("0.7 s  a.py:1 < b.py:2" in line for line in text)
    frames: Any = [
        {"file": "/x/outer.py", "line": 3, "function": "serve"},
        {"file": "b.py", "line": 4, "function": "block"},
    ]
    model.update({"query-stalls": [{"seconds": 1.5, "since": {"seconds": 0, "microseconds": 0}, "stack": frames}]}, 3.0)
    assert any(line.endswith("1.5 s  block (b.py:4) < serve (outer.py:3)") for line in _text(model))
    assert text[-1] == KEYS


def test_a_server_that_has_little() -> None:
    """A plain QEMU has no summary and no stalls: those parts are not there."""
    model = Model()
    model.update({"query-status": {"status": "paused"}, "query-jobs": []}, 1.0)
    text = _text(model)
    assert text[:4] == [" TITLE  paused", "PENDING 0   by age", "nothing", "EVENTS 0"]
    model.update({}, 2.0)
    assert _text(model)[1] == "EVENTS 0"


def test_states() -> None:
    """A lost connection, a filter that is typed, a pause and a message are to be seen."""
    model = Model()
    model.update(FULL, 1.0)
    model.filter = "wa"
    assert _text(model, typing=True)[-1] == "filter: wa"
    assert "filter 'wa'" in "\n".join(_text(model))
    assert _text(model, paused=True, message="done")[-1].startswith("done   paused")
    model.lost()
    assert _text(model)[0].endswith("not connected")


@pytest.mark.parametrize(("width", "height"), [(20, 3), (1, 1), (40, 8), (300, 100), (80, 12)])
def test_any_size(width: int, height: int) -> None:
    """Whatever the size of the window, the screen has it."""
    model = Model()
    model.update({**FULL, "query-pending": [_pending(n) for n in range(50)]}, 1.0)
    for number in range(50):
        model.happened({"event": f"E{number}"})
    _text(model, width, height)


def test_the_selected_row_is_shown() -> None:
    """Where there are more rows than there is room for, those around the selected one are drawn."""
    model = Model()
    model.update({"query-pending": [_pending(n) for n in range(100)]}, 1.0)
    for number in range(100):
        model.happened({"event": f"E{number}"})
    for selected in (0, 50, 99):
        lines = draw(model, State("T", selected=selected), 80, 30)
        [row] = [line for line in lines if line[0][0] == "reverse"]
        assert row[0][1].startswith(str(99 - selected))


def test_nothing_reaches_the_terminal_raw() -> None:
    """Control characters in names, data and texts become escapes."""
    model = Model()
    answers: dict[str, Any] = {
        "query-name": {"name": HOSTILE},
        "query-status": {"status": HOSTILE},
        "query-pending": [_pending(1, HOSTILE), {**_pending(2), "session": HOSTILE}],
        "query-jobs": [{"id": HOSTILE, "type": HOSTILE, "status": HOSTILE}],
        "query-stalls": [{"seconds": 1, "stack": [HOSTILE]}],
    }
    model.update(answers, 1.0)
    model.happened({"event": HOSTILE, "data": {HOSTILE: HOSTILE}})
    text = "".join(_text(model, 300, message=HOSTILE))
    model.filter = "\\x"
    assert not {c for c in text if not c.isprintable()}


@pytest.mark.parametrize(
    ("values", "width", "text"),
    [([], 5, ""), ([0, 0], 5, "▁▁"), ([0, 1, 2, 4], 5, "▁▃▅█"), ([1, 2, 3], 2, "▆█"), ([1], 0, ""), ([-1, 1], 5, "▁█")],
)
def test_sparkline(values: list[float], width: int, text: str) -> None:
    """A curve of the last values, from zero to the greatest."""
    assert sparkline(values, width) == text


def test_a_small_curve_stays_small() -> None:
    """A figure that hardly matters does not fill the column."""
    assert sparkline([0.001], 5, at_least=1.0) == "▁"
