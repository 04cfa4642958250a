"""Steps of static shape: the answers of the others, and a way on where they fail.

Without a GPU there are no graphs: here the same steps run in the same shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from grounding.engines.base import Completion, Priority
from grounding.engines.local.decoding.feeds import Feed
from grounding.engines.local.decoding.in_flight import SlotOptions
from grounding.engines.local.decoding.model_runner import ModelRunner
from grounding.engines.local.decoding.slots import FIXED_BLOCK, Graph, SlotCache
from grounding.engines.local.decoding.static_steps import Bucket, StaticSteps
from grounding.engines.local.encoder import Encoder, PatchRule
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions, load_checkpoint
from grounding.errors import OutOfMemory
from tests.engines.questions import ATTENDING, ask_all, outcome, questions, request

CPU = LoadOptions(device="cpu", max_batch=6)
RULE = PatchRule(14, 2, 2, 1 / 255, (0.5,) * 3, (0.5,) * 3)
STATIC = replace(CPU, static_steps=True)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """The rows of each call that may have a static shape, and whether it had."""
    steps: list[tuple[int, bool]] = []
    run = StaticSteps.run

    def note(self: StaticSteps, cache: SlotCache, feeds: Sequence[Feed]) -> Any:
        found = run(self, cache, feeds)
        steps.append((len(feeds), found is not None))
        return found

    monkeypatch.setattr(StaticSteps, "run", note)
    return steps


def answers(folder: Path, options: LoadOptions) -> list[Completion | BaseException]:
    """Return the answers of bulk, of people who come meanwhile, and of each alone."""
    engine = LocalEngine.load(str(folder), options)
    asked = questions(engine.profile.factor)
    people = [replace(asked[0], priority=Priority.INTERACTIVE)] * 3
    come: list[Future[Completion]] = []

    def ask(text: str) -> None:
        if not come:
            come.extend(engine.submit(people))

    long = request(4, 4, "long", 60, factor=engine.profile.factor)
    replies = ask_all(engine, [asked[0], replace(long, on_text=ask), *asked[1:]])
    replies += [outcome(future) for future in come]
    for one in asked:
        replies += ask_all(engine, [one])
    engine.close()
    return replies


def check_equal(
    replies: Sequence[Completion | BaseException], others: Sequence[Completion | BaseException]
) -> None:
    for one, other in zip(replies, others, strict=True):
        assert isinstance(one, Completion)
        assert isinstance(other, Completion)
        assert (one.text, one.complete) == (other.text, other.complete)
        logprobs = [token.logprob for token in other.tokens]
        assert [token.logprob for token in one.tokens] == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize("family", ATTENDING)
def test_steps_of_static_shape_write_what_the_others_write(
    folders: dict[str, Path],
    family: str,
    steps: list[tuple[int, bool]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_equal(answers(folders[family], STATIC), answers(folders[family], CPU))
    assert {rows for rows, static in steps if static} >= {1, 5, 6}
    assert all(static for _, static in steps)
    assert "without graphs" not in caplog.text


def test_only_a_step_of_all_rows_is_filled_up(tiny: Path) -> None:
    """Who enters at the first slots leaves the rows behind them as they are."""
    model = load_checkpoint(str(tiny), CPU, lambda _: None).model
    runner = ModelRunner(model, Encoder(RULE, 5, 0, model.device))
    cache = SlotCache(model.device, 4, fixed=True)
    runner.fix_shapes([Bucket(4, 4)], cache)
    with torch.inference_mode():
        runner.run(cache, 0, [Feed([7, 8, 9], 0, 0, 1)] * 4)
        (before,) = [one[:, 1:].clone() for one in cache.hold(4, 4)][:1]
        runner.run(cache, 0, [Feed([5, 6], 0, 0, 1)])
        assert torch.equal(cache.hold(4, 4)[0][:, 1:], before)
        assert not torch.equal(cache.hold(4, 4)[0][:, 0], before[:, 0])


def test_steps_go_on_where_static_ones_fail_and_the_log_says_it_once(
    tiny: Path,
    steps: list[tuple[int, bool]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(StaticSteps, "_compute", fail)
    check_equal(answers(tiny, STATIC), answers(tiny, CPU))
    assert not any(static for _, static in steps)
    assert caplog.text.count("without graphs") == 1
    assert "RuntimeError: operation not permitted when stream is capturing" in caplog.text


def test_a_full_memory_does_not_end_static_steps(
    tiny: Path, steps: list[tuple[int, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine.load(str(tiny), STATIC)
    with monkeypatch.context() as full:
        full.setattr(StaticSteps, "_compute", _no_room)
        (reply,) = ask_all(engine, [questions()[0]])
        assert isinstance(reply, OutOfMemory)
    steps.clear()
    (reply,) = ask_all(engine, [questions()[0]])
    engine.close()
    assert isinstance(reply, Completion)
    assert steps
    assert all(static for _, static in steps)


def _no_room(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_bucket_for_each_doubling_of_the_slots_drafts_as_much_as_pays() -> None:
    options = SlotOptions(bulk=8, people=1, step_tokens=24)
    shapes = [(one.slots, one.tokens) for one in options.buckets()]
    assert shapes == [(1, 9), (2, 9), (4, 6), (8, 3), (9, 2)]
    assert SlotOptions(bulk=1, people=1).buckets() == [Bucket(1, 9), Bucket(2, 9)]


def test_graphs_last_as_long_as_the_tensors_that_they_read() -> None:
    cache = SlotCache(torch.device("cpu"), 4, fixed=True)
    cache.select(0, [0], 3)
    cache.write(torch.zeros(1, 3, 2, 1, 4), 0)
    cache.graphs[1] = Graph(None, torch.zeros(1), torch.zeros(1))
    (first,) = cache.hold(1, FIXED_BLOCK)
    assert cache.graphs
    assert cache.hold(1, 7)[0] is first
    assert cache.graphs
    assert cache.hold(1, FIXED_BLOCK + 1)[0].shape == (2, 1, 1, 2 * FIXED_BLOCK, 4)
    assert not cache.graphs
