"""Print is shown in more pixels only where nobody resizes such views on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from grounding.engines.base import Completion, ModelRequest
from grounding.engines.selftest import shows_print
from grounding.errors import EngineError
from grounding.factory import load_context
from grounding.qwen.profiles import PROFILES
from grounding.testing import ScriptedEngine, answer_each
from tests.engines.openai_server import Behaviour, Server, serving
from tests.engines.remote.connecting import settings

TOKEN = 28 * 28
OURS, LARGER = (4 * TOKEN, 1280 * TOKEN), (4 * TOKEN, 16384 * TOKEN)
PRINT = 2560 * TOKEN


def count(request: ModelRequest) -> Completion:
    """Return an answer that tells how many image tokens the model saw, and sees no circle."""
    (view,) = request.views
    return Completion("[]", True, prompt_tokens=view.pixels.width * view.pixels.height // TOKEN)


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def counting(behaviour: Behaviour) -> Iterator[Server]:
    """A server whose model only counts what it sees, within the behaviour's bounds."""
    engine = ScriptedEngine(answer_each(count))
    with serving(engine, behaviour) as server:
        yield server
    engine.close()


def most(server: Server, /, **changes: object) -> int:
    """Return the largest view for print that a worker for `server` makes."""
    chosen = {"min_pixels": None, "max_pixels": None, "self_test": "warn"}
    context = load_context(settings(server, **(chosen | changes)), lambda **_: None)
    profile = context.engine.profile.for_print()
    context.engine.close()
    return profile.max_pixels


@pytest.mark.parametrize(
    ("own", "changes", "pixels"),
    [
        (LARGER, {}, PRINT),
        (OURS, {}, OURS[1]),
        (OURS, {"server": "sglang"}, PRINT),
        (LARGER, {"self_test": "off"}, OURS[1]),
        (LARGER, {"self_test": "off", "server": "sglang"}, PRINT),
        (LARGER, {"max_pixels": 900 * TOKEN}, 900 * TOKEN),
    ],
)
def test_print_takes_more_pixels_where_the_server_leaves_them_alone(
    own: tuple[int, int], changes: dict[str, object], pixels: int,
    counting: Server, behaviour: Behaviour,
) -> None:  # fmt: skip
    behaviour.own = own
    assert most(counting, **changes) == pixels


def test_without_counts_nobody_knows_and_print_is_no_exception(
    counting: Server, behaviour: Behaviour
) -> None:
    behaviour.own, behaviour.counts = LARGER, False
    assert most(counting) == OURS[1]


def test_a_server_that_fails_at_such_a_view_gets_none() -> None:
    def fail(request: ModelRequest) -> Completion:
        raise EngineError("too large")

    engine = ScriptedEngine(answer_each(fail), PROFILES["qwen2.5-vl"])
    assert not shows_print(engine)
    engine.close()
