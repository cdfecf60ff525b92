"""``python -m iwsltpack.hf [--mode MODE] SCRIPT ARGS…``: a program for transformers, unchanged, over artifacts."""

import argparse
import runpy
import sys
from pathlib import Path
from typing import get_args

from iwsltpack.documents.choices import Mode
from iwsltpack.errors import IwsltpackError


def main() -> None:
    """Run the script as Python would, with every `from_pretrained` reading artifacts."""
    parser = argparse.ArgumentParser(prog="python -m iwsltpack.hf", description=__doc__)
    parser.add_argument(
        "--mode", choices=get_args(Mode), default="load", help="how models are held (default: load)"
    )
    parser.add_argument("script", type=Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own")
    options = parser.parse_args()
    if not options.script.is_file():
        parser.error(f"no such script: {options.script}")
    from iwsltpack import hf

    hf.default_mode = options.mode
    sys.argv = [str(options.script), *options.arguments]
    sys.path[0] = str(options.script.resolve().parent)
    try:
        runpy.run_path(str(options.script), run_name="__main__")
    except IwsltpackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
