"""
What level each of QEMU's commands needs, on the wire and as a word that people type. The table is fixed, and stands in
C{docs/access.md}.

C{admin} is whatever opens files or sockets, adds or removes devices and objects, shows or changes secrets, or moves the guest
away, and whatever is not known here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from twisted_qmon.info import Level, Need

__all__ = ["ADMIN", "OBSERVE", "OPERATE", "HumanLine", "command_level", "is_known", "line_need", "read_line"]

#: What only looks. Besides these, every C{query-...} and C{x-query-...}.
OBSERVE = frozenset(
    {
        "device-list-properties",
        "qom-list",
        "qom-list-properties",
        "qom-list-types",
        "trace-event-get-state",
        "x-debug-query-block-graph",
        "x-debug-block-dirty-bitmap-sha256",
    }
)

#: What changes the work of the guest, and nothing of what it is made of.
OPERATE = frozenset(
    {
        "announce-self",
        "balloon",
        "block-dirty-bitmap-add",
        "block-dirty-bitmap-clear",
        "block-dirty-bitmap-disable",
        "block-dirty-bitmap-enable",
        "block-dirty-bitmap-merge",
        "block-dirty-bitmap-remove",
        "block-job-cancel",
        "block-job-complete",
        "block-job-dismiss",
        "block-job-finalize",
        "block-job-pause",
        "block-job-resume",
        "block-job-set-speed",
        "block-latency-histogram-set",
        "block-set-write-threshold",
        "block-stream",
        "block_set_io_throttle",
        "calc-dirty-rate",
        "cancel-vcpu-dirty-limit",
        "cont",
        "eject",
        "inject-nmi",
        "input-send-event",
        "job-cancel",
        "job-complete",
        "job-dismiss",
        "job-finalize",
        "job-pause",
        "job-resume",
        "ringbuf-read",
        "ringbuf-write",
        "rtc-reset-reinjection",
        "send-key",
        "set-action",
        "set-vcpu-dirty-limit",
        "set_link",
        "stop",
        "system_powerdown",
        "system_reset",
        "system_wakeup",
        "watchdog-set-action",
    }
)

#: What QEMU 7.2 has and needs C{admin}. It makes no difference to a command whether it stands here or not: this list is there so
#: that a command which no one has thought about shows.
ADMIN = frozenset(
    {
        "add-fd",
        "add_client",
        "block-commit",
        "block-export-add",
        "block-export-del",
        "block_resize",
        "change-backing-file",
        "change-vnc-password",
        "client_migrate_info",
        "closefd",
        "display-reload",
        "display-update",
        "drive-backup",
        "drive-mirror",
        "dump-guest-memory",
        "dumpdtb",
        "expire_password",
        "getfd",
        "human-monitor-command",
        "memsave",
        "nbd-server-add",
        "nbd-server-remove",
        "nbd-server-start",
        "nbd-server-stop",
        "netdev_add",
        "netdev_del",
        "pmemsave",
        "qom-get",
        "qom-set",
        "quit",
        "remove-fd",
        "replay-break",
        "replay-delete-break",
        "replay-seek",
        "screendump",
        "set-numa-node",
        "set_password",
        "sev-inject-launch-secret",
        "snapshot-delete",
        "snapshot-load",
        "snapshot-save",
        "trace-event-set-state",
        "transaction",
        "x-blockdev-amend",
        "x-blockdev-change",
        "x-blockdev-set-iothread",
        "x-colo-lost-heartbeat",
        "x-exit-preconfig",
        "xen-colo-do-checkpoint",
        "xen-load-devices-state",
        "xen-save-devices-state",
        "xen-set-global-dirty-log",
        "xen-set-replication",
        "yank",
    }
)

_LOOKS = re.compile(r"(?:x-)?query-")
_ADMIN_FAMILIES = ("migrate", "blockdev-", "object-", "chardev-", "device_")

# Words of QEMU's human monitor that do what a QMP command of another name does. Elsewhere only the dashes are different.
_WORDS = {
    "?": "help",
    "c": "cont",
    "nmi": "inject-nmi",
    "p": "print",
    "q": "quit",
    "s": "stop",
    "sendkey": "send-key",
    "watchdog_action": "watchdog-set-action",
}

# Those that have no QMP command, and need less than admin.
_ONLY_HUMAN = {
    "": Level.OBSERVE,
    "help": Level.OBSERVE,
    "mouse_button": Level.OPERATE,
    "mouse_move": Level.OPERATE,
    "mouse_set": Level.OPERATE,
}

# As QEMU finds the word: its blanks are those of C, and a slash ends it too.
_WORD = re.compile(r"[ \t\n\v\f\r]*([^ \t\n\v\f\r/]*)")


def command_level(name: str) -> Level:
    """:return: the level of a QMP command of a QEMU"""
    if name == "qmp_capabilities":
        return Level.NONE
    if name in OPERATE:
        return Level.OPERATE
    if name in OBSERVE or _LOOKS.match(name):
        return Level.OBSERVE
    return Level.ADMIN


def is_known(name: str) -> bool:
    """:return: whether the table was made with this command in mind"""
    return command_level(name) is not Level.ADMIN or name in ADMIN or name.startswith(_ADMIN_FAMILIES)


class HumanLine(NamedTuple):
    """
    What a line of QEMU's human monitor is about.

    :ivar words: its word, and the one after C{info}: all of it that is not possibly a secret
    :ivar need: what it needs; its name is that of the QMP command that does the same, where there is one
    """

    words: str
    need: Need


def read_line(line: str) -> HumanLine:
    """
    :param line: a line of QEMU's human monitor, as a person types it
    :return: what it is about
    """
    match = _WORD.match(line)
    word = match[1] if match is not None else ""
    if word == "info":
        behind = _WORD.match(line, match.end() if match is not None else 0)
        sub = behind[1] if behind is not None else ""
        name = f"query-{sub.replace('_', '-')}" if sub else "info"
        return HumanLine(f"info {sub}".rstrip(), Need(Level.OBSERVE, name, ("info",)))
    name = _WORDS.get(word, word)
    dashed = name.replace("_", "-")
    level = _ONLY_HUMAN.get(name)
    if level is None:
        level = Level.OPERATE if name in OPERATE or dashed in OPERATE else Level.ADMIN
    return HumanLine(word, Need(level, name, tuple({word, dashed} - {name})))


def line_need(line: str) -> Need:
    """:return: what a line of QEMU's human monitor needs"""
    return read_line(line).need
