"""``iwsltpack push``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iwsltpack.cli import console
from iwsltpack.documents.choices import CardPolicy


def command(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Model repository; created if need be.")],
    revision: Annotated[
        str | None,
        typer.Option("--revision", "--branch", help="Branch to push to, created if need be; default: main."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Create the repository for its members only.")
    ] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commits.")] = None,
    card: Annotated[
        CardPolicy,
        typer.Option(
            help="README.md: auto writes it where there is none and renews its own; overwrite replaces any."
        ),
    ] = "auto",
) -> None:
    """Send an artifact to the Hugging Face hub, verified before and after; only what the hub lacks is sent.

    The login is huggingface_hub's own: `hf auth login`, or HF_TOKEN. Run again after an interruption, it goes on.

    Example: iwsltpack push artifacts/q3 my-team/qwen2-audio-q3 --private
    """
    from iwsltpack.hub.push import push_artifact

    with console.reporter() as reporter:
        pushed = push_artifact(
            artifact,
            repo,
            branch=revision,
            private=private,
            message=message,
            card=card,
            progress=reporter,
        )
    console.say(
        f"{pushed.files_sent} files sent ({pushed.bytes_sent:,} bytes), {pushed.files_kept} there already, "
        f"{len(pushed.removed)} of an older artifact removed; checked against the hub's listing"
    )
    if pushed.card == "kept":
        console.say("README.md was edited by people and is kept; --card overwrite replaces it")
    console.result(pushed.to_json(), pushed.url)
