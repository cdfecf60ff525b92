"""``iwsltpack pull``."""

from pathlib import Path

from iwsltpack.cli import console


def command(
    repo: str,
    *,
    output: Path | None = None,
) -> None:
    """Bring an artifact from the Hugging Face hub; every file is checked as it comes, and the whole at the end.

    Private repositories need huggingface_hub's own login: `hf auth login`, or HF_TOKEN. Run again after an
    interruption, it goes on.

    Example: iwsltpack pull my-team/qwen2-audio-q3@main --output artifacts/q3
    """
    from iwsltpack.hub.pull import pull_artifact

    with console.reporter() as reporter:
        pulled = pull_artifact(repo, output, progress=reporter)
    console.say(
        f"{pulled.files_fetched} files fetched ({pulled.bytes_fetched:,} bytes), {pulled.files_kept} kept from before; "
        f"verified: {pulled.repo}@{pulled.commit}"
    )
    console.result(pulled.to_json(), pulled.output)
