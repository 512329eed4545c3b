"""
The monitor of a service over SSH.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike, fspath
from typing import TYPE_CHECKING

from twisted_qmon._twistd.extras import need_extra

if TYPE_CHECKING:
    from twisted.conch.ssh.keys import Key

    from twisted_qmon.service.monitor_service import MonitorService
    from twisted_qmon.ssh.authorized_keys import AuthorizedKeys

__all__ = ["serve_ssh"]


def serve_ssh(
    service: MonitorService,
    descriptions: Iterable[str],
    host_key: Key | str | PathLike[str] | None,
    authorized_keys: AuthorizedKeys | str | PathLike[str] | None,
) -> None:
    """
    Serve the human monitor, and QMP as a subsystem, over SSH as well, with the limits that the service was made with.

    :param service: what L{make_monitor_service<twisted_qmon.service.make_monitor_service>} made
    :param descriptions: server endpoint descriptions
    :param host_key: the file of the server's private key, which is made if it is not there; or the key
    :param authorized_keys: the file that says who may log in, or what was read from it
    :raise ValueError: when a description is not valid or a file can't be used
    :raise ImportError: when the extra C{ssh} is not installed
    """
    descriptions = list(descriptions)
    if not descriptions:
        return
    if host_key is None or authorized_keys is None:
        raise ValueError("ssh needs ssh_host_key and ssh_authorized_keys")
    need_extra("ssh")
    # Without these endpoints conch is not loaded.
    from twisted_qmon.ssh.authorized_keys import AuthorizedKeys
    from twisted_qmon.ssh.command import CommandFactory
    from twisted_qmon.ssh.factory import SSHFactory
    from twisted_qmon.ssh.host_key import load_host_key

    key = load_host_key(fspath(host_key)) if isinstance(host_key, (str, PathLike)) else host_key
    keys = AuthorizedKeys(fspath(authorized_keys)) if isinstance(authorized_keys, (str, PathLike)) else authorized_keys
    monitor, sessions = service.monitor, service.sessions
    for description in descriptions:
        commands = CommandFactory(monitor, **sessions.limits)
        people, machines = sessions.hmp(monitor), sessions.qmp(monitor)
        factory = SSHFactory(people, commands, machines, key, keys, max_connections=sessions.max_connections)
        service.serve(description, factory)
