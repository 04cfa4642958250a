"""Builds, from the settings, the parts that a model process works with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from grounding.engines.base import Engine, Progress
from grounding.errors import GroundingError
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.media.decoding import Decoder
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.local_files import Folder
from grounding.pipeline import WorkerContext
from grounding.settings import Settings

if TYPE_CHECKING:
    from grounding.engines.selftest import SelfTestReport

log = logging.getLogger(__name__)

ProgressCallback = Callable[..., None]


def load_context(settings: Settings, tell: ProgressCallback) -> WorkerContext:
    """Return the tools of a worker, its model loaded; `tell` hears how far the loading is.

    Takes from seconds to an hour (a first download). Raises `EngineError` or `SettingError`
    where the model cannot be had, or fails the self-test and the settings do not let that pass.
    """
    images = fetcher(settings)  # before the model, so that a wrong setting shows at once
    engine = load_engine(settings, tell)
    if settings.engine == "openai" and settings.self_test != "off":
        tell(phase="loading", done=None, detail="the self-test")
        try:
            _heed(examine(engine, settings), settings)
        except GroundingError:
            engine.close()
            raise
    return WorkerContext(
        engine,
        images,
        settings.max_new_tokens,
        settings.max_image_pixels,
        settings.labels_per_question,
        decoder=Decoder(settings.decode_memory_bytes),
    )


def load_engine(settings: Settings, tell: ProgressCallback) -> Engine:
    """Return the engine that the settings choose; raises as `load_context` does."""
    if settings.engine == "openai":
        return _remote(settings, tell)
    return _local(settings, tell)


def examine(engine: Engine, settings: Settings) -> SelfTestReport:
    """Return what the self-test finds of `engine`, with the cure for this server."""
    from grounding.engines.remote.servers import SERVERS
    from grounding.engines.selftest import self_test

    if settings.engine == "local":
        return self_test(engine)
    return self_test(engine, cure=SERVERS[settings.server].cure)


def _heed(finding: SelfTestReport, settings: Settings) -> None:
    if settings.self_test == "refuse":
        finding.check()
    elif finding.fault:
        log.warning("self-test: %s. %s", finding.fault, finding.cure)


def _remote(settings: Settings, tell: ProgressCallback) -> Engine:
    # Imported here, because a worker with a model of its own needs no client library.
    from grounding.engines.remote.data_uris import Encoding
    from grounding.engines.remote.engine import RemoteEngine, RetryPolicy
    from grounding.engines.remote.servers import SERVERS, RequestFormat
    from grounding.qwen.profiles import profile_for

    profile = profile_for(settings.model, name=settings.profile or None).bounded(
        min_pixels=settings.min_pixels, max_pixels=settings.max_pixels
    )
    manner = RequestFormat(
        SERVERS[settings.server],
        settings.model,
        profile.min_pixels,
        profile.max_pixels,
        native=settings.dashscope_native,
        logprobs=settings.logprobs,
        structured=settings.structured_output,
        priority=settings.server_priority,
        repetition_penalty=settings.repetition_penalty,
    )
    key = settings.openai_api_key
    return RemoteEngine(
        settings.openai_base_url,
        manner,
        profile,
        api_key=key.get_secret_value() if key else "",
        encoding=Encoding(settings.image_format, settings.image_quality),
        terms=RetryPolicy(
            settings.max_in_flight,
            settings.server_timeout,
            settings.server_patience,
            # Beyond that nobody waits, and the question would keep its slot from those who do.
            urgent_patience=min(settings.server_patience, settings.interactive_deadline),
        ),
        on_trouble=lambda why: tell(detail=why or settings.model_name),
    )


def _local(settings: Settings, tell: ProgressCallback) -> Engine:
    # Imported here, because torch takes seconds and the web process must never load it.
    from grounding.engines.local.engine import LocalEngine

    def on_progress(progress: Progress) -> None:
        if progress.phase != "ready":  # the worker says so itself, once its slots take jobs
            tell(phase=progress.phase, done=progress.done, detail=progress.detail)

    return LocalEngine.load(
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


def fetcher(settings: Settings) -> Fetcher:
    """Return the way to pictures that the settings allow."""
    rules = FetchRules(allowed_origins=settings.allowed_origins, max_bytes=settings.max_image_bytes)
    root = settings.local_files_root
    return Fetcher(rules, label_studio(settings), folder=Folder(root) if root else None)


def label_studio(settings: Settings) -> LabelStudioClient | None:
    """Return the client of the configured Label Studio, or None where none is."""
    if not settings.label_studio_url:
        return None
    key = settings.label_studio_api_key
    return LabelStudioClient(
        settings.label_studio_url,
        key.get_secret_value() if key else "",
        public=settings.label_studio_host,
    )
