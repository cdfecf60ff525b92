"""Every name and version that is part of a format on disk. The prose specification is docs/format.md."""

import re

ARTIFACT_FORMAT = "iwsltpack.artifact"
RUN_FORMAT = "iwsltpack.run"
PLAN_FORMAT = "iwsltpack.decoding-plan"
SUBMISSION_FORMAT = "iwsltpack.submission"
SCORE_FORMAT = "iwsltpack.score"
RESULTS_FORMAT = "iwsltpack.results"
FORMAT_VERSION = 1
ARTIFACT_VERSIONS = (1, 2)
"""Of the artifact's format, all of which are read and written for ever; of every other document there is one yet."""

MANIFEST_NAME = "iwsltpack.json"
"""The artifact's manifest, at its top."""
WEIGHTS_DIR = "weights.zarr"
"""The Zarr v3 group: one array per stored checkpoint tensor, under its checkpoint name."""
MODEL_DIR = "model"
"""Configuration, tokenizer and processor files, as `save_pretrained` lays them out."""
PARTIAL_SUFFIX = ".partial"
"""What a folder under construction is called until it is whole."""

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
"""How transformers names a checkpoint's tensors: an index of shards, or one file."""

RUN_NAME = "run.json"
JOURNAL_NAME = "journal.jsonl"
SHARDS_DIR = "shards"
"""In a run's folder: the plan its shards share, and a folder with a journal for each of them."""
PLAN_NAME = "plan.json"
SHARD_JOURNALS = f"*-of-*/{JOURNAL_NAME}"
"""Where the journals of shards lie in that folder."""
CALIBRATION_DIR = "calibration"
"""In that folder, what a calibrated build has worked out so far; it goes with it when the artifact is published."""
BUILD_JOURNALS = "build*.jsonl"
"""In the folder of an artifact under construction: one of a build by one program, one of each shard."""

SUBMISSION_NAME = "submission.json"

SCORE_NAME = "score.json"
CLEANED_SCORE_NAME = "score.cleaned.json"
"""Scores of a run's raw and cleaned hypotheses, beside its record."""

CONFIG_NAME = "iwsltpack.toml"
"""A working folder's settings."""
ARTIFACTS_DIR = "artifacts"
RUNS_DIR = "runs"
SUBMISSIONS_DIR = "submissions"
RUNNABLE_DIR = "runnable"
REPORT_DIR = "report"
"""Where commands put what they make, unless they are told another folder."""

PAIRS = {"en-zh": "zh", "en-de": "de"}
"""Language pairs of the track and the language each translates into."""
TYPES = ("primary", "contrastive")
"""Types of a submission."""
DEVICE_NAME = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
"""What no file or folder can be called on Windows, with any suffix."""
LANGUAGE_NAMES = {"zh": "Chinese", "de": "German"}
SCRIPTS = {"en": "Latin", "zh": "Han", "de": "Latin"}
"""What each language is written in, by Unicode's name."""


def pair_in(name: str) -> str | None:
    """Return the language pair that a file's name holds, such as ``tst.en-zh.txt``; the last, or None."""
    return next((part for part in reversed(name.split(".")) if part in PAIRS), None)
