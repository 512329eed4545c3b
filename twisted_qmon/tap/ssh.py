"""
The options of SSH.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.usage import UsageError

from twisted_qmon._twistd.extras import missing_modules
from twisted_qmon.tap.group import OptionGroup

if TYPE_CHECKING:
    from twisted.conch.ssh.keys import Key

    from twisted_qmon.service import MonitorService
    from twisted_qmon.ssh.authorized_keys import AuthorizedKeys


__all__ = ["SSHOptions"]


class SSHOptions(OptionGroup):
    """C{--ssh} and its files."""

    optParameters = [
        ["ssh-host-key", None, None, "The private key of --ssh; a file that is made at the first start."],
        ["ssh-authorized-keys", None, None, "Who may log in at --ssh: a file as OpenSSH has it."],
    ]  # fmt: skip
    endpoints = ["ssh"]

    def __init__(self) -> None:
        super().__init__()
        self.ssh_host_key: Key | None = None
        self.ssh_authorized_keys: AuthorizedKeys | None = None

    def opt_ssh(self, description: str) -> None:
        """Serve the human monitor, and QMP as a subsystem, over SSH at this server endpoint (repeatable)."""
        self["ssh"].append(description)

    def check(self) -> None:
        """:raise UsageError: when one of the three is missing, or can't be used, or the extra is not installed"""
        files = ("ssh-host-key", "ssh-authorized-keys")
        for option in files:
            if bool(self["ssh"]) is not (self[option] is not None):
                raise UsageError(f"--{option}: there is no --ssh" if self[option] else f"--ssh: there is no --{option}")
        if not self["ssh"]:
            return
        missing = missing_modules("ssh")
        if missing:
            raise UsageError(f"--ssh: {missing}")
        from twisted_qmon.ssh.authorized_keys import AuthorizedKeys
        from twisted_qmon.ssh.host_key import load_host_key

        option = files[1]
        try:
            self.ssh_authorized_keys = AuthorizedKeys(self[option])
            option = files[0]
            self.ssh_host_key = load_host_key(self[option])
        except ValueError as e:
            raise UsageError(f"--{option}: {e}") from e

    def serve(self, service: MonitorService) -> None:
        """Serve it, if there is an endpoint."""
        from twisted_qmon.service.ssh import serve_ssh

        serve_ssh(service, self["ssh"], self.ssh_host_key, self.ssh_authorized_keys)
