"""Renders one chat template under limits; a program of its own, see `chat_template`. JSON in, JSON out."""

import json
import math
import resource
import sys
from pathlib import Path


def main() -> None:
    """Render what stdin asks for."""
    request, seconds, room, longest = json.load(sys.stdin)
    from transformers.utils.chat_template_utils import render_jinja_template

    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)
    status = Path("/proc/self/statm")
    if status.is_file():
        _limit(resource.RLIMIT_DATA, int(status.read_text().split()[5]) * resource.getpagesize() + room)
    try:
        text = render_jinja_template(**request)[0][0]
        found = {"text": text} if len(text) <= longest else {"error": f"{len(text):,} characters"}
    except MemoryError:
        found = {"error": "more memory than it may take"}
    except Exception as error:  # noqa: BLE001  # whatever a template does is an answer
        found = {"error": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps(found))  # noqa: T201


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
