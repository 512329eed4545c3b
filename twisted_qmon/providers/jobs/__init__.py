"""
Jobs: long work that outlives the client that began it, with QEMU's own commands, states and events.

Start with L{Jobs}, the provider; a L{Job} is what the work is given.
"""

from __future__ import annotations

from twisted_qmon.providers.jobs.provider import MAX_JOBS, STOP_GRACE, Job, JobInfo, Jobs, JobStatus

__all__ = ["MAX_JOBS", "STOP_GRACE", "Job", "JobInfo", "JobStatus", "Jobs"]
