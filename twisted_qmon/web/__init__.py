"""
The page in the browser, and the HTTP interface: one more client of a monitor, with an identity and a level.

Start with L{WebFactory<twisted_qmon.web.factory.WebFactory>}, which serves a monitor at an endpoint.
L{twisted_qmon.web.interface} has what it answers to, L{twisted_qmon.web.admission} decides who is served, C{static} has the page.
"""
