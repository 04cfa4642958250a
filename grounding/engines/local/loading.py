"""Loads a checkpoint: its model, tokenizer, patch rule and profile.

The folder is checked first, so that a fault is reported in milliseconds, in one line with the
cure; loading a 7B model takes a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLForConditionalGeneration,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers.utils import is_flash_attn_2_available, logging

from grounding.engines.base import Progress
from grounding.engines.local.adapters import Adapter, without_adapter
from grounding.engines.local.checkpoint_files import (
    OnProgress,
    check_weights,
    fetch,
    read_config,
    read_json,
)
from grounding.engines.local.encoder import PatchRule
from grounding.errors import EngineError, OutOfMemory, SettingError
from grounding.qwen.profiles import MODEL_TYPES, Profile, profile_for
from grounding.settings.parts import Attention, DataType

MODEL_CLASSES: Mapping[str, type[PreTrainedModel]] = {
    "qwen2_vl": Qwen2VLForConditionalGeneration,
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
    "qwen3_vl_moe": Qwen3VLMoeForConditionalGeneration,
    "qwen3_5": Qwen3_5ForConditionalGeneration,
    "qwen3_5_moe": Qwen3_5MoeForConditionalGeneration,
}
"""`model_type` of config.json → the class that runs it."""

AMPERE = (8, 0)
"""The least compute capability of a GPU that flash attention runs on."""

DAMAGED = "checkpoint_damaged"

Config = Mapping[str, Any]

DTYPES: Mapping[DataType, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a checkpoint is loaded and run.

    `device` is torch's name of it, by default the GPU if there is one; `dtype` is that of the
    weights, as `load_checkpoint` says. `revision` is the hub's. `adapter` is merged into them.
    `profile` names the model family where the checkpoint's config does not. `min_pixels` and
    `max_pixels` bound the model frame, as `Profile.bounded` says. `max_batch` is the most
    requests that run together; without `in_flight` they start and end together.
    `attention` is the library's name of it; with `eager` they do so, too. With
    `static_steps` steps in flight have static shapes, by default on a GPU, which replays graphs.
    `picture_cache_bytes` bounds the keys and values of pictures that are kept, by default to a
    part of the memory that is free. `torch_threads` above 0 sets torch's CPU threads for the
    whole process. A step of the model that takes longer than `step_seconds` ends the process;
    with 0 it never does.
    """

    device: str | None = None
    dtype: DataType = "auto"
    revision: str | None = None
    adapter: Adapter | None = None
    profile: str | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    max_batch: int = 8
    in_flight: bool = True
    picture_cache_bytes: int | None = None
    attention: Attention = "sdpa"
    static_steps: bool | None = None
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

    By default the weights are bfloat16 on a GPU (float16 overflows in this family and answers
    "!!!!") and float32 on a CPU. Raises `SettingError` where we do not run the checkpoint or there
    is no such device, `EngineError` where it cannot be downloaded or is damaged, `OutOfMemory`
    where the device has no room.
    """
    device = _choose_device(options.device)
    dtype = DTYPES.get(options.dtype) or DTYPES["float32" if device.type == "cpu" else "bfloat16"]
    _check_attention(options.attention, device, dtype)
    # The config alone first: an architecture that we do not run is not worth 16 GB of download.
    config = read_config(model, options.revision)
    _refuse_other_qwen(config)
    family = profile_for(config, name=options.profile)
    kind = _choose_kind(config, family)
    if options.adapter:
        options.adapter.check(model, family)
    folder = fetch(model, revision=options.revision, report=report)
    check_weights(folder)
    patches = _read_patch_rule(folder, family)
    report(Progress("loading", detail=model))
    with _blame_profile(config, family), _translate_errors(model), _hide_bars():
        tokenizer = _load_tokenizer(folder)
        weights = _load_weights(folder, MODEL_CLASSES[kind], device, dtype, options.attention)
    if options.adapter:
        weights = options.adapter.merge_into(weights, report)
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
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = ", ".join(f"cuda:{index}" for index in range(torch.cuda.device_count()))
        raise SettingError(
            f"there is no device {name!r}", hint=f"Set GROUNDING_DEVICE to {there} or cpu"
        )
    return device


def _check_attention(attention: Attention, device: torch.device, dtype: torch.dtype) -> None:
    """Raise `SettingError` where the device, the weights or what is installed lack it."""
    if attention == "flash_attention_2" and (why := _why_no_flash(device, dtype)):
        raise SettingError(f"flash_attention_2 cannot run: {why[0]}", hint=why[1])


def _why_no_flash(device: torch.device, dtype: torch.dtype) -> tuple[str, str] | None:
    """Return the cause and the cure, or None."""
    cure = "Set GROUNDING_ATTENTION=sdpa"
    if device.type != "cuda":
        return f"the model's device is {device}, not an NVIDIA GPU", cure
    if torch.cuda.get_device_capability(device) < AMPERE:
        return "the GPU is older than Ampere", cure
    if dtype == torch.float32:
        return "it has no float32", "Set GROUNDING_DTYPE=bfloat16"
    if not is_flash_attn_2_available():
        return (
            "the package flash-attn is not installed",
            "Install it, or set GROUNDING_ATTENTION=sdpa",
        )
    return None


def _refuse_other_qwen(config: Config) -> None:
    """Raise `SettingError` for an architecture of Qwen's that no profile makes run here.

    One that is named after a known one is a variant of it, but for mixtures of experts and those
    without a vision tower.
    """
    own = str(config.get("model_type"))
    known = own.startswith(tuple(MODEL_CLASSES)) and not own.endswith(("_moe", "_text"))
    is_variant = own in MODEL_CLASSES or known
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


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    legacy = folder / "chat_template.json"
    if not tokenizer.chat_template and legacy.is_file():
        tokenizer.chat_template = read_json(legacy)["chat_template"]
    return tokenizer


def _load_weights(
    folder: Path,
    kind: type[PreTrainedModel],
    device: torch.device,
    dtype: torch.dtype,
    attention: Attention,
) -> PreTrainedModel:
    with without_adapter(folder) as files:
        model, info = kind.from_pretrained(
            files,
            dtype=dtype,
            attn_implementation=attention,
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
        _copy_mapped(loaded)
    return loaded


def _copy_mapped(model: PreTrainedModel) -> None:
    """Copy weights that are a memory map of the checkpoint's file, one after the other.

    A checkpoint saved over the old one would otherwise change the running model's answers or,
    while the file is short, end the process with a bus error. Weights that were converted while
    they were read are in memory of their own already.
    """
    maps = _list_mapped_files()
    for weights in model.parameters():
        if any(weights.data_ptr() in addresses for addresses in maps):
            weights.data = weights.data.clone()


def _list_mapped_files(table: Path = Path("/proc/self/maps")) -> list[range]:
    """Return the addresses of this process that are maps of weights; all of them if unknown."""
    try:
        lines = [line.split(maxsplit=5) for line in table.read_text().splitlines()]
    except OSError:  # only Linux has the table
        return [range(sys.maxsize)]
    spans = [fields[0].split("-") for fields in lines if len(fields) > 5 and _is_data(fields)]
    return [range(int(start, 16), int(end, 16)) for start, end in spans]


def _is_data(fields: Sequence[str]) -> bool:
    """Say whether an entry of the table is a file's; the hub's cache names files by digests."""
    return fields[5].startswith("/") and ".so" not in Path(fields[5]).name


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
    except ImportError as exc:
        raise SettingError(
            f"{model} needs a package that is not installed here ({_first_line(exc)})",
            hint="Use another checkpoint, or serve it elsewhere and set OPENAI_BASE_URL",
        ) from exc
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as exc:
        raise EngineError(
            f"{model} cannot be loaded: {type(exc).__name__}: {_first_line(exc)}",
            code=DAMAGED,
            hint="Copy or download the checkpoint again",
        ) from exc


def _first_line(exc: Exception) -> str:
    return next((line for line in str(exc).splitlines() if line.strip()), "").strip()
