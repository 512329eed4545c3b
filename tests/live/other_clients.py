"""
Sessions of clients that others wrote, directly at QEMU and through the proxy, descriptors included:

    python -m tests.live.other_clients --ganeti FOLDER --avocado PYTHON --go GOPATH --proxmox FOLDER

Each is given where it is installed: the folder above C{ganeti/}, and in C{--python} a Python with what it imports; a Python with
avocado-framework-plugin-vt; a C{GOPATH} with C{github.com/digitalocean/go-qemu}; the folder above C{PVE/QMPClient.pm}, for which
perl needs IO::Multiplex, JSON and Socket::MsgHdr. What each prints both times is compared; in the end the proxy may have no
descriptor left, and QEMU behind it no more than without it.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.live.descriptors import open_copies
from tests.live.real_qemu import RealQemu
from tests.live.twistd_process import PATIENCE, QMP, Twistd, until

__all__ = ["CLIENTS", "play"]

GANETI = """
import os, socket, sys
sys.path.insert(0, sys.argv[5])
from ganeti.hypervisor.hv_kvm import monitor

qmp_path, hmp_path, file = sys.argv[1:4]

def show(what, call, *arguments):
    try:
        print(what, call(*arguments))
    except Exception as error:
        print(what, "raised", type(error).__name__, error)

class Disk:
    hvinfo = {"driver": "virtio-blk-pci", "id": "hot", "bus": "pci.0", "addr": "0x8"}

class Nic:
    mac = "52:54:00:00:00:01"
    hvinfo = {"driver": "virtio-net-pci", "id": "nic", "bus": "pci.0", "addr": "0x9"}

def drive_add(filename):
    # As ganeti does it with socat at the human monitor.
    with socket.socket(socket.AF_UNIX) as hmp:
        hmp.connect(hmp_path)
        hmp.sendall(b"drive_add dummy file=%s,if=none,id=hot,format=raw,auto-read-only=off\\n" % filename.encode())
        hmp.settimeout(20)
        answer = b""
        while answer.count(b"(qemu) ") < 2 or not answer.endswith(b"(qemu) "):
            answer += hmp.recv(4096)
    print("drive_add", answer.splitlines()[-2:])

qmp = monitor.QmpConnection(qmp_path)
qmp.connect()
print(qmp.version, qmp.package)
qmp.close()
for name in ("CheckDiskHotAddSupport", "CheckNicHotAddSupport", "HasDynamicAutoReadOnly", "GetFreePCISlot",
             "StopGuestEmulation", "ContinueGuestEmulation", "GetMigrationStatus"):
    show(name, getattr(qmp, name))
show("HotAddDisk", qmp.HotAddDisk, Disk, "hot", file, drive_add)
show("HasDevice", qmp.HasDevice, "hot")
show("HotDelDisk", qmp.HotDelDisk, "hot")
show("HotAddDisk with blockdev-add", qmp.HotAddDisk, Disk, "hot2", file)
with open(file) as tap:
    show("HotAddNic with what is no tap", qmp.HotAddNic, Nic, "nic", [tap.fileno()])
qmp.connect()
show("fdsets", qmp.Execute, "query-fdsets")
show("nope", qmp.Execute, "nope")
qmp.close()
show("SetMigrationParameters", qmp.SetMigrationParameters, 32, 100)
show("SetMigrationCapabilities", qmp.SetMigrationCapabilities, ["zero-blocks"], True)
"""

AVOCADO = """
import logging, os, sys
logging.disable(logging.CRITICAL)
from virttest import qemu_monitor

qmp_path, hmp_path, file = sys.argv[1:4]
vm = qemu_monitor.VM("vm")

def show(what, call, *arguments, **keywords):
    try:
        print(what, call(*arguments, **keywords))
    except Exception as error:
        print(what, "raised", type(error).__name__, error)

qmp = qemu_monitor.QMPMonitor(vm, "qmp", {"monitor_filename": qmp_path})
for name in ("verify_responsive", "get_status"):
    show(name, getattr(qmp, name))
show("query", qmp.query, "kvm")
show("info", qmp.info, "status")
show("human", qmp.human_monitor_cmd, "info status")
show("send_args_cmd", qmp.send_args_cmd, "set_link name=nope,up=off")
with open(file, "rb+") as passed:
    show("getfd", qmp.getfd, passed.fileno(), "one")
    show("closefd", qmp.closefd, "one")
    show("closefd", qmp.closefd, "one")
    show("add-fd", lambda: sorted(qmp.cmd("add-fd", {"fdset-id": 3}, fd=passed.fileno())))
    show("remove-fd", qmp.cmd, "remove-fd", {"fdset-id": 3})
show("cmd_raw", lambda: qmp.cmd_raw('{"execute": "query-name"}'))
show("cmd_obj", lambda: sorted(qmp.cmd_obj({"execute": "nope", "id": "7"})["error"].items()))
show("events", lambda: (qmp.clear_events(), qmp.cmd("stop"), qmp.cmd("cont")) and sorted({e["event"] for e in qmp.get_events()}))
for name in ("get_migrate_progress", "query_jobs"):
    show(name, getattr(qmp, name))

human = qemu_monitor.HumanMonitor(vm, "human", {"monitor_filename": hmp_path})
for name in ("verify_responsive", "get_status"):
    show(name, getattr(human, name))
for line in ("info status", "info block", "stop", "info status", "cont", "nope", "print /x 255", "sendkey a", "info roms",
             "x /4i 0"):
    show(line, lambda: human.cmd(line).splitlines()[:20])
show("query", human.query, "name")
show("migrate", human.migrate, "exec:cat>/dev/null", full_copy=False, incremental_copy=False, wait=True)
"""

GO = """
package main

import (
    "encoding/json"
    "fmt"
    "os"
    "time"

    "github.com/digitalocean/go-qemu/qmp"
)

func main() {
    monitor, err := qmp.NewSocketMonitor("unix", os.Args[1], 5*time.Second)
    if err != nil {
        fmt.Println("connect", err)
        os.Exit(1)
    }
    if err := monitor.Connect(); err != nil {
        fmt.Println("negotiate", err)
        os.Exit(1)
    }
    fmt.Println(monitor.Version, monitor.Capabilities)
    run := func(command string, file *os.File) {
        var answer []byte
        var err error
        if file == nil {
            answer, err = monitor.Run([]byte(command))
        } else {
            answer, err = monitor.RunWithFile([]byte(command), file)
        }
        var value interface{}
        json.Unmarshal(answer, &value)
        text, _ := json.Marshal(value)
        fmt.Println(command, string(text), err)
    }
    file, err := os.OpenFile(os.Args[3], os.O_RDWR, 0)
    if err != nil {
        panic(err)
    }
    run(`{"execute":"query-status"}`, nil)
    run(`{"execute":"getfd","arguments":{"fdname":"file"}}`, file)
    run(`{"execute":"closefd","arguments":{"fdname":"file"}}`, nil)
    run(`{"execute":"closefd","arguments":{"fdname":"file"}}`, nil)
    run(`{"execute":"add-fd","arguments":{"fdset-id":2,"opaque":"go"}}`, file)
    run(`{"execute":"blockdev-add","arguments":{"driver":"file","node-name":"n","filename":"/dev/fdset/2"}}`, nil)
    run(`{"execute":"blockdev-del","arguments":{"node-name":"n"}}`, nil)
    run(`{"execute":"remove-fd","arguments":{"fdset-id":2}}`, nil)
    run(`{"execute":"getfd","arguments":{"fdname":"none"}}`, nil)
    run(`{"execute":"nope"}`, nil)
    run(`{"execute":"stop"}`, nil)
    run(`{"execute":"cont"}`, nil)
    monitor.Disconnect()
}
"""

# Its own C code sends the descriptor with the whole command in one sendmsg(2).
PROXMOX = """
use strict;
use warnings;
BEGIN {
    $INC{'PVE/IPCC.pm'} = $INC{'PVE/QemuServer/Helpers.pm'} = 1;
}
package PVE::IPCC;
use Socket;
use Socket::MsgHdr;
sub sendfd {
    my ($to, $fd, $data) = @_;
    open(my $socket, '+<&=', $to) or die $!;
    my $message = Socket::MsgHdr->new(buf => $data);
    $message->cmsghdr(SOL_SOCKET, SCM_RIGHTS, pack('i', $fd));
    return defined(Socket::MsgHdr::sendmsg($socket, $message)) ? 0 : -1;
}
package PVE::QemuServer::Helpers;
sub qmp_socket { return $ENV{QMP_PATH}; }
package main;
use lib $ARGV[4];
use PVE::QMPClient;
use JSON;

my $json = JSON->new->canonical->allow_nonref;
my $peer = { name => 'VM 1', id => 1, type => 'qmp' };
$ENV{QMP_PATH} = $ARGV[0];
open(my $file, '+<', $ARGV[2]) or die $!;

sub show {
    my ($execute, %arguments) = @_;
    my $client = PVE::QMPClient->new();
    my $result = eval { $client->cmd($peer, { execute => $execute, arguments => \\%arguments }, 10) };
    my $error = $@;
    delete $result->{fd} if ref($result) eq 'HASH';
    print "$execute ", $json->encode($result), " $error\\n";
}

show('query-status');
show('query-name');
show('nope');
show('add-fd', fd => fileno($file), 'fdset-id' => 4);
show('getfd', fd => fileno($file), fdname => 'alone');
show('human-monitor-command', 'command-line' => 'info status');

# As a backup does it: the name is used on the same connection.
my $client = PVE::QMPClient->new(sub { });
$client->queue_cmd($peer, sub {
    my ($id, $answer) = @_;
    print 'getfd ', $json->encode($answer->{return}), "\\n";
    for my $round (1, 2) {
        my $closed = sub { print 'closefd ', $json->encode($_[1]->{return}), "\\n"; };
        $client->queue_cmd($peer, $closed, 'closefd', fdname => 'backup');
    }
}, 'getfd', fd => fileno($file), fdname => 'backup');
eval { $client->queue_execute(10); };
print "queue: $@\\n";
show('query-status');
"""

#: The program of each client, and the ending of its file.
CLIENTS = {"ganeti": (GANETI, ".py"), "avocado": (AVOCADO, ".py"), "go": (GO, ".go"), "proxmox": (PROXMOX, ".pl")}

# What is chosen anew each time.
_MASKED = (
    (re.compile(r"on FD \d+"), "on FD <n>"),
    (re.compile(r"#block\d+"), "#block<n>"),
    (re.compile(r"'(total|setup)-time': \d+"), r"'\1-time': <n>"),
)


def _command(name: str, program: Path, options: Mapping[str, str]) -> list[str]:
    """:return: the command that runs a client's program; the arguments follow"""
    if name == "go":
        built = program.with_suffix("")
        environment = {
            **os.environ,
            "GOPATH": options["go"],
            "GO111MODULE": "off",
            "GOCACHE": str(program.parent / "cache"),
        }
        subprocess.run(["go", "build", "-o", built, program], check=True, env=environment)
        return [str(built)]
    if name == "proxmox":
        return ["perl", str(program)]
    return [options["avocado"] if name == "avocado" else options["python"], str(program)]


def play(name: str, options: Mapping[str, str], folder: Path, *, proxied: bool) -> tuple[str, int]:
    """
    Play a client's session.

    :return: what it printed, with what differs each time masked; and how many descriptors QEMU has left in the end
    :raise AssertionError: when the proxy has one
    """
    text, ending = CLIENTS[name]
    program = folder / f"program{ending}"
    program.write_text(text)
    file = folder / "passed"
    file.write_bytes(bytes(1 << 20))
    hmp = folder / "hmp"
    command = _command(name, program, options)
    with RealQemu(folder, "-monitor", f"unix:{hmp},server=on,wait=off", "-name", "vm") as qemu:
        other = until("QEMU", lambda: _connected(qemu.other))
        other.execute("cont")
        other.close()
        until("its human monitor", lambda: _answers(hmp))
        arguments: list[str | Path] = [*command, qemu.socket, hmp, file, folder, options[name]]
        if not proxied:
            printed = _run(arguments, folder)
            # What QEMU itself does not close.
            left = _count(qemu, file)
        else:
            with Twistd(folder, ["--qemu", f"unix:{qemu.socket}", "--hmp-style", "qemu"]) as proxy:
                until("QEMU behind the proxy", lambda: "return" in proxy.qmp().answer("query-block"), proxy)
                arguments[len(command) : len(command) + 2] = [folder / "qmp.sock", folder / "hmp.sock"]
                printed = _run(arguments, folder)
                left = _count(qemu, file)
                assert open_copies(proxy.popen.pid, file) == 0
    for pattern, mask in _MASKED:
        printed = pattern.sub(mask, printed)
    return printed.replace(str(folder), "FOLDER"), left


def _connected(path: Path) -> QMP | None:
    try:
        return QMP(path)
    except ConnectionRefusedError:
        return None


def _answers(path: Path) -> bool:
    """:return: whether a socket, of which there is a file, is listened at"""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _count(qemu: RealQemu, file: Path) -> int:
    """:return: how many descriptors of a file QEMU has, when it has had time to close some"""
    end = time.monotonic() + 2
    while (count := open_copies(qemu.pid, file)) and time.monotonic() < end:
        time.sleep(0.1)
    return count


def _run(arguments: list[str | Path], folder: Path) -> str:
    done = subprocess.run(
        list(map(str, arguments)),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    return f"{done.stdout}status {done.returncode}\n"


def main() -> int:
    """Play the sessions of the clients that are given. :return: 0: they are the same through the proxy"""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in CLIENTS:
        parser.add_argument(f"--{name}", metavar="WHERE")
    parser.add_argument("--python", default=sys.executable, help="runs ganeti's")
    parser.add_argument("--show", action="store_true", help="print the sessions as well")
    options = {name: value for name, value in vars(parser.parse_args()).items() if value}
    worst = 0
    for name in CLIENTS:
        if name not in options:
            continue
        texts, left = [], []
        for proxied in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                text, count = play(name, options, Path(folder), proxied=proxied)
            texts.append(text)
            left.append(count)
        if "show" in options:
            print(texts[0])  # noqa: T201
        direct, through = texts[0].splitlines(), texts[1].splitlines()
        differences = list(difflib.unified_diff(direct, through, "direct", "proxy", lineterm="", n=0))
        print(*differences, sep="\n")  # noqa: T201
        print(f"{name}: {len(direct)} lines; {'not ' * bool(differences)}the same through the proxy")  # noqa: T201
        print(f"descriptors that QEMU has left: {left[0]}, behind the proxy {left[1]}")  # noqa: T201
        worst |= bool(differences) or left[1] > left[0]
    return worst


if __name__ == "__main__":
    sys.exit(main())
