"""Train the miniature: `python -m tools.miniature.train --output iwsltpack/demo/miniature`."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tools.miniature import augment, speech, voices
from tools.miniature.evaluate import load
from tools.miniature.model import answer_logits, build_model, save
from tools.miniature.tokenizer import CLOSING, build_processor, prompt_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import Qwen2AudioProcessor

LETTERS = "abcdefghijklmnopqrstuvwxyz '"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of training. `seed` draws its clips and their disturbance.

    `steps` is the length of the learning-rate cycle, which the phase leaves at `stop`; `rate` the peak;
    `letters` the weight of the letter loss; `ramp` the steps until every clip is disturbed; `check` the steps
    between validations.
    """

    seed: int
    steps: int
    stop: int
    rate: float
    letters: float
    ramp: int
    check: int


#: First learn to hear, at a high rate and with the letters' help; then settle, on other clips and without them.
PHASES: tuple[Phase, ...] = (
    Phase(seed=20260, steps=2600, stop=800, rate=2e-3, letters=1.0, ramp=800, check=200),
    Phase(seed=20261, steps=450, stop=450, rate=9e-4, letters=0.0, ramp=1, check=150),
)
CLIPS_PER_SENTENCE = 80
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One training batch; shapes as `answer_logits` wants them, and each clip's sentence number."""

    ids: torch.Tensor
    labels: torch.Tensor
    mel: torch.Tensor
    frames: torch.Tensor
    sentences: list[int]


class Collator:
    """Turns float32 waves and sentence numbers into a `Batch`."""

    def __init__(self, processor: Qwen2AudioProcessor, sentences: Sequence[speech.Sentence]) -> None:
        tokenizer = processor.tokenizer
        self.extractor = processor.feature_extractor
        self.audio_id = processor.audio_token_id
        before, after = prompt_text(processor).split(processor.audio_token)
        self.before, self.after = (
            tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after)
        )
        self.answers = [
            tokenizer(item.chinese + CLOSING, add_special_tokens=False)["input_ids"] for item in sentences
        ]
        self.pad = tokenizer.pad_token_id

    def __call__(self, waves: list[np.ndarray], sentences: list[int]) -> Batch:
        """Return the batch, right-padded."""
        mel, frames = augment.log_mel(waves, self.extractor)
        tokens = (((frames - 1) // 2 + 1 - 2) // 2 + 1).tolist()
        prompts = [self.before + [self.audio_id] * count + self.after for count in tokens]
        rows = [prompt + self.answers[index] for prompt, index in zip(prompts, sentences, strict=True)]
        ids = torch.full((len(rows), max(map(len, rows))), self.pad)
        labels = torch.full_like(ids, -100)
        for row, (whole, prompt) in enumerate(zip(rows, prompts, strict=True)):
            ids[row, : len(whole)] = torch.tensor(whole)
            labels[row, len(prompt) : len(whole)] = ids[row, len(prompt) : len(whole)]
        return Batch(ids=ids, labels=labels, mel=mel, frames=frames, sentences=sentences)


def batches(
    plan: Sequence[speech.Utterance], clips: list[np.ndarray], size: int, ramp: int, rng: np.random.Generator
) -> Iterator[tuple[list[np.ndarray], list[int]]]:
    """Yield waves and their sentences for ever; clips of similar length share a batch.

    The share of disturbed clips grows from none to all over the first `ramp` batches.
    """
    done = 0
    while True:
        order = rng.permutation(len(clips))
        groups = []
        for start in range(0, len(order), size * 16):
            block = sorted(order[start : start + size * 16], key=lambda index: clips[index].size)
            groups += [block[i : i + size] for i in range(0, len(block), size)]
        for group in rng.permutation(len(groups)):
            chosen = groups[group]
            strength, done = min(1.0, done / ramp), done + 1
            waves = [augment.disturb(clips[i], rng, clips, strength) for i in chosen]
            yield waves, [plan[i].sentence for i in chosen]


class LetterHead(nn.Module):
    """A helper of training only, never saved: CTC over the English letters from the audio tower's states."""

    def __init__(self, width: int, sentences: Sequence[speech.Sentence]) -> None:
        super().__init__()
        self.linear = nn.Linear(width, len(LETTERS) + 1)
        spelled = [[LETTERS.index(c) + 1 for c in item.english.lower() if c in LETTERS] for item in sentences]
        self.targets = [torch.tensor(item) for item in spelled]

    def forward(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean CTC loss per letter."""
        scores = self.linear(states).log_softmax(-1).transpose(0, 1)
        targets = [self.targets[index] for index in batch.sentences]
        lengths = torch.tensor([len(target) for target in targets])
        return nn.functional.ctc_loss(
            scores, torch.cat(targets), (batch.frames - 1) // 2 + 1, lengths, zero_infinity=True
        )


@torch.no_grad()
def validate(
    model: Any,
    collate: Collator,
    plan: Sequence[speech.Utterance],
    clips: list[np.ndarray],
) -> tuple[float, float]:
    """Return nats per answer token and the share of clips whose every answer token is the arg max."""
    model.eval()
    total, count, right = 0.0, 0, 0
    order = sorted(range(len(clips)), key=lambda index: clips[index].size)
    for start in range(0, len(order), 28):
        part = order[start : start + 28]
        batch = collate(
            [clips[i].astype(np.float32) / 32768.0 for i in part], [plan[i].sentence for i in part]
        )
        logits, wanted, _ = answer_logits(model, batch.ids, batch.labels, batch.mel, batch.frames)
        total += float(nn.functional.cross_entropy(logits, wanted, reduction="sum"))
        count += wanted.numel()
        hits = torch.split(logits.argmax(-1) == wanted, (batch.labels != -100).sum(1).tolist())
        right += sum(bool(hit.all()) for hit in hits)
    model.train()
    return total / count, right / len(clips)


def optimiser(
    model: nn.Module, helper: nn.Module, rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW (no decay on vectors) and a one-cycle schedule."""
    parameters = [p for p in [*model.parameters(), *helper.parameters()] if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
    return adam, torch.optim.lr_scheduler.OneCycleLR(
        adam, rate, total_steps=steps, pct_start=0.08, cycle_momentum=False
    )


def say(text: str) -> None:
    """Write one line of progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def learn(model: Any, helper: LetterHead, stream: Iterator[Batch], phase: Phase) -> Iterator[int]:
    """Take the optimiser's steps one by one, yielding each step's number after it is done."""
    adam, schedule = optimiser(model, helper, phase.rate, phase.steps)
    generator, begun = torch.Generator().manual_seed(phase.seed), time.monotonic()
    for step in range(1, phase.stop + 1):
        batch = next(stream)
        mel = augment.warp_mel(batch.mel, generator, min(1.0, step / phase.ramp))
        logits, wanted, states = answer_logits(model, batch.ids, batch.labels, mel, batch.frames)
        answer, letters = nn.functional.cross_entropy(logits, wanted), helper(states, batch)
        adam.zero_grad(set_to_none=True)
        (answer + phase.letters * letters).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        schedule.step()
        if step % 25 == 0:
            seconds = time.monotonic() - begun
            say(f"step {step} loss {answer.item():.4f} letters {letters.item():.3f} seconds {seconds:.0f}")
        yield step


def run(phase: Phase, processor: Any, start: Path | None, options: argparse.Namespace) -> None:
    """Train one phase, and keep the checkpoint that does best on the validation voices."""
    torch.manual_seed(phase.seed)
    sentences = speech.read_sentences()
    model, collate = build_model(processor), Collator(processor, sentences)
    if start is not None:
        model.load_state_dict(load(start, "float32")[0].state_dict())
    helper = LetterHead(model.config.audio_config.d_model, sentences)
    plan = speech.training_plan(sentences, CLIPS_PER_SENTENCE, phase.seed)
    clips = speech.speak(plan, options.cache)
    checks = speech.fixed_plan(sentences, voices.VALIDATION_VOICES)
    check_clips = speech.speak(checks, options.cache)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(f"{parameters} parameters, {len(clips)} training clips, {len(checks)} validation clips")
    drawn = batches(plan, clips, BATCH, phase.ramp, np.random.default_rng(phase.seed))
    best = float("inf")
    for step in learn(model, helper, (collate(*item) for item in drawn), phase):
        if step % phase.check == 0 or step == phase.stop:
            loss, exact = validate(model, collate, checks, check_clips)
            say(f"step {step} validation: {loss:.4f} nats per token, exact {exact:.3f}")
            if loss < best:
                best = loss
                save(model, processor, options.output)


def train(options: argparse.Namespace) -> None:
    """Build the processor and run the phases; each goes on from the checkpoint that the one before kept."""
    torch.set_num_threads(options.threads)
    processor = build_processor([sentence.chinese for sentence in speech.read_sentences()])
    for number, phase in enumerate(PHASES):
        run(phase, processor, options.output if number else None, options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument(
        "--cache", type=Path, default=speech.default_cache(), help="folder of synthesised clips"
    )
    parser.add_argument("--threads", type=int, default=2)
    train(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
