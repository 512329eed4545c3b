"""
A session of libvirt with a VM, directly and through the proxy: C{python -m tests.live.libvirt_session}.

libvirt's own driver (C{qemu:///embed}) runs in a folder of its own. For the proxy the emulator is a wrapper: it gives the
listening socket that libvirt has made for QEMU's monitor to the proxy, and QEMU another one. What virsh prints both times is
compared, with times, numbers that QEMU chooses and paths masked. It needs root, C{virsh} and libvirt's QEMU driver, and takes a
minute.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.needs import need
from tests.live.twistd_process import PATIENCE, ROOT

__all__ = ["Libvirt"]

#: What virsh is told, and whether it is to succeed. C{!kill} kills QEMU.
STEPS = (
    "create one.xml",
    "list",
    "domstate one --reason",
    "dominfo one",
    "qemu-monitor-command one --hmp 'info status'",
    "domblklist one",
    "domblkinfo one vda",
    "domstats one --state --balloon --block",
    "dommemstat one",
    "setmem one 49152 --live",
    "suspend one",
    "domstate one --reason",
    "resume one",
    "attach-disk one FOLDER/extra.qcow2 vdb --subdriver qcow2 --live",
    "domblklist one",
    "snapshot-create-as one tag",
    "snapshot-list one --name",
    "snapshot-revert one tag",
    "snapshot-delete one tag",
    "blockcopy one vda FOLDER/copy.qcow2 --wait --verbose --finish --transient-job",
    "detach-disk one vdb --live",
    "domblklist one",
    "dump one FOLDER/one.dump --memory-only",
    "dump one FOLDER/one.live --live",
    "save one FOLDER/one.save",
    "list --name",
    "restore FOLDER/one.save",
    "domstate one",
    "snapshot-create-as one outside --disk-only --no-metadata --diskspec vda,file=FOLDER/overlay.qcow2",
    "blockcommit one vda --active --pivot --wait",
    "domblklist one",
    "send-key one KEY_A",
    "reset one",
    "domjobinfo one",
    "!kill",
    "list --name",
    "create one.xml",
    "shutdown one --mode acpi",
    "destroy one",
    "list --all --name",
)

_DOMAIN = """
<domain type="qemu">
  <name>one</name>
  <uuid>2b2d6b52-5f5f-4bbd-9c3d-6a1b8f7a0001</uuid>
  <memory unit="MiB">64</memory>
  <vcpu>1</vcpu>
  <os><type arch="x86_64" machine="pc">hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type="file" device="disk">
      <driver name="qemu" type="qcow2"/><source file="{folder}/disk.qcow2"/><target dev="vda" bus="virtio"/>
    </disk>
    <controller type="usb" model="none"/>
    <memballoon model="virtio"/>
    <input type="keyboard" bus="ps2"/>
  </devices>
</domain>
"""

# The settings of a driver that runs as root, without cgroups and name spaces.
_SETTINGS = """
stdio_handler = "file"
security_driver = "none"
user = "root"
group = "root"
cgroup_controllers = [ ]
namespaces = [ ]
"""

# Run by libvirt as if it were QEMU.
_WRAPPER = """#!{python}
import os, re, subprocess, sys

words = sys.argv[1:]
for number, word in enumerate(words):
    found = re.match("socket,id=charmonitor,fd=([0-9]+),", word)
    if found:
        listener, private = int(found[1]), "{folder}/qemu-%d" % os.getpid()
        words[number] = "socket,id=charmonitor,path=%s,server=on,wait=off" % private
        if os.fork() == 0:
            os.setsid()
            os.dup2(listener, 3)
            os.closerange(4, 4096)
            out = os.open("{folder}/proxy.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for each in (1, 2):
                os.dup2(out, each)
            os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="qmp", LISTEN_PID=str(os.getpid()))
            os.environ.update(PYTHONPATH="{root}", HOME="{folder}")
            program = "from twisted.scripts.twistd import run; run()"
            os.execv(sys.executable, [sys.executable, "-c", program, "-n", "--pidfile=", "qmon",
                "--qemu", "unix:" + private, "--qmp", "systemd:domain=UNIX:index=0",
                "--upstream-lost", "close", "--ready-timeout", "20"])
        os.close(listener)
os.execv("{program}", [sys.argv[0], *words])
"""

# What differs from one session to the next.
_MASKED = (
    (re.compile(r"^.*: \d+: (info|warning) : .*\n", re.M), ""),
    (re.compile(r"^(virsh # )?(echo )?:\d+:\n", re.M), ""),
    (re.compile(r"^virsh # ", re.M), ""),
    (re.compile(r"(CPU time:\s+|last_update |rss )[\d.]+"), r"\1<n>"),
    (re.compile(r"(balloon\.(?:rss|last-update)=)\d+"), r"\1<n>"),
    (re.compile(r"(block\.\d+\.(?:allocation|physical|rd\.\w+|wr\.\w+|fl\.\w+)=)\d+"), r"\1<n>"),
    (re.compile(r"^((?:Id|Allocation|Physical):\s+)\d+", re.M), r"\1<n>"),
    (re.compile(r"^ \d+ ( +one)", re.M), r" <n> \1"),
    # As often as virsh looks.
    (re.compile(r"(Block Copy: \[ *[\d.]+ %\]\s*)+"), ""),
)


class Libvirt:
    """
    A folder in which libvirt has a VM.

    :param folder: the folder
    :param proxied: with the proxy in front of its QEMU
    """

    def __init__(self, folder: Path, *, proxied: bool) -> None:
        self.folder = folder
        virsh, image, program = (need(name) for name in ("virsh", "qemu-img", "qemu-system-x86_64"))
        (folder / "root" / "etc").mkdir(parents=True)
        (folder / "root" / "etc" / "qemu.conf").write_text(_SETTINGS)
        for name in ("disk", "extra"):
            subprocess.run([image, "create", "-q", "-f", "qcow2", folder / f"{name}.qcow2", "16M"], check=True)
        if proxied:
            wrapper = folder / "emulator"
            wrapper.write_text(_WRAPPER.format(python=sys.executable, folder=folder, root=ROOT, program=program))
            wrapper.chmod(0o700)
            program = str(wrapper)
        (folder / "one.xml").write_text(_DOMAIN.format(emulator=program, folder=folder))
        self._virsh = [virsh, "-c", f"qemu:///embed?root={folder}/root"]

    def play(self) -> str:
        """
        :return: what virsh printed, step by step
        :raise TimeoutError: when a step takes too long
        """
        virsh = subprocess.Popen(
            self._virsh, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert virsh.stdin is not None
        assert virsh.stdout is not None
        text = b""
        try:
            for number, step in enumerate(STEPS):
                if step == "!kill":
                    self._kill_qemu()
                    continue
                virsh.stdin.write(f"{step.replace('FOLDER', str(self.folder))}\necho :{number}:\n".encode())
                virsh.stdin.flush()
                end = time.monotonic() + PATIENCE
                while f"\n:{number}:\n".encode() not in text:
                    if not select.select([virsh.stdout], [], [], max(0, end - time.monotonic()))[0]:
                        raise TimeoutError(f"{step}: not within {PATIENCE} s: {text[-500:].decode()}")
                    data = os.read(virsh.stdout.fileno(), 1 << 16)
                    if not data:
                        raise EOFError(f"virsh has ended: {text[-500:].decode()}")
                    text += data
            virsh.stdin.close()
            virsh.wait(PATIENCE)
        finally:
            virsh.kill()
            virsh.wait()
        return self._mask(text.decode())

    def _mask(self, text: str) -> str:
        for pattern, mask in _MASKED:
            text = pattern.sub(mask, text)
        return "\n".join(
            line.rstrip() for line in text.replace(str(self.folder), "FOLDER").splitlines() if line.strip()
        )

    def processes(self) -> Iterator[tuple[int, str]]:
        """:return: the processes that have something of the folder in their command line"""
        for each in Path("/proc").iterdir():
            try:
                line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, UnicodeDecodeError):
                continue
            if each.name.isdecimal() and str(self.folder) in line:
                yield int(each.name), line

    def _kill_qemu(self) -> None:
        for pid, line in self.processes():
            if "-name guest=one" in line:
                os.kill(pid, signal.SIGKILL)
        # libvirt is told by the end of the monitor's connection, and takes its time.
        time.sleep(5)

    def close(self) -> None:
        """End what is left."""
        for pid, line in self.processes():
            if "virsh" not in line:
                os.kill(pid, signal.SIGTERM)


@contextmanager
def session(*, proxied: bool) -> Iterator[Libvirt]:
    """:return: a folder with a VM, which is gone at the end"""
    with tempfile.TemporaryDirectory() as folder:
        libvirt = Libvirt(Path(folder), proxied=proxied)
        try:
            yield libvirt
        finally:
            libvirt.close()
            time.sleep(0.5)


def main() -> int:
    """Play both sessions, and print how they differ. :return: 0: not at all"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true", help="print the sessions as well")
    options = parser.parse_args()
    texts = []
    for proxied in (False, True):
        with session(proxied=proxied) as libvirt:
            texts.append(libvirt.play())
            if options.show:
                log = libvirt.folder / "proxy.log"
                print(texts[-1], log.read_text() if log.exists() else "", sep="\n\n")  # noqa: T201
    direct, through = texts[0].splitlines(), texts[1].splitlines()
    differences = list(difflib.unified_diff(direct, through, "direct", "proxy", lineterm="", n=2))
    print(*differences, sep="\n")  # noqa: T201
    failed = sum("error:" in line for line in texts[0].splitlines())
    print(f"{len(STEPS)} steps, {failed} errors; {'the same' if not differences else 'not the same'} through the proxy")  # noqa: T201
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
