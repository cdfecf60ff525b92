"""Run by a test: a command that kills itself when it touches a place the Nth time.

python killed_build.py PLACE TIMES COMMAND ARGUMENTS…
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

place, left = sys.argv[1], int(sys.argv[2])


def hook(event: str, args: tuple[Any, ...]) -> None:
    global left
    if event in ("open", "os.rename") and place in str(args[0]):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    import torch

    from iwsltpack.cli.main import main

    torch.set_num_threads(1)
    sys.addaudithook(hook)
    sys.argv = ["iwsltpack", *sys.argv[3:]]
    main()
