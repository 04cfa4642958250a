"""Finds a checkpoint's folder: a local one, or a download from the hub, with progress."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
"""Hears how far the model is; called from download threads too."""

FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")
"""The files that a checkpoint needs; pickled and other formats of the weights are left out."""

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def fetch(
    model: str,
    patterns: tuple[str, ...] = FILES,
    *,
    revision: str | None,
    report: OnProgress = lambda _: None,
) -> Path:
    """Return a folder that holds the files of `model` that match `patterns`.

    An existing folder is returned as it is. Otherwise `model` is a hub id, at `revision` or its
    newest, and files that the hub's cache lacks are downloaded. Raises `SettingError` where there
    is no such checkpoint or it is not open to us, `EngineError` where the hub cannot be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(model):
        raise SettingError(
            f"there is no folder {model}",
            hint="Set MODEL to a checkpoint's folder or a hub id like Qwen/Qwen2.5-VL-7B-Instruct",
        )
    with _translate_errors(model, revision):
        copy = snapshot_download(
            model,
            revision=revision,
            allow_patterns=list(patterns),
            tqdm_class=_make_bar(model, report),
        )
    return Path(copy)


@contextmanager
def _translate_errors(model: str, revision: str | None) -> Iterator[None]:
    """Translate what the hub's client raises."""
    try:
        yield
    # The client's edge: its transport errors change class between releases.
    except Exception as exc:
        raise _explain(exc, model, revision) from exc


def _explain(exc: Exception, model: str, revision: str | None) -> GroundingError:
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


def _make_bar(model: str, report: OnProgress) -> type[Any]:
    """Return a progress bar class that draws nothing and reports the bytes that are on disk."""

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"file": io.StringIO()})

        def close(self) -> None:
            # Also called by the garbage collector, perhaps long after the model is ready.
            self.disable = True

        def display(self, *args: object, **kwargs: object) -> None:
            # The hub counts the same bytes twice, received and written, and files in units of "it".
            if self.unit == "B" and self.total and "Downloading" not in self.desc:
                report(Progress("downloading", min(1.0, self.n / self.total), model))

    return Bar
