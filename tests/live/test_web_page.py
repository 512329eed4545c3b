"""
The page, in a real browser.

With C{QMON_PICTURES=FOLDER} the pictures of the documentation are made anew:
C{QMON_LIVE=1 QMON_PICTURES=docs/pictures python -m pytest tests/live/test_web_page.py -k pictures}.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.live.needs import missing, need
from tests.live.page_load import measure
from tests.live.real_qemu import RealQemu
from tests.live.twistd_process import PATIENCE
from tests.live.web_process import EVIL, Web, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.live, pytest.mark.slow]

TIMEOUT = 1000 * PATIENCE


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, for which a name of another site leads here as well."""
    with chromium(["--host-resolver-rules=MAP rebound.example 127.0.0.1"]) as browser:
        yield browser


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A process that serves."""
    with Web(tmp_path, "--name", "shop") as process:
        process.ready()
        yield process


@contextmanager
def tab(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A tab of a browser of its own, with the page; an error in a script fails the test, and so does a script of the text."""
    options.setdefault("viewport", {"width": 1280, "height": 800})
    context = browser.new_context(**options)
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    try:
        yield page
        assert errors == []
        assert "taken" not in page.title()
    finally:
        context.close()


def _ready(page: Page) -> None:
    page.wait_for_selector("#services li")
    page.wait_for_function("document.getElementById('state').textContent === 'running'")


def _run(context: BrowserContext, web: Web, name: str, arguments: object, **headers: str) -> Any:
    """Run a command with the cookie of the browser. :return: the answer's value"""
    answer = context.request.post(
        f"http://127.0.0.1:{web.port}/api/commands/{name}",
        data=json.dumps(arguments),
        headers={"Content-Type": "application/json", **headers},
    )
    assert answer.status in (200, 202), answer.text()
    return answer.json()


def test_log_in_and_services(browser: Browser, web: Web) -> None:
    """The address with the token logs in and is gone from the address bar; a service is stopped and started."""
    with tab(browser, web.url()) as page:
        _ready(page)
        assert page.url == f"http://127.0.0.1:{web.port}/"
        [cookie] = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert page.evaluate("document.cookie") == ""
        row = page.locator("#services li", has_text="shop").first
        row.get_by_role("button").click()
        row.get_by_text("Sure?").click()
        row.get_by_text("stopped").wait_for()
        page.locator("#events li", has_text="SERVICE_CHANGE").first.wait_for()
        row.get_by_role("button").click()
        row.get_by_text("running").wait_for()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_selector("#login-form")
        page.reload()
        page.wait_for_selector("#login-form")
        page.fill("#token", "not a token at all")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("The token is not valid").wait_for()


def test_long_command(browser: Browser, web: Web) -> None:
    """A long command is started from its form; its bar moves, also in another tab, which cancels it."""
    with tab(browser, web.url()) as page:
        _ready(page)
        other = page.context.new_page()
        other.goto(f"http://127.0.0.1:{web.port}/")
        _ready(other)
        page.bring_to_front()
        page.get_by_role("button", name="backup", exact=True).click()
        page.get_by_label("target").fill("copy.db")
        page.get_by_label("seconds").fill("sixty")
        page.get_by_role("button", name="Run").click()
        page.get_by_text("a number is needed").wait_for()
        page.get_by_label("seconds").fill("60")
        page.get_by_role("button", name="Run").click()
        moving = "(id) => document.querySelector(`${id} progress:not([hidden])`)?.value > 0"
        page.wait_for_function(moving, arg="#commands")
        page.wait_for_function(moving, arg="#pending")
        other.bring_to_front()
        other.wait_for_function(moving, arg="#pending")
        other.locator("#pending").get_by_role("button", name="Cancel backup").click()
        other.get_by_text("No request is pending").wait_for()
        page.bring_to_front()
        page.locator("#commands .result", has_text="Command 'backup' was cancelled").wait_for()
        page.get_by_label("seconds").fill("60")
        page.get_by_role("button", name="Run").click()
        page.locator("#commands .actions").get_by_role("button", name="Cancel").click()
        page.locator("#commands .result.failed").wait_for()
        page.get_by_label("seconds").fill("0.2")
        page.get_by_role("button", name="Run").click()
        page.locator("#commands .result.done", has_text="copy.db: 100 tables").wait_for()


def test_observer(browser: Browser, web: Web) -> None:
    """With a token of the level observe there is no pane and no button that would be refused."""
    path = web.folder / "web-tokens.toml"
    path.write_text(path.read_text() + '[[token]]\nname = "eye"\nlevel = "observe"\ntoken = "observer-observer"\n')
    web.popen.terminate()
    web.ends()
    with Web(web.folder, port=web.port) as again:
        again.ready()
        with tab(browser, f"http://127.0.0.1:{web.port}/?token=observer-observer") as page:
            refused: list[str] = []
            page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
            _ready(page)
            page.wait_for_timeout(2500)
            names = set(page.locator("section h2").all_inner_texts())
            assert {"Summary", "Services", "Pending", "Commands", "Events", "Console"} <= names
            assert not {"Log", "Stalls"} & names
            assert page.locator("#services button:visible").count() == 0
            assert page.get_by_role("button", name="backup", exact=True).count() == 0
            assert "web:eye · observe" in page.inner_text("#who")
            assert refused == []


def test_keyboard(browser: Browser, web: Web) -> None:
    """Everything can be done with the keyboard: log in, find and run a command, a line of the console, stop a service."""
    token = web.url().partition("token=")[2]
    with tab(browser, f"http://127.0.0.1:{web.port}/") as page:
        page.wait_for_selector("#token:focus")
        page.keyboard.type(token)
        page.keyboard.press("Enter")
        _ready(page)
        page.keyboard.press("Escape")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("/")
        page.keyboard.type("order")
        page.keyboard.press("Enter")
        page.keyboard.type("17")
        page.keyboard.press("Tab")
        page.keyboard.type("9.5")
        page.keyboard.press("Enter")
        page.locator("#events li", has_text="ORDER_PLACED number=17 total=9.5").wait_for()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press(":")
        page.keyboard.type("info name")
        page.keyboard.press("Enter")
        page.locator("#console pre", has_text="shop").wait_for()
        page.keyboard.press("ArrowUp")
        assert page.input_value("#console-line") == "info name"
        page.evaluate("document.activeElement.blur()")
        for _ in range(100):
            page.keyboard.press("Tab")
            label = page.evaluate("document.activeElement.getAttribute('aria-label')")
            if label == "Stop shop":
                break
        else:
            raise AssertionError("the button is not reached")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.locator("#services li", has_text="shop").first.get_by_text("stopped").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(browser: Browser, web: Web, scheme: Any, axe: str) -> None:
    """axe-core finds nothing serious: on the page in full use, and where one logs in."""
    with tab(browser, web.url(), color_scheme=scheme, bypass_csp=True) as page:
        _ready(page)
        for name, arguments in (
            ("order", {"number": 1, "total": 2}),
            ("complain", {"text": "late"}),
            ("tick", {"count": 3}),
        ):
            _run(page.context, web, name, arguments)
        _run(page.context, web, "backup", {"target": "x"}, Prefer="respond-async")
        page.get_by_role("button", name="backup", exact=True).click()
        page.locator("#pending progress").first.wait_for()
        page.locator("#log li", has_text="late").first.wait_for()
        assert _serious(page, axe) == []
        page.set_viewport_size({"width": 400, "height": 800})
        assert _serious(page, axe) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.get_by_role("button", name="Log out").click()
        page.wait_for_selector("#login-form")
        assert _serious(page, axe) == []


def _serious(page: Page, axe: str) -> list[Any]:
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    npm = need("npm")
    install = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4.10.2"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if install.returncode:
        missing(f"axe-core from the npm registry ({install.stderr.strip()[:200]})")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def test_one_screen(browser: Browser, web: Web) -> None:
    """At 1280 by 800 all panes are in sight, and the page does not scroll."""
    with tab(browser, web.url()) as page:
        _ready(page)
        scrolls = (
            "document.documentElement.scrollHeight > innerHeight || document.documentElement.scrollWidth > innerWidth"
        )
        assert page.evaluate(scrolls) is False
        for section in page.locator("section.pane").all():
            box = section.bounding_box()
            assert box is not None
            assert box["height"] > 30
            assert box["y"] + box["height"] <= 800
            assert box["x"] + box["width"] <= 1280


def _ticks(page: Page) -> list[int]:
    """The numbers of the ticks that the list of events has, the oldest first."""
    texts = page.locator("#events li", has_text="TICK").all_inner_texts()
    return [int(text.partition(" n=")[2].split()[0]) for text in reversed(texts)]


def test_interruption_and_restart(browser: Browser, web: Web) -> None:
    """A stream that breaks, and a process that is restarted: the page comes back, and shows what it missed."""
    with tab(browser, web.url()) as page:
        _ready(page)
        qmp = web.qmp()
        qmp.execute("tick", {"count": 10})
        [client] = [each for each in qmp.execute("query-connections-monitor") if each["kind"] == "web"]
        qmp.execute("client-disconnect", {"session": client["session"]})
        qmp.execute("tick", {"count": 10, "text": "missed"})
        page.locator("#events li", has_text="n=9 text=missed").wait_for()
        assert _ticks(page) == [*range(10), *range(10)]
        web.popen.kill()
        web.popen.wait(PATIENCE)
        page.locator("#state", has_text="disconnected").wait_for()
        with Web(web.folder, port=web.port) as again:
            # Before the page is back.
            again.qmp().execute("tick", {"count": 100, "text": "after"})
            page.locator("#state", has_text="running").wait_for()
            page.locator("#events li", has_text="n=99 text=after").wait_for()
            assert _ticks(page)[-100:] == list(range(100))
            page.wait_for_function("document.getElementById('summary').textContent.includes('up ')")
            page.reload()
            _ready(page)


def test_many_events(browser: Browser, web: Web) -> None:
    """1,000 events a second: no task of the page takes 100 ms, and its memory stays small. (A minute of it is a command.)"""
    for _ in range(3):
        figures = measure(browser, web, seconds=5.0)
        if figures.longest < 100:
            break
        # A task that waits for a processor takes longer.
    assert figures.events >= 4900
    assert figures.longest < 100, figures
    assert figures.heap < 150 << 20, figures


def test_stalls(browser: Browser, web: Web) -> None:
    """A command that blocks the reactor is shown with where it was."""
    with tab(browser, web.url()) as page:
        _ready(page)
        page.get_by_text("The reactor has not been late.").wait_for()
        _run(page.context, web, "compact", {"seconds": 0.9})
        row = page.locator("#stalls li", has_text="compact")
        row.locator("summary").click()
        row.locator("pre", has_text="shop_provider.py").wait_for()


def test_qemu(browser: Browser, tmp_path: Path) -> None:
    """In front of a QEMU the page shows the machine's state, which its buttons change, a block job, a migration, and events."""
    with RealQemu(tmp_path) as qemu, Web(tmp_path, "--qemu", f"unix:{qemu.socket}") as web:
        web.ready()
        with tab(browser, web.url()) as page:
            page.wait_for_selector("#machine")
            page.locator("#machine").get_by_role("button", name="Resume").click()
            page.locator("#machine-state", has_text="running").wait_for()
            page.locator("#events li", has_text="RESUME").first.wait_for()
            page.locator("#machine").get_by_role("button", name="Pause").click()
            page.locator("#machine-state", has_text="paused").wait_for()
            page.locator("#events li", has_text="STOP").first.wait_for()
            qmp = web.qmp()
            target = {"device": "hd0", "job-id": "copy", "sync": "full", "target": str(tmp_path / "copy.qcow2")}
            qmp.execute("drive-mirror", target)
            page.locator("#machine .job", has_text="copy: mirror, ready").wait_for()
            qmp.execute("block-job-cancel", {"device": "copy"})
            qmp.execute("migrate", {"uri": f"exec:cat >{tmp_path}/saved"})
            page.locator("#machine .job", has_text="Migration: completed").wait_for()
            page.locator("#machine progress[value='100']").wait_for()


# -- defences


class _Elsewhere(BaseHTTPRequestHandler):
    """A page of another site."""

    page = ""

    def do_GET(self) -> None:
        """The page, whatever the address."""
        body = self.page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is logged."""


@contextmanager
def elsewhere(text: str) -> Iterator[int]:
    """A page at another port of this host: for cookies the same site, and another origin."""
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (_Elsewhere,), {"page": text}))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


ATTACK = """<!doctype html><body><script>
const there = "http://127.0.0.1:PORT";
const json = {method: "POST", credentials: "include", body: "{}"};
const tries = {
  read: () => fetch(there + "/api/session", {credentials: "include"}).then((answer) => answer.text()),
  json: () => fetch(there + "/api/commands/never", {...json, headers: {"Content-Type": "application/json"}}),
  simple: () => fetch(there + "/api/commands/never", {...json, mode: "no-cors"}),
  beacon: () => navigator.sendBeacon(there + "/api/commands/never", "{}") && Promise.reject("sent"),
  events: () => new Promise((yes, no) => {
    const source = new EventSource(there + "/api/events", {withCredentials: true});
    source.onopen = yes; source.onerror = no;
  }),
  image: () => new Promise((yes, no) => {
    const image = new Image(); image.onload = yes; image.onerror = no; image.src = there + "/static/icon.svg";
  }),
  script: () => new Promise((yes, no) => {
    const script = document.createElement("script"); script.onload = yes; script.onerror = no;
    script.src = there + "/api/commands"; document.body.append(script);
  }),
};
(async () => {
  const result = {};
  for (const [name, attempt] of Object.entries(tries)) {
    result[name] = await attempt().then((answer) => answer?.type === "opaque" ? "opaque" : "yes", () => "no");
  }
  window.result = result;
})();
</script>
<form id="form" method="post" action="http://127.0.0.1:PORT/api/commands/never" enctype="text/plain">
<input name='{"a":"' value='"}'></form>
<iframe src="http://127.0.0.1:PORT/"></iframe></body>"""


def test_pages_of_other_sites(browser: Browser, web: Web) -> None:
    """A page of another origin, in the browser that is logged in, can read nothing, run nothing and frame nothing."""
    with tab(browser, web.url()) as page, elsewhere(ATTACK.replace("PORT", str(web.port))) as port:
        _ready(page)
        for host in ("127.0.0.1", "localhost"):
            other = page.context.new_page()
            other.goto(f"http://{host}:{port}/")
            other.wait_for_function("window.result")
            result = other.evaluate("window.result")
            assert result.pop("simple") in ("opaque", "no")
            assert set(result.values()) == {"no"}, result
            framed = [frame for frame in other.frames if frame is not other.main_frame]
            assert [frame.locator("#state").count() for frame in framed] == [0]
            with other.expect_navigation():
                other.evaluate("document.getElementById('form').submit()")
            assert "error" in other.content()
            other.close()
        pending = web.qmp().execute("query-pending")
        assert [each["command"] for each in pending if each["command"] == "never"] == []


def test_rebinding_and_old_cookies(browser: Browser, web: Web) -> None:
    """A name that was pointed here is refused; so are a cookie that was made up, and one of a token that is gone."""
    token = web.url().partition("token=")[2]
    context = browser.new_context()
    page = context.new_page()
    for path in ("/", f"/?token={token}", "/api/session", "/static/app.js"):
        answer = page.goto(f"http://rebound.example:{web.port}{path}")
        assert answer is not None
        assert (answer.status, context.cookies()) == (403, [])
    page.goto(web.url())
    [cookie] = context.cookies()
    context.clear_cookies()
    context.add_cookies([{"name": cookie["name"], "value": cookie["value"][:-1] + "x", "url": page.url}])
    answer = page.goto(f"http://127.0.0.1:{web.port}/")
    assert answer is not None
    assert answer.status == 401
    page.wait_for_selector("#login-form")
    for path in (f"/api/commands?token={token}", "/api/commands"):
        answer = page.goto(f"http://127.0.0.1:{web.port}{path}")
        assert answer is not None
        assert answer.status == 401
    context.close()


def test_text_is_text(browser: Browser, web: Web) -> None:
    """Markup in every place where a client or the program can put text is shown as text."""
    with tab(browser, web.url()) as page:
        _ready(page)
        page.locator("#services li", has_text="onerror").wait_for()
        qmp = web.qmp()
        qmp.execute("tick", {"count": 1, "text": EVIL})
        qmp.execute("complain", {"text": EVIL})
        qmp.execute("human-monitor-command", {"command-line": EVIL})
        qmp.error(EVIL)
        page.locator("#events li", has_text="<script>").first.wait_for()
        page.locator("#log li", has_text="<script>").first.wait_for()
        page.fill("#console-line", EVIL)
        page.press("#console-line", "Enter")
        page.locator("#console pre", has_text="unknown command").wait_for()
        _run(page.context, web, "backup", {"target": EVIL, "seconds": 0.1})
        page.fill("#command-search", "fail")
        page.press("#command-search", "Enter")
        page.get_by_label("text", exact=False).first.fill(EVIL)
        page.get_by_role("button", name="Run").click()
        page.locator("#commands .result.failed", has_text="<script>").wait_for()
        page.get_by_label("Filter events").fill(EVIL)
        assert page.locator("img[src=x]").count() == 0
        page.wait_for_timeout(200)


# -- pictures


def _picture(browser: Browser, web: Web) -> AbstractContextManager[Page]:
    web.ready()
    return tab(browser, web.url())


def test_pictures(browser: Browser, tmp_path: Path) -> None:
    """The pictures of the documentation can be taken."""
    folder = Path(os.environ.get("QMON_PICTURES", tmp_path))
    with (
        Web(tmp_path, "--name", "shop", services=["orders", "payments", "mail"]) as web,
        _picture(browser, web) as page,
    ):
        _ready(page)
        run = page.context
        _run(run, web, "backup", {"target": "/var/backups/shop.db", "seconds": 30}, Prefer="respond-async")
        for number in range(9):
            _run(run, web, "order", {"number": 1041 + number, "total": round(19.9 + 7.35 * number, 2)})
        for text in ("no stock of article 17", "the payment provider is slow: 4.1 s"):
            _run(run, web, "complain", {"text": text})
        page.get_by_role("button", name="backup", exact=True).click()
        page.get_by_label("target").fill("/srv/copy.db")
        page.get_by_role("button", name="Run").click()
        page.fill("#console-line", "info status")
        page.press("#console-line", "Enter")
        page.locator("#pending tbody tr").nth(1).wait_for()
        page.wait_for_timeout(8000 if "QMON_PICTURES" in os.environ else 500)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=folder / f"web-{scheme}.png")
        page.set_viewport_size({"width": 400, "height": 860})
        page.screenshot(path=folder / "web-small.png")
    assert all((folder / f"web-{name}.png").stat().st_size > 10_000 for name in ("light", "dark", "small"))
