"""
What takes long on QEMU and completes at the proxy: migrations, snapshots, block jobs.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_qemu import Proxy
from twisted_qmon.errors import CommandCancelled, ConnectionClosed, GenericError
from twisted_qmon.providers.qemu.long_commands import long_operation as _operation
from twisted_qmon.providers.qemu.long_commands.long_operation import POLL, Watch
from twisted_qmon.providers.qemu.long_commands.snapshots import choose_devices
from twisted_qmon.testing import HMPConnection

BLOCKS: list[dict[str, Any]] = [{"device": "hd0", "inserted": {"node-name": "disk0"}}, {"device": "cd0"}]
NODES: list[dict[str, Any]] = [
    {"node-name": "disk0", "drv": "qcow2", "ro": False, "image": {"snapshots": [{"name": "old"}]}},
    {"node-name": "file0", "drv": "file", "ro": False, "image": {}},
]
GRAPH: dict[str, list[dict[str, Any]]] = {
    "nodes": [
        {"id": 1, "type": "block-backend", "name": "hd0"},
        {"id": 2, "type": "block-driver", "name": "disk0"},
        {"id": 3, "type": "block-driver", "name": "file0"},
    ],
    "edges": [{"parent": 1, "child": 2, "name": "root"}, {"parent": 2, "child": 3, "name": "file"}],
}


class LongCase(SynchronousTestCase):
    """A proxy, and a QEMU with jobs."""

    def setUp(self) -> None:
        self.proxy = Proxy()
        self.qemu = self.proxy.qemu
        self.progress: list[tuple[int, int]] = []

    def execute(self, name: str, /, **arguments: Any) -> Any:
        """Execute a command of ours."""
        return self.proxy.monitor.execute(name, arguments, progress=lambda *far: self.progress.append(far))

    def expect(self, name: str, result: Any = None, /, **arguments: Any) -> dict[str, Any]:
        """QEMU is asked this next, and nothing else; it answers. Returns the arguments."""
        (request,) = self.qemu.asked()
        self.assertEqual(request["execute"], name)
        got: dict[str, Any] = request.get("arguments", {})
        self.assertEqual({key: value for key, value in got.items() if key in arguments}, arguments)
        if result is not None:
            self.qemu.answer(request, result)
        return got

    def job(self, id: str, *states: str) -> None:
        """A job goes through states."""
        for state in states:
            self.qemu.event("JOB_STATUS_CHANGE", {"id": id, "status": state})


class MigrationTests(LongCase):
    """C{qmon-migrate}."""

    def info(self, status: str, **more: Any) -> dict[str, Any]:
        """What query-migrate says."""
        return {"status": status, **more}

    def test_completes(self) -> None:
        """It completes when the migration does, with what query-migrate says then; the progress is told on the way."""
        done = self.execute("qmon-migrate", uri="tcp:x:1", blk=True)
        self.assertEqual(self.expect("migrate", {}), {"uri": "tcp:x:1", "blk": True})
        self.expect("query-migrate", self.info("setup"))
        self.qemu.event("MIGRATION", {"status": "active"})
        self.expect("query-migrate", self.info("active", ram={"total": 100, "remaining": 60}))
        self.proxy.clock.advance(POLL)
        self.expect("query-migrate", self.info("active", ram={"total": 100, "remaining": 20}, disk={"total": 50}))
        self.assertNoResult(done)
        self.qemu.event("MIGRATION", {"status": "completed"})
        self.expect("query-migrate", self.info("completed", downtime=5))
        self.assertEqual(self.successResultOf(done), {"status": "completed", "downtime": 5})
        self.assertEqual(self.progress, [(40, 100), (130, 150)])
        self.assertEqual(self.qemu.asked(), [])

    def test_without_events(self) -> None:
        """A client that switched the events off does not keep it from completing."""
        done = self.execute("qmon-migrate", uri="tcp:x:1")
        self.expect("migrate", {})
        for _ in range(3):
            self.expect("query-migrate", self.info("active"))
            self.proxy.clock.advance(POLL)
        self.expect("query-migrate", self.info("completed"))
        self.successResultOf(done)

    def test_detach(self) -> None:
        """Detached it does not wait."""
        done = self.execute("qmon-migrate", uri="tcp:x:1", detach=True)
        self.expect("migrate", {})
        self.assertEqual(self.successResultOf(done), {})
        self.assertEqual(self.qemu.asked(), [])

    def test_refused(self) -> None:
        """What QEMU refuses at once fails with its words."""
        done = self.execute("qmon-migrate", uri="bogus")
        self.expect("migrate", GenericError("no such protocol"))
        self.assertEqual(str(self.failureResultOf(done, GenericError).value), "no such protocol")

    def test_fails(self) -> None:
        """What fails later fails with QEMU's reason, or a plain word where it gives none."""
        for info, text in (
            (self.info("failed", **{"error-desc": "Broken pipe"}), "Broken pipe"),
            (self.info("failed"), "The migration failed"),
            (self.info("cancelled"), "The migration was cancelled"),
            (self.info("postcopy-paused"), "The migration stopped in the state 'postcopy-paused'"),
        ):
            done = self.execute("qmon-migrate", uri="tcp:x:1")
            self.expect("migrate", {})
            self.expect("query-migrate", info)
            self.assertEqual(str(self.failureResultOf(done, GenericError).value), text)

    def test_cancel(self) -> None:
        """Cancelled while it runs, the migration is cancelled."""
        done = self.execute("qmon-migrate", uri="tcp:x:1")
        self.expect("migrate", {})
        self.expect("query-migrate", self.info("active"))
        done.cancel()
        self.failureResultOf(done, CommandCancelled)
        self.expect("migrate_cancel", {})
        self.qemu.event("MIGRATION", {"status": "cancelled"})
        self.expect("query-migrate", self.info("cancelled"))
        self.assertEqual(self.proxy.clock.getDelayedCalls()[1:], [])

    def test_cancel_early(self) -> None:
        """Cancelled while QEMU is beginning it, it is cancelled once it has begun; not sent yet, it never is."""
        done = self.execute("qmon-migrate", uri="tcp:x:1")
        done.cancel()
        self.failureResultOf(done, CommandCancelled)
        self.expect("migrate", {})
        requests = self.qemu.asked()
        self.assertEqual([each["execute"] for each in requests], ["migrate_cancel", "query-migrate"])
        self.qemu.answer(requests[0], {})
        self.qemu.answer(requests[1], self.info("cancelled"))

        for _ in range(2):
            self.proxy.provider.upstream.execute("query-block")
        done = self.execute("qmon-migrate", uri="tcp:x:2")
        done.cancel()
        self.failureResultOf(done, CommandCancelled)
        for request in self.qemu.asked():
            self.qemu.answer(request, {})
        self.assertEqual(self.qemu.asked(), [])

    def test_connection_lost(self) -> None:
        """When QEMU goes in the middle, it fails."""
        done = self.execute("qmon-migrate", uri="tcp:x:1")
        self.expect("migrate", {})
        self.expect("query-migrate", self.info("active"))
        self.qemu.die()
        self.failureResultOf(done, ConnectionClosed)
        self.assertEqual(len(self.proxy.provider.upstream._watchers), 0)

    def test_malformed_answer(self) -> None:
        """An answer of another form than QEMU's fails the request, and is logged; also when it was cancelled before."""
        done = self.execute("qmon-migrate", uri="tcp:x:1")
        self.expect("migrate", {})
        self.expect("query-migrate", [1])
        self.failureResultOf(done, GenericError)
        done = self.execute("qmon-migrate", uri="tcp:x:1")
        self.expect("migrate", {})
        (asked,) = self.qemu.asked()
        done.cancel()
        self.failureResultOf(done, CommandCancelled)
        self.expect("migrate_cancel", {})
        self.qemu.answer(asked, [1])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 2)

    def test_typed(self) -> None:
        """Typed by a person it prints nothing when it is done, as on QEMU."""
        person = HMPConnection(self.proxy.monitor, prompt="> ")
        self.assertEqual(person.type("migrate tcp:x:1"), "")
        self.expect("migrate", {})
        self.expect("query-migrate", self.info("completed", downtime=5))
        self.assertEqual(person.output(), "> ")


class SnapshotTests(LongCase):
    """C{qmon-savevm}, C{qmon-loadvm}, C{qmon-delvm}."""

    def choose(self, nodes: Any = NODES) -> None:
        """The proxy looks for the disks."""
        self.expect("query-block", BLOCKS)
        self.expect("query-named-block-nodes", nodes, flat=True)
        self.expect("x-debug-query-block-graph", GRAPH)

    def run_job(self, verb: str, error: str | None = None, **arguments: Any) -> None:
        """A snapshot job runs, ends and is dismissed."""
        (request,) = self.qemu.asked()
        self.assertEqual(request["execute"], f"snapshot-{verb}")
        id = request["arguments"].pop("job-id")
        self.assertEqual(request["arguments"], arguments)
        self.job(id, "created", "running")
        self.qemu.answer(request, {})
        self.job(id, *(["aborting"] if error else ["waiting", "pending"]), "concluded")
        info = {"id": id, "status": "concluded", **({"error": error} if error else {})}
        self.expect("query-jobs", [{"id": "other"}, info])
        self.expect("job-dismiss", {}, id=id)

    def test_save(self) -> None:
        """A snapshot of the disks that QEMU's human command would take; the first one has the machine's state."""
        done = self.execute("qmon-savevm", name="new")
        self.choose()
        self.run_job("save", tag="new", vmstate="disk0", devices=["disk0"])
        self.assertEqual(self.successResultOf(done), {})

    def test_replace(self) -> None:
        """One of the same name is deleted first."""
        done = self.execute("qmon-savevm", name="old")
        self.choose()
        self.run_job("delete", tag="old", devices=["disk0"])
        self.run_job("save", tag="old", vmstate="disk0", devices=["disk0"])
        self.successResultOf(done)

    def test_replace_fails(self) -> None:
        """If it can't be deleted, that is the error, and nothing is saved."""
        done = self.execute("qmon-savevm", name="old")
        self.choose()
        self.run_job("delete", "disk on fire", tag="old", devices=["disk0"])
        self.assertEqual(str(self.failureResultOf(done, GenericError).value), "disk on fire")
        self.assertEqual(self.qemu.asked(), [])

    def test_without_name(self) -> None:
        """Without a name it gets one from the time, as on QEMU."""
        done = self.execute("qmon-savevm")
        self.choose()
        tag = time.strftime("vm-%Y%m%d%H%M%S", time.localtime(self.proxy.clock.seconds()))
        self.run_job("save", tag=tag, vmstate="disk0", devices=["disk0"])
        self.successResultOf(done)

    def test_load_and_delete(self) -> None:
        """The others likewise; a job's error is the command's."""
        done = self.execute("qmon-loadvm", name="old")
        self.choose()
        self.run_job("load", "no such snapshot", tag="old", vmstate="disk0", devices=["disk0"])
        self.assertEqual(str(self.failureResultOf(done, GenericError).value), "no such snapshot")
        done = self.execute("qmon-delvm", name="old")
        self.choose()
        self.run_job("delete", tag="old", devices=["disk0"])
        self.successResultOf(done)

    def test_without_graph(self) -> None:
        """A QEMU that does not tell how its disks are used has the disks of its devices saved."""
        done = self.execute("qmon-savevm", name="new")
        self.expect("query-block", BLOCKS)
        self.expect("query-named-block-nodes", NODES)
        (request,) = self.qemu.asked()
        self.qemu.say({"id": request["id"], "error": {"class": "CommandNotFound", "desc": "no"}})
        self.run_job("save", tag="new", vmstate="disk0", devices=["disk0"])
        self.assertEqual(self.successResultOf(done), {})

    def test_no_disks(self) -> None:
        """Without disks there is nothing to save to."""
        done = self.execute("qmon-savevm", name="x")
        self.expect("query-block", [])
        self.expect("query-named-block-nodes", [])
        self.expect("x-debug-query-block-graph", {"nodes": [], "edges": []})
        self.assertIn("No block device", str(self.failureResultOf(done, GenericError).value))


class BlockJobTests(LongCase):
    """The block jobs."""

    def test_stream(self) -> None:
        """The job has the disk's name, tells its progress, and is dismissed at the end."""
        done = self.execute("qmon-block-stream", device="hd0", speed=1024)
        self.job("hd0", "null")  # of one that was there before
        begun = {"job-id": "hd0", "device": "hd0", "speed": 1024}
        (request,) = self.qemu.asked()
        self.assertEqual(request["arguments"], begun)
        self.job("hd0", "created", "running")
        self.qemu.answer(request, {})
        self.proxy.clock.advance(POLL)
        self.expect("query-jobs", [{"id": "hd0", "status": "running"}])
        self.proxy.clock.advance(POLL)
        self.expect("query-jobs", [{"id": "hd0", "status": "running", "current-progress": 5, "total-progress": 10}])
        self.assertNoResult(done)
        self.job("hd0", "waiting", "pending")
        self.qemu.event("BLOCK_JOB_COMPLETED", {"device": "hd0", "len": 10})
        self.job("hd0", "concluded")
        self.expect("query-jobs", [{"id": "hd0", "status": "concluded"}])
        self.expect("job-dismiss", {}, id="hd0")
        self.assertEqual(self.successResultOf(done), {})
        self.assertEqual(self.progress, [(5, 10)])

    def test_refused(self) -> None:
        """A job that QEMU does not begin fails with its words."""
        done = self.execute("qmon-block-stream", device="nope")
        self.expect("block-stream", GenericError("no such disk"))
        self.assertEqual(str(self.failureResultOf(done, GenericError).value), "no such disk")

    def test_error(self) -> None:
        """The error of a job is the command's, also when another client has dismissed it."""
        done = self.execute("qmon-block-stream", device="hd0")
        self.expect("block-stream", {})
        self.job("hd0", "created", "running", "aborting")
        self.qemu.event("BLOCK_JOB_COMPLETED", {"device": "hd0", "error": "I/O error"})
        self.job("hd0", "concluded")
        self.expect("query-jobs", [])
        self.assertEqual(str(self.failureResultOf(done, GenericError).value), "I/O error")

    def test_dismissed_by_another(self) -> None:
        """Another client that dismisses the job at the same moment does no harm."""
        done = self.execute("qmon-block-stream", device="hd0")
        self.expect("block-stream", {})
        self.job("hd0", "created", "concluded")
        self.expect("query-jobs", [{"id": "hd0", "status": "concluded"}])
        self.expect("job-dismiss", GenericError("Job not found"))
        self.successResultOf(done)

    def test_cancelled_by_another(self) -> None:
        """A job that another client cancels fails."""
        done = self.execute("qmon-block-stream", device="hd0")
        self.expect("block-stream", {})
        self.job("hd0", "created", "running", "aborting")
        self.qemu.event("BLOCK_JOB_CANCELLED", {"device": "hd0"})
        self.job("hd0", "concluded", "null")
        self.expect("query-jobs", [])
        self.assertEqual(str(self.failureResultOf(done, GenericError).value), "The job was cancelled")

    def test_proxy_stops(self) -> None:
        """When the proxy stops, those who wait are told; the job goes on without them."""
        done = self.execute("qmon-block-stream", device="hd0")
        self.expect("block-stream", {})
        drained = self.proxy.monitor.drain(5.0)
        self.proxy.clock.advance(5.0)
        self.failureResultOf(done, CommandCancelled)
        self.assertEqual(self.successResultOf(drained), 1)
        self.assertNotIn("job-cancel", [each["execute"] for each in self.qemu.asked()])

    def test_vanished(self) -> None:
        """A job that is not there any more at the next look is over."""
        done = self.execute("qmon-block-stream", device="hd0")
        self.expect("block-stream", {})
        self.proxy.clock.advance(POLL)
        self.expect("query-jobs", [])
        self.successResultOf(done)

    def test_cancel(self) -> None:
        """Cancelling cancels the job, which is dismissed when it has ended."""
        done = self.execute("qmon-block-stream", device="hd0")
        self.expect("block-stream", {})
        self.job("hd0", "created", "running")
        done.cancel()
        self.failureResultOf(done, CommandCancelled)
        self.expect("job-cancel", {}, id="hd0")
        self.job("hd0", "aborting", "concluded")
        self.expect("query-jobs", [{"id": "hd0", "status": "concluded", "error": "Operation canceled"}])
        self.expect("job-dismiss", {}, id="hd0")

    def test_backup(self) -> None:
        """The arguments are those of QEMU's human command; a disk whose name is no job id gets another one."""
        done = self.execute("qmon-drive-backup", device="#block1", target="/b", full=True, reuse=True, compress=True)
        expected = {"device": "#block1", "target": "/b", "sync": "full", "mode": "existing", "compress": True}
        arguments = self.expect("drive-backup", {}, **expected)
        self.assertNotIn("format", arguments)
        id = arguments["job-id"]
        self.assertRegex(id, r"^qmon-drive-backup-\d+$")
        self.job(id, "created", "concluded")
        self.expect("query-jobs", [{"id": id, "status": "concluded"}])
        self.expect("job-dismiss", {})
        self.successResultOf(done)

    def test_mirror(self) -> None:
        """A mirror is done when it is in step, and left running."""
        done = self.execute("qmon-drive-mirror", device="hd0", target="/b", format="raw")
        self.expect("drive-mirror", {}, mode="absolute-paths", sync="top", unmap=True, format="raw")
        self.job("hd0", "created", "running")
        self.assertNoResult(done)
        self.job("hd0", "ready")
        self.successResultOf(done)
        self.assertEqual(self.qemu.asked(), [])

    def test_block_commit(self) -> None:
        """A commit of the active image is completed when it is ready."""
        done = self.execute("qmon-block-commit", device="hd0", **{"job-id": "mine"})
        self.expect("block-commit", {}, **{"job-id": "mine", "device": "hd0"})
        self.job("mine", "created", "running", "ready")
        self.expect("job-complete", {}, id="mine")
        self.job("mine", "concluded")
        self.expect("query-jobs", [{"id": "mine", "status": "concluded"}])
        self.expect("job-dismiss", {})
        self.assertEqual(self.successResultOf(done), {})

    def test_commit(self) -> None:
        """C{commit} is QEMU's own; what it prints is the error."""
        done = self.execute("qmon-commit", device='a "b"')
        self.expect("human-monitor-command", "", **{"command-line": 'commit "a \\"b\\""'})
        self.assertEqual(self.successResultOf(done), {})
        done = self.execute("qmon-commit", device="nope")
        self.expect("human-monitor-command", "Error: Device 'nope' not found\r\n")
        self.assertEqual(str(self.failureResultOf(done, GenericError).value), "Device 'nope' not found")


class WatchTests(LongCase):
    """Waiting for events."""

    def test_bounded(self) -> None:
        """Events that are not asked for are kept up to a limit."""
        self.patch(_operation, "MAX_WATCHED", 2)
        with Watch(self.proxy.provider.upstream, lambda name, _: name == "STOP") as watch:
            for _ in range(5):
                self.qemu.event("STOP")
            self.qemu.event("RESUME")
            self.assertEqual(len(watch._seen), 2)
        self.qemu.event("STOP")
        self.assertEqual(len(watch._seen), 2)


# -- which disks


def node(name: str, drv: str = "qcow2", **more: Any) -> dict[str, Any]:
    """One of query-named-block-nodes."""
    return {"node-name": name, "drv": drv, "ro": False, **more}


@pytest.mark.parametrize(
    ("nodes", "graph", "chosen"),
    [
        pytest.param([node("disk0"), node("file0", "file")], GRAPH, ["disk0"], id="what is below is not taken"),
        pytest.param([node("disk0", ro=True)], GRAPH, [], id="not what is read-only"),
        pytest.param([node("disk0", "raw"), node("file0", "file")], GRAPH, ["disk0"], id="QEMU says that it can't"),
        pytest.param([node("disk0")], {}, ["disk0"], id="without a graph"),
        pytest.param(
            [node("disk0", "raw"), node("spare")],
            {**GRAPH, "nodes": [*GRAPH["nodes"], {"id": 9, "type": "block-driver", "name": "spare"}]},
            ["spare", "disk0"],
            id="unused ones too; the machine's state goes to the first that can",
        ),
        pytest.param(
            [node("disk0"), node("job")],
            {
                "nodes": [*GRAPH["nodes"], *({"id": n, "type": t, "name": "job"} for n, t in ((8, "block-job"), (9,
                "block-driver")))], "edges": [*GRAPH["edges"], {"parent": 8, "child": 9, "name": "main"}],
            },
            ["disk0"],
            id="not what only a job uses",
        ),
    ],
)  # fmt: skip
def test_choose_devices(nodes: list[dict[str, Any]], graph: dict[str, Any], chosen: list[str]) -> None:
    """The disks of a snapshot are those that QEMU's human monitor takes."""
    assert choose_devices(BLOCKS, nodes, graph) == chosen
