"""vLLM for real: `make servers`."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, wait

import pytest

from grounding.engines.local.engine import LocalEngine
from grounding.factory import load_engine
from grounding.settings import Settings
from tests.engines.remote.connecting import INTERACTIVE, make_request
from tests.servers import running
from tests.servers.checks import check_accuracy, check_equality, check_kill, check_self_test
from tests.servers.running import RealServer

pytestmark = pytest.mark.servers

BULK = 96


@pytest.mark.parametrize("changes", [{}, {"server_priority": True}, {"structured_output": True}])
def test_the_preset_passes_the_self_test_as_it_is(
    vllm: RealServer, changes: dict[str, bool]
) -> None:
    assert check_self_test(vllm, **changes) == ""


def test_its_answers_and_scores_are_the_local_engines(
    vllm: RealServer, shapes: LocalEngine
) -> None:
    check_equality(vllm, shapes, within=1e-3)


def bulk_before_a_late_annotator(vllm: RealServer, *, priority: bool) -> int:
    """Return how many of 96 bulk requests are answered before an annotator who comes last.

    All of them are at the server together, so that its order counts and not ours.
    """
    changes = {"server_priority": priority, "max_in_flight": 2 * BULK}
    engine = load_engine(Settings.load(**vllm.settings | changes), lambda **_: None)
    try:
        bulk = engine.submit([make_request(seed, engine) for seed in range(BULK)])
        wait(bulk, return_when=FIRST_COMPLETED)
        (late,) = engine.submit([make_request(BULK, engine, priority=INTERACTIVE)])
        late.result()
        return sum(one.done() for one in bulk)
    finally:
        engine.close()


def test_an_annotator_goes_before_the_bulk_where_priorities_are_sent(vllm: RealServer) -> None:
    assert bulk_before_a_late_annotator(vllm, priority=True) < BULK // 2
    assert bulk_before_a_late_annotator(vllm, priority=False) > BULK * 3 // 4


def test_accuracy_through_predict_reaches_its_goals(vllm: RealServer) -> None:
    check_accuracy(vllm)


def test_a_kill_under_200_tasks_loses_none(vllm: RealServer) -> None:
    check_kill(vllm)


def test_other_bounds_and_xgrammar_are_refused_by_the_self_test() -> None:
    small = running.vllm("--mm-processor-kwargs", '{"min_pixels": 784, "max_pixels": 12544}')
    small.start()
    try:
        assert "resizes our pictures" in check_self_test(small)
        assert "structured output" in check_self_test(
            small, structured_output=True, max_pixels=12544
        )
    finally:
        small.kill()
