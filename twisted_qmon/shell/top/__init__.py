"""
C{qmon ADDRESS top}: a screen of what a server is doing. L{model<twisted_qmon.shell.top.model>} is what is known and
L{view<twisted_qmon.shell.top.view>} draws it, both without I/O.

L{screen<twisted_qmon.shell.top.screen>} asks the server and reads keys.
"""
