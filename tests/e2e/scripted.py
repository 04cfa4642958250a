"""A project whose backend asks a scripted model behind an OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from grounding.engines.base import Completion, ModelRequest
from grounding.testing import ScriptedEngine, answer_each
from tests.engines.openai_server import KEY, MODEL, Behaviour
from tests.engines.openai_server import serving as serving_model

from .client import Client
from .hosting import backend
from .pictures import Sample
from .projects import Project, open_project

Script = Callable[[ModelRequest], Completion]
"""Answers each request of the model."""


@contextmanager
def scripted_project(
    folder: Path, studio: Client, origin: str, config: str, answer: Script
) -> Iterator[Project]:
    """Open a project with this config, whose model answers each request by `answer`."""
    with serving_model(ScriptedEngine(answer_each(answer)), Behaviour()) as model:
        settings = {
            "GROUNDING_ENGINE": "openai",
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": KEY,
            "MODEL": MODEL,
            "GROUNDING_SELF_TEST": "off",
        }
        with backend(folder, studio, origin, settings=settings) as server:
            yield open_project(studio, server.url, origin, folder.name, config)


def with_a_picture(title: str, config: str, answer: Script) -> Any:
    """Return a fixture of a module: such a project, with one task of a picture."""

    @pytest.fixture(scope="module")
    def project(
        studio: Client, origin: str, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Project]:
        folder = tmp_path_factory.mktemp(title)
        with scripted_project(folder, studio, origin, config, answer) as opened:
            studio.import_tasks(opened.id, [{"image": samples[0].data_uri()}])
            yield opened

    return project
