"""What goes into the model, and how its outputs end."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from inference_fixtures import RATE, miniature, tone

from iwsltpack.decoding.batch_plan import plan_batches, plan_digest
from iwsltpack.decoding.batches import work_ahead
from iwsltpack.decoding.generation import InputBuilder, Translator, fold, greedy
from iwsltpack.decoding.hallucination import count_signs, find_signs
from iwsltpack.errors import ArtifactError, InputError, UsageError
from iwsltpack.testsets.survey import Piece

PROMPT = "Translate this English speech into Chinese."


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [
        tone(s, f) + rng.normal(0, 0.02, round(s * RATE)).astype(np.float32)
        for s, f in ((0.4, 200), (3.0, 500), (1.7, 900))
    ]


def test_a_batch_gives_what_each_recording_gives_alone(clips: list[np.ndarray]) -> None:
    model, processor = miniature()
    builder, translator = InputBuilder(processor, PROMPT), Translator(model, processor)
    together = translator.generate(builder.prepare(clips), 12)
    alone = [translator.generate(builder.prepare([clip]), 12)[0] for clip in clips]
    assert together == alone
    assert len({hypothesis.text for hypothesis in together}) > 1


def test_a_repetition_penalty_sees_no_padding(clips: list[np.ndarray]) -> None:
    model, processor = miniature()
    builder, translator = InputBuilder(processor, PROMPT), Translator(model, processor)
    translator.settings = copy.deepcopy(translator.settings)
    translator.settings.repetition_penalty = 1.8
    together = translator.generate(builder.prepare(clips), 12)
    assert together == [translator.generate(builder.prepare([clip]), 12)[0] for clip in clips]
    inputs = builder.prepare(clips)
    for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
        assert set(row[mask == 0].tolist()) <= set(row[mask == 1].tolist())
        assert mask[-1] == 1


def test_padding_goes_to_the_left_whatever_the_artifact_says(clips: list[np.ndarray]) -> None:
    _, processor = miniature()
    altered = copy.deepcopy(processor)
    altered.tokenizer.padding_side = "right"
    mask = InputBuilder(altered, PROMPT).prepare(clips)["attention_mask"]
    assert mask[0, 0] == 0
    assert mask[:, -1].tolist() == [1, 1, 1]


def test_an_output_that_ends_is_told_from_one_that_stops_at_the_limit() -> None:
    model, processor = miniature()
    translator = Translator(model, processor)
    end = min(translator.ends)
    word = processor.tokenizer("报告", add_special_tokens=False)["input_ids"]
    ended = translator._hypothesis([*word, end, end, *word], 40)
    cut = translator._hypothesis(word * 3, 3 * len(word))
    last = translator._hypothesis([*word, end], len(word) + 1)
    stripped = translator._hypothesis(word, len(word) + 1)  # as Whisper's generate returns it
    assert (ended.finish, ended.text, ended.tokens) == ("stop", "报告", len(word) + 1)
    assert (cut.finish, cut.text, cut.tokens) == ("length", "报告报告报告", 3 * len(word))
    assert (last.finish, last.tokens) == ("stop", len(word) + 1) == (stripped.finish, stripped.tokens)


def test_the_token_limit_is_kept_and_noticed(clips: list[np.ndarray]) -> None:
    model, processor = miniature()
    (hypothesis,) = Translator(model, processor).generate(
        InputBuilder(processor, PROMPT).prepare(clips[1:2]), 2
    )
    assert (hypothesis.finish, hypothesis.tokens) == ("length", 2)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb", "a b"),
        ("\n a \r\n\r\n b \n", "a b"),
        ("a\u2028b\x85c\x0bd\x0ce\x1cf", "a b c d e f"),
        ("a b", "a b"),
        ("\n", ""),
        (r"a\nb", r"a\nb"),
    ],
)
def test_every_line_break_is_folded(text: str, line: str) -> None:
    assert fold(text) == line
    assert len(fold(text).splitlines()) <= 1


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(8 * RATE + 1, np.float32),
        np.zeros(RATE, np.int16),
        np.zeros((RATE, 2), np.float32),
        np.zeros(RATE, np.float64),
    ],
    ids=["too long", "integers", "stereo", "doubles"],
)
def test_audio_the_processor_would_change_in_silence_is_refused(audio: np.ndarray) -> None:
    with pytest.raises(InputError, match="not a piece of audio the model hears whole"):
        InputBuilder(miniature()[1], PROMPT).prepare([audio])


def test_the_conversation_is_the_papers() -> None:
    builder = InputBuilder(miniature()[1], PROMPT)
    assert builder.conversation == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nTranslate this English speech into Chinese.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert "system\nBe brief.<|im_end|>" in InputBuilder(miniature()[1], PROMPT, "Be brief.").conversation


def test_another_chat_template_is_used_where_one_is_given() -> None:
    template = (
        "{% for m in messages %}<|audio_bos|><|AUDIO|><|audio_eos|>{{ m['content'][1]['text'] }}{% endfor %}"
    )
    builder = InputBuilder(miniature()[1], PROMPT, None, template)
    assert builder.conversation == f"<|audio_bos|><|AUDIO|><|audio_eos|>{PROMPT}"
    with pytest.raises(ArtifactError, match="does not take this conversation"):
        InputBuilder(miniature()[1], PROMPT, None, "{{ ''.__class__.__mro__[1].__subclasses__() }}")


def test_a_prompt_with_an_audio_token_is_refused() -> None:
    with pytest.raises(UsageError, match="exactly one audio"):
        InputBuilder(miniature()[1], "Translate <|AUDIO|>")


def test_sampling_settings_of_the_checkpoint_are_dropped_and_penalties_kept() -> None:
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_k=20,
        top_p=0.5,
        repetition_penalty=1.1,
        eos_token_id=[3, 4],
        max_length=999,
    )
    settings = greedy(config)
    assert not settings.do_sample
    assert settings.num_beams == 1
    assert (settings.temperature, settings.top_k, settings.top_p, settings.max_length) == (
        None,
        None,
        None,
        None,
    )
    assert settings.repetition_penalty == 1.1
    assert settings.pad_token_id == 3
    assert config.do_sample


def pieces(*lengths: float) -> list[Piece]:
    return [Piece(segment=index, part=0, offset=0.0, duration=length) for index, length in enumerate(lengths)]


def test_batches_hold_like_lengths_within_both_limits() -> None:
    batches = plan_batches(pieces(1, 9, 2, 8, 3, 7, 1), 3, 20)
    assert [[piece.segment for piece in batch] for batch in batches] == [[1, 3], [5, 4], [2, 0, 6]]
    assert [[p.segment for p in b] for b in plan_batches(pieces(30, 40), 16, 20)] == [[1], [0]]
    assert plan_batches([], 16, 20) == []
    assert plan_digest(batches) != plan_digest(plan_batches(pieces(1, 9, 2, 8, 3, 7, 1), 2, 20))


def test_work_ahead_keeps_order_stops_early_and_passes_failures_on() -> None:
    prepared: list[int] = []

    def prepare(item: int) -> int:
        prepared.append(item)
        if item == 7:
            raise InputError("seven")
        return item * item

    assert list(work_ahead(range(5), prepare)) == [(item, item * item) for item in range(5)]
    prepared.clear()
    seen = []
    with pytest.raises(InputError, match="seven"):
        for item, _ in work_ahead(range(1000), prepare):
            seen.append(item)
    assert seen == list(range(7))
    assert max(prepared) < 12


@pytest.mark.parametrize(
    ("text", "language", "seconds", "source", "signs"),
    [
        ("我们提出了一种新的方法。", "zh", 3.0, None, ()),
        ("", "zh", 3.0, None, ("empty",)),
        ("  ", "de", 3.0, "Hello", ("empty",)),
        ("We propose a new method.", "zh", 3.0, None, ("script",)),
        ("这是方法" * 6, "zh", 10.0, None, ("repeated",)),
        ("好的" * 40, "zh", 2.0, None, ("long", "repeated")),
        ("谢谢。" + "。" * 5, "zh", 2.0, None, ()),
        ("哈哈哈哈哈哈哈哈", "zh", 5.0, None, ("repeated",)),
        ("Das ist eine ganz neue Methode und noch mehr.", "de", 3.0, "New.", ("long",)),
        ("Wir stellen eine neue Methode vor.", "de", 3.0, "We present a new method.", ()),
        ("我们", "de", 3.0, None, ("script",)),
        ("und so weiter und so weiter und so weiter und so weiter", "de", 9.0, None, ("repeated",)),
    ],
)
def test_hallucination_signs(
    text: str, language: str, seconds: float, source: str | None, signs: tuple[str, ...]
) -> None:
    assert find_signs(text, language, seconds, source) == signs


def test_signs_of_a_line_of_a_megabyte_take_no_time() -> None:
    import time

    started = time.perf_counter()
    find_signs("这是一个很长的句子和更多" * 90_000, "zh", 3.0)
    find_signs("".join(chr(0x4E00 + (i * i) % 9000) for i in range(300_000)), "zh", 3.0)
    assert time.process_time() - started < 10  # of this process alone, whatever else the machine does


def test_signs_are_counted_by_line() -> None:
    assert count_signs([("long", "script"), (), ("script",)]) == {"long": 1, "script": 2}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_tokens_are_those_of_the_cpu(clips: list[np.ndarray]) -> None:
    from inference_fixtures import MINIATURE, CheckpointSource

    from iwsltpack.runtime.model import load_from

    _, processor = miniature()
    inputs = InputBuilder(processor, PROMPT).prepare(clips)
    model: Any = load_from(CheckpointSource(MINIATURE), device="cuda", dtype="float32")
    cpu = Translator(miniature()[0], processor).generate(inputs, 12)
    assert Translator(model, processor).generate(inputs, 12) == cpu
