"""The engine behind HTTP, against a real model behind a real server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from grounding.engines.base import ModelRequest
from grounding.engines.local.engine import LocalEngine
from grounding.engines.remote.engine import RemoteEngine, plain_words
from grounding.errors import EngineError, ImageError
from tests.engines.remotes import connect, question
from tests.openai_server import Behaviour, Server

SEEDS = range(50_000_000, 50_000_006)


@pytest.fixture
def remote(server: Server) -> Iterator[RemoteEngine]:
    engine = connect(server)
    yield engine
    engine.close()


WAYS: dict[str, dict[str, Any]] = {
    "vllm": {},
    "sglang": {"server": "sglang"},
    "generic": {"server": "generic"},
    "dashscope": {"server": "dashscope"},
    "dashscope's own": {"server": "dashscope", "dashscope_native": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_reply_over_http_is_the_local_engines_own(
    way: str, server: Server, shapes: LocalEngine
) -> None:
    """Text, end, tokens with their places and probabilities, and the prompt's count."""
    url = server.native_url if way == "dashscope's own" else server.url
    engine = connect(server, openai_base_url=url, **WAYS[way])
    asked = [question(seed, shapes) for seed in SEEDS]
    assert [engine.ask(one) for one in asked] == [shapes.ask(one) for one in asked]
    engine.close()


def test_replies_to_many_threads_are_each_their_own(
    remote: RemoteEngine, shapes: LocalEngine
) -> None:
    asked = [question(seed, shapes) for seed in SEEDS] * 3
    with ThreadPoolExecutor(max_workers=len(asked)) as pool:
        replies = list(pool.map(remote.ask, asked))
    assert [r.text for r in replies] == [shapes.ask(one).text for one in asked]


def test_an_answer_cut_at_its_budget_is_not_complete(remote: RemoteEngine) -> None:
    reply = remote.ask(question(SEEDS[0], remote, most=3))
    assert not reply.complete
    assert len(reply.tokens) == 3


def test_where_the_server_has_no_probabilities_there_are_no_tokens(
    remote: RemoteEngine, behaviour: Behaviour
) -> None:
    behaviour.logprobs = False
    reply = remote.ask(question(SEEDS[0], remote))
    assert (reply.tokens, bool(reply.text)) == ((), True)


def test_no_more_requests_are_in_flight_than_allowed(server: Server, behaviour: Behaviour) -> None:
    engine = connect(server, max_in_flight=3)
    asked = [question(SEEDS[0], engine) for _ in range(12)]
    with ThreadPoolExecutor(max_workers=12) as pool:
        assert len(list(pool.map(engine.ask, asked))) == 12
    assert behaviour.most == 3
    engine.close()


def test_jpeg_keeps_the_size_that_the_model_is_to_see(server: Server, behaviour: Behaviour) -> None:
    engine = connect(server, image_format="jpeg")
    asked = question(SEEDS[1], engine)
    reply = engine.ask(asked)
    uri = behaviour.seen[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert uri.startswith("data:image/jpeg;base64,/9j/")
    assert reply.prompt_tokens == server.engine.ask(asked).prompt_tokens
    engine.close()


def test_pixels_that_are_not_prepared_are_refused(remote: RemoteEngine) -> None:
    with pytest.raises(ImageError) as caught:
        remote.ask(ModelRequest(Image.new("RGB", (100, 112)), "where?", 8))
    assert caught.value.code == "image_not_prepared"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a cat", "a cat"),
        ("a <|im_end|>cat", "a cat"),
        ("<|im_<|im_end|>end|>cat", "cat"),
        ("a < b |> c", "a < b |> c"),
    ],
)
def test_no_text_carries_control_tokens(text: str, plain: str) -> None:
    assert plain_words(text) == plain


def test_after_closing_no_question_is_asked(remote: RemoteEngine, behaviour: Behaviour) -> None:
    asked = question(SEEDS[0], remote)
    remote.close()
    with pytest.raises(EngineError):
        remote.ask(asked)
    assert behaviour.seen == []
