"""The self-test: what passes, what it finds, and what the worker does then."""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from dataclasses import replace
from itertools import repeat

import pytest
from click.testing import CliRunner

from grounding.cli.main import cli
from grounding.engines.base import Completion, ModelRequest
from grounding.engines.local.engine import LocalEngine
from grounding.engines.remote.servers import SERVERS
from grounding.engines.selftest import NAME, SelfTestReport, make_trials, self_test
from grounding.errors import EngineError, UrlRefused
from grounding.factory import load_context
from grounding.qwen.profiles import PROFILES
from grounding.testing import ScriptedEngine, answer_each
from tests.engines.openai_server import Behaviour, Server, raw
from tests.engines.remote.connecting import connect, settings

SMALLER = (8 * 784, 12 * 784)
"""Bounds of a server that shows the model less than we send."""
LARGER = (30 * 784, 49 * 784)
"""Bounds of a server that enlarges what we send."""
RESIZED = "resizes our pictures"


def find(server: Server, /, **changes: object) -> SelfTestReport:
    engine = connect(server, **changes)
    try:
        return self_test(engine, cure="mend it")
    finally:
        engine.close()


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_server_that_leaves_our_pixels_alone_passes(kind: str, server: Server) -> None:
    report = find(server, image_format=kind)
    assert report.fault == ""
    assert "expected 4, counted 4" in report.lines[-1]


def test_the_engine_in_this_process_passes(shapes: LocalEngine) -> None:
    assert self_test(shapes).fault == ""


@pytest.mark.parametrize("bounds", [SMALLER, LARGER])
def test_a_server_that_resizes_unasked_is_found(
    bounds: tuple[int, int], server: Server, behaviour: Behaviour
) -> None:
    behaviour.forced = bounds
    report = find(server)
    assert RESIZED in report.fault
    assert report.cure == "mend it"


@pytest.mark.parametrize("bounds", [SMALLER, LARGER])
def test_without_counts_the_boxes_show_the_resizing(
    bounds: tuple[int, int], server: Server, behaviour: Behaviour
) -> None:
    behaviour.forced, behaviour.counts = bounds, False
    report = find(server)
    assert report.fault
    assert RESIZED not in report.fault


def test_a_server_with_other_bounds_passes_only_when_it_is_told_ours(
    server: Server, behaviour: Behaviour
) -> None:
    """SGLang's preset sends them beside the messages, DashScope's in the picture's part."""
    behaviour.own = LARGER
    assert not find(server, server="sglang").fault
    behaviour.reads = "part"
    assert RESIZED in find(server, server="sglang").fault
    assert not find(server, server="dashscope").fault
    assert RESIZED in find(server, server="generic").fault


def test_a_vllm_that_refuses_pixel_bounds_in_requests_passes_if_its_own_enclose_ours(
    server: Server, behaviour: Behaviour
) -> None:
    """As vLLM does from 0.32; its own bounds are set at its start."""
    behaviour.refused = frozenset({"mm_processor_kwargs"})
    assert not find(server, server="vllm").fault
    behaviour.own = LARGER
    assert RESIZED in find(server, server="vllm").fault


def test_a_wrong_family_is_found_by_its_boxes(server: Server) -> None:
    report = find(server, profile="qwen2-vl")
    assert "beside it" in report.fault
    assert "PROFILE" in report.cure


def test_a_worker_refuses_such_a_server_and_names_the_setting_that_helps(
    server: Server, behaviour: Behaviour
) -> None:
    behaviour.forced = SMALLER
    with pytest.raises(EngineError) as caught:
        load_context(settings(server), lambda **_: None)
    assert caught.value.code == "self_test_failed"
    assert "--mm-processor-kwargs" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("policy", "asked", "warned"), [("warn", 2, True), ("off", 0, False)])
def test_a_setting_lets_the_worker_serve_nevertheless(
    policy: str, asked: int, warned: bool, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.behaviour.forced = SMALLER
    with caplog.at_level(logging.WARNING):
        tools = load_context(settings(server, self_test=policy), lambda **_: None)
    assert len(server.behaviour.seen) == asked
    assert ("resizes our pictures" in caplog.text) is warned
    tools.engine.close()


@pytest.mark.parametrize(("bounds", "status"), [(None, 0), (SMALLER, 1)])
def test_the_command_prints_what_it_measured(
    bounds: tuple[int, int] | None, status: int, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behaviour.forced = bounds
    for name, value in settings(server).environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(cli, ["selftest"])
    assert "112×112: 16 picture tokens" in done.output
    assert (done.exit_code == 0) is (status == 0)


def test_a_server_is_asked_for_answers_as_long_as_those_of_tasks(server: Server) -> None:
    """One whose context is too short for them would otherwise refuse each task, one by one."""
    load_context(settings(server, max_new_tokens=777), lambda **_: None).engine.close()
    assert [body["max_tokens"] for body in server.behaviour.seen] == [777, 777]


FREE = "GROUNDING_STRUCTURED_OUTPUT=false"
NONE, DRAFT = "```json\n[]\n```", "<think>The circle is"


def answering(small: Completion, large: Completion, *, structured: bool = False) -> SelfTestReport:
    """Return the report of an engine that answers the two pictures so, and counts rightly."""
    profile = PROFILES["qwen2.5-vl"]
    trials = make_trials(profile)
    answers = dict(zip([one.view.pixels.size for one in trials], (small, large), strict=True))
    tokens = {one.view.pixels.size: one.tokens for one in trials}

    def answer(request: ModelRequest) -> Completion:
        size = request.views[0].pixels.size
        return replace(answers[size], prompt_tokens=30 + tokens[size])

    engine = ScriptedEngine(answer_each(answer), profile)
    try:
        return self_test(engine, cure="mend it", structured=structured)
    finally:
        engine.close()


def right(number: int, *, complete: bool = True) -> Completion:
    """Return the answer that boxes the circle of the smaller picture, 0, or the larger, 1."""
    truth = make_trials(PROFILES["qwen2.5-vl"])[number].truth
    corners = [round(side) for side in (truth.x1, truth.y1, truth.x2, truth.y2)]
    return Completion(json.dumps([{"bbox_2d": corners, "label": NAME}]), complete)


def test_an_engine_that_boxes_both_circles_passes() -> None:
    assert answering(right(0), right(1)).fault == ""
    assert answering(right(0), right(1), structured=True).fault == ""


@pytest.mark.parametrize(
    ("answer", "structured", "reason", "cure"),
    [
        (Completion(NONE, True), False, "finds no red circle where one is", "chat template"),
        (Completion("I see a bus.", True), False, "it says 'I see a bus.'", "chat template"),
        (Completion("", True), False, "is empty", "Instruct"),
        (Completion("\n\n\n", False), False, "is empty", "Instruct"),
        (Completion(DRAFT, False), False, "thinks instead of answering", "Instruct"),
        (
            Completion("\n\n\n", False),
            True,
            "structured output",
            "GROUNDING_STRUCTURED_OUTPUT=false",
        ),
        (Completion(NONE, True), True, "structured output", FREE),
        (right(1, complete=False), True, "no end", FREE),
        (right(1, complete=False), False, "does not end", "chat template"),
        (right(0), False, "beside it", "GROUNDING_PROFILE"),
    ],
)
def test_no_box_or_no_end_is_a_fault_with_its_own_reason_though_the_counts_are_right(
    answer: Completion, structured: bool, reason: str, cure: str
) -> None:
    report = answering(right(0), answer, structured=structured)
    assert reason in report.fault
    assert cure in report.cure


def test_no_box_on_the_smaller_picture_is_a_fault_too() -> None:
    assert "finds no red circle" in answering(Completion(NONE, True), right(1)).fault


def test_a_long_answer_is_quoted_in_part() -> None:
    report = answering(right(0), Completion("bus " * 99, False))
    assert "bus bus" in report.fault
    assert len(report.fault) < 150


def test_structured_output_that_gives_no_box_is_blamed_when_a_worker_starts(
    server: Server, behaviour: Behaviour
) -> None:
    """As vLLM's with xgrammar, which lets the shapes checkpoint say only that nothing is there."""
    silent = {"choices": [{"message": {"content": NONE}, "finish_reason": "stop"}], "usage": None}
    behaviour.faults = repeat(raw(json.dumps(silent).encode()))
    with pytest.raises(EngineError, match="structured output gives an answer with no box"):
        load_context(settings(server, structured_output=True), lambda **_: None)


@pytest.mark.parametrize("name", PROFILES)
def test_the_two_pictures_are_as_different_as_the_bounds_allow(name: str) -> None:
    profile = PROFILES[name]
    small, large = make_trials(profile)
    assert small.tokens == 256
    assert large.tokens > 1200
    for one in (small, large):
        width, height = one.view.pixels.size
        assert profile.min_pixels <= width * height <= profile.max_pixels


def test_every_server_has_a_cure() -> None:
    assert all(server.cure for server in SERVERS.values())


def test_a_worker_with_a_label_studio_binds_its_files_to_their_project(server: Server) -> None:
    """Where none is set, no token can be sent."""
    for url, bound in (("", False), ("http://ls:8080", True)):
        chosen = settings(server, self_test="off", label_studio_url=url)
        context = load_context(chosen, lambda **_: None)
        context.engine.close()
        refused = pytest.raises(UrlRefused) if bound else nullcontext()
        with refused:
            context.check_owner("/data/upload/7/cat.png", 1, "3.1")
