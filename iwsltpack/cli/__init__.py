"""The command line: parse, one library call, print. One module per command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def commands() -> list[tuple[str, Callable[..., None]]]:
    """Return name and function of every command, in the order a participant needs them."""
    from iwsltpack.cli import (
        build,
        clean,
        decode,
        demo,
        doctor,
        estimate,
        export,
        init,
        inspect,
        merge,
        pull,
        push,
        report,
        score,
        size_frontier,
        status,
        submissions,
        submit,
        validate,
        verify,
    )

    return [
        ("init", init.command),
        ("doctor", doctor.command),
        ("status", status.command),
        ("estimate", estimate.command),
        ("build", build.command),
        ("frontier", size_frontier.command),
        ("decode", decode.command),
        ("merge", merge.command),
        ("clean", clean.command),
        ("submit", submit.command),
        ("validate", validate.command),
        ("submissions", submissions.command),
        ("push", push.command),
        ("pull", pull.command),
        ("score", score.command),
        ("report", report.command),
        ("inspect", inspect.command),
        ("verify", verify.command),
        ("export", export.command),
        ("demo", demo.command),
    ]
