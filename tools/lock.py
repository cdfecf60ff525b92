"""Print constraints.txt: the exact version of everything this environment holds.

    make lock

Local version tags (``+cpu``) are left out, so that the same file serves CPU and CUDA builds.
"""

from __future__ import annotations

from importlib.metadata import distributions

OWN = "iwsltpack"
INSTALLER = ("pip", "setuptools", "wheel")


def main() -> None:
    """Print one ``name==version`` a line, sorted."""
    print("# Exact versions that `make test` was run with; written by `make lock`.")
    pins = {
        dist.metadata["Name"].lower().replace("_", "-"): dist.version.split("+")[0]
        for dist in distributions()
    }
    for name in sorted(set(pins) - {OWN, *INSTALLER}):
        print(f"{name}=={pins[name]}")


if __name__ == "__main__":
    main()
