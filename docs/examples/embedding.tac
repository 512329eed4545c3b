"""
A web server with a monitor beside it: the last three lines are the monitor.

    twistd -ny embedding.tac
    socat - UNIX-CONNECT:web.hmp

    (web) info services
    (web) service-stop 0
"""

from twisted.application import service, strports
from twisted.internet import reactor
from twisted.web import server, static

from twisted_qmon import Monitor, make_monitor_service

application = service.Application("shop")
site = server.Site(static.Data(b"Good morning.\n", "text/plain"))
strports.service("tcp:8080:interface=127.0.0.1", site, reactor).setServiceParent(application)

monitor = Monitor(name="shop", clock=reactor)
monitoring = make_monitor_service(reactor, monitor, qmp=["unix:web.qmp"], hmp=["unix:web.hmp"], prompt="(web) ")
monitoring.setServiceParent(application)
