"""
The page and the HTTP interface of a service.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING

from twisted_qmon._transport.factory import MAX_CONNECTIONS
from twisted_qmon._twistd.extras import need_extra
from twisted_qmon.qmp.json.limits import MAX_MESSAGE

if TYPE_CHECKING:
    from twisted_qmon.service.monitor_service import MonitorService

__all__ = ["serve_web"]


def serve_web(
    service: MonitorService,
    descriptions: Iterable[str],
    tokens: str | PathLike[str],
    *,
    hosts: Iterable[str] = (),
    max_connections: int = MAX_CONNECTIONS,
    max_body: int = MAX_MESSAGE,
) -> None:
    """
    Serve the page and the HTTP interface as well.

    :param service: what L{make_monitor_service<twisted_qmon.service.make_monitor_service>} made
    :param descriptions: server endpoint descriptions
    :param tokens: the file of tokens; it is made if it is not there
    :param hosts: for this and the next two see L{WebFactory<twisted_qmon.web.factory.WebFactory>}
    :raise ValueError: when a description is not valid or the file can't be used
    :raise ImportError: when the extra C{web} is not installed
    """
    descriptions = list(descriptions)
    if not descriptions:
        return
    need_extra("web")
    # Without a page its modules are not loaded, nor those of Twisted's web.
    from twisted_qmon.web.factory import WebFactory
    from twisted_qmon.web.tokens import Tokens

    known = Tokens(tokens, service.owner)
    for description in descriptions:
        factory = WebFactory(service.monitor, known, hosts=hosts, max_connections=max_connections, max_body=max_body)
        service.serve(description, factory)
