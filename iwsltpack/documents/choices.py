"""What a person may choose from, and what is taken where nobody chooses.

An option's help, the library's check and a document's schema take the one list from here: ``get_args(Mode)``. Defaults
of one part of the library alone stand with its own options, such as `DecodeOptions`.
"""

from typing import Literal

DEFAULT_SOURCE = "Qwen/Qwen2-Audio-7B-Instruct"
"""The model the track compresses."""
DEFAULT_RECIPE = "selected-q3"
DEFAULT_CODING = "zstd"
CALIBRATED_CODING = "pcodec"
"""Of recipes that are calibrated: their codes take a tenth more by Zstandard, which at equal size is quality."""
DEFAULT_STEP = 1e-4
"""Of a calibration; about 3 bits a weight: whisper-tiny.en needs 0.7e-4 for that, SmolLM2-135M 1.5e-4."""
DEFAULT_VERSION = 2
"""Of the artifact's format."""
DEFAULT_PAIR = "en-zh"
DEFAULT_CONDITION = "constrained"
DEFAULT_EDITION = "iwslt2027"
DEFAULT_METRICS = ("chrf", "bleu")
"""COMET is left out: its environment is a gigabyte and more."""

Device = Literal["auto", "cuda", "cpu"]
"""``auto`` takes a GPU where there is one."""
Mode = Literal["load", "cache", "stream", "int8"]
"""How a model's weights are held; see `iwsltpack.load_model`."""
Engine = Literal["transformers", "vllm"]
"""What generates: transformers' own loop, or vLLM, which is an extra."""
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
"""``auto`` is float16 on CUDA and float32 on the CPU."""
LongAudio = Literal["segment", "error"]
"""Segments longer than the model hears are cut at silences, or refused."""
BadAudio = Literal["error", "placeholder"]
"""Audio that cannot be used is refused, or gets a placeholder on its line."""
TestSetKind = Literal["iwslt", "acl6060", "csv", "folder"]
"""Layouts of test sets."""
Metric = Literal["comet", "chrf", "bleu"]
CardPolicy = Literal["auto", "overwrite"]
"""A model card that people edited is kept, or replaced."""
Measure = Literal["whole", "linear"]
"""A model's size is that of its whole folder, or of its linear layers alone."""
ProblemFormat = Literal["table", "json", "github"]
"""How `validate` prints what it found; ``github`` makes annotations for a workflow."""
TableFormat = Literal["terminal", "markdown", "csv", "latex", "json"]
"""How `report` prints its tables."""
