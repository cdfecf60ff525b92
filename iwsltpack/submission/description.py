"""The texts a person needs: what to paste into the server's form, and what to upload in which order."""

from pathlib import Path
from string import Template

from iwsltpack.artifact.sizes import GB, GIB
from iwsltpack.documents.submission import Submission
from iwsltpack.editions import DescriptionField, Edition
from iwsltpack.submission.naming import folder_of
from iwsltpack.system.templates import render


def describe_bytes(count: int) -> str:
    """Write a size out: exact bytes, then both customary units.

    >>> describe_bytes(3_980_000_000)
    '3980000000 bytes (3.980 GB = 3.707 GiB)'
    """
    return f"{count} bytes ({count / GB:.3f} GB = {count / GIB:.3f} GiB)"


def _values(submission: Submission) -> dict[str, list[str]]:
    """Return what fills each field of an edition's form."""
    artifact = submission.artifact
    storage = [f"{describe_bytes(artifact.bytes)}, every file of the model directory counted"]
    if artifact.state_dict_bytes is not None:
        size = describe_bytes(artifact.state_dict_bytes)
        storage.append(f"state_dict of the decoded model, as the organisers' script weighs it: {size}")
    storage.append(f"uncompressed checkpoint: {describe_bytes(artifact.source_bytes)}")
    parameters = f"{artifact.source_parameters} before compression; tied tensors counted once"
    consent = {True: "yes", False: "no", None: "not stated: set the flag on the server yourself"}
    return {
        "storage_size": storage,
        "parameters": [f"{artifact.parameters} ({parameters})"],
        "techniques": [*artifact.techniques, f"recipe {artifact.recipe}, coding {artifact.coding}"],
        "datasets": list(submission.datasets) or ["none: the compression used no data"],
        "efficiency": [
            f"{item.name}: {item.run.seconds_per_segment:.3f} s a segment, real-time factor "
            f"{item.run.real_time_factor:.3f}, batch size {item.run.settings.get('batch_size')}, "
            f"on {item.run.device_name}"
            for item in submission.test_sets
        ],
        "release_consent": [consent[submission.release_outputs]],
    }


def is_required(field: DescriptionField, submission: Submission) -> bool:
    """Tell whether a field is mandatory for this submission."""
    return field.required == "always" or (
        field.required == "unconstrained" and submission.condition == "unconstrained"
    )


def field_lines(field: DescriptionField, submission: Submission) -> list[str]:
    """Return a field of the description as Markdown lines."""
    mark = " (mandatory)" if is_required(field, submission) else ""
    values = [f"- {value}" for value in _values(submission)[field.id]]
    return [f"## {field.label}{mark}", "", *values, ""]


def render_description(submission: Submission, edition: Edition) -> str:
    """Return ``DESCRIPTION.md``: every field of the edition's form, filled in."""
    template = Path(__file__).with_name("description.md.jinja")
    return render(template, {"lines": field_lines}, submission=submission, edition=edition)


def render_upload(submission: Submission, edition: Edition) -> str:
    """Return ``UPLOAD.md``: the server's steps in order, with this submission's names in them."""
    names = {
        "MODEL_NAME": f"`{submission.model_name}`",
        "PAIR": submission.pair,
        "FILES": ", ".join(f"`{item.file}`" for item in submission.test_sets),
        "COUNT": len(submission.test_sets),
    }
    return render(
        Path(__file__).with_name("upload.md.jinja"),
        submission=submission,
        edition=edition,
        folder=folder_of(submission),
        steps=[Template(step).safe_substitute(names) for step in edition.upload.steps]
        if edition.upload
        else [],
    )
