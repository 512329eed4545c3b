"""What a person sees of the process: L{twisted_qmon.providers.process.text}."""

from __future__ import annotations

import inspect
import sys
from textwrap import dedent
from typing import Any

import pytest
from twisted.internet import base
from twisted.internet.task import Clock

from twisted_qmon import Monitor
from twisted_qmon.providers.process import Process, stacks, text


def _lines(block: str) -> str:
    return dedent(block).strip("\n")


def test_the_process() -> None:
    """One fact per line."""
    info: dict[str, Any] = {
        "pid": 42,
        "argv": ["twistd", "-n", "qmon"],
        "uptime": 245.2,
        "cpu-seconds": 1.25,
        "resident-memory": 30 << 20,
        "file-descriptors": 12,
        "file-descriptor-limit": 1024,
        "python-version": "3.11.2",
        "twisted-version": "24.3.0",
    }
    assert text.process(info) == _lines(
        """
        pid:              42
        command:          twistd -n qmon
        up:               4 min 5 s
        processor time:   1.2 s
        memory:           30 MiB
        file descriptors: 12 of 1024
        Python:           3.11.2
        Twisted:          24.3.0
        """
    )
    del info["file-descriptor-limit"]
    assert "12 of any number" in text.process(info)
    del info["resident-memory"], info["file-descriptors"]
    assert "memory" not in text.process(info)


def test_the_reactor() -> None:
    """The latency in words, what it reads, and the delayed calls as a table."""
    info: dict[str, Any] = {
        "class": "twisted.internet.epollreactor.EPollReactor",
        "latency": {"last": 0.0004, "mean": 0.0006, "worst": 0.7, "window": 60.0, "interval": 0.05},
        "reader-count": 2,
        "readers": [
            {"class": "twisted.internet.tcp.Port", "name": "twisted.web.server.Site", "fd": 7},
            {"class": "some.Reader", "name": ""},
        ],
        "writer-count": 0,
        "writers": [],
        "delayed-call-count": 5,
        "delayed-calls": [
            {"when": -0.25, "what": "app.late"},
            {"when": 2.3, "what": "LoopingCall of app.poll, every 5 s"},
        ],
    }
    assert text.reactor(info) == _lines(
        """
        reactor: twisted.internet.epollreactor.EPollReactor
        late by: 0.4 ms now; mean 0.6 ms, worst 0.7 s in the last 60.0 s

        reads from 2:
          fd  class                      name
           7  twisted.internet.tcp.Port  twisted.web.server.Site
           -  some.Reader

        writes to 0

        5 delayed calls:
          when           what
          late by 0.2 s  app.late
          in 2.3 s       LoopingCall of app.poll, every 5 s
          ... and 3 more
        """
    )
    info["thread-pool"] = {"minimum": 0, "maximum": 10, "busy": 1, "idle": 2, "queued": 1}
    assert "threads: 1 busy, 2 idle, at most 10; 1 call waiting\n" in text.reactor(info)


def test_the_services_are_a_tree() -> None:
    """The flat list of paths is drawn as the tree it is, in ASCII."""
    infos = [
        {"path": "", "name": "shop", "class": "app.Root", "running": True},
        {"path": "web", "name": "web", "class": "app.Web", "running": True},
        {"path": "web/0", "name": "", "class": "app.Site", "running": True},
        {"path": "web/cache", "name": "cache", "class": "app.Cache", "running": False},
        {"path": "web/cache/0", "name": "", "class": "app.Disk", "running": False},
        {"path": "2", "name": "", "class": "app.Timer", "running": True},
        {"path": "2/0", "name": "", "class": "app.Tick", "running": True},
    ]
    assert text.services(infos) == _lines(
        """
        service        state    class
        shop           running  app.Root
        |-- web        running  app.Web
        |   |-- 0      running  app.Site
        |   `-- cache  stopped  app.Cache
        |       `-- 0  stopped  app.Disk
        `-- 2          running  app.Timer
            `-- 0      running  app.Tick
        """
    )
    assert text.services([{"path": "", "name": "", "class": "app.Root", "running": True}]).splitlines()[1][0] == "."
    assert text.services([]) == "no services"


def test_ports_and_connections() -> None:
    """Tables, with a dash for what is not known."""
    assert text.ports([{"address": "tcp:0.0.0.0:80", "class": "Port", "factory": "Site", "fd": 5}]) == _lines(
        """
        fd  address         factory
         5  tcp:0.0.0.0:80  Site
        """
    )
    assert text.ports([]) == "no listening ports"
    connection: dict[str, Any] = {
        "peer": "tcp:127.0.0.1:4000",
        "host": "tcp:127.0.0.1:80",
        "protocol": "HTTP",
        "class": "Server",
    }
    assert text.connections([{**connection, "received": 2048, "sent": 10}, {**connection, "peer": ""}]) == _lines(
        """
        peer                host              received  sent  queued  protocol
        tcp:127.0.0.1:4000  tcp:127.0.0.1:80     2 KiB  10 B       -  HTTP
        -                   tcp:127.0.0.1:80         -     -       -  HTTP
        """
    )
    assert text.connections([]) == "no connections"


def test_the_log() -> None:
    """Each event with its time, where it comes from, how grave it is, and its text."""
    info = {
        "number": 4711,
        "timestamp": {"seconds": 1_700_000_000, "microseconds": 45_999},
        "level": "warn",
        "namespace": "app.web",
        "text": "two\nlines",
    }
    first, second = text.log([info]).splitlines()
    assert first.endswith(".045 4711 [app.web#warn] two")
    assert first.startswith("2023-11-1")
    assert second == "lines"
    assert text.log([]) == "nothing logged"


def test_the_log_levels() -> None:
    """The one for everything else is told in words."""
    assert text.levels([{"namespace": "", "level": "info"}, {"namespace": "app", "level": "debug"}]) == _lines(
        """
        namespace     from level
        (all others)  info
        app           debug
        """
    )


def test_the_stacks() -> None:
    """Coroutines first, then threads, with their frames, the way a traceback has them."""
    frame = {"file": "/app/web.py", "line": 12, "function": "serve", "source": "await gate"}
    info: dict[str, Any] = {
        "threads": [{"name": "MainThread", "id": 7, "stack": [{"file": "/app/x.py", "line": 1, "function": "f"}]}],
        "coroutines": [
            {"name": "serve", "count": 3, "stack": [frame]},
            {"name": "other", "count": 1, "stack": [frame]},
        ],
    }
    assert text.stacks(info) == _lines(
        """
        coroutine serve (3 of them)
          /app/web.py:12 in serve
            await gate

        coroutine other
          /app/web.py:12 in serve
            await gate

        thread MainThread (7)
          /app/x.py:1 in f
        """
    )
    assert text.stacks({**info, "coroutines": []}).startswith("no coroutines waiting\n\nthread")


def test_the_thread_that_answers() -> None:
    """What is below the application's own frames is the reactor and the monitor, and one line. Other threads are shown whole."""
    reactor, monitor = inspect.getsourcefile(base), inspect.getsourcefile(stacks)
    stack = [
        {"file": "/app/main.py", "line": 1, "function": "main"},
        {"file": reactor, "line": 2, "function": "run"},
        {"file": "/app/handler.py", "line": 3, "function": "handle"},
        {"file": monitor, "line": 4, "function": "threads"},
    ]
    threads = [{"name": "a", "id": 1, "stack": stack}, {"name": "b", "id": 2, "stack": stack[:3]}]
    assert text.stacks({"threads": threads, "coroutines": []}) == _lines(
        """
        no coroutines waiting

        thread a (1)
          /app/main.py:1 in main
          ... 3 frames: the reactor, and this command

        thread b (2)
          /app/main.py:1 in main
          twisted/internet/base.py:2 in run
          /app/handler.py:3 in handle
        """
    )


def test_paths_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """They begin behind the folder that Python found the file in, the innermost one; a file from elsewhere has its whole path."""
    monkeypatch.setattr(sys, "path", ["", "/lib", "/lib/site", "/srv/app"])
    files = [
        "/lib/threading.py",
        "/lib/site/twisted/web/http.py",
        "/srv/app/main.py",
        "/srv/application/x.py",
        "<string>",
    ]
    assert [text.short_path(file) for file in files] == [
        "threading.py",
        "twisted/web/http.py",
        "main.py",
        "/srv/application/x.py",
        "<string>",
    ]


def test_the_stacks_of_this_process() -> None:
    """The result of the command itself, called from here: the frames of this test are shown, those of the monitor are not."""
    monitor = Monitor(clock=Clock())
    monitor.register(Process(Clock()))
    printed: list[str] = []
    monitor.execute("query-stacks").addCallback(lambda info: printed.append(text.stacks(info)))
    main = printed[0].partition("thread MainThread")[2].partition("\n\n")[0]
    assert "tests/providers/process/test_text.py" in main
    assert "in test_the_stacks_of_this_process" in main
    assert "twisted_qmon/" not in main.replace("tests/", "")
    assert main.splitlines()[-1].endswith("frames: the reactor, and this command")
