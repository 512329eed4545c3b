"""
C{savevm}, C{loadvm} and C{delvm} by QEMU's snapshot jobs.
"""

from __future__ import annotations

import time
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from twisted_qmon.core.command import command
from twisted_qmon.core.request import Request
from twisted_qmon.errors import CommandNotFound, GenericError
from twisted_qmon.providers.qemu.long_commands import LongCommands
from twisted_qmon.providers.qemu.long_commands.run_job import JOB_COMMANDS, run_job

if TYPE_CHECKING:
    from collections.abc import Collection

    from twisted_qmon.info import JSON
    from twisted_qmon.providers.qemu.upstream import Upstream

__all__ = ["Snapshots", "choose_devices"]

#: Block drivers that can take snapshots themselves.
_CAN_SNAPSHOT = frozenset(("qcow2", "rbd", "sheepdog"))

#: What all of them use, to choose the disks and to follow the job.
_NEEDED = ("query-block", "query-named-block-nodes", *JOB_COMMANDS)


class Snapshots(LongCommands):
    """
    QEMU's human C{savevm}, C{loadvm} and C{delvm} suspend the monitor that they are typed in. Machines have only jobs,
    whose arguments name the disks. These choose the disks as the human commands do, and complete when the job is done.

    QEMU stands still while its memory is written or read: requests that it gets meanwhile are answered afterwards.
    """

    needs = {
        "qmon-savevm": ("snapshot-save", "snapshot-delete", *_NEEDED),
        "qmon-loadvm": ("snapshot-load", *_NEEDED),
        "qmon-delvm": ("snapshot-delete", *_NEEDED),
    }

    def __init__(self, upstream: Upstream, available: Collection[str]) -> None:
        super().__init__(upstream, available)
        self._numbers = count(1)

    @command(
        name="qmon-savevm",
        level="admin",
        args_type="name:s?",
        params="tag",
        help="save a VM snapshot. If no tag is provided, a new snapshot is created",
        aliases=["savevm"],
        timeout=inf,
    )
    def savevm(self, request: Request, name: str | None = None) -> Deferred[None]:
        """
        save a snapshot of memory and disks

        A snapshot of the same name is replaced: it is deleted first, which is a step of its own, so a failure to save
        the new one leaves none of that name.

        :param name: its tag; by default made from the time
        """
        return Deferred.fromCoroutine(self._save(request, name))

    @command(
        name="qmon-loadvm",
        level="admin",
        args_type="name:s",
        params="tag",
        help="restore a VM snapshot from its tag",
        aliases=["loadvm"],
        timeout=inf,
    )
    def loadvm(self, request: Request, name: str) -> Deferred[None]:
        """
        go back to a snapshot

        :param name: its tag
        """
        return Deferred.fromCoroutine(self._load(request, name))

    @command(
        name="qmon-delvm",
        level="admin",
        args_type="name:s",
        params="tag",
        help="delete a VM snapshot from its tag",
        aliases=["delvm"],
        timeout=inf,
    )
    def delvm(self, request: Request, name: str) -> Deferred[None]:
        """
        delete a snapshot; that there is none is no error

        :param name: its tag
        """
        return Deferred.fromCoroutine(self._delete(request, name))

    async def _save(self, request: Request, name: str | None) -> None:
        devices, snapshots = await self._devices(request)
        if name is None:
            name = time.strftime("vm-%Y%m%d%H%M%S", time.localtime(self.upstream.clock.seconds()))
        if any(name in snapshots[device] for device in devices):
            await self._job("delete", request, {"tag": name, "devices": devices})
        await self._job("save", request, {"tag": name, "vmstate": devices[0], "devices": sorted(devices)})

    async def _load(self, request: Request, name: str) -> None:
        devices, _ = await self._devices(request)
        await self._job("load", request, {"tag": name, "vmstate": devices[0], "devices": sorted(devices)})

    async def _delete(self, request: Request, name: str) -> None:
        devices, _ = await self._devices(request)
        await self._job("delete", request, {"tag": name, "devices": devices})

    async def _job(self, verb: str, request: Request, arguments: dict[str, JSON]) -> None:
        job_id = f"qmon-snapshot-{verb}-{next(self._numbers)}"
        await run_job(self.upstream, (f"snapshot-{verb}", {"job-id": job_id, **arguments}), job_id, request)

    async def _devices(self, request: Request) -> tuple[list[str], dict[str, set[str]]]:
        call = self.upstream.call
        blocks = await call("query-block", None, request.caller)
        nodes = await call("query-named-block-nodes", {"flat": True}, request.caller)
        try:
            graph = await call("x-debug-query-block-graph", None, request.caller)
        except CommandNotFound:
            graph = {}
        devices = choose_devices(blocks, nodes, graph)
        if not devices:
            raise GenericError("No block device supports snapshots")
        return devices, {
            node["node-name"]: {snapshot["name"] for snapshot in node.get("image", {}).get("snapshots", ())}
            for node in nodes
        }


def choose_devices(blocks: list[dict[str, Any]], nodes: list[dict[str, Any]], graph: dict[str, Any]) -> list[str]:
    """
    Choose the disks of a snapshot as QEMU's human monitor does: what is writable and in use by a device, or not in
    use by anything.

    :param blocks: what C{query-block} says
    :param nodes: what C{query-named-block-nodes} says
    :param graph: what C{x-debug-query-block-graph} says; empty: unused nodes are not found
    :return: names of nodes; the first is the one for the state of the machine
    """
    writable = {node["node-name"]: node for node in nodes if not node.get("ro")}
    chosen = [name for block in blocks if (name := block.get("inserted", {}).get("node-name")) in writable]
    entries = {entry["id"]: entry for entry in graph.get("nodes", ())}
    parents: dict[str, list[str]] = {}
    for edge in graph.get("edges", ()):
        child, parent = entries.get(edge["child"]), entries.get(edge["parent"])
        if child is not None and parent is not None:
            parents.setdefault(child["name"], []).append(parent["type"])
    for entry in entries.values():
        name = entry["name"]
        in_use = "block-backend" in parents.get(name, ("block-backend",))
        if entry["type"] == "block-driver" and name in writable and in_use:
            chosen.append(name)
    # The sort is stable: of those that can, the first.
    return sorted(dict.fromkeys(chosen), key=lambda name: writable[name].get("drv") not in _CAN_SNAPSHOT)
