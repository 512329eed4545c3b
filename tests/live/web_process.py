"""
A process with a web interface of our own, and a browser in front of it: for live tests, and for commands that measure the page.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.live.needs import missing, need
from tests.live.twistd_process import PATIENCE, Twistd, free_port, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["EVIL", "Web", "chromium"]

#: Text that does harm where it is taken for markup.
EVIL = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"

PROVIDER = """
import time

from twisted.application.service import Service
from twisted.internet import defer, reactor, task
from twisted.logger import Logger
from zope.interface import implementer

from twisted_qmon.interfaces import ICommandProviderFactory
from twisted_qmon import CommandProvider, Event, GenericError, Request, command


class Shop(CommandProvider):
    events = [Event("TICK", n=int, text=str), Event("ORDER_PLACED", number=int, total=float)]
    _log = Logger(namespace="shop")

    @command(level="observe")
    def big(self, size: int) -> str:
        return "x" * size

    @command
    def never(self):
        return defer.Deferred()

    @command
    def backup(self, request: Request, target: str, seconds: float = 20.0):
        '''copy the database to a file'''
        done = defer.Deferred(lambda _: loop.stop())
        steps = iter(range(1, 101))

        def step():
            number = next(steps)
            request.progress(number, 100)
            if number == 100:
                loop.stop()
                done.callback(f"{target}: 100 tables")

        loop = task.LoopingCall(step)
        loop.start(seconds / 100, now=False)
        return done

    @command
    def tick(self, count: int, text: str = "x") -> None:
        '''emit some events at once'''
        for n in range(count):
            self.emit("TICK", {"n": n, "text": text})

    @command
    def tick_on(self, rate: int, seconds: float) -> None:
        '''emit events at a rate'''
        ticks = iter(range(int(rate * seconds)))

        def step():
            for _ in range(rate // 50):
                n = next(ticks, None)
                if n is None:
                    return loop.stop()
                self.emit("TICK", {"n": n, "text": "an event like many others"})

        loop = task.LoopingCall(step)
        loop.start(1 / 50)

    @command
    def order(self, number: int, total: float) -> None:
        '''place an order'''
        self.emit("ORDER_PLACED", {"number": number, "total": total})

    @command
    def complain(self, text: str) -> None:
        '''write to the log'''
        self._log.warn("{text}", text=text)

    @command
    def compact(self, seconds: float) -> None:
        '''do something that takes its time, and do it in the reactor's thread'''
        time.sleep(seconds)

    @command
    def fail(self, text: str) -> None:
        raise GenericError(text)


@implementer(ICommandProviderFactory)
class Make:
    name, description, options = "shop", "a shop", None

    def provider(self, reactor, application):
        for name in SERVICES:
            service = Service()
            service.setName(name)
            service.setServiceParent(application)
        return Shop()


make = Make()
"""


class Web(Twistd):
    """
    A process with a web interface, at a port of its own.

    :param arguments: more options of C{twistd qmon}
    :param port: the port; by default a free one
    :param services: the names of services that do nothing
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        port: int | None = None,
        services: Sequence[str] = ("shop", EVIL.replace("/", "|")),
    ) -> None:
        self.port = free_port() if port is None else port
        (folder / "shop_provider.py").write_text(PROVIDER.replace("SERVICES", repr(tuple(services))))
        web = ["--web", f"tcp:{self.port}:interface=127.0.0.1", "--provider", "shop_provider.make"]
        # Another plugin, whose services can be stopped.
        beside = ["web", "--port", "tcp:0:interface=127.0.0.1", "--path", str(folder)]
        options = ["--qmp", "unix:qmp.sock", "--drain", "0.1", *web, *arguments, *beside]
        super().__init__(folder, options, paths=[folder])

    def ready(self) -> str:
        """Wait until it serves. :return: the first token"""
        self.qmp().close()
        return str(until("the URL", self.url, self).partition("token=")[2])

    def url(self) -> str:
        """:return: the address of the page, with the token; empty while it is not there"""
        path = self.folder / "web-tokens.toml.url"
        return path.read_text().strip() if path.exists() else ""

    def connect(self) -> socket.socket:
        """:return: a connection"""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        connection.settimeout(PATIENCE)
        return connection

    def head(self, token: str, line: str, *headers: str) -> bytes:
        """:return: the head of a request"""
        lines = [f"{line} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def memory(self) -> int:
        """:return: KiB of memory in use"""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]


@contextmanager
def chromium(arguments: Iterable[str] = ()) -> Iterator[Browser]:
    """
    Run a browser.

    :raise unittest.SkipTest: when there is none, or no playwright, and live tests are optional
    """
    program = need("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *arguments])
        try:
            yield browser
        finally:
            browser.close()
