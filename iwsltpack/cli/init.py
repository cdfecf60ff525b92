"""``iwsltpack init``."""

from pathlib import Path

from iwsltpack.cli import console
from iwsltpack.documents.choices import DEFAULT_CONDITION, DEFAULT_EDITION, DEFAULT_RECIPE, DEFAULT_SOURCE
from iwsltpack.documents.names import CONFIG_NAME


def command(
    *,
    team: str,
    pair: str,
    condition: str = DEFAULT_CONDITION,
    edition: str = DEFAULT_EDITION,
    source: str = DEFAULT_SOURCE,
    base_model: str | None = None,
    recipe: str = DEFAULT_RECIPE,
    calibration: Path | None = None,
    target_size: str | None = None,
    test_dir: Path | None = None,
    reference: Path | None = None,
    output: Path = Path(CONFIG_NAME),
) -> None:
    """Write a commented iwsltpack.toml for one edition, team and pair: commands typed beside it need no options.

    Other settings that are there already are left alone. All keys: docs/settings.md.

    Example: iwsltpack init --team APG --pair en-zh --test-dir test

    Calibrated: iwsltpack init --team APG --pair en-zh --recipe calibrated --calibration DEVSET --target-size 3.0GB
    """
    from iwsltpack.workplace.new_settings import write_settings

    write_settings(
        output,
        team=team,
        pair=pair,
        condition=condition,
        edition=edition,
        source=source,
        base_model=base_model,
        recipe=recipe,
        calibration=calibration,
        target_size=target_size,
        test_dir=test_dir,
        reference=reference,
    )
    last = "" if output == Path(CONFIG_NAME) else f" --config {output}"
    console.result({"output": str(output)}, str(output))
    console.say(f"next: iwsltpack doctor{last}; from then on, iwsltpack status{last} says what to type")
