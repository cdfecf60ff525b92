"""Chat templates are programs of whoever made the artifact: they run in a process apart, with little time and room.

In transformers' sandbox they reach nothing, but may loop, or make a text of any size, in compiling as in rendering.
"""

import json
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from iwsltpack.errors import ArtifactError, ResourceError

CPU_SECONDS = 10
START_SECONDS = 600.0
"""By the clock, from its start to its end: a machine may do much else, and computing is limited apart."""
ROOM = 512 << 20
"""Bytes it may take, beyond what the libraries take."""
LONGEST = 1_000_000
"""Characters of a conversation; a model reads some ten thousand tokens."""


@lru_cache
def render(template: str, messages: str, variables: str) -> str:
    """Return the conversation as the model reads it, up to where its answer begins.

    `messages` and `variables` are JSON: a list of objects with ``role`` and ``content``; and what else the template
    reads, special tokens among it.

    A template that fails, does not come to an end, or makes too long a text is an `ArtifactError`; a process that
    cannot be started, a `ResourceError`.
    """
    request = {
        **json.loads(variables),
        "conversations": [json.loads(messages)],
        "chat_template": template,
        "add_generation_prompt": True,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-X", "utf8", str(Path(__file__).with_name("chat_template_worker.py"))],
            input=json.dumps([request, CPU_SECONDS, ROOM, LONGEST]).encode(),
            capture_output=True,
            timeout=START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _refused(f"no end after {START_SECONDS:g} s") from None
    except OSError as error:
        raise ResourceError("a process cannot be started", got=error.strerror) from error
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise _refused(f"no end after {CPU_SECONDS} s of computing")
    if done.returncode:
        raise _refused(" ".join(done.stderr.decode("utf-8", "replace").split())[-300:])
    found: dict[str, Any] = json.loads(done.stdout)
    if (text := found.get("text")) is None:
        raise _refused(found["error"])
    return str(text)


def _refused(got: str) -> ArtifactError:
    return ArtifactError(
        "the chat template does not take this conversation",
        expected=f"a text of at most {LONGEST:,} characters within {CPU_SECONDS} s and {ROOM >> 20} MiB",
        got=got,
    )
