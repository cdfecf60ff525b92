"""A size that is asked for."""

from __future__ import annotations

import re

from iwsltpack.errors import UsageError

UNITS = {"": 1, "B": 1, "BYTES": 1} | {
    f"{letter}{kind}B": base ** (power + 1)
    for power, letter in enumerate("KMGT")
    for kind, base in (("", 1000), ("I", 1024))
}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``3.0GB``, ``2.8 GiB`` or ``3000000000``.

    Raises
    ------
    UsageError
        It is none.
    """
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    unit = UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or not (size := int(float(found[1]) * unit)):
        raise UsageError(
            "not a size",
            got=repr(text),
            expected="a number with GB, GiB, MB, MiB, KB, KiB or none, as in 3.0GB",
        )
    return size
