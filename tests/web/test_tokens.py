"""Tokens, their file, and the cookies that are made for them."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from tests.support.web import ADMIN, OBSERVER, write_tokens
from twisted_qmon.core.access.rules import AccessError
from twisted_qmon.info import Level
from twisted_qmon.web import cookies as cookies_module
from twisted_qmon.web.cookies import COOKIE_AGE, Cookies
from twisted_qmon.web.tokens import Tokens

GOOD = 'name = "a"\nlevel = "observe"\ntoken = "0123456789abcdef"\n'


def _mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_first_start(tmp_path: Path) -> None:
    """A file that is not there is made: one random token of name and level admin, for its owner only."""
    umask = os.umask(0o277)
    try:
        one, other = Tokens(tmp_path / "one.toml", (os.getuid(), os.getgid())), Tokens(tmp_path / "other.toml")
    finally:
        os.umask(umask)
    assert _mode(one.path) == 0o600
    token, different = one.named("admin"), other.named("admin")
    assert token is not None
    assert different is not None
    assert token.level is Level.ADMIN
    assert token.secret != different.secret
    assert len(token.secret) >= 43
    assert one.find(token.secret) is token
    again = Tokens(one.path).named("admin")
    assert again is not None
    assert again.secret == token.secret
    assert token.secret not in repr(token)


def test_file(tmp_path: Path) -> None:
    """Each token has a name and a level; what is no token is none."""
    tokens = Tokens(write_tokens(tmp_path))
    token = tokens.find(OBSERVER)
    assert token is not None
    assert (token.name, token.level) == ("eye", Level.OBSERVE)
    assert tokens.find("") is None
    assert tokens.find(ADMIN + "x") is None
    assert tokens.named("nix") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "token: there must be at least one [[token]]"),
        ("token = 1", "token: there must be at least one [[token]]"),
        ("token = [1]", "token 1: it must be a table"),
        ("[[token]]\n" + GOOD + "x = 1\n", "token 1: x: there is no such key"),
        ("other = 1\n", "other: there is no such key"),
        ("[[token]]\n" + GOOD.replace('"a"', '"a b"'), "token 1: name: it must be text"),
        ("[[token]]\n" + GOOD.replace('"a"', "1"), "token 1: name: it must be text"),
        ("[[token]]\n" + GOOD.replace("0123456789abcdef", "short"), "token 1: token: it must be text of 16 to 200"),
        (
            "[[token]]\n" + GOOD.replace("observe", "none"),
            "token 1: level: it must be observe, operate or admin, not 'none'",
        ),
        (
            "[[token]]\n" + GOOD.replace("observe", "all"),
            "token 1: level: it must be observe, operate or admin, not 'all'",
        ),
        ("[[token]]\n" + GOOD.replace('"observe"', "3"), "token 1: level: it must be observe, operate or admin, not 3"),
        ("[[token]]\n" + GOOD + "[[token]]\n" + GOOD, "token 2: name: 'a' is given twice"),
        ("[[token]]\n" + GOOD + "[[token]]\n" + GOOD.replace('"a"', '"b"'), "token 2: token: it is that of 'a'"),
        ("[[token", "not TOML"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, complaint: str) -> None:
    """A file that can't be used is one line that says where and why."""
    path = write_tokens(tmp_path, text)
    with pytest.raises(AccessError) as caught:
        Tokens(path)
    assert str(caught.value).startswith(f"{path}: {complaint}")
    assert "\n" not in str(caught.value)


def test_others_may_read(tmp_path: Path) -> None:
    """A file that others can read is refused, and so is what is no file, or can't be made."""
    with pytest.raises(AccessError, match="its mode must be 600, not 640"):
        Tokens(write_tokens(tmp_path, mode=0o640))
    with pytest.raises(AccessError, match="it is not a file"):
        Tokens(tmp_path)
    with pytest.raises(AccessError, match="No such file"):
        Tokens(tmp_path / "no" / "tokens.toml")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(AccessError, match="No such file"):
        Tokens(tmp_path / "link")


def test_reload(tmp_path: Path) -> None:
    """A file that can't be used leaves the tokens as they were."""
    tokens = Tokens(write_tokens(tmp_path))
    write_tokens(tmp_path, "nonsense")
    with pytest.raises(AccessError):
        tokens.reload()
    assert tokens.find(ADMIN) is not None
    write_tokens(tmp_path, "[[token]]\n" + GOOD)
    tokens.reload()
    assert tokens.find(ADMIN) is None


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL is in a file for its owner, and on standard error if that is a terminal; the file goes with the server."""
    tokens = Tokens(write_tokens(tmp_path))
    (tmp_path / "tokens.toml.url").write_text("old")
    screen, elsewhere = _Terminal(), io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    tokens.announce("http://127.0.0.1:1")
    monkeypatch.setattr("sys.stderr", elsewhere)
    tokens.announce("http://[::1]:2")
    assert screen.getvalue() == f"The page is at http://127.0.0.1:1/?token={ADMIN}\n"
    assert elsewhere.getvalue() == ""
    url = Path(tokens.url_path)
    assert url.read_text() == f"http://127.0.0.1:1/?token={ADMIN}\nhttp://[::1]:2/?token={ADMIN}\n"
    assert _mode(tokens.url_path) == 0o600
    tokens.withdraw()
    assert not url.exists()
    tokens.withdraw()


def test_url_can_not_be_written(tmp_path: Path) -> None:
    """Where the file with the URL can't be written or removed, that is logged, without the URL."""
    tokens = Tokens(write_tokens(tmp_path))
    url = Path(tokens.url_path)
    url.mkdir()
    tokens.announce("http://127.0.0.1:1")
    tokens.withdraw()
    assert url.is_dir()


def test_cookies(tmp_path: Path) -> None:
    """A cookie leads to its token, also after a restart, until it is too old, revoked, or its token is gone or another."""
    now = [1_000_000.0]
    tokens = Tokens(write_tokens(tmp_path))
    cookies = Cookies(tokens, lambda: now[0])
    token = tokens.find(OBSERVER)
    assert token is not None
    value, other = cookies.make(token), cookies.make(token)
    assert value != other
    assert OBSERVER not in value
    assert cookies.find(value) is token
    assert not cookies.is_old(value)
    restarted = Cookies(Tokens(tokens.path), lambda: now[0])
    assert restarted.name == cookies.name
    assert restarted.find(value) == token
    cookies.revoke(value)
    assert cookies.find(value) is None
    assert Cookies(tokens, lambda: now[0]).find(value) is None
    assert cookies.find(other) is token
    now[0] += COOKIE_AGE * 0.6
    assert cookies.is_old(other)
    now[0] += COOKIE_AGE * 0.4
    assert cookies.find(other) is None
    now[0] -= COOKIE_AGE
    write_tokens(tmp_path, f'[[token]]\nname = "eye"\nlevel = "admin"\ntoken = "{ADMIN}"\n')
    tokens.reload()
    assert cookies.find(other) is None
    write_tokens(tmp_path, "[[token]]\n" + GOOD)
    tokens.reload()
    assert cookies.find(other) is None


def test_forged_cookies(tmp_path: Path) -> None:
    """No part of a cookie can be changed: not when it ends, not whose it is."""
    tokens = Tokens(write_tokens(tmp_path))
    cookies = Cookies(tokens, lambda: 1_000_000.0)
    token = tokens.find(OBSERVER)
    assert token is not None
    session, end, name, signature = cookies.make(token).split(".")
    assert cookies.find(f"{session}.{end}.{name}.{signature}") is token
    assert cookies.find(f"{session}.{int(end) + 1}.{name}.{signature}") is None
    assert cookies.find(f"{session}.{end}.root.{signature}") is None
    assert cookies.find(f"{session[::-1]}.{end}.{name}.{signature}") is None
    assert cookies.find(f"{session}.{end}.{name}.{'0' * 64}") is None
    assert cookies.find("") is None
    assert cookies.find("x" * 100_000) is None


def test_revoked_cookies_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many sessions that were ended by their users the oldest are forgotten."""
    monkeypatch.setattr(cookies_module, "MAX_REVOKED", 2)
    tokens = Tokens(write_tokens(tmp_path))
    cookies = Cookies(tokens, lambda: 1_000_000.0)
    token = tokens.find(ADMIN)
    assert token is not None
    values = [cookies.make(token) for _ in range(3)]
    for value in values:
        cookies.revoke(value)
    assert [cookies.find(value) is None for value in values] == [False, True, True]
