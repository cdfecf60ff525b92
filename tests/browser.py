"""A real headless Chromium, driven over its debugging pipe: no driver, no package, nothing but the browser."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from queue import Empty, Queue
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--window-size=1300,1000",
)


def find_browser() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserError(Exception):
    """The browser did not answer, or the page threw."""


class Browser:
    """One browser with one page; use as a context manager."""

    def __init__(self, program: str, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._profile = tempfile.mkdtemp(prefix="iwsltpack-chromium-")
        there, here = os.pipe(), os.pipe()
        self._write, self._read = there[1], here[0]

        def hand_over() -> None:
            # The browser reads commands from descriptor 3 and answers on 4.
            reading, writing = os.dup(there[0]), os.dup(here[1])
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            preexec_fn=hand_over,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(there[0])
        os.close(here[1])
        self._messages: Queue[dict[str, Any]] = Queue()
        self._number = 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    _session: str | None = None

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=10)
        os.close(self._write)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _listen(self) -> None:
        left = b""
        while True:
            try:
                block = os.read(self._read, 1 << 20)
            except OSError:
                break
            if not block:
                break
            *whole, left = (left + block).split(b"\0")
            for message in whole:
                self._messages.put(json.loads(message))
        os.close(self._read)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session and not method.startswith("Target."):
            command["sessionId"] = self._session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                message = self._messages.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise BrowserError(f"no answer to {method} in {self._seconds:.0f} s") from None
            if message.get("id") == self._number:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def open(self, path: Path) -> float:
        """Load a page and wait until it says it is ready; the milliseconds it says it took."""
        self.errors.clear()
        self.requests.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + self._seconds
        while not (ready := self.run("document.documentElement?.dataset.ready ?? null")):
            if self.errors or time.monotonic() > deadline:
                raise BrowserError(f"the page is not ready: {self.errors}")
            time.sleep(0.02)
        return float(ready)

    def run(self, script: str) -> Any:
        """Evaluate JavaScript and return its value."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def _middle(self, selector: str) -> tuple[float, float]:
        place = self.run(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                element.scrollIntoView({{block: "center"}});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        return place[0], place[1]

    def point_at(self, selector: str) -> None:
        """Move the mouse over an element."""
        x, y = self._middle(selector)
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Click an element with the mouse."""
        self.point_at(selector)
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option, or tick a box, as a person's choice would."""
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (e.type === 'checkbox')"
            f" e.checked = {json.dumps(value == 'on')}; else e.value = {json.dumps(value)};"
            " e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); })()"
        )

    def screenshot(self, path: Path, *, whole: bool = False, print_media: bool = False) -> None:
        self.send("Emulation.setEmulatedMedia", media="print" if print_media else "")
        size = self.run("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = (
            {"clip": {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 6000), "scale": 1}}
            if whole
            else {}
        )
        image = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)
        path.write_bytes(base64.b64decode(image["data"]))
