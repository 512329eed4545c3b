"""The options of twistd qmon, and the service that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.python.usage import UsageError

from twisted_qmon.info import Level
from twisted_qmon.service.qemu_folder import QemuFolder
from twisted_qmon.tap import Options, makeService
from twisted_qmon.tap.options import GROUPS


def parse(*arguments: str) -> Any:
    options = Options()
    options.parseOptions(list(arguments))
    return options


def test_defaults() -> None:
    """With neither endpoint both are served; every limit has its documented default."""
    options = parse()
    assert (options["qmp"], options["hmp"]) == (["unix:qmp.sock"], ["unix:hmp.sock"])
    assert options["prompt"] == "(qmon) "
    assert (options["in-flight"], options["timeout"], options["drain"]) == (8, None, 5.0)
    assert (options["max-connections"], options["max-queued"], options["max-message"]) == (4096, 1 << 20, 64 << 20)
    assert (options["max-abandoned"], options["slow-client"]) == (1000, "disconnect")
    assert (options["negotiation-timeout"], options["idle-timeout"]) == (None, None)
    assert options["ready-timeout"] == 2.0
    assert (options["event-history"], options["event-history-bytes"]) == (1000, 4 << 20)


def test_only_what_is_named() -> None:
    """With either, only what is named is served; both can be repeated."""
    options = parse("--qmp", "tcp:1", "--qmp=unix:a")
    assert (options["qmp"], options["hmp"]) == (["tcp:1", "unix:a"], [])
    options = parse("--hmp", "tcp:1")
    assert (options["qmp"], options["hmp"]) == ([], ["tcp:1"])


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("max-queued", "64K", 65536),
        ("max-message", "1 MiB", 1 << 20),
        ("max-queued", "0", 0),
        ("timeout", "2.5", 2.5),
        ("timeout", "off", None),
        ("idle-timeout", "10", 10.0),
        ("drain", "0", 0.0),
        ("ready-timeout", "0", 0.0),
        ("slow-client", "drop-oldest", "drop-oldest"),
        ("in-flight", "1", 1),
        ("upstream-lost", "keep", "keep"),
        ("hmp-style", "qemu", "qemu"),
        ("event-history", "0", 0),
        ("event-history-bytes", "0", 0),
        ("event-history-bytes", "16M", 16 << 20),
    ],
)
def test_values(option: str, text: str, value: Any) -> None:
    """Values are read with their units."""
    assert parse(f"--{option}", text)[option] == value


@pytest.mark.parametrize(
    "arguments",
    [
        ["--in-flight", "0"],
        ["--in-flight", "x"],
        ["--timeout", "0"],
        ["--timeout", "-1"],
        ["--timeout", "nan"],
        ["--drain", "inf"],
        ["--ready-timeout", "-1"],
        ["--max-queued", "1Q"],
        ["--max-message", "0"],
        ["--event-history", "-1"],
        ["--event-history-bytes", "-1"],
        ["--slow-client", "wait"],
        ["--upstream-lost", "restart", "--qemu", "unix:q"],
        ["--upstream-lost", "close"],
        ["--qemu-command", "no-such-program"],
        ["--qemu-command", "env -daemonize"],
        ["--qemu-command", "env", "--qemu", "unix:q"],
        ["--qemu-folder", "tests", "--proxy-folder", "docs", "--qemu-command", "env"],
        ["--qemu-folder", "."],
        ["--proxy-folder", "."],
        ["--qemu-folder", "nowhere", "--proxy-folder", "."],
        ["--proxy-folder", "nowhere", "--qemu-folder", "."],
        ["--proxy-folder", ".", "--qemu-folder", "."],
        ["--proxy-folder", "twisted_qmon", "--qemu-folder", "."],
        ["--proxy-folder", ".", "--qemu-folder", "twisted_qmon"],
        ["--qemu-folder", "tests", "--proxy-folder", "docs", "--qemu", "unix:q"],
        ["--hmp-style", "hmp"],
        ["--qmp", "nope:1"],
        ["--qmp", ""],
        ["--hmp", "tcp:x"],
        ["--hmp", "unix"],
        ["--qmp", "ssl:1:privateKey=/nowhere/key.pem"],
        ["--qemu", "nope:1"],
        ["--qemu", ""],
        ["--nope"],
    ],
)
def test_bad_options(arguments: list[str]) -> None:
    """A bad option is a usage error of one line that says which one it is, and why."""
    with pytest.raises(UsageError) as caught:
        parse(*arguments)
    assert arguments[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help() -> None:
    """--help tells every option with its default."""
    text = " ".join(str(Options()).split())
    for option in (
        "--qmp", "--hmp", "--provider", "--qemu", "--name", "--prompt", "--in-flight", "--timeout", "--drain",
        "--qemu-command", "--qemu-folder", "--proxy-folder", "--upstream-lost",
        "--max-connections", "--max-queued", "--max-message", "--max-abandoned", "--slow-client", "--negotiation-timeout",
        "--idle-timeout", "--ready-timeout", "--event-history", "--event-history-bytes",
    ):  # fmt: skip
        assert option in text
    # Those of --qmp and --hmp, and of each option that has one; "off" is said in its text.
    rows = [row for group in GROUPS for row in group.optParameters]
    with_default = [row for row in rows if row[2] is not None or "[default:" in row[3]]
    assert text.count("default:") == 2 + len(with_default) >= 14


def test_access_and_audit(tmp_path: Path) -> None:
    """The rules are read at once; the audit's file is only named."""
    (tmp_path / "access.toml").write_text("default = 'observe'")
    options = parse("--access", str(tmp_path / "access.toml"), "--audit", "audit.jsonl", "--audit-required")
    assert options.access.rules.default is Level.OBSERVE
    assert (options["audit"], options["audit-required"]) == ("audit.jsonl", True)
    assert (parse().access, parse()["audit"], parse()["audit-required"]) == (None, None, False)


def test_what_is_wrong_with_access(tmp_path: Path) -> None:
    """Rules that can't be used, a level that there is not, and an audit that is required but nowhere are usage errors."""
    path = tmp_path / "access.toml"
    path.write_text("[[grant]]")
    for arguments, error in (
        (["--access", str(path)], f"--access: {path}: grant[1].who: at least one identity is expected"),
        (["--access", "/none"], "--access: /none: No such file or directory"),
        (
            ["--qmp", "unix:a:level=x"],
            "--qmp: 'unix:a:level=x' is not a valid server endpoint: 'x' is not a level: "
            "none, observe, operate or admin",
        ),
        (["--audit-required"], "--audit-required: there is no --audit"),
    ):
        with pytest.raises(UsageError) as caught:
            parse(*arguments)
        assert str(caught.value) == error


def test_qemu_folder(tmp_path: Path) -> None:
    """A folder of QEMUs is looked after by a service, whose monitors have the limits of the options."""
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    folders = ["--qemu-folder", str(tmp_path / "from"), "--proxy-folder", str(tmp_path / "to")]
    service: Any = makeService(parse(*folders, "--timeout", "7", "--event-history", "0"))
    proxies = service.getServiceNamed("qemu-folder")
    assert isinstance(proxies, QemuFolder)
    monitor = proxies._make_monitor()
    assert monitor.dispatcher._timeout == 7
    assert service.monitor.command("quit") is not None
    assert service.monitor.command("query-upstreams") is not None


def test_qemu_command() -> None:
    """A QEMU that is started has its own quit, and is ended with the service."""
    service: Any = makeService(parse("--qemu-command", "env x", "--drain", "3"))
    command = service.getServiceNamed("qemu-command")
    assert service.monitor.command("qmon-quit") is not None
    assert command.hurry in service.on_hurry
    assert command.provider.monitor is service.monitor
