"""
A command that starts a job and returns. Any client can see the job's progress, pause it and cancel it.

    twistd -n qmon --provider long_job.Checksum
    socat - UNIX-CONNECT:hmp.sock

    (qmon) checksum big /usr/bin/python3
    (qmon) info jobs
    (qmon) job-pause big
    (qmon) job-cancel big

The result is an event, since the client that started the job may have left when it ends.
"""

import hashlib
import os

from twisted.internet.task import deferLater

from twisted_qmon import CommandProvider, Event, GenericError, command
from twisted_qmon.providers.jobs import Job, Jobs

#: Bytes that are read in one reactor turn.
PIECE = 1 << 16


class Checksum(CommandProvider):
    """Checksums of files of any size."""

    events = [Event("CHECKSUM_COMPLETED", job_id=str, path=str, sha256=str)]

    @command(args_type="job-id:s,path:F")
    def checksum(self, job_id: str, path: str) -> None:
        """
        compute the checksum of a file in the background

        :param job_id: the job's id
        :param path: the file
        """
        try:
            file = open(path, "rb")  # noqa: SIM115 (the job closes it)
        except OSError as e:
            # Raised before the job starts, this is the reply to the command.
            raise GenericError(f"Can't read {path}: {e.strerror}") from e

        async def work(job: Job) -> None:
            with file:
                total = os.fstat(file.fileno()).st_size
                digest = hashlib.sha256()
                while piece := file.read(PIECE):
                    digest.update(piece)
                    job.progress(file.tell(), total)
                    # The job may be paused here; other clients are served in between.
                    await job.pause_point()
                    await deferLater(self.monitor.clock, 0)
            self.monitor.emit("CHECKSUM_COMPLETED", {"job-id": job_id, "path": path, "sha256": digest.hexdigest()})

        try:
            Jobs.of(self.monitor).start(job_id, "checksum", work)
        except BaseException:
            file.close()
            raise
