"""Read an artifact over local HTTP against reading it from its folder: what is transferred, and what it costs.

    python -m benchmarks.remote ARTIFACT [--delay 20] [--decode TESTSET] [--tensors] [--json FILE]

The server runs in a process of its own, counts the bytes of bodies, and with ``--delay`` waits so many milliseconds
before each answer, as a store far away would. Every side runs in a process of its own with an empty cache, except
that the warm sides find the cache of the cold one. Sides: ``inspect``; with ``--tensors`` every tensor into memory, one
after the other; with ``--decode`` a test set on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

READ = """
import sys
from iwsltpack.artifact.reader import open_artifact
artifact = open_artifact(sys.argv[1])
artifact.expect(artifact.names())
print(sum(artifact.tensor(name).nbytes for name in artifact.names()), file=sys.stderr)
"""


class Counting(SimpleHTTPRequestHandler):
    """Serves a folder and counts; ``/-/counts`` tells requests and bytes since it was asked last."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    lock, requests, sent = threading.Lock(), 0, 0

    def __init__(self, *arguments: Any, delay: float, **settings: Any) -> None:
        self.delay = delay
        super().__init__(*arguments, **settings)

    def do_GET(self) -> None:
        """Answer, late if told so."""
        if self.path == "/-/counts":
            self._tell()
            return
        time.sleep(self.delay)
        super().do_GET()

    def _tell(self) -> None:
        with self.lock:
            body = json.dumps({"requests": Counting.requests, "bytes": Counting.sent}).encode()
            Counting.requests = Counting.sent = 0
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a body, and count it."""
        size = os.fstat(source.fileno()).st_size
        with self.lock:
            Counting.requests += 1
            Counting.sent += size
        super().copyfile(source, outputfile)

    def log_message(self, *_: Any) -> None:
        """Counts say it all."""


def serve(folder: str, delay: float) -> None:
    """Serve until the process is ended; the port is the first line printed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, directory=folder, delay=delay))
    print(server.server_address[1], flush=True)
    server.serve_forever()


def run(url: str, cache: str, command: list[str]) -> dict[str, Any]:
    """Run one side in its own process; return its seconds, the requests and the bytes."""
    counts(url)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        check=True,
        env={**os.environ, "IWSLTPACK_CACHE": cache},
        stdout=subprocess.DEVNULL,
    )
    return {"seconds": round(time.perf_counter() - started, 2), **counts(url)}


def counts(url: str) -> dict[str, int]:
    """Return requests and bytes since the last call."""
    with urllib.request.urlopen(f"{url}/-/counts") as answer:
        found: dict[str, int] = json.load(answer)
    return found


def main() -> None:
    """Run the sides asked for and print one JSON document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds before each answer")
    parser.add_argument("--tensors", action="store_true")
    parser.add_argument("--decode", type=Path, metavar="TESTSET")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(str(options.artifact), options.delay / 1000)
        return
    command = [
        sys.executable,
        "-m",
        "benchmarks.remote",
        str(options.artifact),
        "--delay",
        str(options.delay),
    ]
    server = subprocess.Popen([*command, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        result = measure(options, f"http://127.0.0.1:{int(server.stdout.readline())}")
    finally:
        server.terminate()
        server.wait()
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


def measure(options: argparse.Namespace, url: str) -> dict[str, Any]:
    """Return the figures of every side asked for."""
    total = sum(path.stat().st_size for path in options.artifact.rglob("*") if path.is_file())
    result: dict[str, Any] = {"artifact_bytes": total, "delay_ms": options.delay, "sides": {}}
    sides = result["sides"]
    with tempfile.TemporaryDirectory(dir=options.artifact.resolve().parent) as work:
        sides["inspect"] = run(url, f"{work}/inspect", ["-m", "iwsltpack", "inspect", url])
        result["inspect_share"] = sides["inspect"]["bytes"] / total
        if options.tensors:
            sides["tensors, folder"] = run(url, f"{work}/none", ["-c", READ, str(options.artifact)])
            for state in ("cold", "warm"):
                sides[f"tensors, {state}"] = run(url, f"{work}/tensors", ["-c", READ, url])
        if options.decode:
            for name, where in (("folder", str(options.artifact)), ("cold", url), ("warm", url)):
                command = ["-m", "iwsltpack", "-q", "decode", str(options.decode), "--artifact", where]
                sides[f"decode, {name}"] = run(
                    url, f"{work}/decode", [*command, "--device", "cpu", "-o", f"{work}/{name}"]
                )
            texts = {
                name: next(Path(work, name).glob("*.txt")).read_bytes() for name in ("folder", "cold", "warm")
            }
            result["same_hypotheses"] = len(set(texts.values())) == 1
    return result


if __name__ == "__main__":
    main()
