"""Translate the audio files listed in a text file with the artifact beside this script; called by run.sh."""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text(encoding="utf-8"))
PLACEHOLDER = "…"


def main() -> int:
    """Read the arguments, translate, write the output in one step."""
    parser = argparse.ArgumentParser(prog="run.sh", allow_abbrev=False)
    parser.add_argument("--lang-pair", required=True, choices=[SETTINGS["pair"]])
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.batch_size < 1:
        parser.error("--batch-size must be at least 1")
    if not arguments.input.is_file():
        parser.error(f"no such file: {arguments.input}")
    listed = read_input(arguments.input)
    audio = [locate(line, arguments.input.resolve().parent) for line in listed]
    for number, path in enumerate(audio, 1):
        if path is None:
            sys.stderr.write(f"run: line {number}: no such file, a placeholder is written\n")
    with tempfile.TemporaryDirectory(prefix="iwsltpack-") as scratch:
        lines = translate([path for path in audio if path is not None], arguments, Path(scratch))
    remaining = iter(lines)
    write_output(arguments.output, [PLACEHOLDER if path is None else next(remaining) for path in audio])
    return 0


def read_input(path: Path) -> list[str]:
    """Return the input's lines; only LF ends one."""
    text = path.read_bytes().decode("utf-8-sig")
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def locate(line: str, folder: Path) -> Path | None:
    """Return the file a line names, relative to the list or to the working folder; None where there is none."""
    name = line.strip()
    if not name or any(ord(character) < 32 for character in name):
        return None
    for path in (folder / name, Path(name)):
        if path.is_file():
            return path.resolve()
    return None


def translate(audio: list[Path], arguments: argparse.Namespace, scratch: Path) -> list[str]:
    """Decode and clean; return one line for each file."""
    if not audio:
        return []
    manifest = scratch / "input.csv"
    with manifest.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "audio_path"])
        writer.writerows([number, path] for number, path in enumerate(audio, 1))
    options = [
        argument for name, value in SETTINGS["decode"].items() for argument in (f"--{name}", str(value))
    ]
    template = HERE / "chat_template.jinja"
    options += ["--chat-template", str(template)] if template.is_file() else []
    call("decode", manifest, "--artifact", HERE / "artifact", "--output", scratch / "run", "--name", "input",
         "--pair", SETTINGS["pair"], "--batch-size", arguments.batch_size, "--on-bad-audio", "placeholder",
         "--placeholder", PLACEHOLDER, *options, cwd=scratch)  # fmt: skip
    result = scratch / "run" / f"input.{SETTINGS['pair']}.txt"
    if SETTINGS["clean"]:
        cleaned = scratch / "cleaned.txt"
        call("clean", result, "--output", cleaned, "--pair", SETTINGS["pair"], cwd=scratch)
        result = cleaned
    lines = read_input(result)
    if len(lines) != len(audio):
        raise SystemExit(f"run: {len(lines)} lines for {len(audio)} files")
    return lines


def call(command: str, *arguments: object, cwd: Path) -> None:
    """Run a command of iwsltpack in a folder without settings of its own; stop where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "iwsltpack", command, *map(str, arguments)], cwd=cwd, check=False
    )
    if done.returncode:
        raise SystemExit(done.returncode)


def write_output(path: Path, lines: list[str]) -> None:
    """Write the lines in one step: a run that stopped leaves no output."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes("".join(f"{line}\n" for line in lines).encode())
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
