"""The host key is made at the first start, and is private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.conch.ssh.keys import Key

from tests.support.ssh_client import new_key
from twisted_qmon.ssh import host_key
from twisted_qmon.ssh.host_key import HostKeyError, load_host_key


def test_it_is_made_once(tmp_path: Path) -> None:
    """With mode 600, whatever the umask is; the next start reads it."""
    path = tmp_path / "key"
    before = os.umask(0)
    try:
        key = load_host_key(str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.type() == "Ed25519"
    assert load_host_key(str(path)) == key
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_another_process_makes_it_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is there then is used."""
    path = tmp_path / "key"
    first = load_host_key(str(path))
    answers = [None, path.read_bytes()]
    monkeypatch.setattr(host_key, "_read", lambda _: answers.pop(0))
    assert load_host_key(str(path)) == first


def test_other_types(tmp_path: Path) -> None:
    """Keys that ssh-keygen makes are read, too."""
    path = tmp_path / "key"
    key = Key(rsa.generate_private_key(65537, 2048))
    path.write_bytes(key.toString("openssh"))
    path.chmod(0o600)
    assert load_host_key(str(path)) == key


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "it is not a private key of OpenSSH without a passphrase"),
        (b"nonsense", 0o600, "it is not a private key of OpenSSH without a passphrase"),
        (new_key().toString("openssh", subtype="v1", passphrase=b"x"), 0o600, "without a passphrase"),
        (new_key().public().toString("openssh"), 0o600, "it is not a private key of type Ed25519, ECDSA or RSA"),
        (new_key().toString("openssh", subtype="v1"), 0o640, "others may read it (its mode is 640): chmod 600"),
        (None, 0o700, "it is not a file"),
    ],
    ids=["empty", "nonsense", "passphrase", "public", "mode", "folder"],
)
def test_what_is_refused(tmp_path: Path, content: bytes | None, mode: int, words: str) -> None:
    """What is no private key, or is not private, is one line that names the file."""
    path = tmp_path / "key"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(HostKeyError) as error:
        load_host_key(str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Is one line, too."""
    with pytest.raises(HostKeyError, match="No such file or directory"):
        load_host_key(str(tmp_path / "none" / "key"))
