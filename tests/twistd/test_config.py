"""
Options from a file: what they become, what wins, and what is said of a file that can't be used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.python.usage import UsageError

from twisted_qmon.tap import Options


def parse(tmp_path: Path, text: str, *arguments: str, before: tuple[str, ...] = ()) -> Options:
    """Parse options with a file of this text."""
    path = tmp_path / "qmon.toml"
    path.write_text(text)
    options = Options()
    options.parseOptions([*before, "--config", str(path), *arguments])
    return options


def test_file(tmp_path: Path) -> None:
    """Each kind of option may stand in a file: with a value, several times, and without a value."""
    options = parse(
        tmp_path,
        """
        qmp = ["unix:a.sock", "unix:b.sock:level=observe"]
        hmp = "unix:hmp.sock"
        name = "guest-7"
        in-flight = 4
        drain = 0.5
        max-queued = "64K"
        timeout = "off"
        audit = "audit"
        audit-required = true
        """,
    )
    wanted: dict[str, Any] = {
        "qmp": ["unix:a.sock", "unix:b.sock:level=observe"],
        "hmp": ["unix:hmp.sock"],
        "name": "guest-7",
        "in-flight": 4,
        "drain": 0.5,
        "max-queued": 65536,
        "timeout": None,
        "audit": "audit",
        "audit-required": True,
    }
    assert {key: options[key] for key in wanted} == wanted


def test_command_line_wins(tmp_path: Path) -> None:
    """Of an option that is given on the command line, before --config or behind it, abbreviated or not, the file has no say."""
    text = """
        qmp = ["unix:a.sock", "unix:b.sock"]
        name = "file"
        in-flight = 4
        audit = "audit"
        audit-required = false
    """
    options = parse(tmp_path, text, "--qmp", "unix:c.sock", "--in-f=6", before=("--name", "line"))
    assert (options["qmp"], options["name"], options["in-flight"]) == (["unix:c.sock"], "line", 6)
    assert (options["audit"], options["audit-required"]) == ("audit", False)


def test_without_a_file() -> None:
    """Without --config nothing is different, and an option that there is not is told as ever."""
    options = Options()
    options.parseOptions(["--name", "x"])
    assert (options["config"], options["name"]) == (None, "x")
    with pytest.raises(UsageError, match="--nonsense"):
        Options().parseOptions(["--nonsense"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nonsense = 1", "nonsense: there is no such option"),
        ("config = 'x'", "config: there is no such option"),
        ("help = true", "help: there is no such option"),
        ("version = true", "version: there is no such option"),
        ("in-flight = 'x'", "--in-flight: 'x': "),
        ("in-flight = 0", "--in-flight: '0': it must be at least 1"),
        ("in-flight = true", "in-flight: a string or a number is expected, not True"),
        ("in-flight = [1]", "in-flight: a string or a number is expected, not [1]"),
        ("qmp = [1, true]", "qmp: a string or a number is expected, not True"),
        ("audit-required = 1", "audit-required: true or false is expected, not 1"),
        ("audit-required = 'yes'", "audit-required: true or false is expected, not 'yes'"),
        ("[qmp]\na = 1", "qmp: a string or a number is expected, not {'a': 1}"),
        ("'a\\nb' = 1", "a"),
        ("x", "not TOML: "),
    ],
)
def test_what_is_wrong(tmp_path: Path, text: str, error: str) -> None:
    """A file that can't be used is one line with its name, the key and the reason."""
    with pytest.raises(UsageError) as raised:
        parse(tmp_path, text)
    said = str(raised.value)
    assert said.startswith(f"--config: {tmp_path}/qmon.toml: {error}")
    assert said.isprintable()


def test_what_is_wrong_even_if_it_does_not_count(tmp_path: Path) -> None:
    """An option of the file that the command line overrules has to be right all the same."""
    with pytest.raises(UsageError, match="it must be at least 1"):
        parse(tmp_path, "in-flight = 0", "--in-flight", "3")


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that can't be read, and two of them, are one line."""
    with pytest.raises(UsageError, match=r"^--config: /none.toml: No such file or directory$"):
        Options().parseOptions(["--config", "/none.toml"])
    with pytest.raises(UsageError, match="--config is given twice"):
        parse(tmp_path, "", "--config=x")
