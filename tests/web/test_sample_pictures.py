"""The sample pictures are served to the labelling page, and nothing else is."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from grounding.cli.console import beside_server
from grounding.settings import Settings
from grounding.web.examples import PICTURES
from tests.serving import Start

NAMES = sorted(path.name for path in PICTURES.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_another_origin_may_draw_a_sample_picture(start: Start, name: str) -> None:
    with start().get(f"/examples/{name}") as answer:
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        Image.open(io.BytesIO(answer.data)).verify()


@pytest.mark.parametrize("name", ["none.png", "../config.xml", "..%2fconfig.xml", "__init__.py"])
def test_nothing_but_the_sample_pictures_is_served(start: Start, name: str) -> None:
    assert start().get(f"/examples/{name}").status_code == 404


def test_a_password_does_not_hide_the_sample_pictures(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labelling page cannot send one."""
    monkeypatch.setenv("BASIC_AUTH_USER", "u")
    monkeypatch.setenv("BASIC_AUTH_PASS", "p")
    client = start()
    assert client.get("/jobs").status_code == 401
    with client.get(f"/examples/{NAMES[0]}") as answer:
        assert answer.status_code == 200


def test_a_browser_on_this_machine_knows_the_server_by_two_names() -> None:
    assert beside_server(Settings.load()).allowed_origins == {
        "http://localhost:9090",
        "http://127.0.0.1:9090",
    }
