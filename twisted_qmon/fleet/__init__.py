"""
Many monitors behind one router: each is a member with a name, and is called by it. The router is a WAMP router such as
Crossbar.io, and Autobahn speaks to it; it needs the extra C{fleet}.

Start with L{twisted_qmon.fleet.interfaces}: what a member, a caller and a connection to the router are.
"""
