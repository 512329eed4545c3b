"""
A monitor as a Twisted service: what embedders and C{twistd qmon} both call.

::

    service = make_monitor_service(reactor, monitor, qmp=["unix:app.qmp"], hmp=["tcp:4444:interface=127.0.0.1"])
    service.setServiceParent(application)

L{make_monitor_service} serves QMP and the human monitor. Each other server has a module here, with a function that serves it as
well: L{serve_ssh}, L{serve_web}, L{serve_metrics}, L{join_fleet}. A new one is added in the same way; its group of options in
C{tap/} calls it.
"""

from __future__ import annotations

from twisted_qmon.service.fleet import join_fleet
from twisted_qmon.service.listener import Listener
from twisted_qmon.service.make import make_monitor_service
from twisted_qmon.service.metrics import serve_metrics
from twisted_qmon.service.monitor_service import DRAIN, MonitorService
from twisted_qmon.service.sessions import Sessions
from twisted_qmon.service.ssh import serve_ssh
from twisted_qmon.service.web import serve_web

__all__ = [
    "DRAIN",
    "Listener",
    "MonitorService",
    "Sessions",
    "join_fleet",
    "make_monitor_service",
    "serve_metrics",
    "serve_ssh",
    "serve_web",
]

# What `query-services` shows, and the documentation: where they are imported from.
Listener.__module__ = MonitorService.__module__ = Sessions.__module__ = __name__
