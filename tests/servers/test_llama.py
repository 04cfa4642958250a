"""llama.cpp's server for real: `make servers`. Its arithmetic differs in the last digits."""

from __future__ import annotations

import pytest

from grounding.engines.local.engine import LocalEngine
from tests.servers.checks import check_accuracy, check_equality, check_kill, check_self_test
from tests.servers.running import RealServer

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("changes", [{}, {"structured_output": True}])
def test_the_generic_preset_passes_the_self_test(
    llama: RealServer, changes: dict[str, bool]
) -> None:
    assert check_self_test(llama, **changes) == ""


def test_nearly_all_answers_and_their_scores_are_the_local_engines(
    llama: RealServer, shapes: LocalEngine
) -> None:
    check_equality(llama, shapes, within=1e-2, least=54)


def test_accuracy_through_predict_reaches_its_goals(llama: RealServer) -> None:
    check_accuracy(llama)


def test_a_kill_under_200_tasks_loses_none(llama: RealServer) -> None:
    check_kill(llama)
