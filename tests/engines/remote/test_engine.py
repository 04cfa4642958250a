"""The remote engine, against a real model behind a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from grounding.engines.base import ModelRequest
from grounding.engines.local.engine import LocalEngine
from grounding.engines.remote.client import Encoding
from grounding.engines.remote.engine import RemoteEngine
from grounding.engines.remote.servers import plain_words
from grounding.errors import EngineError, ImageError
from grounding.testing import ask_one, make_view
from tests.engines.openai_server import Behaviour, Handler, Server
from tests.engines.remote.connecting import ask, connect, make_request

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
def test_a_completion_over_http_equals_the_local_engines(
    way: str, server: Server, shapes: LocalEngine
) -> None:
    """Text, end, tokens with their places and probabilities, and the prompt's count."""
    url = server.native_url if way == "dashscope's own" else server.url
    engine = connect(server, openai_base_url=url, **WAYS[way])
    asked = [make_request(seed, shapes) for seed in SEEDS]
    assert [ask_one(engine, one) for one in asked] == [ask_one(shapes, one) for one in asked]
    engine.close()


def test_an_answer_cut_at_its_budget_is_not_complete(remote: RemoteEngine) -> None:
    reply = ask(remote, SEEDS[0], most=3)
    assert not reply.complete
    assert len(reply.tokens) == 3


def test_without_the_servers_probabilities_there_are_no_tokens(
    remote: RemoteEngine, behaviour: Behaviour
) -> None:
    behaviour.logprobs = False
    reply = ask(remote, SEEDS[0])
    assert (reply.tokens, bool(reply.text)) == ((), True)


def test_no_more_requests_are_in_flight_than_allowed(server: Server, behaviour: Behaviour) -> None:
    engine = connect(server, max_in_flight=3)
    futures = engine.submit([make_request(SEEDS[0], engine) for _ in range(12)])
    assert all(future.result().text for future in futures)
    assert behaviour.most == 3
    engine.close()


def test_jpeg_keeps_the_size_that_the_model_sees(server: Server, behaviour: Behaviour) -> None:
    engine = connect(server, image_format="jpeg")
    asked = make_request(SEEDS[1], engine)
    reply = ask_one(engine, asked)
    uri = behaviour.seen[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert uri.startswith("data:image/jpeg;base64,/9j/")
    assert reply.prompt_tokens == ask_one(server.engine, asked).prompt_tokens
    engine.close()


def test_pixels_that_are_not_prepared_are_refused(remote: RemoteEngine) -> None:
    view = make_view(Image.new("RGB", (100, 112)))
    with pytest.raises(ImageError) as caught:
        ask_one(remote, ModelRequest((view, "where?"), 8))
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


def test_a_closed_engine_sends_nothing(remote: RemoteEngine, behaviour: Behaviour) -> None:
    asked = make_request(SEEDS[0], remote)
    remote.close()
    with pytest.raises(EngineError):
        ask_one(remote, asked)
    assert behaviour.seen == []


def test_a_cancelled_request_hangs_up_so_that_the_server_can_stop(
    remote: RemoteEngine, behaviour: Behaviour
) -> None:
    asked, hung_up = threading.Event(), threading.Event()

    def hold(handler: Handler) -> None:
        asked.set()
        if handler.connection.recv(1) == b"":
            hung_up.set()
        handler.close_connection = True

    behaviour.faults = iter([hold])
    (future,) = remote.submit([make_request(SEEDS[0], remote)])
    assert asked.wait(60)
    assert future.cancel()
    assert hung_up.wait(60)
    assert ask(remote, SEEDS[1]).text


def test_a_picture_is_encoded_once_for_all_its_requests(
    remote: RemoteEngine, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Image.Image] = []
    encode = Encoding.data_uri

    def count(self: Encoding, image: Image.Image) -> bytes:
        made.append(image)
        return encode(self, image)

    monkeypatch.setattr(Encoding, "data_uri", count)
    asked = make_request(SEEDS[0], remote, most=3)
    for future in remote.submit([asked] * 8):
        future.result(60)
    assert len(made) == 1


def test_views_texts_and_the_system_text_arrive_as_they_were_submitted(
    remote: RemoteEngine, shapes: LocalEngine
) -> None:
    """A text that looks like what stands for a picture changes nothing."""
    (view,), (other,) = (make_request(seed, shapes).views for seed in SEEDS[:2])
    asked = ModelRequest((view, other, "find", " (picture)"), 12, system="Be (picture) brief.")
    assert ask_one(remote, asked) == ask_one(shapes, asked)
