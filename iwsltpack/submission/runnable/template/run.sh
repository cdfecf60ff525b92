#!/usr/bin/env bash
# bash run.sh --lang-pair P --batch-size N --input F --output F
# F is a text file: one audio file a line in, one translation a line out. Everything else goes to stderr.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
if [ ! -f "$here/.venv/complete" ]; then
    echo "run: the environment is not built, or only half; run first: bash setup.sh" >&2
    exit 1
fi
unset PYTHONHOME
export PYTHONPATH="$here/lib" PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "$here/.venv/bin/python" "$here/translate.py" "$@" 1>&2
