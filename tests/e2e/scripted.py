"""A project whose backend asks a scripted model behind an OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from grounding.engines.base import Completion, ModelRequest
from grounding.testing import ScriptedEngine, answer_each
from tests.openai_server import KEY, MODEL, Behaviour
from tests.openai_server import serving as serving_model

from .client import Client
from .hosting import backend
from .projects import Project, open_project


@contextmanager
def scripted_project(
    folder: Path,
    studio: Client,
    origin: str,
    config: str,
    answer: Callable[[ModelRequest], Completion],
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
