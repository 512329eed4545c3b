"""The options of twistd qmon, and the service that they make."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.python.usage import UsageError

from twisted_qmon.tap import Options


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
        ["--slow-client", "wait"],
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
        "--max-connections", "--max-queued", "--max-message", "--max-abandoned", "--slow-client", "--negotiation-timeout",
        "--idle-timeout", "--ready-timeout",
    ):  # fmt: skip
        assert option in text
    assert text.count("default:") == 14
