"""
C{migrate} that completes when the migration does.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from twisted_qmon.core.command import command
from twisted_qmon.core.request import Request
from twisted_qmon.errors import GenericError
from twisted_qmon.providers.qemu.long_commands import LongCommands
from twisted_qmon.providers.qemu.long_commands.long_operation import POLL, LongOperation, Watch

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["Migration"]

#: C{query-migrate}'s C{status} when there is nothing to wait for any more. From the last two it goes on elsewhere, or
#: by hand.
_ENDED = frozenset(("completed", "failed", "cancelled", "none", "postcopy-paused", "colo"))


class Migration(LongCommands):
    """
    QEMU's human C{migrate} suspends the monitor that it was typed in until the migration is over, and can't be
    cancelled there; its QMP C{migrate} only begins one. This one completes with the migration, tells its progress and
    can be cancelled.
    """

    needs = {"qmon-migrate": ("migrate", "query-migrate", "migrate_cancel")}

    @command(
        name="qmon-migrate",
        level="admin",
        args_type="detach:-d,blk:-b,inc:-i,resume:-r,uri:s",
        params="[-d] [-b] [-i] [-r] uri",
        help="migrate to URI (using -d to not wait for completion)",
        aliases=["migrate"],
        timeout=inf,
    )
    def migrate(
        self,
        request: Request,
        uri: str,
        detach: bool = False,
        blk: bool = False,
        inc: bool = False,
        resume: bool = False,
    ) -> Deferred[dict[str, Any]]:
        """
        migrate, and wait until that is done

        The progress is in bytes. Cancelling the request cancels the migration.

        :param uri: where to
        :param detach: do not wait for completion
        :param blk: migrate disks too, in full (as long as QEMU has that)
        :param inc: migrate disks too, what differs from the base image (as long as QEMU has that)
        :param resume: resume a paused postcopy migration
        :return: what C{query-migrate} says at the end; nothing with C{detach}
        :raise GenericError: when it fails, in QEMU's words, or another client cancels it
        """
        flags = {"blk": blk, "inc": inc, "resume": resume}
        arguments: dict[str, JSON] = {"uri": uri, **{name: True for name, is_set in flags.items() if is_set}}
        operation = LongOperation(self.upstream, ("migrate", arguments), ("migrate_cancel", {}), request.caller)
        return operation.wait(self._follow(operation, request, detach))

    @migrate.printer
    def _(info: Any) -> str:
        return ""

    async def _follow(self, operation: LongOperation, request: Request, detach: bool) -> dict[str, Any]:
        with Watch(self.upstream, lambda name, _: name == "MIGRATION") as watch:
            # Once QEMU has accepted it, what it tells is about this one.
            await operation.begin()
            while not detach:
                info: dict[str, Any] = await self.upstream.call("query-migrate")
                status = info.get("status")
                _tell_progress(request, info)
                if status == "completed" or status == "colo":
                    return info
                if status in _ENDED:
                    raise GenericError(info.get("error-desc") or _why(str(status)))
                await watch.next(POLL)
        return {}


def _why(status: str) -> str:
    return {"cancelled": "The migration was cancelled", "failed": "The migration failed"}.get(
        status, f"The migration stopped in the state '{status}'"
    )


def _tell_progress(request: Request, info: dict[str, Any]) -> None:
    parts = [info[part] for part in ("ram", "disk") if isinstance(info.get(part), dict)]
    total = sum(part.get("total", 0) for part in parts)
    if total:
        # Memory that the guest writes to is to be sent again, so what remains may grow.
        request.progress(max(0, total - sum(part.get("remaining", 0) for part in parts)), total)
