"""Loads a checkpoint: its model, tokenizer, patch rule and profile.

The folder is checked first, so that a fault is reported in milliseconds, in one line with the
cure; loading a 7B model takes a minute.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
)
from transformers.utils import logging

from grounding.engines.base import Progress
from grounding.engines.local.encoder import PatchRule
from grounding.errors import EngineError, GroundingError, OutOfMemory, SettingError
from grounding.qwen.profiles import MODEL_TYPES, Profile, profile_for

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
    with _translate_hub_errors(model, revision):
        copy = snapshot_download(
            model,
            revision=revision,
            allow_patterns=list(patterns),
            tqdm_class=_make_bar(model, report),
        )
    return Path(copy)


@contextmanager
def _translate_hub_errors(model: str, revision: str | None) -> Iterator[None]:
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


MODEL_CLASSES: Mapping[str, type[PreTrainedModel]] = {
    "qwen2_vl": Qwen2VLForConditionalGeneration,
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
}
"""`model_type` of config.json → the class that runs it."""

DAMAGED = "checkpoint_damaged"

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a checkpoint is loaded and run.

    `device` is torch's name of it, by default the GPU if there is one. `revision` is the hub's.
    `profile` names the model family where the checkpoint's config does not. `min_pixels` and
    `max_pixels` bound the model frame, as `Profile.bounded` says. `max_batch` is the most
    requests that run together; without `in_flight` they start and end together.
    `picture_cache_bytes` bounds the keys and values of pictures that are kept, by default to a
    part of the memory that is free. `torch_threads` above 0 sets torch's CPU threads for the
    whole process. A step of the model that takes longer than `step_seconds` ends the process;
    with 0 it never does.
    """

    device: str | None = None
    revision: str | None = None
    profile: str | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    max_batch: int = 8
    in_flight: bool = True
    picture_cache_bytes: int | None = None
    repetition_penalty: float = 1.0
    torch_threads: int = 0
    step_seconds: float = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The model on its device, and what it takes to prepare requests for it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    patches: PatchRule
    profile: Profile

    @property
    def image_id(self) -> int:
        """The id of the placeholder of an image token."""
        return int(self.model.config.image_token_id)

    @property
    def context(self) -> int:
        """The most tokens of a prompt and its answer together."""
        return int(self.model.config.get_text_config().max_position_embeddings)


def load_checkpoint(model: str, options: LoadOptions, report: OnProgress) -> Checkpoint:
    """Return the checkpoint of a hub id or folder, on the device of `options`.

    The weights are bfloat16 on a GPU (float16 overflows in this family and answers "!!!!") and
    float32 on a CPU. Raises `SettingError` where we do not run the checkpoint or there is no such
    device, `EngineError` where it cannot be downloaded or is damaged, `OutOfMemory` where the
    device has no room.
    """
    device = _choose_device(options.device)
    # The config alone first: an architecture that we do not run is not worth 16 GB of download.
    config = _read_json(fetch(model, ("config.json",), revision=options.revision) / "config.json")
    _refuse_other_qwen(config)
    family = profile_for(config, name=options.profile)
    kind = _choose_kind(config, family)
    folder = fetch(model, revision=options.revision, report=report)
    _check_weights(folder)
    patches = _read_patch_rule(folder, family)
    report(Progress("loading", detail=model))
    with _blame_profile(config, family), _translate_errors(model), _hide_bars():
        tokenizer = _load_tokenizer(folder)
        weights = _load_weights(folder, MODEL_CLASSES[kind], device)
    bounded = family.bounded(
        patches.bounds, min_pixels=options.min_pixels, max_pixels=options.max_pixels
    )
    return Checkpoint(weights, tokenizer, patches, bounded)


def _read_patch_rule(folder: Path, family: Profile) -> PatchRule:
    patches = PatchRule.of_checkpoint(folder)
    if patches.factor != family.factor:
        raise SettingError(
            f"the checkpoint's image tokens cover {patches.factor} pixels, "
            f"those of {family.name} {family.factor}",
            hint="Set GROUNDING_PROFILE to the one that fits the checkpoint, or unset it",
        )
    return patches


def _choose_device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as exc:
        raise SettingError(
            f"there is no device {name!r}", hint="Set GROUNDING_DEVICE to cuda or cpu"
        ) from exc
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingError(
            "this machine or this build of torch has no CUDA device",
            hint="Set GROUNDING_DEVICE=cpu, or install a CUDA build of torch",
        )
    return device


def _refuse_other_qwen(config: Config) -> None:
    """Raise `SettingError` for an architecture of Qwen's that no profile makes run here.

    One that is named after a known one is a variant of it, but for mixtures of experts.
    """
    own = str(config.get("model_type"))
    is_variant = own.startswith(tuple(MODEL_CLASSES)) and not own.endswith("_moe")
    if own.startswith("qwen") and not is_variant:
        raise SettingError(
            f"the checkpoint's model_type {own!r} is not run here",
            hint=f"Use a checkpoint of {', '.join(MODEL_CLASSES)}, or serve it elsewhere: set "
            "OPENAI_BASE_URL, and GROUNDING_PROFILE to the family whose answers it writes",
        )


@contextmanager
def _blame_profile(config: Config, family: Profile) -> Iterator[None]:
    """Blame the named profile, and not the files, where a kind that we do not know cannot load."""
    try:
        yield
    except EngineError as exc:
        own = config.get("model_type")
        if exc.code != DAMAGED or own in MODEL_CLASSES:
            raise
        raise SettingError(
            f"the checkpoint's model_type {own!r} does not load as {family.name}",
            hint=f"Correct GROUNDING_PROFILE, or use a checkpoint of {', '.join(MODEL_CLASSES)}",
        ) from exc


def _choose_kind(config: Config, family: Profile) -> str:
    """Return the architecture to load: the checkpoint's own, else that of the named family."""
    own = config.get("model_type")
    if own in MODEL_CLASSES:
        return str(own)
    return next(kind for kind, name in MODEL_TYPES.items() if name == family.name)


def _check_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    names = (
        set(_read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    )
    if missing := sorted(name for name in names if not (folder / name).is_file()):
        raise SettingError(
            f"{folder} lacks {', '.join(missing)}",
            hint="Copy the whole checkpoint; weights must be in safetensors format",
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as exc:
        raise SettingError(
            f"{path.parent} is no checkpoint: it has no {path.name}",
            hint="Set MODEL to the folder that save_pretrained wrote",
        ) from exc
    except (OSError, ValueError) as exc:
        raise SettingError(f"{path} cannot be read as JSON", hint="Copy it again") from exc
    return content


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    legacy = folder / "chat_template.json"
    if not tokenizer.chat_template and legacy.is_file():
        tokenizer.chat_template = _read_json(legacy)["chat_template"]
    return tokenizer


def _load_weights(
    folder: Path, kind: type[PreTrainedModel], device: torch.device
) -> PreTrainedModel:
    model, info = kind.from_pretrained(
        folder,
        dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    # The library fills a gap with random numbers and goes on: the answers would be noise.
    if gaps := sorted(info["missing_keys"]):
        raise EngineError(
            f"{folder} lacks {len(gaps)} weights, {gaps[0]} among them",
            code=DAMAGED,
            hint="Copy or download the checkpoint again",
        )
    loaded: PreTrainedModel = model.to(device).eval()
    if device.type == "cpu":
        _copy_weights(loaded)
    return loaded


def _copy_weights(model: PreTrainedModel) -> None:
    """Copy weights that are a memory map of the checkpoint's file.

    A checkpoint saved over the old one would otherwise change the running model's answers or,
    while the file is short, end the process with a bus error.
    """
    for weights in model.parameters():
        weights.data = weights.data.clone()


@contextmanager
def _hide_bars() -> Iterator[None]:
    """Keep the library's progress bar out of the log; progress is reported otherwise."""
    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


@contextmanager
def _translate_errors(model: str) -> Iterator[None]:
    """Translate what torch and transformers raise while they read a checkpoint."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory(
            f"the device has no room for {model}", hint="Use a smaller checkpoint or a larger GPU"
        ) from exc
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as exc:
        reason = next(iter(str(exc).splitlines()), "")
        raise EngineError(
            f"{model} cannot be loaded: {type(exc).__name__}: {reason}",
            code=DAMAGED,
            hint="Copy or download the checkpoint again",
        ) from exc
