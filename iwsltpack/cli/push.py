"""``iwsltpack push``."""

from pathlib import Path

from iwsltpack.cli import console
from iwsltpack.documents.choices import CardPolicy


def command(
    artifact: Path,
    repo: str,
    *,
    revision: str | None = None,
    private: bool = False,
    message: str | None = None,
    card: CardPolicy = "auto",
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
