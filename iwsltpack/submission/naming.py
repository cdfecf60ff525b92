"""Names of the files and folders of a submission."""

import re
from typing import Final

from iwsltpack.documents.submission import Submission
from iwsltpack.errors import UsageError

LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
FILE_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
"""What a test set's name may be: it becomes part of a file name."""
DESCRIPTION: Final = "DESCRIPTION.md"
UPLOAD: Final = "UPLOAD.md"
CHECKSUMS: Final = "CHECKSUMS.sha256"
SCORES: Final = "scores.json"
"""Written beside the package when it is scored: no part of it, neither checksummed nor archived."""
UPLOADED: Final = "uploaded.json"
"""Beside the package, too: the digest of the checksums of what was handed in."""
RAW_FOLDER: Final = "raw"
AUDIT_FOLDER: Final = "audit"


def folder_of(submission: Submission) -> str:
    """Return the folder of a submission: its model name, and for a labelled contrastive one the label.

    All contrastive submissions of a pair and condition share one model name; the label tells their folders
    apart.
    """
    labelled = submission.label and submission.type == "contrastive"
    return f"{submission.model_name}.{submission.label}" if labelled else submission.model_name


def check_label(label: str | None) -> None:
    """Refuse a label that cannot end a folder name."""
    if label is not None and LABEL.fullmatch(label) is None:
        raise UsageError(
            f"not a usable label: {label!r}", expected="lower-case letters, digits and '-', at most 31"
        )
