"""How a file holds a text for each segment: as lines, as a table's column, as IWSLT's XML, or otherwise."""

import re
from pathlib import Path
from typing import Literal

from iwsltpack.system import fileio

_XML = re.compile(
    rb"(?is)(<\?.*?\?>|<!--.*?-->|<!doctype[^>]*>|\s)*<(mteval|dataset|refset|srcset|tstset|doc)\b|\s*<\?xml"
)
_TABLE = re.compile(rb'(?i)"?(segment_|seg_|utt_|utterance_)?id"?\s*[,;\t](?=\S)')
_OTHERS = (".tsv", ".json", ".jsonl", ".yaml", ".yml", ".srt", ".vtt")
"""Suffixes of files whose lines are no segments."""


def kind_of_text(path: Path) -> Literal["xml", "csv", "text", "other"]:
    """Tell by a file's name and its first characters how it holds texts; `other` is a kind that is not read."""
    suffix, head = path.suffix.lower(), fileio.read_bytes(path, first=4096).removeprefix(b"\xef\xbb\xbf")
    if suffix == ".xml" or _XML.match(head):
        return "xml"
    if suffix == ".csv":
        return "csv"
    return "other" if suffix in _OTHERS or _TABLE.match(head) else "text"
