"""Answers in flight: each as if it were alone, no row waits for another, pictures read once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoTokenizer

from grounding.engines.base import Completion, ModelRequest, Priority
from grounding.engines.local.decoding import in_flight as module
from grounding.engines.local.decoding import model_runner
from grounding.engines.local.decoding.feeds import Feed, Scored
from grounding.engines.local.decoding.model_runner import ModelRunner
from grounding.engines.local.decoding.rows import Row
from grounding.engines.local.decoding.slots import SlotCache
from grounding.engines.local.decoding.static_batch import StaticBatch
from grounding.engines.local.decoding.vision_tower import VisionTower
from grounding.engines.local.encoder import PatchRule
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions, load_checkpoint
from grounding.errors import DeadlinePassed, EngineError, OutOfMemory
from grounding.geometry import PixelBounds
from grounding.media.views import whole
from grounding.queries import Locate, Shape
from grounding.qwen.queries import locate
from grounding.settings import SHAPES
from grounding.testing import ask_one, make_view
from tests.engines.questions import ATTENDING, ask_all, library_answer, questions, request
from tools.shapes.scenes import scene

CPU = LoadOptions(device="cpu")
INTERACTIVE = Priority.INTERACTIVE
LARGE = 100
"""Tokens of a prompt with a picture of 45 image tokens, and of no smaller one."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of the model: its first slot, and each row's tokens; pictures that it read."""

    first: int
    rows: list[int]
    pictures: int

    @property
    def decodes(self) -> bool:
        """Whether it continues answers: all rows, from the first slot on, with few tokens."""
        return self.first == 0 and not self.pictures and max(self.rows) < 16


@dataclass
class Watch:
    """The calls of all engines of a test; `before` may do something ahead of each."""

    calls: list[Call] = field(default_factory=list)
    before: Callable[[Call], None] = lambda call: None

    @property
    def pictures(self) -> int:
        return sum(call.pictures for call in self.calls)

    @property
    def decoding(self) -> list[Call]:
        return [call for call in self.calls if call.decodes]


@pytest.fixture(autouse=True)
def no_free_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pictures be read by the model's thread, as on a GPU."""
    monkeypatch.setattr(model_runner, "has_free_cores", lambda: False)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Note the calls of the engines that the test loads."""
    watch = Watch()

    class Watched(ModelRunner):
        def run(
            self, cache: SlotCache, first: int, feeds: Sequence[Feed], pictures: Sequence[Any] = ()
        ) -> list[list[Scored]]:
            call = Call(first, [len(one.ids) for one in feeds], len(pictures))
            watch.calls.append(call)
            watch.before(call)
            return super().run(cache, first, feeds, pictures)

    monkeypatch.setattr(module, "ModelRunner", Watched)
    return watch


@pytest.fixture
def watched(watch: Watch, tiny: Path) -> Iterator[LocalEngine]:
    engine = LocalEngine.load(str(tiny), CPU)
    yield engine
    engine.close()


def tower_of(engine: LocalEngine) -> VisionTower:
    loop: Any = engine._scheduler._loop
    tower: VisionTower = loop._runner.tower
    return tower


def texts(replies: Sequence[Completion | BaseException]) -> list[str]:
    """Return the replies' texts; an error becomes its message."""
    return [getattr(reply, "text", str(reply)) for reply in replies]


def all_forms(factor: int) -> list[ModelRequest]:
    """Return each question about each picture, none, two pictures in both orders, a system text."""
    asked = questions(factor)
    pairs = [(one.views[0], other) for one in asked for other in asked]
    one, other = asked[0].views[0], asked[1].views[0]
    return [
        *(ModelRequest((view, text.text), text.max_new_tokens) for view, text in pairs),
        ModelRequest(("no picture",), 9),
        ModelRequest((one, other, "compare"), 9),
        ModelRequest((other, one, "compare"), 9),
        ModelRequest((one, "find", " it"), 9, system="Be brief."),
    ]


@pytest.mark.parametrize(("slots", "ahead"), [(1, False), (3, True), (8, False), (8, True)])
@pytest.mark.parametrize("family", ATTENDING)
def test_answers_in_flight_are_those_of_the_library_alone(
    folders: dict[str, Path],
    family: str,
    slots: int,
    ahead: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Token by token, for pictures read anew and kept ones, whatever runs beside them."""
    monkeypatch.setattr(model_runner, "has_free_cores", lambda: ahead)
    engine = LocalEngine.load(str(folders[family]), replace(CPU, max_batch=slots))
    tokenizer = AutoTokenizer.from_pretrained(folders[family])
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    asked = all_forms(engine.profile.factor)
    replies = ask_all(engine, asked)
    again = ask_all(engine, asked)
    engine.close()
    assert texts(replies) == texts(again)
    for question, reply in zip(asked, replies, strict=True):
        assert isinstance(reply, Completion)
        ids, logprobs = library_answer(folders[family], question)
        assert reply.complete == (ids[-1] in ends)
        ids = [one for one in ids if one not in ends]
        assert reply.text == tokenizer.decode(ids)
        assert [t.logprob for t in reply.tokens] == pytest.approx(logprobs[: len(ids)], abs=1e-5)


def test_the_shapes_checkpoint_answers_as_it_does_by_the_library() -> None:
    wanted = [Locate(shape, phrase="the red circle") for shape in (Shape.BOX, Shape.POINT)]
    asked = [
        replace(request(wide, high, locate.write_prompt(one), 200), priority=priority)
        for (wide, high) in ((4, 4), (5, 5), (3, 6))
        for one in wanted
        for priority in Priority
    ]
    engine = LocalEngine.load(str(SHAPES), CPU)
    replies = texts(ask_all(engine, asked) + ask_all(engine, asked))
    engine.close()
    reference = LocalEngine.load(str(SHAPES), replace(CPU, in_flight=False, max_batch=1))
    assert replies == texts(ask_all(reference, asked)) * 2
    reference.close()


@settings(max_examples=12, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 20), st.sampled_from(Priority)),
        min_size=1,
        max_size=12,
    ),
    slots=st.integers(1, 4),
    kept=st.sampled_from([0, 8_000, 2**20]),
)
def test_any_mix_of_rows_is_answered_as_one_by_one(
    tiny: Path, alone: list[str], rows: list[tuple[int, int, Priority]], slots: int, kept: int
) -> None:
    """A token is a character here, so a shorter budget gives the beginning of the text."""
    options = replace(CPU, max_batch=slots, picture_cache_bytes=kept)
    engine = LocalEngine.load(str(tiny), options)
    loop: Any = engine._scheduler._loop
    decode, decoded = loop._decode, []

    def note(running: Sequence[Row]) -> None:
        decoded.append([one.is_urgent for one in loop._rows])
        decode(running)

    loop._decode = note
    asked = [
        replace(questions()[which], max_new_tokens=budget, priority=priority)
        for which, budget, priority in rows
    ]
    replies = ask_all(engine, asked)
    engine.close()
    for (which, *_), reply in zip(rows, replies, strict=True):
        assert isinstance(reply, Completion)
        assert reply.text
        assert alone[which].startswith(reply.text.rstrip("\ufffd"))
    assert decoded == [sorted(one, reverse=True) for one in decoded]


@pytest.fixture(scope="session")
def alone(tiny: Path) -> list[str]:
    """What each question is answered by the reference, 20 tokens long."""
    reference = LocalEngine.load(str(tiny), replace(CPU, in_flight=False))
    answers = [ask_one(reference, replace(one, max_new_tokens=20)).text for one in questions()]
    reference.close()
    return answers


# Pictures once


def test_ten_labels_on_a_picture_read_it_once(watched: LocalEngine, watch: Watch) -> None:
    view = questions()[0].views[0]
    replies = ask_all(watched, [ModelRequest((view, f"find {n}"), 9) for n in range(10)])
    assert len(set(texts(replies))) > 3
    assert watch.pictures == 1


@pytest.mark.parametrize(
    ("change", "pictures"),
    [
        (lambda one: replace(one, parts=(*one.views, "another question")), 1),
        (lambda one: replace(one, parts=(make_view(one.views[0].pixels.copy()), "x")), 1),
        (lambda one: replace(one, max_new_tokens=3, priority=INTERACTIVE, stop=("#",)), 1),
        (lambda one: replace(one, system="Be brief."), 2),
        (lambda one: replace(one, parts=(_touched(one), one.text)), 2),
        (lambda one: replace(one, parts=(*one.views, *one.views, one.text)), 3),
        (lambda one: replace(one, parts=("no picture",)), 1),
    ],
    ids=["text", "copy", "budget", "system", "pixel", "twice", "none"],
)
def test_the_next_question_reads_a_picture_only_if_it_is_another(
    watched: LocalEngine,
    watch: Watch,
    change: Callable[[ModelRequest], ModelRequest],
    pictures: int,
) -> None:
    first = questions()[0]
    ask_one(watched, first)
    ask_one(watched, change(first))
    assert watch.pictures == pictures


def _touched(one: ModelRequest) -> Any:
    """Return the view with one pixel changed by one."""
    pixels = one.views[0].pixels.copy()
    red, green, blue = pixels.getpixel((50, 50))
    pixels.putpixel((50, 50), (red ^ 1, green, blue))
    return make_view(pixels)


def test_pictures_of_equal_bytes_and_other_shape_are_others(
    watched: LocalEngine, watch: Watch
) -> None:
    wide, high = (Image.new("RGB", size, (90, 30, 30)) for size in ((112, 56), (56, 112)))
    replies = ask_all(watched, [ModelRequest((make_view(one), "find"), 9) for one in (wide, high)])
    assert watch.pictures == 2
    assert texts(replies)[0] != texts(replies)[1]


def test_without_room_for_pictures_each_question_reads_its_own(tiny: Path, watch: Watch) -> None:
    engine = LocalEngine.load(str(tiny), replace(CPU, picture_cache_bytes=0))
    view = questions()[0].views[0]
    asked = [ModelRequest((view, f"find {n}"), 5) for n in range(4)]
    assert texts(ask_all(engine, asked)) == [ask_one(engine, one).text for one in asked]
    assert watch.pictures == 8
    engine.close()


# In flight


def test_a_short_answer_does_not_wait_for_a_long_one_and_its_slot_is_filled_at_once(
    tiny: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve short answers pass through one slot while a long one is written in the other."""
    monkeypatch.setattr(module, "DRAFT_TOKENS", 0)
    engine = LocalEngine.load(str(tiny), replace(CPU, max_batch=2))
    done: list[int] = []
    budgets = [60, *[4] * 12]
    futures = engine.submit([request(2, 2, f"say {n}", size) for n, size in enumerate(budgets)])
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: done.append(number))  # type: ignore[misc]
    assert all(future.result(60).text for future in futures)
    engine.close()
    assert done == [*range(1, 13), 0]
    assert len(watch.decoding) == 59


def test_an_annotators_question_joins_at_the_next_step(tiny: Path, watch: Watch) -> None:
    """Bulk takes all slots but those held for people, and its answers are long."""
    engine = LocalEngine.load(str(tiny), replace(CPU, max_batch=2))
    person = replace(request(3, 3, "where", 5), priority=INTERACTIVE)
    asked: list[Future[Completion]] = []

    def ask(call: Call) -> None:
        if len(watch.decoding) == 9 and not asked:
            asked.extend(engine.submit([person]))

    watch.before = ask
    bulk = engine.submit([request(2, 2, f"say {n}", 60, seed=n) for n in range(5)])
    assert all(future.result(60).text for future in bulk)
    assert asked[0].result(60).text == ask_one(engine, person).text
    engine.close()
    ninth = watch.calls.index(watch.decoding[8])
    assert watch.calls[ninth + 1].pictures == 1
    assert {len(call.rows) for call in watch.calls[ninth + 2 : ninth + 6]} == {1}
    assert max(len(call.rows) for call in watch.decoding[:8]) == 2


def under_bulk(engine: LocalEngine, watch: Watch, person: ModelRequest) -> tuple[str, list[Call]]:
    """Ask while bulk fills its slots and waits; return the answer, and the calls meanwhile.

    The calls are those from the one that reads the person's picture to the end of the answer.
    """
    asked: list[Future[Completion]] = []
    span: list[int] = []

    def ask(call: Call) -> None:
        if len(watch.decoding) == 5 and not asked:
            asked.extend(engine.submit([person]))
            span.append(len(watch.calls))
            asked[0].add_done_callback(lambda _: span.append(len(watch.calls)))

    watch.before = ask
    bulk = [request(2, 2, f"say {n}", 20 + n, seed=n) for n in range(12)]
    replies = texts(ask_all(engine, bulk))
    answer = asked[0].result(60).text
    watch.before = lambda call: None
    assert replies == [ask_one(engine, one).text for one in bulk]
    return answer, watch.calls[slice(*span)]


def test_while_an_annotator_waits_bulk_has_every_eighth_step(tiny: Path, watch: Watch) -> None:
    """On a CPU, where a step takes longer with each row; it slows down and never stops."""
    engine = LocalEngine.load(str(tiny), replace(CPU, max_batch=3))
    person = replace(request(3, 3, "where", 60, seed=99), priority=INTERACTIVE)
    answer, calls = under_bulk(engine, watch, person)
    assert answer == ask_one(engine, person).text
    engine.close()
    sizes = [len(call.rows) for call in calls if call.decodes]
    assert len(sizes) > 2 * module.BULK_TURN
    steps = [size for size in sizes if size > 1]
    assert len(sizes) // module.BULK_TURN - 1 <= len(steps) <= len(sizes) // module.BULK_TURN + 1
    assert sizes[: module.BULK_TURN - 1] == [1] * (module.BULK_TURN - 1)


def test_on_a_gpu_bulk_writes_along_and_enters_in_its_turn(
    tiny: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a step takes no longer with more rows, but reading a picture holds it up."""
    on = module.SlotOptions.on
    monkeypatch.setattr(
        module.SlotOptions,
        "on",
        lambda device, *more, **how: replace(on(device, *more, **how), bulk_pauses=False),
    )
    engine = LocalEngine.load(str(tiny), replace(CPU, max_batch=3))
    person = replace(request(3, 3, "where", 60, seed=99), priority=INTERACTIVE)
    answer, calls = under_bulk(engine, watch, person)
    assert answer == ask_one(engine, person).text
    engine.close()
    assert max(len(call.rows) for call in calls if call.decodes) == 4
    entering = [number for number, call in enumerate(calls) if call.pictures]
    assert entering[0] == 0
    assert all(after - before >= module.BULK_TURN for before, after in pairwise(entering))
    assert len(entering) > 1


def until_running(watch: Watch, rows: int) -> None:
    end = time.monotonic() + 60
    while not any(len(call.rows) == rows for call in watch.decoding):
        assert time.monotonic() < end
        time.sleep(0.001)


def test_running_rows_wait_for_one_picture_at_a_time(
    tiny: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PREFILL_TOKENS", 60)
    engine = LocalEngine.load(str(tiny), CPU)
    ask_all(engine, [request(4, 4, f"say {n}", 20, seed=n) for n in range(8)])
    engine.close()
    assert watch.pictures == 8
    reading = [call for call in watch.calls if call.pictures]
    assert all(call.pictures == 1 for call in reading)
    assert all(one.decodes or other.decodes for one, other in pairwise(watch.calls))


def test_pictures_that_come_next_are_cut_once_and_by_another_thread(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's thread cuts what it wants before it is begun, such as the first."""
    monkeypatch.setattr(module, "PREFILL_TOKENS", 60)
    threads: list[str] = []
    cut = PatchRule.cut

    def note(rule: PatchRule, pixels: torch.Tensor) -> torch.Tensor:
        threads.append(threading.current_thread().name.partition("_")[0])
        return cut(rule, pixels)

    monkeypatch.setattr(PatchRule, "cut", note)
    engine = LocalEngine.load(str(tiny), replace(CPU, max_batch=2))
    asked = [request(4, 4, f"say {n} {m}", 20, seed=n) for n in range(8) for m in range(2)]
    ask_all(engine, asked)
    engine.close()
    assert len(threads) == 8
    assert threads.count("pictures") > 4
    assert tower_of(engine)._encoder._ahead._begun == {}


def test_pictures_that_were_cut_ahead_are_let_go_of_with_their_requests(
    tiny: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here while they have slots, and all but one wait for their pictures to be read."""
    monkeypatch.setattr(module, "PREFILL_TOKENS", 60)
    engine = LocalEngine.load(str(tiny), CPU)
    begun = tower_of(engine)._encoder._ahead._begun
    submitted = threading.Event()
    futures: list[Future[Completion]] = []
    waited: list[int] = []

    def cancel(call: Call) -> None:
        assert submitted.wait(60)
        waited.append(len(begun))
        for future in futures:
            future.cancel()

    watch.before = cancel
    futures += engine.submit([request(4, 4, f"say {n}", 20, seed=n) for n in range(8)])
    submitted.set()
    end = time.monotonic() + 60
    while begun or not waited:
        assert time.monotonic() < end
        time.sleep(0.001)
    engine.close()
    assert waited[0] > 0


def test_a_small_picture_is_not_padded_to_a_large_one(tiny: Path, watch: Watch) -> None:
    engine = LocalEngine.load(str(tiny), CPU)
    small = [request(2, 2, f"say {n}", 3, seed=n) for n in range(4)]
    ask_all(engine, [request(20, 30, "large", 3), *small])
    engine.close()
    assert [call.pictures for call in watch.calls if call.pictures] == [2, 3]


def test_small_pictures_are_read_together(watched: LocalEngine, watch: Watch) -> None:
    ask_all(watched, [request(2, 2, f"say {n}", 3, seed=n) for n in range(8)])
    assert [call.pictures for call in watch.calls if call.pictures] == [8]


def test_an_evicted_row_makes_room_and_the_others_go_on(
    tiny: Path, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = LocalEngine.load(str(tiny), replace(CPU, max_batch=3))
    asked = [request(2, 2, f"say {n}", size, seed=n) for n, size in enumerate((900, 40, 50))]
    futures = engine.submit(asked)
    until_running(watch, 3)
    assert futures[0].cancel()
    rest = [future.result(60).text for future in futures[1:]]
    engine.close()
    reference = LocalEngine.load(str(tiny), replace(CPU, in_flight=False))
    assert rest == [ask_one(reference, one).text for one in asked[1:]]
    reference.close()
    assert len(watch.decoding) < 100
    assert watch.pictures == 3
    assert "the model failed" not in caplog.text


def test_a_row_whose_time_is_over_makes_room_and_the_others_go_on(tiny: Path, watch: Watch) -> None:
    """One slot, and a step that takes until the deadline of the row in it."""
    engine = LocalEngine.load(str(tiny), replace(CPU, max_batch=1))
    first, second = (request(2, 2, f"say {n}", 40, seed=n) for n in range(2))
    alone = ask_one(engine, second).text
    watch.calls.clear()
    deadline = time.monotonic() + 0.5

    def dawdle(call: Call) -> None:
        if len(watch.decoding) == 3:
            time.sleep(max(0, deadline - time.monotonic()))

    watch.before = dawdle
    futures = engine.submit([replace(first, deadline=deadline), second])
    assert isinstance(futures[0].exception(60), DeadlinePassed)
    assert futures[1].result(60).text == alone
    engine.close()
    assert max(len(call.rows) for call in watch.decoding) == 1


def test_a_request_that_comes_too_late_costs_no_call_of_the_model(
    watched: LocalEngine, watch: Watch
) -> None:
    late = replace(questions()[0], deadline=time.monotonic())
    (future,) = watched.submit([late])
    assert isinstance(future.exception(60), DeadlinePassed)
    assert watch.calls == []


def test_an_answer_that_ends_with_its_first_token_takes_no_step(watch: Watch, tiny: Path) -> None:
    checkpoint = load_checkpoint(str(tiny), CPU, lambda _: None)
    head: Any = checkpoint.model.lm_head
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
    head.bias.data[checkpoint.tokenizer.eos_token_id] = 1e4
    engine = LocalEngine(checkpoint, CPU)
    replies = ask_all(engine, questions())
    engine.close()
    assert [(one.text, one.complete) for one in replies if isinstance(one, Completion)] == [
        ("", True)
    ] * 4
    assert watch.decoding == []


# Drafts


@pytest.fixture
def shown() -> tuple[ModelRequest, Locate]:
    """A query about a picture that the shapes checkpoint answers with a box."""
    picture = scene(1000)
    query = Locate(Shape.BOX, phrase=picture.things[0].name)
    view = whole(picture.draw(), PixelBounds(28, 16 * 784, 25 * 784))
    return ModelRequest((view, locate.write_prompt(query)), 200), query


def test_a_row_keeps_several_tokens_of_a_step_where_its_guess_is_right(
    watch: Watch, shown: tuple[ModelRequest, Locate]
) -> None:
    """Here the guess is the answer to the same query before."""
    engine = LocalEngine.load(str(SHAPES), CPU)
    ask_one(engine, shown[0])
    watch.calls.clear()
    reply = ask_one(engine, shown[0])
    engine.close()
    assert len(reply.tokens) > 20
    # Each call writes a token more than it guesses, the one that reads the prompt as well.
    assert (module.DRAFT_TOKENS + 1) * len(watch.decoding) < len(reply.tokens)


def test_the_likely_form_of_an_answer_saves_steps(
    watch: Watch, shown: tuple[ModelRequest, Locate]
) -> None:
    plain, query = shown
    steps = []
    for one in (plain, replace(plain, template=locate.sketch_answer(query))):
        engine = LocalEngine.load(str(SHAPES), CPU)
        watch.calls.clear()
        ask_one(engine, one)
        steps.append(len(watch.decoding))
        engine.close()
    assert 1.5 * steps[1] < steps[0]


def test_many_rows_draft_less_than_one(watched: LocalEngine, watch: Watch) -> None:
    ask_all(watched, [request(2, 2, f"say {n % 2}", 50, seed=n % 2) for n in range(8)])
    fed = [len(call.rows) * max(call.rows) for call in watch.decoding]
    assert max(fed) <= 40
    assert max(max(call.rows) for call in watch.decoding) > 1


# Watching


def test_an_answer_can_be_watched_while_it_grows_and_a_watcher_s_failure_is_its_own(
    watched: LocalEngine, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def fail(text: str) -> None:
        raise ValueError(text)

    first, other = questions()[:2]
    asked = [replace(first, on_text=heard.append), replace(other, on_text=fail)]
    replies = texts(ask_all(watched, asked))
    assert replies == [ask_one(watched, one).text for one in (first, other)]
    assert heard[-1] == replies[0]
    assert len(set(heard)) > 3
    assert all(
        after.startswith(before) for before, after in pairwise(heard) if "\ufffd" not in before
    )
    assert "the watcher of an answer failed" in caplog.text


# Failures


def full_above(rows: int) -> Callable[[Call], None]:
    def check(call: Call) -> None:
        if call.first + len(call.rows) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB\nmore")

    return check


def test_with_less_memory_fewer_rows_run_and_no_request_is_lost(
    watched: LocalEngine, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [*questions(), *(request(2, 2, f"say {n}", 9, seed=n) for n in range(40))]
    alone = [ask_one(watched, one).text for one in asked]
    watch.before = full_above(2)
    assert texts(ask_all(watched, asked)) == alone
    assert "up to 2 answers are written at once" in caplog.text
    watch.before = lambda call: None
    watch.calls.clear()
    ask_all(watched, asked * 6)
    assert max(len(call.rows) for call in watch.decoding) > 4


def test_a_picture_without_room_even_alone_fails_alone(watched: LocalEngine, watch: Watch) -> None:
    def check(call: Call) -> None:
        if max(call.rows) > LARGE:
            full_above(0)(call)

    asked = [request(2, 2, "a", 4), request(9, 5, "b", 4), request(3, 2, "c", 4)]
    watch.before = check
    replies = ask_all(watched, asked)
    assert [type(reply) for reply in replies] == [Completion, OutOfMemory, Completion]
    watch.calls.clear()
    ask_all(watched, [request(2, 2, f"say {n}", 9, seed=n) for n in range(8)])
    assert max(len(call.rows) for call in watch.decoding) == 8


def test_a_foreign_failure_concerns_its_request_and_the_next_one_works(
    watched: LocalEngine, watch: Watch
) -> None:
    def check(call: Call) -> None:
        if max(call.rows) > LARGE:
            raise RuntimeError("shapes differ")

    good, bad = request(2, 2, "a", 4), request(9, 5, "b", 4)
    watch.before = check
    replies = ask_all(watched, [good, bad])
    assert [type(reply) for reply in replies] == [Completion, EngineError]
    assert "RuntimeError: shapes differ" in str(replies[1])
    assert ask_one(watched, good).text == texts(replies)[0]


# The way for others


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (replace(CPU, in_flight=False), "GROUNDING_IN_FLIGHT is false"),
        (replace(CPU, repetition_penalty=1.1), "GROUNDING_REPETITION_PENALTY is not 1"),
        (CPU, "attention is eager"),
        (CPU, "see a window of the text only"),
    ],
)
def test_a_model_that_cannot_run_in_flight_answers_in_batches(
    tiny: Path, options: LoadOptions, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = load_checkpoint(str(tiny), options, lambda _: None)
    config = checkpoint.model.config.get_text_config()
    if "eager" in reason:
        checkpoint.model.set_attn_implementation("eager")
    if "window" in reason:
        config.layer_types = ["sliding_attention", *config.layer_types[1:]]
    engine = LocalEngine(checkpoint, options)
    engine.close()
    assert isinstance(engine._scheduler._loop, StaticBatch)
    assert reason in caplog.text
