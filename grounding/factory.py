"""Builds, from the settings, the parts that a model process works with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from grounding.engines.base import Engine, Progress
from grounding.errors import EngineError, GroundingError
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.films.reader import FilmLimits, FilmReader
from grounding.media.films.sampling import Sampling
from grounding.media.images import Decoder
from grounding.media.local_files import Folder
from grounding.media.memory import DecodeBudget, HeldBudget
from grounding.pipeline import WorkerContext
from grounding.settings import SHAPES, Settings

if TYPE_CHECKING:
    from grounding.engines.remote.servers import RequestFormat
    from grounding.engines.selftest import SelfTestReport
    from grounding.qwen.profiles import Profile

log = logging.getLogger(__name__)

ProgressCallback = Callable[..., None]

DEMO_CURE = (
    "The demo's model knows only what the demo's pictures show, such as coloured shapes. Set MODEL "
    "to another, such as Qwen/Qwen2.5-VL-7B-Instruct"
)
"""What helps with an answer of a shipped checkpoint: it was asked for what it was not taught."""


def load_context(settings: Settings, on_progress: ProgressCallback) -> WorkerContext:
    """Return the context of a worker with its model loaded; `on_progress` hears of each step.

    Takes from seconds to an hour (a first download). Raises `EngineError` or `SettingError`
    where the model cannot be loaded, or fails the self-test and GROUNDING_SELF_TEST is `refuse`.
    """
    images, home = fetcher(settings), label_studio(settings)  # first: a wrong setting shows at once
    engine = load_engine(settings, on_progress)
    if settings.engine == "openai" and settings.self_test != "off":
        on_progress(phase="loading", done=None, detail="the self-test")
        try:
            _apply_policy(examine(engine, settings), settings)
        except GroundingError:
            engine.close()
            raise
    _limit_print(engine, settings)
    decoder = Decoder(settings.decode_memory_bytes)
    context = WorkerContext(
        engine,
        images,
        settings.max_new_tokens,
        settings.max_image_pixels,
        settings.labels_per_query,
        decoder=decoder,
        films=film_reader(settings, decoder.budget),
        answer_cure=DEMO_CURE if _is_shipped(settings) else "",
    )
    return replace(context, check_owner=home.check_owner) if home else context


def _is_shipped(settings: Settings) -> bool:
    """Say whether the model is a demo of ours, also where MODEL names its folder."""
    folder = Path(settings.model_path).resolve()
    return settings.engine == "local" and folder.is_relative_to(SHAPES.parent)


def _limit_print(engine: Engine, settings: Settings) -> None:
    """Keep views that are read within the bounds of others where a server would resize them.

    A server that reads no bounds in requests has its own; only a test tells what they are.
    """
    from grounding.engines.remote.engine import RemoteEngine

    if not isinstance(engine, RemoteEngine) or engine.profile.max_print_pixels is None:
        return
    from grounding.engines.remote.servers import SERVERS
    from grounding.engines.selftest import shows_print

    told = SERVERS[settings.server].bounds_in != "nowhere"
    tested = settings.self_test != "off"
    if not (shows_print(engine) if tested else told):
        engine.profile = replace(engine.profile, max_print_pixels=None)
        log.info("print is shown in no more pixels than other things: the server's bounds are less")


def load_engine(settings: Settings, on_progress: ProgressCallback) -> Engine:
    """Return the engine that the settings choose; raises as `load_context` does."""
    if settings.engine == "openai":
        return _connect(settings, on_progress)
    try:
        return _load(settings, on_progress)
    except GroundingError:
        raise
    except Exception as exc:  # a file of a checkpoint may have any form
        log.exception("the model cannot be loaded")
        raise EngineError(f"{settings.model_path} cannot be loaded ({type(exc).__name__})") from exc


def examine(engine: Engine, settings: Settings) -> SelfTestReport:
    """Return what the self-test finds of `engine`, with the cure for this server."""
    from grounding.engines.remote.servers import SERVERS
    from grounding.engines.selftest import self_test

    if settings.engine == "local":
        return self_test(engine)
    return self_test(
        engine,
        cure=SERVERS[settings.server].cure,
        structured=settings.structured_output,
        max_new_tokens=settings.max_new_tokens,
    )


def _apply_policy(report: SelfTestReport, settings: Settings) -> None:
    if settings.self_test == "refuse":
        report.check()
    elif report.fault:
        log.warning("self-test: %s. %s", report.fault, report.cure)


def _connect(settings: Settings, on_progress: ProgressCallback) -> Engine:
    # Imported here, because a worker with a model of its own needs no HTTP client for it.
    from grounding.engines.remote.client import Endpoint
    from grounding.engines.remote.engine import RemoteEngine, RetryPolicy
    from grounding.qwen.profiles import profile_for

    profile = profile_for(settings.model, name=settings.profile or None).bounded(
        min_pixels=settings.min_pixels, max_pixels=settings.max_pixels
    )
    policy = RetryPolicy(
        settings.server_timeout,
        settings.server_retry_timeout,
        # After that nobody waits for the answer, and the request would keep its job's slot.
        interactive=min(settings.server_retry_timeout, settings.interactive_deadline),
    )
    return RemoteEngine(
        Endpoint(
            settings.openai_base_url,
            settings.openai_token,
            settings.max_in_flight,
        ),
        _request_format(settings, profile),
        profile,
        policy,
        on_outage=lambda why, lasting: on_progress(
            detail=why or settings.model_name, obstacle=why if lasting else ""
        ),
    )


def _request_format(settings: Settings, profile: Profile) -> RequestFormat:
    from grounding.engines.remote.client import Encoding
    from grounding.engines.remote.servers import SERVERS, RequestFormat

    return RequestFormat(
        SERVERS[settings.server],
        settings.model,
        profile.min_pixels,
        profile.max_pixels,
        Encoding(settings.image_format, settings.image_quality),
        native=settings.dashscope_native,
        logprobs=settings.logprobs,
        structured=settings.structured_output,
        priority=settings.server_priority,
        repetition_penalty=settings.repetition_penalty,
    )


def _load(settings: Settings, on_progress: ProgressCallback) -> Engine:
    # Imported here, because torch takes seconds and the web process must never load it.
    from grounding.engines.local.adapters import Adapter
    from grounding.engines.local.engine import LocalEngine
    from grounding.engines.local.loading import LoadOptions

    def report(progress: Progress) -> None:
        if progress.phase != "ready":  # the worker says so itself, once its slots take jobs
            on_progress(phase=progress.phase, done=progress.done, detail=progress.detail)

    options = LoadOptions(
        device=settings.device or None,
        dtype=settings.dtype,
        revision=settings.revision or None,
        adapter=(
            Adapter(settings.adapter, settings.adapter_revision or None)
            if settings.adapter
            else None
        ),
        profile=settings.profile or None,
        min_pixels=settings.min_pixels,
        max_pixels=settings.max_pixels,
        max_batch=settings.max_batch,
        in_flight=settings.in_flight,
        picture_cache_bytes=settings.picture_cache_bytes,
        attention=settings.attention,
        static_steps=None if settings.cuda_graphs else False,
        repetition_penalty=settings.repetition_penalty,
        # The demo model is too small to gain from threads; more would wait for each other.
        torch_threads=settings.torch_threads or int(settings.is_demo),
        step_seconds=settings.job_timeout,
    )
    return LocalEngine.load(settings.model_path, options, report)


def fetcher(settings: Settings) -> Fetcher:
    """Return the fetcher of the pictures that the settings allow."""
    rules = FetchRules(allowed_origins=settings.allowed_origins, max_bytes=settings.max_image_bytes)
    return _fetcher(settings, rules)


def film_reader(settings: Settings, budget: DecodeBudget) -> FilmReader:
    """Return the reader of the films that the settings allow; they share a budget with pictures."""
    rules = FetchRules(
        allowed_origins=settings.allowed_origins,
        max_bytes=settings.max_film_bytes,
        total_s=settings.film_timeout,
        accept="video/*, */*;q=0.5",
    )
    limits = FilmLimits(
        settings.max_film_seconds,
        settings.max_film_pixels,
        settings.film_memory_bytes,
        settings.film_timeout,
    )
    sampling = Sampling(
        settings.film_fps,
        settings.film_fine_fps,
        settings.film_max_frames,
        settings.film_max_tokens,
    )
    return FilmReader(_fetcher(settings, rules), limits, sampling, HeldBudget(budget))


def _fetcher(settings: Settings, rules: FetchRules) -> Fetcher:
    root = settings.local_files_root
    return Fetcher(rules, label_studio(settings), folder=Folder(root) if root else None)


def label_studio(settings: Settings) -> LabelStudioClient | None:
    """Return the client of the configured Label Studio, or None where none is."""
    if not settings.label_studio_url:
        return None
    return LabelStudioClient(
        settings.label_studio_url,
        settings.label_studio_token,
        public=settings.label_studio_host,
    )
