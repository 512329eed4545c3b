"""Prometheus itself: it checks the page, scrapes it, and evaluates what the dashboard and the alerts ask."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.live.needs import need
from tests.live.twistd_process import PATIENCE, ROOT, SLOW, Program, Twistd, free_port, until

pytestmark = pytest.mark.live

EXAMPLES = ROOT / "docs" / "examples"

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: qmon
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def _page(port: int) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        page: bytes = answer.read()
    return page


def _busy(folder: Path, process: Program) -> None:
    """Have each kind of number there be."""
    client = process.qmp()
    for _ in range(100):
        client.execute("query-name")
    client.error("nonsense")
    client.execute("soon")
    with socket.socket(socket.AF_UNIX) as waits:
        waits.settimeout(PATIENCE)
        waits.connect(str(folder / "qmp.sock"))
        waits.sendall(b'{"execute": "qmp_capabilities"}{"execute": "never", "id": 1}')
        until("it is pending", lambda: client.execute("query-pending"), process)


def _expressions() -> list[str]:
    """What the dashboard asks, with what Grafana puts in."""
    dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [each.replace("$__rate_interval", "1m").replace("$instance", ".*") for each in found]


def test_prometheus_has_no_complaint_and_scrapes(tmp_path: Path) -> None:
    """promtool checks page and rules; a Prometheus scrapes, and knows each metric that dashboard and alerts name."""
    promtool, prometheus = need("promtool"), need("prometheus")
    (tmp_path / "slow.py").write_text(SLOW)
    port, web = free_port(), free_port()
    arguments = ["--metrics", f"tcp:{port}:interface=127.0.0.1", "--qmp", "unix:qmp.sock", "--provider", "slow.Slow"]
    with Twistd(tmp_path, arguments, paths=[tmp_path]) as process:
        _busy(tmp_path, process)
        page = _page(port)
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=page, capture_output=True, timeout=PATIENCE, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b""), checked.stderr
        assert b'qmon_requests_total{command="query-name",outcome="ok"} 100.0' in page
        rules = EXAMPLES / "prometheus-alerts.yml"
        subprocess.run([promtool, "check", "rules", str(rules)], check=True, capture_output=True, timeout=PATIENCE)

        (tmp_path / "prometheus.yml").write_text(CONFIG.format(rules=rules, port=port))
        command = [
            prometheus,
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{web}",
        ]
        (tmp_path / "data").mkdir()
        with Program(tmp_path / "data", command) as server:

            def ask(path: str, **arguments: str) -> Any:
                try:
                    with urlopen(
                        f"http://127.0.0.1:{web}/api/v1/{path}?{urlencode(arguments)}", timeout=PATIENCE
                    ) as it:
                        return json.loads(it.read())["data"]
                except OSError:
                    return None

            def scraped() -> Any:
                found = ask("query", query='qmon_requests_total{command="query-name",outcome="ok"}')
                return found and found["result"]

            (series,) = until("a scrape", scraped, server)
            assert series["value"][1] == "100"
            groups = until("the rules", lambda: _evaluated(ask("rules")), server)
            assert {rule["health"] for rule in groups} == {"ok"}
            names = set(ask("label/__name__/values"))
            asked = set(re.findall(r"\b(?:qmon|process)_\w+", " ".join(_expressions()) + rules.read_text()))
            # There is no QEMU here.
            assert {name for name in asked if "upstream" not in name} - names == set()
            for expression in _expressions():
                assert ask("query", query=expression) is not None, expression


def _evaluated(found: Any) -> Any:
    rules = [rule for group in (found or {}).get("groups", ()) for rule in group["rules"]]
    return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None
