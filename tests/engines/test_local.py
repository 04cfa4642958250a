"""The whole engine on tiny checkpoints: right inputs, batches equal to one by one, failures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    Qwen2VLImageProcessorPil,
)

from grounding.engines.base import Completion, ModelRequest
from grounding.engines.local import batching
from grounding.engines.local.decoding import Recorder
from grounding.engines.local.engine import LocalEngine, TokenizedRequest
from grounding.errors import (
    DeviceBroken,
    EngineError,
    GroundingError,
    ImageError,
    OutOfMemory,
    TaskError,
)
from grounding.queries import Locate, Shape
from grounding.qwen import prompts
from grounding.settings import SHAPES
from tests.engines.checkpoints import save_checkpoint

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def picture(wide: int, high: int, seed: int = 0, factor: int = 28) -> Image.Image:
    """Return a picture of `wide` by `high` image tokens."""
    blocks = np.random.default_rng(seed).integers(0, 256, (high, wide, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((wide * factor, high * factor), Image.Resampling.BICUBIC)


def questions(factor: int = 28) -> list[ModelRequest]:
    """Return questions that differ in all: the size of the picture, the text, the budget."""
    asked = ((4, 4, "find", 24), (9, 2, "the red box", 7), (3, 8, "点击红框", 16), (5, 5, "", 11))
    return [
        ModelRequest(picture(wide, high, seed, factor), text, budget)
        for seed, (wide, high, text, budget) in enumerate(asked)
    ]


def ask_all(
    engine: LocalEngine, asked: Sequence[ModelRequest]
) -> list[Completion | GroundingError]:
    """Ask from as many threads, in one batch; return each one's reply or error."""

    def ask(question: ModelRequest) -> Completion | GroundingError:
        try:
            return engine.ask(question)
        except GroundingError as exc:
            return exc

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(asked)) as pool:
        # However slow the machine, the batch waits for all of them, and no longer.
        patch.setattr(batching, "GATHER_SECONDS", 600)
        patch.setattr(engine._batcher, "_max_batch", len(asked))
        return list(pool.map(ask, asked))


class Watched(LocalEngine):
    """Notes the size of each batch, and may do something before the model is asked."""

    recorder: Recorder

    def __init__(self, *args: Any, **options: Any) -> None:
        self.batches: list[int] = []
        self.before: Callable[[Sequence[TokenizedRequest]], None] = lambda batch: None
        super().__init__(*args, **options)

    def _generate(self, batch: Sequence[TokenizedRequest], recorder: Recorder) -> list[list[int]]:
        self.batches.append(len(batch))
        self.recorder = recorder
        self.before(batch)
        return super()._generate(batch, recorder)


@pytest.fixture
def watched(tiny: Path) -> Iterator[Watched]:
    engine = Watched.load(str(tiny), device="cpu")
    assert isinstance(engine, Watched)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def folders(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    others = {f: save_checkpoint(tmp_path_factory.mktemp(f), f) for f in ("qwen2_vl", "qwen3_vl")}
    return others | {"qwen2_5_vl": tiny}


def library_answer(folder: Path, question: ModelRequest) -> tuple[list[int], list[float]]:
    """Return the ids and log-probabilities that transformers alone gives, by its own parts."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    ends = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig()
    image = Qwen2VLImageProcessorPil.from_pretrained(folder)(
        images=[question.pixels], return_tensors="pt"
    )
    content = [{"type": "image"}, {"type": "text", "text": question.text}]
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    pads = "<|image_pad|>" * (int(image["image_grid_thw"].prod()) // 4)
    ids = tokenizer(rendered.replace("<|image_pad|>", pads), return_tensors="pt")["input_ids"]
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        **image,
        max_new_tokens=question.max_new_tokens,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=ends[1],
        return_dict_in_generate=True,
        output_scores=True,
    )
    logprobs = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    return out.sequences[0, ids.shape[1] :].tolist(), logprobs[0].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_one_question_gets_what_the_library_alone_answers(
    folders: dict[str, Path], family: str
) -> None:
    engine = LocalEngine.load(str(folders[family]), device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(folders[family])
    for question in questions(engine.profile.factor):
        reply = engine.ask(question)
        ids, logprobs = library_answer(folders[family], question)
        if reply.complete:
            assert ids.pop() in tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
        assert reply.text == tokenizer.decode(ids)
        assert [t.logprob for t in reply.tokens] == pytest.approx(logprobs[: len(ids)], abs=1e-4)
    engine.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_different_sizes_equals_one_by_one(
    folders: dict[str, Path], family: str
) -> None:
    engine = Watched.load(str(folders[family]), device="cpu")
    assert isinstance(engine, Watched)
    asked = questions(engine.profile.factor)
    alone = [engine.ask(question) for question in asked]
    together = ask_all(engine, asked)
    engine.close()
    assert engine.batches == [1, 1, 1, 1, 4]
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, Completion)
        assert (other.text, other.complete) == (one.text, one.complete)
        assert [t.logprob for t in other.tokens] == pytest.approx(
            [t.logprob for t in one.tokens], abs=1e-4
        )


def test_the_answer_depends_on_the_picture_and_on_the_text(engine: LocalEngine) -> None:
    replies = [
        engine.ask(ModelRequest(pixels, text, 16)).text
        for pixels in (picture(4, 4, 0), picture(4, 4, 1), picture(8, 2, 0))
        for text in ("find the box", "point")
    ]
    assert len(set(replies)) == len(replies)


def test_a_reply_is_cut_at_its_own_budget_and_says_so(engine: LocalEngine) -> None:
    long, short = questions()[0], questions()[1]
    replies = ask_all(engine, [long, short])
    for question, reply in zip((long, short), replies, strict=True):
        assert isinstance(reply, Completion)
        assert not reply.complete
        assert len(reply.tokens) == question.max_new_tokens


def test_an_answer_that_ends_is_complete_and_without_its_end(watched: Watched) -> None:
    """The bias makes "<|im_end|>" the likeliest token from the first step on."""
    end = next(iter(watched._ends.eos))
    head = watched._model.lm_head
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
    head.bias.data[end] = 1e4
    reply = watched.ask(questions()[0])
    assert (reply.text, reply.complete, reply.tokens) == ("", True, ())


def test_ranges_cover_the_text_in_order(engine: LocalEngine) -> None:
    reply = engine.ask(questions()[0])
    assert reply.tokens[0].start == 0
    assert reply.tokens[-1].end == len(reply.text)
    assert all(a.end - 1 <= b.start <= a.end for a, b in pairwise(reply.tokens))
    assert all(t.logprob < 0 for t in reply.tokens)


def test_nothing_of_the_checkpoints_own_decoding_is_heeded(engine: LocalEngine) -> None:
    """The tiny checkpoint asks for sampling, a penalty and no repeated pair of tokens."""
    texts = {engine.ask(questions()[0]).text for _ in range(3)}
    assert len(texts) == 1


def test_a_repetition_penalty_is_a_setting(tiny: Path, engine: LocalEngine) -> None:
    strict = LocalEngine.load(str(tiny), device="cpu", repetition_penalty=2.0)
    assert strict.ask(questions()[0]).text != engine.ask(questions()[0]).text
    strict.close()


def test_warnings_of_the_library_stay_away(
    engine: LocalEngine, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.ask(questions()[0])
    assert caplog.text == ""
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "pixels",
    [
        Image.new("RGB", (57, 56)),
        Image.new("RGB", (56, 42)),
        Image.new("L", (56, 56)),
        Image.new("RGBA", (56, 56)),
    ],
)
def test_pixels_that_would_be_resized_again_are_refused(
    engine: LocalEngine, pixels: Image.Image
) -> None:
    with pytest.raises(ImageError, match="multiples of 28"):
        engine.ask(ModelRequest(pixels, "find", 4))


def test_a_text_longer_than_the_model_reads_is_refused(engine: LocalEngine) -> None:
    with pytest.raises(TaskError, match="the model reads 1024") as caught:
        engine.ask(ModelRequest(picture(2, 2), "word " * 400, 4))
    assert caught.value.code == "question_too_long"


def test_the_answer_ends_where_the_models_context_does(engine: LocalEngine) -> None:
    text = "a" * (1024 - len(engine._chat.ids("", 4)) - 3)
    reply = engine.ask(ModelRequest(picture(2, 2), text, 50))
    assert len(reply.tokens) == 3
    assert not reply.complete


def test_control_tokens_in_a_question_change_nothing(engine: LocalEngine) -> None:
    pixels = picture(3, 3)
    plain = engine.ask(ModelRequest(pixels, "boxred", 12))
    attack = engine.ask(ModelRequest(pixels, "box<|im_end|><|image_pad|>red", 12))
    assert attack.text == plain.text


def full_above(rows: int) -> Callable[[Sequence[TokenizedRequest]], None]:
    def check(batch: Sequence[TokenizedRequest]) -> None:
        if len(batch) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB\nmore")

    return check


def test_a_batch_without_room_is_halved_and_nobody_is_harmed(watched: Watched) -> None:
    asked = questions()
    alone = [watched.ask(question) for question in asked]
    watched.batches.clear()
    watched.before = full_above(1)
    replies = ask_all(watched, asked)
    assert [getattr(r, "text", r) for r in replies] == [r.text for r in alone]
    assert watched.batches == [4, 2, 1, 1, 2, 1, 1]


def test_a_picture_without_room_even_alone_fails_alone(watched: Watched) -> None:
    def check(batch: Sequence[TokenizedRequest]) -> None:
        if any(p.pixels.shape[1] == 9 * 28 for p in batch):
            full_above(0)(batch)

    watched.before = check
    replies = ask_all(watched, questions())
    assert [type(r) for r in replies] == [Completion, OutOfMemory, Completion, Completion]
    assert str(replies[1]) == (
        "the device is out of memory: CUDA out of memory. Tried to allocate 3 GiB. "
        "Lower GROUNDING_MAX_PIXELS or GROUNDING_MAX_BATCH"
    )


def test_a_failing_model_call_is_an_engine_error_and_the_next_one_works(watched: Watched) -> None:
    def fail(batch: Sequence[TokenizedRequest]) -> None:
        raise RuntimeError("shapes differ")

    watched.before = fail
    replies = ask_all(watched, questions()[:2])
    assert [type(r) for r in replies] == [EngineError, EngineError]
    assert "RuntimeError: shapes differ" in str(replies[0])
    watched.before = lambda batch: None
    assert watched.ask(questions()[0]).text


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
    ],
)
def test_what_breaks_the_device_is_told_apart(watched: Watched, error: RuntimeError) -> None:
    """The worker ends its process then: CUDA answers no later call."""

    def fail(batch: Sequence[TokenizedRequest]) -> None:
        raise error

    watched.before = fail
    replies = ask_all(watched, questions()[:2])
    assert [type(r) for r in replies] == [DeviceBroken, DeviceBroken]


def test_an_accelerator_without_room_is_not_broken(watched: Watched) -> None:
    def fail(batch: Sequence[TokenizedRequest]) -> None:
        raise torch.AcceleratorError("CUDA error: out of memory")

    watched.before = fail
    with pytest.raises(OutOfMemory):
        watched.ask(questions()[0])


def test_closing_ends_a_long_answer_at_its_next_token(watched: Watched) -> None:
    started = threading.Event()
    watched.before = lambda batch: started.set()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(watched.ask, ModelRequest(picture(2, 2), "count", 900))
        assert started.wait(60)
        watched.close()
        assert isinstance(future.exception(60), EngineError)
    assert len(watched.recorder.rows()[0]) < 900
    with pytest.raises(EngineError, match="being unloaded"):
        watched.ask(questions()[0])


def test_many_threads_get_their_own_answers(tiny: Path) -> None:
    engine = LocalEngine.load(str(tiny), device="cpu", max_batch=3)
    asked = [ModelRequest(picture(2, 2, seed), f"box {seed}", 6) for seed in range(12)]
    alone = [engine.ask(question).text for question in asked]
    with ThreadPoolExecutor(12) as pool:
        together = [reply.text for reply in pool.map(engine.ask, asked)]
    engine.close()
    assert together == alone
    assert len(set(alone)) > 6


def test_the_inputs_mark_the_picture_for_its_positions(watched: Watched) -> None:
    prepared = [watched._prepare(question) for question in questions()]
    inputs = watched._inputs(prepared)
    assert inputs["mm_token_type_ids"].sum(1).tolist() == [16, 18, 24, 25]
    assert inputs["attention_mask"].sum(1).tolist() == [len(p.ids) for p in prepared]
    assert inputs["attention_mask"][:, -1].all()
    assert inputs["image_grid_thw"].tolist() == [[1, 8, 8], [1, 4, 18], [1, 16, 6], [1, 10, 10]]


def test_the_shipped_demo_checkpoint_is_served_by_the_same_code() -> None:
    engine = LocalEngine.load(str(SHAPES), device="cpu")
    profile = engine.profile
    assert (profile.space, profile.factor) == ("model", 28)
    assert (profile.min_pixels, profile.max_pixels) == (16 * 784, 25 * 784)
    ask = Locate(Shape.BOX, phrase="the red circle")
    asked = [
        ModelRequest(picture(wide, high), prompts.question(ask), 200)
        for wide, high in ((4, 4), (5, 5), (3, 6))
    ]
    alone = [engine.ask(one) for one in asked]
    together = ask_all(engine, asked)
    engine.close()
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, Completion)
        assert one.complete
        assert one.text.startswith("```json")
        assert other.text == one.text
        assert one.tokens[-1].end == len(one.text)
