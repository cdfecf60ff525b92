"""Make a tiny COMET checkpoint whose scores mean something, with no network and no training.

    COMET_PYTHON iwsltpack/demo/tiny_comet.py OUTPUT < texts

COMET_PYTHON is the Python of an environment that has unbabel-comet (``iwsltpack score --metric comet`` builds one);
nothing else of iwsltpack is there, so this file imports nothing of it.
The checkpoint has wmt22-comet-da's architecture (XLM-R encoder, sparsemax layer mix, estimator) at toy size and goes
through the same loading code. The encoder is random, with one piece a character, over the characters of the texts
read from standard input and ASCII; the estimator is set by hand to 1 + tanh(tanh(-s * |hypothesis - reference|)),
so that a hypothesis equal to its reference scores exactly 1 and every difference costs. It measures likeness of
characters in context, nothing else: it is no judge of translation.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HIDDEN = 32
SEED = 20260
SLOPE = 0.1
MARKS = ("<s>", "<pad>", "</s>", "<unk>")
SETTINGS: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
"""COMET's hyperparameters."""


def vocabulary(texts: list[str]) -> list[tuple[str, float]]:
    """Return XLM-R's special pieces, then one piece a character, with unigram scores."""
    characters = sorted((set("".join(texts)) | {chr(code) for code in range(33, 127)}) - {" ", "▁"})
    pieces = [(mark, 0.0) for mark in MARKS] + [("▁", -2.0)]
    return [*pieces, *((character, -3.0) for character in characters), ("<mask>", 0.0)]


def write_encoder(folder: Path, pieces: list[tuple[str, float]]) -> None:
    """Save the tokenizer and a random two-layer encoder as transformers lays them out."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizerFast

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=MARKS.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    XLMRobertaTokenizerFast(tokenizer_object=tokenizer, model_max_length=512).save_pretrained(folder)
    config = XLMRobertaConfig(
        vocab_size=len(pieces),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)


def set_estimator(estimator: Any) -> None:
    """Fix the estimator's weights: one unit adds up |hypothesis - reference|, the rest pass it on."""
    import torch

    linear = [module for module in estimator.modules() if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        for module in linear:
            module.weight.zero_()
            module.bias.zero_()
        # COMET concatenates six vectors; the fourth is |hypothesis - reference|.
        linear[0].weight[0, 3 * HIDDEN : 4 * HIDDEN] = -SLOPE
        linear[1].weight[0, 0] = 1
        linear[2].weight[0, 0] = 1
        linear[2].bias[0] = 1


def build(output: Path, texts: list[str]) -> None:
    """Write ``hparams.yaml``, ``checkpoints/model.ckpt`` and ``encoder/``; the encoder's path is relative."""
    import os

    import pytorch_lightning
    import torch
    import yaml
    from comet.models import RegressionMetric

    torch.manual_seed(SEED)
    (output / "checkpoints").mkdir(parents=True)
    write_encoder(output / "encoder", vocabulary(texts))
    os.chdir(output)
    settings = {**SETTINGS, "pretrained_model": "encoder"}
    model = RegressionMetric(**settings, load_pretrained_weights=True, local_files_only=True)
    set_estimator(model.estimator)
    Path("hparams.yaml").write_text(
        yaml.safe_dump({"class_identifier": "regression_metric", **settings}), encoding="utf-8"
    )
    trainer = pytorch_lightning.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.strategy.connect(model)
    trainer.save_checkpoint("checkpoints/model.ckpt", weights_only=True)
    # The checkpoint holds the encoder's weights; beside it only tokenizer and configuration are read.
    Path("encoder/model.safetensors").unlink()


def main() -> None:
    """Read texts from standard input, write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    build(parser.parse_args().output.absolute(), sys.stdin.read().splitlines())


if __name__ == "__main__":
    main()
