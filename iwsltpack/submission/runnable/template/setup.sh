#!/usr/bin/env bash
# Build the package's own environment, from nothing, each time it is called. Needs Python 3.11 or newer and a
# package index; the model lies in this folder and is never fetched.
#
#   PYTHON=python3.12      which interpreter to use
#   PACKAGES_FROM=PYTHON   take packages that are installed for this interpreter before asking the index
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1

usable() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

python=""
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.14; do
    if [ -n "$candidate" ] && usable "$candidate"; then
        python="$candidate"
        break
    fi
done
if [ -z "$python" ]; then
    echo "setup: no Python 3.11 or newer with venv and pip was found; name one: PYTHON=/path/to/python bash setup.sh" >&2
    exit 1
fi

# A half-built environment never passes for a whole one: run.sh looks for the mark, which is written last.
rm -rf "$here/.venv"
"$python" -m venv "$here/.venv" >&2
inside="$here/.venv/bin/python"
if [ -n "${PACKAGES_FROM:-}" ]; then
    # The new environment's own setuptools would hide a newer one that is there already.
    "$inside" -m pip uninstall --quiet --yes --disable-pip-version-check setuptools >&2
    "$PACKAGES_FROM" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        >"$("$inside" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/packages-from.pth"
fi
"$inside" -m pip install --quiet --no-input --disable-pip-version-check -r "$here/requirements.txt" >&2
PYTHONPATH="$here/lib" "$inside" -m iwsltpack --quiet verify "$here/artifact" >&2
touch "$here/.venv/complete"
echo "setup: done" >&2
