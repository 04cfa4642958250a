"""Whatever one task is, and whatever is raised while it is answered, costs that task alone."""

from __future__ import annotations

import inspect
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from redis import Redis

from grounding.engines.base import Completion, ModelRequest
from grounding.jobs import worker as worker_module
from grounding.jobs.payloads import Outcome, split
from grounding.jobs.store import Job, JobStore, QueueName
from grounding.jobs.worker import JobRunner
from grounding.pipeline import WorkerContext
from grounding.settings import Settings
from grounding.tasks import Task, model_version
from grounding.testing import ScriptedEngine
from grounding.web.interactive import InteractiveRequest
from grounding.web.parsing.strict import MAX_DEPTH
from grounding.web.submission import JobFactory
from tests.serving import CONFIG, TALKING, predict, request, said, typed

OURS = str(Path(worker_module.__file__).parents[1])
ERRORS = (
    ValueError("x"),
    KeyError("x"),
    TypeError("x"),
    IndexError(),
    AttributeError("x"),
    RecursionError(),
    MemoryError(),
    OSError(5, "x"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    ZeroDivisionError(),
    StopIteration(),
    AssertionError(),
    NotImplementedError(),
)
numbers = itertools.count(1000)


class Fault:
    """Raises `error` from the call number `step` of a function of ours, below a wrapped one."""

    def __init__(self, step: int = -1, error: Exception | None = None) -> None:
        self._step = step
        self._error = error
        self.calls = 0

    def below(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, below which the error is raised."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            sys.setprofile(self._on_event)
            try:
                return function(*args, **kwargs)
            finally:
                sys.setprofile(None)

        return wrapped

    def _on_event(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        # A generator is called once more to be closed, where nobody can catch what is raised.
        if event != "call" or code.co_flags & inspect.CO_GENERATOR:
            return
        if not code.co_filename.startswith(OURS):
            return
        self.calls += 1
        if self.calls - 1 == self._step and self._error:
            raise self._error


def nested(depth: int, shape: str = "list") -> Any:
    """Return JSON nested so deep."""
    found: Any = "x"
    for _ in range(depth):
        found = [found] if shape == "list" else {"a": found}
    return found


def deep_text(depth: int, shape: str) -> str:
    """Return the text of JSON that is nested too deep to be written by `json`."""
    opening, closing = ("[", "]") if shape == "list" else ('{"a":', "}")
    return opening * depth + '"}] \\" ["' + closing * depth


DEPTHS = [MAX_DEPTH + 1, 490, 900, 5_000, 100_000]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shape", ["list", "object"])
@pytest.mark.parametrize("params", [{}, typed("cat")], ids=["bulk", "interactive"])
def test_a_deep_task_is_refused_alone_counted_and_named(
    client: FlaskClient,
    worker: list[int],
    caplog: pytest.LogCaptureFixture,
    depth: int,
    shape: str,
    params: dict[str, Any],
) -> None:
    body = request(4, 5, 6, label_config=TALKING, params=params)
    body["tasks"][1]["data"]["deep"] = "HERE"
    text = json.dumps(body).replace('"HERE"', deep_text(depth, shape))
    answer = client.post("/predict", data=text, content_type="application/json")
    entries = answer.json["results"]  # type: ignore[index]
    assert [entry.get("id") if entry else None for entry in entries] == [4, None, 6]
    if params:
        assert "nested deeper than 100" in said(entries[1])[0]
    assert "task 5 of project 1.1795316671: a task's data is nested deeper" in caplog.text
    metrics = client.get("/metrics").text
    assert 'grounding_tasks_unusable_total{code="data_too_deep"} 1.0' in metrics


def test_data_as_deep_as_is_allowed_is_answered_and_so_is_a_task_deep_elsewhere(
    client: FlaskClient, worker: list[int]
) -> None:
    body = request(4, 5)
    body["tasks"][0]["data"]["deep"] = nested(MAX_DEPTH - 1)
    body["tasks"][1]["annotations"] = "HERE"
    text = json.dumps(body).replace('"HERE"', deep_text(2000, "list"))
    answer = client.post("/predict", data=text, content_type="application/json")
    entries = answer.json["results"]  # type: ignore[index]
    assert [entry["id"] for entry in entries] == [4, 5]


def test_an_id_beyond_label_studio_s_is_no_id(
    client: FlaskClient, worker: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    body = request(4)
    body["tasks"].append({"id": int("9" * 4200), "data": None})
    assert bool(client.post("/predict", json=body).json["results"][0])  # type: ignore[index]
    assert "999999" not in caplog.text


@example(victim=(JobFactory, "_job"), step=8, error=ValueError("x"), typing=True)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    victim=st.sampled_from([(JobFactory, "_job"), (InteractiveRequest, "page")]),
    step=st.integers(0, 12),
    error=st.sampled_from(ERRORS),
    typing=st.booleans(),
)
def test_whatever_is_raised_before_a_task_is_queued_costs_it_alone(
    client: FlaskClient,
    worker: list[int],
    victim: tuple[type, str],
    step: int,
    error: Exception,
    typing: bool,
) -> None:
    ids = [next(numbers) for _ in range(3)]
    params = typed("cat") if typing else {}
    fault = Fault(step, error)
    with pytest.MonkeyPatch.context() as patch:
        owner, name = victim
        patch.setattr(owner, name, fault.below(getattr(owner, name)))
        entries = predict(client, *ids, label_config=TALKING, params=params)
    assert len(entries) == 3
    answered = [entry["id"] for entry in entries if entry and "id" in entry]
    assert len(answered) >= 2
    if typing and len(answered) == 2:
        (missing,) = (entry for entry in entries if "id" not in entry)
        # A ValueError where the data is written means just that.
        reasons = ("a fault of this program", "a task's data cannot be written as JSON")
        assert said(missing)[0].startswith(reasons)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(step=st.integers(0, 25), error=st.sampled_from(ERRORS))
def test_whatever_is_raised_while_a_task_s_answer_is_written_costs_it_alone(
    client: FlaskClient, worker: list[int], step: int, error: Exception
) -> None:
    ids = [next(numbers) for _ in range(3)]
    fault = Fault(step, error)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InteractiveRequest, "answer", fault.below(InteractiveRequest.answer))
        entries = predict(client, *ids, label_config=TALKING, params=typed("cat"))
    assert len(entries) == 3
    assert sum("id" in entry for entry in entries) >= 2


class OnePicture:
    """A fetcher whose every picture is white."""

    def fetch(self, value: str, task_id: int | None = None, check: object = None) -> bytes:
        """Return a PNG."""
        file = io.BytesIO()
        Image.new("RGB", (64, 64), "white").save(file, "PNG")
        return file.getvalue()


def one_box(batch: Sequence[ModelRequest]) -> Sequence[Completion]:
    """Answer each request with one box."""
    text = '[{"bbox_2d": [10, 10, 200, 200], "label": "cat"}]'
    return [Completion(text, complete=True) for _ in batch]


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis)


@pytest.fixture
def runner(store: JobStore) -> Iterator[JobRunner]:
    context = WorkerContext(ScriptedEngine(one_box), OnePicture(), 64, 10_000)
    running = JobRunner("w", store, context, Settings.load())
    yield running
    running.close()


def run(store: JobStore, runner: JobRunner, fault: Fault) -> Outcome:
    """Accept a new job and run it with a fault; return its outcome."""
    key = f"job-{next(numbers)}"
    task = Task(7, {"image": "x"}, CONFIG, None, model_version(Settings.load(), CONFIG, ""))
    parts = split(task.payload())
    store.accept([Job(key, QueueName.BULK, "1", parts.record, parts.data, 0, parts.config)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_predict", fault.below(runner._predict))
        runner.run(key)
    return store.outcomes([key])[key]


@pytest.fixture
def steps(store: JobStore, runner: JobRunner) -> int:
    """The number of steps of a task whose config and picture are not the first of their kind."""
    for _ in range(2):
        counting = Fault()
        assert run(store, runner, counting).prediction is not None
    return counting.calls


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), error=st.sampled_from(ERRORS))
def test_whatever_is_raised_at_any_step_of_a_worker_costs_that_task_alone(
    store: JobStore, runner: JobRunner, steps: int, share: float, error: Exception
) -> None:
    failed = run(store, runner, Fault(int(share * steps), error))
    assert (failed.prediction is None) == bool(failed.code)
    assert run(store, runner, Fault()).prediction is not None, "the next task is answered"
