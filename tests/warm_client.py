"""Ask warm_server.py for a child; `python -IS warm_client.py SOCKET ARGUMENTS...` stands in for Python."""

from __future__ import annotations

import json
import os
import socket
import sys
from array import array

READ_AT_IMPORT = (
    "HF_",
    "TRANSFORMERS_",
    "TORCH_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "LD_",
    "PYTHON",
    "CUDA_",
    "MPL",
)
"""How the names begin of variables that libraries read when they are imported."""


def read_at_import(env: dict[str, str]) -> dict[str, str]:
    """Return what a child cannot have otherwise than the process it is forked from."""
    return {name: value for name, value in env.items() if name.startswith(READ_AT_IMPORT)}


def can_be_forked(arguments: list[str]) -> bool:
    """Tell whether it is a module, code or a script, without options of the interpreter."""
    return bool(arguments) and (arguments[0] in ("-m", "-c") or not arguments[0].startswith("-"))


def ask(
    address: str, arguments: list[str], cwd: str, env: dict[str, str], streams: list[int]
) -> tuple[socket.socket, int]:
    """Return the socket on which the exit code will come, and the child's pid; closing the one kills the other.

    A pid of 0: in that environment the program has to be started anew.
    """
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    asked = {"arguments": arguments, "cwd": cwd, "env": env}
    data = json.dumps(asked).encode() + b"\n"
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", streams))]
    if rest := data[server.sendmsg([data], rights) :]:  # whoever has had it all may have closed already
        server.sendall(rest)
    return server, number(server)


def number(server: socket.socket) -> int:
    """Return the next number that is told; how a process ended is told as `Popen.returncode` is."""
    line = b""
    while not line.endswith(b"\n"):
        if not (part := server.recv(1)):
            raise ConnectionError("the process that is forked is gone")
        line += part
    return int(line)


if __name__ == "__main__":
    address, *arguments = sys.argv[1:]
    if can_be_forked(arguments):
        server, pid = ask(address, arguments, os.getcwd(), dict(os.environ), [0, 1, 2])  # noqa: PTH109
        if pid:
            if (code := number(server)) < 0:
                os.kill(os.getpid(), -code)
            os._exit(code)
    os.execv(sys.executable, [sys.executable, *arguments])
