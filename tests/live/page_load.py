"""
The page under many events: C{python -m tests.live.page_load --seconds 60 --rate 1000}.

It prints the longest task of the page (Performance API) and what its scripts hold in memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from tests.live.web_process import Web, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["Figures", "measure"]

_OBSERVE = """
window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((each) => each.duration)))
  .observe({entryTypes: ["longtask"]});
"""


class Figures(NamedTuple):
    """
    What was measured.

    :ivar events: how many came
    :ivar longest: milliseconds of the longest task; 0: none took 50
    :ivar heap: bytes that the page's scripts hold at the end, before what is garbage was collected
    :ivar nodes: how many nodes the page has
    """

    events: int
    longest: float
    heap: int
    nodes: int


def measure(browser: Browser, web: Web, *, seconds: float, rate: int = 1000) -> Figures:
    """
    :param seconds: for how long events are emitted
    :param rate: how many in a second
    :return: what the page made of it
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.goto(web.url())
        page.wait_for_selector("#services li")
        page.evaluate(_OBSERVE)
        web.qmp().execute("tick-on", {"rate": rate, "seconds": seconds})
        page.wait_for_timeout(1000 * seconds + 1500)
        client = context.new_cdp_session(page)
        client.send("Performance.enable")
        metrics = {each["name"]: each["value"] for each in client.send("Performance.getMetrics")["metrics"]}
        return Figures(
            int(page.locator("#events .note").inner_text()),
            max(page.evaluate("window.tasks"), default=0.0),
            int(metrics["JSHeapUsedSize"]),
            int(metrics["Nodes"]),
        )
    finally:
        context.close()


def main() -> None:
    """Measure, and print the figures and the median of the longest tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    longest = []
    with tempfile.TemporaryDirectory() as folder, chromium() as browser, Web(Path(folder)) as web:
        web.ready()
        for _ in range(options.runs):
            figures = measure(browser, web, seconds=options.seconds, rate=options.rate)
            longest.append(figures.longest)
            print(json.dumps(figures._asdict()))  # noqa: T201
    print(f"longest task, median of {len(longest)}: {median(longest):.0f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
