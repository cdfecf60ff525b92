"""Score a checkpoint folder on clips: `python -m tools.miniature.evaluate --model iwsltpack/demo/miniature`.

`score_pairs` is the core; it takes any model and processor of Qwen2-Audio's interface, compressed or not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sacrebleu
import torch
import transformers

from tools.miniature import augment, speech, voices
from tools.miniature.tokenizer import CLOSING, HF, PROMPT, prompt_text

if TYPE_CHECKING:
    from collections.abc import Sequence

Pair = tuple[np.ndarray, str]


def translate(
    model: Any, processor: Any, waves: Sequence[np.ndarray], *, batch_size: int = 28, max_new_tokens: int = 64
) -> list[str]:
    """Translate float32 waves (n,) at 16 kHz greedily, by processor and `model.generate`, in input order."""
    prompt, written = prompt_text(processor), [""] * len(waves)
    order = sorted(range(len(waves)), key=lambda index: len(waves[index]))
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        inputs = processor(
            text=[prompt] * len(part),
            audio=[waves[i] for i in part],
            sampling_rate=speech.RATE,
            return_tensors="pt",
            padding=True,
        ).to(model.device)
        with torch.inference_mode():
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
        texts = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(part, texts, strict=True):
            written[index] = text
    return written


def reference_loss(model: Any, processor: Any, pairs: Sequence[Pair]) -> tuple[float, int]:
    """Return the teacher-forced loss in nats per reference token, closing token included, and the tokens.

    One pair at a time, so that no padding takes part. Logits are read as float32.
    """
    prompt, total, count = prompt_text(processor), 0.0, 0
    for wave, reference in pairs:
        inputs = processor(text=[prompt], audio=[wave], sampling_rate=speech.RATE, return_tensors="pt").to(
            model.device
        )
        answer = processor.tokenizer(reference + CLOSING, add_special_tokens=False, return_tensors="pt")[
            "input_ids"
        ].to(model.device)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.inference_mode():
            logits = model(**inputs).logits[0, -answer.shape[1] - 1 : -1].float()
        total += float(torch.nn.functional.cross_entropy(logits, answer[0], reduction="sum"))
        count += answer.shape[1]
    return total / count, count


def data_hash(pairs: Sequence[Pair]) -> str:
    """Return the SHA-256 over every wave (as float32 bytes) and reference, in order."""
    digest = hashlib.sha256()
    for wave, reference in pairs:
        digest.update(len(wave).to_bytes(8, "little") + np.ascontiguousarray(wave, dtype="<f4").tobytes())
        digest.update(reference.encode() + b"\n")
    return digest.hexdigest()


def signature(model: Any, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Say what was scored, and with what."""
    versions = {module.__name__: module.__version__ for module in (torch, transformers, sacrebleu)}
    return {
        "data_sha256": data_hash(pairs),
        "clips": len(pairs),
        "prompt": PROMPT,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "versions": versions,
        "loss": "nats per reference token and closing token, teacher-forced, one clip at a time",
    }


def score_pairs(
    model: Any,
    processor: Any,
    pairs: Sequence[Pair],
    *,
    batch_size: int = 28,
    max_new_tokens: int = 64,
    with_loss: bool = True,
) -> dict[str, Any]:
    """Translate every wave and score against its reference.

    Parameters
    ----------
    model, processor
        As `from_pretrained` gives them, the model in `eval()`.
    pairs
        (float32 wave of shape (n,) at 16 kHz, Chinese reference) tuples.

    Returns
    -------
    dict
        `chrf`, `bleu` (0-100), `exact` (percent of clips), `loss` (nats per token), `hypotheses`, and the
        `signature` of it all.
    """
    waves, references = [wave for wave, _ in pairs], [reference for _, reference in pairs]
    hypotheses = translate(model, processor, waves, batch_size=batch_size, max_new_tokens=max_new_tokens)
    chrf, bleu = sacrebleu.CHRF(), sacrebleu.BLEU(tokenize="zh")
    result: dict[str, Any] = {
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
        "bleu": bleu.corpus_score(hypotheses, [references]).score,
        "exact": 100.0 * sum(h == r for h, r in zip(hypotheses, references, strict=True)) / len(pairs),
    }
    if with_loss:
        result["loss"], result["reference_tokens"] = reference_loss(model, processor, pairs)
    decoding = {"do_sample": False, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    metrics = {"chrf": str(chrf.get_signature()), "bleu": str(bleu.get_signature())}
    result["signature"] = {**signature(model, pairs), "decoding": decoding, **metrics}
    result["hypotheses"] = hypotheses
    return result


def load(folder: Path, dtype: str = "bfloat16") -> tuple[Any, Any]:
    """Load a checkpoint folder for scoring; refuse one with missing or left-over weights."""
    model, report = HF.Qwen2AudioForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, output_loading_info=True
    )
    bad = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
    if bad:
        raise ValueError(
            f"{folder} does not hold this model's weights exactly: {bad}; retrain it (tools.miniature.train)"
        )
    return model.eval(), HF.AutoProcessor.from_pretrained(folder)


def spoken_pairs(
    names: Sequence[str], cache: Path, *, speed: int = voices.NORMAL_SPEED, noise_db: float | None = None
) -> list[Pair]:
    """Every sentence in every named voice as float32 waves, in white noise at `noise_db` SNR if given."""
    sentences = speech.read_sentences()
    plan = speech.fixed_plan(sentences, names, speed)
    rng, pairs = np.random.default_rng(0), []
    for utterance, clip in zip(plan, speech.speak(plan, cache), strict=True):
        wave = clip.astype(np.float32) / 32768.0
        if noise_db is not None:
            level = float(np.sqrt(np.mean(wave**2))) * 10.0 ** (-noise_db / 20.0)
            wave = wave + level * rng.standard_normal(wave.size).astype(np.float32)
        pairs.append((wave[: augment.LIMIT], sentences[utterance.sentence].chinese))
    return pairs


def degenerate_clips(model: Any, processor: Any) -> dict[str, str]:
    """Translate clips that hold no speech; the point is that nothing raises."""
    rng = np.random.default_rng(1)
    clips = {
        "silence 3 s": np.zeros(3 * speech.RATE, dtype=np.float32),
        "silence 0.1 s": np.zeros(speech.RATE // 10, dtype=np.float32),
        "white noise 8 s": 0.3 * rng.standard_normal(8 * speech.RATE).astype(np.float32),
        "tone 2 s": 0.5
        * np.sin(2 * np.pi * 440 * np.arange(2 * speech.RATE) / speech.RATE).astype(np.float32),
    }
    return {name: translate(model, processor, [clip])[0] for name, clip in clips.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, score, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--voices", choices=["validation", "test"], default="test")
    parser.add_argument("--cache", type=Path, default=speech.default_cache())
    parser.add_argument("--speed", type=int, default=voices.NORMAL_SPEED, help="words per minute")
    parser.add_argument("--noise-db", type=float, help="add white noise at this signal-to-noise ratio in dB")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--degenerate", action="store_true", help="also try silence, noise and a tone")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    names = voices.TEST_VOICES if options.voices == "test" else voices.VALIDATION_VOICES
    pairs = spoken_pairs(names, options.cache, speed=options.speed, noise_db=options.noise_db)
    model, processor = load(options.model, options.dtype)
    result = score_pairs(model, processor, pairs)
    written = result.pop("hypotheses")
    wrong = [
        (n, h, r)
        for n, h, (_, r) in zip(np.repeat(names, len(pairs) // len(names)), written, pairs, strict=True)
        if h != r
    ]
    result["wrong"] = [{"voice": str(n), "hypothesis": h, "reference": r} for n, h, r in wrong]
    speaker = {
        "espeak_ng": speech.espeak_version(),
        "voices": list(names),
        "speed": options.speed,
        "noise_db": options.noise_db,
    }
    result["signature"]["speech"] = speaker
    if options.degenerate:
        result["degenerate"] = degenerate_clips(model, processor)
    json.dump(result, sys.stdout, ensure_ascii=False, indent=2, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
