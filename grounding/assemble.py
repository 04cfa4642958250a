"""Builds, from the settings, the parts that a model process works with."""

from __future__ import annotations

from collections.abc import Callable

from grounding.engines.base import Progress
from grounding.images.fetch import Fetcher, FetchRules
from grounding.labelstudio.client import LabelStudioClient
from grounding.pipeline import Tools
from grounding.settings import Settings


def load_tools(settings: Settings, tell: Callable[..., None]) -> Tools:
    """Return the tools of a worker, its model loaded; `tell` hears how far the loading is.

    Takes from seconds to an hour (a first download). Raises `EngineError` or `SettingError`
    where the model cannot be had.
    """
    # Imported here, because torch takes seconds and the web process must never load it.
    from grounding.engines.local import LocalEngine

    def on_progress(progress: Progress) -> None:
        if progress.phase != "ready":  # the worker says so itself, once its slots take jobs
            tell(phase=progress.phase, done=progress.done, detail=progress.detail)

    engine = LocalEngine.load(
        settings.model_path,
        profile=settings.profile or None,
        revision=settings.revision or None,
        device=settings.device or None,
        max_batch=settings.max_batch,
        min_pixels=settings.min_pixels,
        max_pixels=settings.max_pixels,
        repetition_penalty=settings.repetition_penalty,
        # The demo model is too small to gain from threads, and busy ones would wait for each other.
        torch_threads=settings.torch_threads or int(settings.is_demo),
        step_seconds=settings.job_timeout,
        on_progress=on_progress,
    )
    return Tools(
        engine,
        fetcher(settings),
        settings.max_new_tokens,
        settings.max_image_pixels,
        settings.labels_per_question,
    )


def fetcher(settings: Settings) -> Fetcher:
    """Return the way to pictures that the settings allow."""
    rules = FetchRules(allowed_origins=settings.allowed_origins, max_bytes=settings.max_image_bytes)
    return Fetcher(rules, label_studio(settings))


def label_studio(settings: Settings) -> LabelStudioClient | None:
    """Return the client of the configured Label Studio, or None where none is."""
    if not settings.label_studio_url:
        return None
    key = settings.label_studio_api_key
    return LabelStudioClient(settings.label_studio_url, key.get_secret_value() if key else "")
