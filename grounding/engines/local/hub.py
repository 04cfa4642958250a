"""A checkpoint's folder: the one that was named, or the hub's copy, downloaded with progress."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from grounding.engines.base import Progress
from grounding.errors import EngineError, GroundingError, SettingError

OnProgress = Callable[[Progress], None]
"""Is told how far the model is; called from download threads too."""

FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")
"""What a checkpoint needs; leaves out pickled and other formats of the same weights."""

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def fetch(
    model: str,
    patterns: tuple[str, ...] = FILES,
    *,
    revision: str | None,
    report: OnProgress = lambda _: None,
) -> Path:
    """Return a folder that holds the files of `model` that match `patterns`.

    An existing folder is taken as it is; else `model` is a hub id, at `revision` or its newest,
    and what the hub's cache lacks is downloaded. Raises `SettingError` where the name leads
    nowhere or is not open to us, `EngineError` where the hub cannot be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(model):
        raise SettingError(
            f"there is no folder {model}",
            hint="Set MODEL to a checkpoint's folder or a hub id like Qwen/Qwen2.5-VL-7B-Instruct",
        )
    return _download(model, revision, patterns, report)


def _download(
    model: str, revision: str | None, patterns: tuple[str, ...], report: OnProgress
) -> Path:
    try:
        folder = snapshot_download(
            model, revision=revision, allow_patterns=list(patterns), tqdm_class=_bar(model, report)
        )
    except Exception as exc:  # The transport's errors change class between the client's releases.
        raise _explained(exc, model, revision) from exc
    return Path(folder)


def _explained(exc: Exception, model: str, revision: str | None) -> GroundingError:
    if isinstance(exc, GatedRepoError):
        return SettingError(
            f"the hub wants a licence accepted for {model}",
            hint="Accept it on the model's page and set HF_TOKEN",
        )
    if isinstance(exc, RepositoryNotFoundError | HFValidationError):
        return SettingError(
            f"there is neither a folder nor a hub checkpoint {model}",
            hint="Check MODEL, and set HF_TOKEN if the checkpoint is private",
        )
    if isinstance(exc, RevisionNotFoundError):
        return SettingError(
            f"{model} has no revision {revision!r} on the hub", hint="Name one of its branches"
        )
    return EngineError(
        f"the hub cannot be reached for {model}: {type(exc).__name__}",
        code="hub_unreachable",
        hint="Check the network, or set MODEL to a folder with the checkpoint",
    )


def _bar(model: str, report: OnProgress) -> type[Any]:
    """Return a progress bar class that draws nothing and reports the bytes that are on disk."""

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"file": io.StringIO()})

        def close(self) -> None:
            # Also called when the bar is collected: by then the model may long be ready.
            self.disable = True

        def display(self, *args: object, **kwargs: object) -> None:
            # The hub counts the same bytes twice, arriving and written; files it counts in "it".
            if self.unit == "B" and self.total and "Downloading" not in self.desc:
                report(Progress("downloading", min(1.0, self.n / self.total), model))

    return Bar
