"""From a test set to what a model is calibrated on: the conversations that decoding would hold, with their answers."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from iwsltpack.calibration.block_rounding import Settings
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.towers import Batch
from iwsltpack.decoding.batches import prepare_batch
from iwsltpack.decoding.generation import InputBuilder, Translator
from iwsltpack.decoding.options import DecodeOptions
from iwsltpack.decoding.prepare import apply_policy
from iwsltpack.documents.artifact import Calibration
from iwsltpack.documents.choices import DEFAULT_PAIR
from iwsltpack.documents.names import PAIRS
from iwsltpack.errors import InputError, UsageError
from iwsltpack.runtime.families import family_of
from iwsltpack.runtime.model import load_checkpoint, processor_from
from iwsltpack.scoring.pairing import pair
from iwsltpack.scoring.references import check_filled, read_references
from iwsltpack.scoring.texts import Hypotheses, of_segments
from iwsltpack.system import fileio
from iwsltpack.system.progress import Reporter
from iwsltpack.testsets.discovery import find_test_sets
from iwsltpack.testsets.survey import Piece, Survey, survey

LABELS = "labels.json"
"""The model's own outputs, as far as they are made."""
HELD_OUT = 8
"""Of the segments, every how manieth is held out to measure the damage on; the last one where there are fewer."""


@dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """What a person asks to be calibrated on, and how.

    Attributes
    ----------
    data
        A test set.
    references
        What its segments should say; None for the model's own greedy outputs.
    name
        What the data set is called in the track's rules; None for the test set's own name.
    pair
        Language pair, which also says what the model is asked.
    step
        The global step, where no size is asked for; see `quantizers.calibrated.quantize`.
    damping, seed
        See `Settings`.
    judge
        Another test set, to measure the damage on; None: segments of `data` are held out for that.
    """

    data: Path
    references: Path | None = None
    name: str | None = None
    pair: str = DEFAULT_PAIR
    step: float | None = None
    damping: float | None = None
    seed: int = 0
    judge: Path | None = None

    def __post_init__(self) -> None:
        _ = self.settings  # refuses what makes no sense
        if self.step is not None and not (math.isfinite(self.step) and self.step > 0):
            raise UsageError("the step must be a positive number", got=self.step)
        DecodeOptions(pair=self.pair)  # refuses an unknown one

    @property
    def settings(self) -> Settings:
        """The same for `calibrate`."""
        return Settings(damping=self.damping, seed=self.seed)


class CalibrationData:
    """A test set, examined and ready to be made batches of.

    Parameters
    ----------
    request
        What is asked for.
    checkpoint
        Folder of the model, of which the processor is taken.
    reporter
        Is told what is left out.

    InputError, UsageError, ValidationFailed: not one test set, unusable audio, or references that are not
    those of its segments.
    """

    def __init__(self, request: CalibrationRequest, checkpoint: Path, reporter: Reporter) -> None:
        self.request, self.checkpoint, self.reporter = request, checkpoint, reporter
        self.settings = request.settings
        self.options = DecodeOptions(pair=request.pair).resolved()
        self.processor = processor_from(checkpoint)
        if family_of(self.processor).told is not None:
            raise UsageError(
                "models that are not asked in a conversation cannot be calibrated on a test set yet",
                where=checkpoint,
                got=type(self.processor).__name__,
                fix="use a recipe without calibration, such as global-q2",
            )
        self.builder = InputBuilder(self.processor, self.options.prompt or "")
        found = find_test_sets(request.data)
        if len(found) != 1:
            raise UsageError(
                "calibration takes one test set",
                where=request.data,
                got=", ".join(item.name for item in found),
                fix="name one of them",
            )
        self.survey: Survey = survey(found[0], self.builder.limit, reporter)
        apply_policy([self.survey], self.options, self.builder.limit, reporter)
        self.references = None if request.references is None else self._references(request.references)
        self.pieces: list[Piece] = [
            piece
            for piece in self.survey.pieces
            if self.references is None or piece.segment not in self.survey.long
        ]
        if left_out := len(self.survey.long) if self.references else 0:
            reporter.say(
                f"{left_out} segments that were cut are left out: a reference is that of a whole one"
            )
        if not self.pieces:
            raise InputError("there is nothing to calibrate on", where=request.data)
        self.judge: CalibrationData | None = None
        if request.judge is not None:
            other = replace(request, data=request.judge, name=None, references=None, judge=None)
            self.judge = CalibrationData(other, checkpoint, reporter)
            if self.judge.survey.sha256 == self.survey.sha256:
                raise UsageError(
                    "the data to measure on is what the model is calibrated on",
                    where=request.judge,
                    fix="name another test set",
                )

    def _references(self, path: Path) -> tuple[str, ...]:
        found = read_references(path, language=PAIRS[self.request.pair])
        test_set = self.survey.test_set
        count, got = len(test_set.segments), len(found.lines)
        if got != count and found.ids is None and found.documents is None:
            raise InputError("not one reference for each segment", where=path, expected=count, got=got)
        blank = Hypotheses(name=test_set.name, lines=("",) * count)
        lines = pair(found, of_segments(blank, test_set.segments)).lines
        effect = "nothing is what the model is taught to say of them"
        check_filled(lines, path.name, "references", effect, self.reporter)
        return lines

    @property
    def name(self) -> str:
        """What the data set is called."""
        return self.request.name or self.survey.test_set.name

    def weights(self) -> Weights:
        """Return the model that is calibrated."""
        return Weights.of_checkpoint(self.checkpoint)

    def record(self, tokens: int, step: float) -> Calibration:
        """Return what the manifest says of it; `tokens` is known once the batches are made."""
        request = self.request
        return Calibration(
            name=self.name,
            sha256=self.survey.sha256,
            segments=len({piece.segment for piece in self.pieces} - self.held_out),
            tokens=tokens,
            labels="model" if self.references is None else "references",
            references_sha256=None if request.references is None else fileio.sha256_file(request.references),
            pair=request.pair,
            damping=request.damping,
            step=step,
            seed=request.seed,
        )

    @property
    def measured_on(self) -> str:
        """What the data is called that the damage is measured on."""
        return (self.judge or self).name

    @property
    def held_out(self) -> set[int]:
        """Numbers of the segments that are not calibrated on."""
        if self.judge is not None:
            return set()
        segments = sorted({piece.segment for piece in self.pieces})
        return set(segments[HELD_OUT - 1 :: HELD_OUT] or segments[1:][-1:])

    def batches(self, dtype: torch.dtype, folder: Path, identity: str) -> tuple[list[Batch], list[Batch]]:
        """Return what to calibrate on, and what is held out: a batch a piece, as in decoding, and behind it the answer.

        Where there are no references the model answers, and is in memory whole for that time.

        Parameters
        ----------
        dtype
            Of the model.
        folder
            Where its answers are kept, for a calibration that is gone on with.
        identity
            Of the model.
        """
        answers = self._kept(folder / LABELS, identity)
        translator: Translator | None = None
        self.reporter.start("calibration, data", len(self.pieces))
        batches: tuple[list[Batch], list[Batch]] = [], []
        for number, piece in enumerate(self.pieces):
            file = self.survey.files[self.survey.test_set.segments[piece.segment].path]
            inputs = prepare_batch((piece,), [file], self.builder).inputs
            if self.references is not None:
                answer = self.references[piece.segment]
            else:
                if number == len(answers):
                    # Without graphs: they would keep a device's memory.
                    translator = translator or Translator(
                        load_checkpoint(self.checkpoint), self.processor, graphs=False
                    )
                    (found,) = translator.generate(inputs, self.options.max_new_tokens or 1)
                    answers.append(found.text)
                    kept = {"identity": self._identity(identity), "answers": answers}
                    fileio.write_json(folder / LABELS, kept)
                answer = answers[number]
            tokens = self.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
            batches[piece.segment in self.held_out].append(_with_answer(inputs, tokens, dtype))
            self.reporter.advance()
        self.reporter.finish()
        if self.judge is not None:
            (folder / "judge").mkdir(exist_ok=True)
            del translator
            first, second = self.judge.batches(dtype, folder / "judge", identity)
            return batches[0], first + second
        return batches

    def _identity(self, model: str) -> list[str]:
        return [model, self.survey.sha256, self.options.prompt or ""]

    def _kept(self, path: Path, identity: str) -> list[str]:
        """Return the answers that were given before; those to other questions do not count."""
        if not path.is_file():
            return []
        kept = fileio.read_json(path)
        return list(kept["answers"]) if kept["identity"] == self._identity(identity) else []


def _with_answer(inputs: dict[str, torch.Tensor], answer: list[int], dtype: torch.dtype) -> Batch:
    """Return a conversation with its answer; every token of it, and its end, is a target."""
    placed = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    asked = placed["input_ids"].shape[1]
    tokens = torch.tensor([answer], dtype=placed["input_ids"].dtype)
    placed["input_ids"] = torch.cat([placed["input_ids"], tokens], 1)
    mask = placed["attention_mask"]
    placed["attention_mask"] = torch.cat([mask, torch.ones_like(tokens, dtype=mask.dtype)], 1)
    targets = torch.zeros(placed["input_ids"].shape, dtype=torch.bool)
    targets[:, asked - 1 :] = True
    return Batch(placed, targets)
