"""
QEMU's block jobs with a wait for their end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_qmon.core.command import command
from twisted_qmon.core.request import Request
from twisted_qmon.errors import GenericError
from twisted_qmon.info import CommandInfo, Level
from twisted_qmon.interfaces import ICommand
from twisted_qmon.providers.qemu.long_commands import LongCommands
from twisted_qmon.providers.qemu.long_commands.run_job import JOB_COMMANDS, WhenReady, run_job
from twisted_qmon.qapi.types import Size
from twisted_qmon.qmp._client.commands import HMC

if TYPE_CHECKING:
    from collections.abc import Collection

    from twisted_qmon.info import JSON
    from twisted_qmon.providers.qemu.upstream import Upstream

__all__ = ["BlockJobs"]

#: What QEMU accepts as a job's id.
_JOB_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


class BlockJobs(LongCommands):
    """
    QEMU begins its block jobs at once, and an event tells their end. These complete when the job is done, and fail
    with its error. Cancelling the request cancels the job.

    As on QEMU a job has the name of its disk, so C{info block-jobs}, C{block_job_cancel} and the others find it.
    """

    needs = {
        "qmon-block-stream": ("block-stream", *JOB_COMMANDS),
        "qmon-drive-backup": ("drive-backup", *JOB_COMMANDS),
        "qmon-drive-mirror": ("drive-mirror", *JOB_COMMANDS),
        "qmon-commit": (HMC,),
        "qmon-block-commit": ("block-commit", "job-complete", *JOB_COMMANDS),
        "qmon-blockdev-backup": ("blockdev-backup", *JOB_COMMANDS),
        "qmon-blockdev-mirror": ("blockdev-mirror", *JOB_COMMANDS),
    }

    def __init__(self, upstream: Upstream, available: Collection[str]) -> None:
        super().__init__(upstream, available)
        self._numbers = count(1)

    def all_commands(self) -> Iterable[ICommand]:
        """:return: those with a human form, and those that take the arguments of QEMU's own"""
        yield from super().all_commands()
        yield _Waited(self, "block-commit", "complete", "commit a chain of images, and wait until that is done")
        yield _Waited(self, "blockdev-backup", None, "back up to a node, and wait until that is done")
        yield _Waited(self, "blockdev-mirror", "leave", "mirror to a node, and wait until the mirror is in step")

    def run(
        self, request: Request, name: str, arguments: Mapping[str, JSON], when_ready: WhenReady = None
    ) -> Deferred[None]:
        """Run a block job; see L{run_job}."""
        arguments = {"job-id": self._job_id(name, arguments.get("device")), **arguments}
        job_id = str(arguments["job-id"])
        return run_job(self.upstream, (name, arguments), job_id, request, when_ready=when_ready)

    def _job_id(self, name: str, device: JSON) -> str:
        if isinstance(device, str) and _JOB_ID.fullmatch(device):
            return device
        return f"qmon-{name}-{next(self._numbers)}"

    @command(
        name="qmon-block-stream",
        level="operate",
        args_type="device:B,speed:o?,base:s?",
        params="device [speed [base]]",
        help="copy data from a backing file into a block device",
        aliases=["block_stream"],
        timeout=inf,
    )
    def block_stream(
        self, request: Request, device: str, speed: Size | None = None, base: str | None = None
    ) -> Deferred[None]:
        """
        copy the backing image into the disk's own, and wait until that is done

        :param device: the disk
        :param speed: bytes per second at most
        :param base: the backing image that stays
        """
        arguments = {"device": device, "speed": speed, "base": base}
        return self.run(request, "block-stream", _given(arguments))

    @command(
        name="qmon-drive-backup",
        level="admin",
        args_type="reuse:-n,full:-f,compress:-c,device:B,target:s,format:s?",
        params="[-n] [-f] [-c] device target [format]",
        help="copy a device as it is now to a new image file",
        aliases=["drive_backup"],
        timeout=inf,
    )
    def drive_backup(
        self,
        request: Request,
        device: str,
        target: str,
        format: str | None = None,
        reuse: bool = False,
        full: bool = False,
        compress: bool = False,
    ) -> Deferred[None]:
        """
        back up a disk as it is now, and wait until that is done

        :param device: the disk
        :param target: the image file to write
        :param format: its format
        :param reuse: the image file is there
        :param full: copy all, not only what differs from the backing image
        :param compress: compress, if the format can
        """
        arguments = _copy(device, target, format, reuse, full)
        return self.run(request, "drive-backup", {**arguments, **({"compress": True} if compress else {})})

    @command(
        name="qmon-drive-mirror",
        level="admin",
        args_type="reuse:-n,full:-f,device:B,target:s,format:s?",
        params="[-n] [-f] device target [format]",
        help="copy a device to a new image file, what is written meanwhile included",
        aliases=["drive_mirror"],
        timeout=inf,
    )
    def drive_mirror(
        self,
        request: Request,
        device: str,
        target: str,
        format: str | None = None,
        reuse: bool = False,
        full: bool = False,
    ) -> Deferred[None]:
        """
        mirror a disk, and wait until the mirror is in step

        The mirror goes on from there: C{block_job_complete} moves over to it, C{block_job_cancel} ends it.

        :param device: the disk
        :param target: the image file to write
        :param format: its format
        :param reuse: the image file is there
        :param full: copy all, not only what differs from the backing image
        """
        arguments = {**_copy(device, target, format, reuse, full), "unmap": True}
        return self.run(request, "drive-mirror", arguments, "leave")

    @command(
        name="qmon-commit",
        level="admin",
        args_type="device:B",
        params="device|all",
        help="commit changes to the disk images (if -snapshot is used) or backing files",
        aliases=["commit"],
        timeout=inf,
    )
    async def commit(self, request: Request, device: str) -> None:
        """
        write a disk's changes into its backing image, and empty its own

        No job does the same: C{block-commit} ends with the disk moved to the backing image. So this is QEMU's human
        command, and QEMU stands still meanwhile.

        :param device: the disk, or C{all}
        """
        quoted = device.replace("\\", "\\\\").replace('"', '\\"')
        line = {"command-line": f'commit "{quoted}"'}
        text = (await self.upstream.call(HMC, line, request.caller)).strip()
        if text:
            raise GenericError(text.removeprefix("Error: "))


def _given(arguments: Mapping[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in arguments.items() if value is not None}


def _copy(device: str, target: str, format: str | None, reuse: bool, full: bool) -> dict[str, JSON]:
    mode, sync = "existing" if reuse else "absolute-paths", "full" if full else "top"
    return _given({"device": device, "target": target, "format": format, "mode": mode, "sync": sync})


@implementer(ICommand)
class _Waited:
    """One of QEMU's commands that begin a block job, with a wait for its end. It takes the same arguments."""

    oob = False
    timeout = inf
    on_disconnect = "continue"

    def __init__(self, jobs: BlockJobs, command: str, when_ready: WhenReady, help: str) -> None:
        self._jobs = jobs
        self._command = command
        self._when_ready = when_ready
        self.name = f"qmon-{command}"
        self.info = CommandInfo(self.name, parameters=None, help=help, level=Level.ADMIN)

    def invoke(self, request: Request, arguments: Mapping[str, JSON] | None) -> Deferred[None]:
        return self._jobs.run(request, self._command, arguments or {}, self._when_ready)

    def finish(self, result: None) -> dict[str, JSON]:
        return {}
