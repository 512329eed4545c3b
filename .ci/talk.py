"""
Wait until somebody serves QMP at a unix socket, and ask for its version. usage: talk.py SOCKET SECONDS
"""

import json
import socket
import sys
import time


def main(path: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(10)
            client.connect(path)
            break
        except (FileNotFoundError, ConnectionRefusedError):
            client.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
    with client, client.makefile("rw") as stream:
        greeting = json.loads(stream.readline())
        sys.stdout.write(f"{greeting}\n")
        for command in ("qmp_capabilities", "query-version"):
            stream.write(json.dumps({"execute": command}) + "\n")
            stream.flush()
            reply = json.loads(stream.readline())
            sys.stdout.write(f"{command}: {reply}\n")
            if "return" not in reply:
                raise SystemExit(1)


main(sys.argv[1], float(sys.argv[2]))
