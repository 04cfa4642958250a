"""The self-test: what it lets pass, what it names, and what comes of it."""

from __future__ import annotations

import logging

import pytest
from click.testing import CliRunner

from grounding.cli.main import cli
from grounding.engines.local.engine import LocalEngine
from grounding.engines.remote.servers import SERVERS
from grounding.engines.selftest import SelfTestReport, self_test, trials
from grounding.errors import EngineError
from grounding.factory import load_context
from grounding.qwen.profiles import PROFILES
from tests.engines.remotes import connect, settings
from tests.openai_server import Behaviour, Server

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
    finding = find(server, image_format=kind)
    assert finding.fault == ""
    assert "expected 4, counted 4" in finding.lines[-1]


def test_the_engine_in_this_process_passes(shapes: LocalEngine) -> None:
    assert self_test(shapes).fault == ""


@pytest.mark.parametrize("bounds", [SMALLER, LARGER])
def test_a_server_that_resizes_behind_our_back_is_named(
    bounds: tuple[int, int], server: Server, behaviour: Behaviour
) -> None:
    behaviour.behind = bounds
    finding = find(server)
    assert RESIZED in finding.fault
    assert finding.cure == "mend it"


@pytest.mark.parametrize("bounds", [SMALLER, LARGER])
def test_without_counts_the_boxes_give_it_away(
    bounds: tuple[int, int], server: Server, behaviour: Behaviour
) -> None:
    behaviour.behind, behaviour.counts = bounds, False
    finding = find(server)
    assert finding.fault
    assert RESIZED not in finding.fault


def test_a_server_whose_bounds_lie_elsewhere_passes_only_when_told_ours(
    server: Server, behaviour: Behaviour
) -> None:
    """The content part's bounds, which vLLM ignores, are what DashScope reads, and the reverse."""
    behaviour.own = LARGER
    assert not find(server).fault
    behaviour.reads = "part"
    assert RESIZED in find(server).fault
    assert not find(server, server="dashscope").fault
    assert RESIZED in find(server, server="generic").fault


def test_a_wrong_family_is_found_by_its_boxes(server: Server) -> None:
    finding = find(server, profile="qwen2-vl")
    assert "beside it" in finding.fault
    assert "GROUNDING_PROFILE" in finding.cure


def test_a_worker_refuses_it_and_says_which_setting_mends_it(
    server: Server, behaviour: Behaviour
) -> None:
    behaviour.behind = SMALLER
    with pytest.raises(EngineError) as caught:
        load_context(settings(server), lambda **_: None)
    assert caught.value.code == "self_test_failed"
    assert "--mm-processor-kwargs" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("policy", "asked", "warned"), [("warn", 2, True), ("off", 0, False)])
def test_a_setting_lets_it_serve_all_the_same(
    policy: str, asked: int, warned: bool, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.behaviour.behind = SMALLER
    with caplog.at_level(logging.WARNING):
        tools = load_context(settings(server, self_test=policy), lambda **_: None)
    assert len(server.behaviour.seen) == asked
    assert ("resizes our pictures" in caplog.text) is warned
    tools.engine.close()


@pytest.mark.parametrize(("bounds", "status"), [(None, 0), (SMALLER, 1)])
def test_on_demand_it_prints_what_it_measured(
    bounds: tuple[int, int] | None, status: int, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behaviour.behind = bounds
    for name, value in settings(server).environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(cli, ["selftest"])
    assert "112×112: 16 picture tokens" in done.output
    assert (done.exit_code == 0) is (status == 0)


@pytest.mark.parametrize("name", PROFILES)
def test_the_two_pictures_are_as_different_as_the_bounds_allow(name: str) -> None:
    profile = PROFILES[name]
    small, large = trials(profile)
    assert small.tokens == 256
    assert large.tokens > 1200
    for one in (small, large):
        assert profile.min_pixels <= one.picture.width * one.picture.height <= profile.max_pixels


def test_every_server_has_a_cure() -> None:
    assert all(server.cure for server in SERVERS.values())
