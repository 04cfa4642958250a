"""`transformers serve` for real: `make servers`. It has no priorities, schemas or probabilities."""

from __future__ import annotations

import pytest

from grounding.engines.local.engine import LocalEngine
from tests.servers.checks import check_accuracy, check_equality, check_kill, check_self_test
from tests.servers.running import RealServer

pytestmark = pytest.mark.servers


def test_the_generic_preset_passes_the_self_test(transformers: RealServer) -> None:
    assert check_self_test(transformers) == ""


def test_its_answers_are_the_local_engines_and_have_no_scores(
    transformers: RealServer, shapes: LocalEngine
) -> None:
    check_equality(transformers, shapes, within=None)


def test_accuracy_through_predict_reaches_its_goals(transformers: RealServer) -> None:
    check_accuracy(transformers)


def test_a_kill_under_200_tasks_loses_none(transformers: RealServer) -> None:
    check_kill(transformers)
