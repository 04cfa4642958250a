"""A real worker process whose model watches films: `python -m tests.films.worker SECONDS`.

Each question takes so many seconds, one after the other, and has four frames.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from grounding.engines.base import Completion, ModelRequest
from grounding.factory import fetcher, film_reader
from grounding.jobs.connection import queue_url
from grounding.jobs.worker import Worker
from grounding.media.films.sampling import Sampling
from grounding.media.images import Decoder
from grounding.pipeline import WorkerContext
from grounding.settings import Settings
from grounding.testing import ScriptedEngine, answer_each
from tests.films.watching import watch


def watching(settings: Settings, tell: Callable[..., None]) -> WorkerContext:
    """Return the worker's context with the model that watches."""

    def answer(request: ModelRequest) -> Completion:
        time.sleep(float(sys.argv[1]))
        return watch(request)

    engine = ScriptedEngine(answer_each(answer), max_batch=1)
    decoder = Decoder()
    films = replace(film_reader(settings, decoder.budget), sampling=Sampling(max_frames=4))
    most = settings.max_image_pixels
    return WorkerContext(engine, fetcher(settings), 512, most, decoder=decoder, films=films)


if __name__ == "__main__":
    chosen = Settings.load()
    sys.exit(Worker(chosen, queue_url(chosen), watching).run())
