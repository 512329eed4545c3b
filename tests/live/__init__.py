"""Tests that talk to real programs and real sockets: QEMU, twistd, telnet, node and others."""
