"""Run by `warm`: imports what is heavy, then forks whoever is asked for until its standard input ends.

Whatever needs a thread of its own, a device or an environment would not survive the fork and is not imported here.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from warm_client import read_at_import

LIBRARIES = [
    *(
        "torch",
        "zarr",
        "numcodecs",
        "soundfile",
        "soxr",
        "jsonschema",
        "accelerate",
        "safetensors.torch",
        "typer",
    ),
    *("rich.progress", "sacrebleu", "matplotlib.figure", "matplotlib.backends.backend_svg"),
    "transformers.generation.utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.processing_auto",
    "transformers.models.qwen2.tokenization_qwen2",
    "transformers.models.qwen2_audio.modeling_qwen2_audio",
    "transformers.models.qwen2_audio.processing_qwen2_audio",
    "transformers.models.whisper.feature_extraction_whisper",
]
OWN = tuple(
    f"iwsltpack.{name}" for name in ("cli", "hf", "__main__", "demo.tiny_comet", "runtime.int8_kernel")
)
"""Each child imports these for itself."""
FILES = 1024


def get_ready() -> None:
    """Import what the children will want; iwsltpack's command line looks at streams when it is imported."""
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module(
        "multiprocessing.spawn"
    )  # it keeps the real path of Python, for its children of many files
    package = importlib.import_module("iwsltpack")
    for module in pkgutil.walk_packages(package.__path__, "iwsltpack.", onerror=lambda _: None):
        if not module.name.startswith(OWN):
            with suppress(ImportError):
                importlib.import_module(module.name)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()


def become(asked: dict[str, Any], streams: list[int]) -> NoReturn:
    """Be the program that was asked for, from its first line to its exit."""
    code = 1
    try:
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, FILES)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(asked["env"])
        unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
        sys.stdin = os.fdopen(0, encoding="utf-8")
        for name, number in (("stdout", 1), ("stderr", 2)):
            errors = getattr(sys, name).errors
            stream = os.fdopen(number, "w", encoding="utf-8", errors=errors)
            stream.reconfigure(line_buffering=number == 2 or stream.isatty(), write_through=unbuffered)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        os.chdir(asked["cwd"])
        sys.executable = PROGRAM
        how, *arguments = asked["arguments"]
        if how in ("-m", "-c"):
            how, what, *arguments = asked["arguments"]
        sys.argv = [how, *arguments]
        sys.path[0] = (
            str(Path(how).parent) if how not in ("-m", "-c") else asked["cwd"] if how == "-m" else ""
        )
        sys.modules.pop("__main__")
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        elif how == "-c":
            main = type(sys)("__main__")
            sys.modules["__main__"] = main
            exec(compile(what, "<string>", "exec"), main.__dict__)
        else:
            runpy.run_path(how, run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        if not isinstance(stop.code, int | None):
            sys.stderr.write(f"{stop.code}\n")
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 (as the interpreter does)
        traceback.print_exc()
    finally:
        try:
            threading._shutdown()
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        finally:
            os._exit(code & 0xFF)
    raise AssertionError


def request(listener: socket.socket) -> tuple[socket.socket, dict[str, Any], list[int]]:
    """Take the next request; its streams are descriptors of ours from now on."""
    client, _ = listener.accept()
    streams = array("i")
    data, extra, _, _ = client.recvmsg(1 << 16, socket.CMSG_SPACE(3 * streams.itemsize))
    for _, _, numbers in extra:
        streams.frombytes(numbers)
    while not data.endswith(b"\n"):
        if not (part := client.recv(1 << 16)):
            raise ConnectionError("half a request")
        data += part
    return client, json.loads(data), list(streams)


def serve(listener: socket.socket) -> None:
    """Fork on request, tell the pid and the end, kill whom nobody waits for any more."""
    children: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor of the process
    while True:
        clients = {client.fileno(): end for end, (_, client) in children.items()}
        ready, _, _ = select.select([0, listener, *children, *clients], [], [])
        for end in [item for item in ready if item in children]:
            pid, client = children.pop(end)
            _, status = os.waitpid(pid, 0)
            with suppress(OSError):
                client.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            client.close()
            os.close(end)
        for item in ready:
            if item in clients and clients[item] in children:  # it has closed its end
                with suppress(ProcessLookupError):
                    os.killpg(children[clients[item]][0], signal.SIGKILL)
        if listener in ready:
            try:
                client, asked, streams = request(listener)
            except ConnectionError:  # killed while it asked
                continue
            anew = read_at_import(asked["env"]) != READ
            if not (pid := 0 if anew else os.fork()) and not anew:
                become(asked, streams)
            for stream in streams:
                os.close(stream)
            with suppress(OSError):
                client.sendall(b"%d\n" % pid)
            if anew:
                client.close()
            else:
                children[os.pidfd_open(pid)] = pid, client
        if 0 in ready:
            return


if __name__ == "__main__":
    ADDRESS, PROGRAM = sys.argv[1:]
    READ = read_at_import(dict(os.environ))
    get_ready()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(ADDRESS)
        listener.listen()
        os.write(1, b"ready\n")
        serve(listener)
    os._exit(0)
