"""A LoRA adapter, merged into the checkpoint that it was trained on.

Merged it costs nothing: beside the weights it would be two more products in each layer at each
token. An adapter of another checkpoint may fit by its shapes and answer nonsense, so all that its
files say of their base is compared, before the base is downloaded.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from grounding.engines.local.checkpoint_files import (
    ADAPTER,
    HUB_ID,
    OnProgress,
    fetch,
    list_names,
    read_json,
)
from grounding.errors import EngineError, OutOfMemory, SettingError
from grounding.qwen.profiles import Profile, profile_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"
SETTING = "GROUNDING_ADAPTER"
NAME = "default"
"""PEFT's name of an adapter that has none."""

FORMER_NAMES = {
    r"^visual\.": "model.visual.",
    r"^model\.(?!language_model\.|visual\.)": "model.language_model.",
}
"""What transformers before 4.52 called the parts of these models, by what they are called since."""

_PACKED = re.compile(r"[-_.]((unsloth[-_])?bnb[-_].*|awq|gptq.*|fp8.*|int[48].*|[48]bit)$")
"""The end of a name that says how its weights are packed: the adapter fits the unpacked ones."""
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?b)(?![a-z])")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's hub id or folder, and its revision on the hub."""

    name: str
    revision: str | None = None

    def check(self, model: str, family: Profile) -> None:
        """Raise `SettingError` unless, by its small files, it is for the checkpoint `model`."""
        if find_spec("peft") is None:
            raise SettingError(
                f"{SETTING} needs the package peft, which is not installed here",
                hint="Install it: pip install 'qwen-grounding[adapter]'",
            )
        folder = self._fetch((ADAPTER,))
        if not (folder / ADAPTER).is_file():
            raise SettingError(
                f"{self.name} is no adapter: it has no {ADAPTER}",
                hint=f"Set {SETTING} to what PEFT's save_pretrained wrote",
            )
        config = read_json(folder / ADAPTER)
        self._check_kind(config, list_names(self.name, folder, self.revision))
        self._check_base(str(config.get("base_model_name_or_path") or ""), model, family)

    def merge_into(self, model: PreTrainedModel, report: OnProgress) -> PreTrainedModel:
        """Return `model` with the adapter in its weights.

        Raises `SettingError` where it does not fit, `EngineError` where it is damaged,
        `OutOfMemory` where the device has no room.
        """
        from peft import PeftConfig, PeftModel

        folder = self._fetch((ADAPTER, WEIGHTS), report)
        # What PEFT warns of is either checked here or concerns its own releases.
        with self._translate_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = PeftConfig.from_pretrained(str(folder))
            config.inference_mode = True
            layered = PeftModel(model, config, NAME)
            loaded = layered.load_adapter(
                str(folder),
                NAME,
                torch_device=str(model.device),
                key_mapping=FORMER_NAMES,
            )
            self._check_keys([*loaded.missing_keys, *loaded.unexpected_keys])
            merged: PreTrainedModel = layered.merge_and_unload(safe_merge=True)
        return merged.eval()

    def _fetch(self, files: tuple[str, ...], report: OnProgress = lambda _: None) -> Path:
        return fetch(self.name, files, revision=self.revision, report=report, setting=SETTING)

    def _check_kind(self, config: Mapping[str, Any], names: set[str]) -> None:
        kind = config.get("peft_type")
        if kind != "LORA":
            raise SettingError(
                f"{self.name} is an adapter of the kind {kind}, which is not run here",
                hint="Use a LoRA adapter, or merge it by hand and set MODEL to the result",
            )
        if names and WEIGHTS not in names:
            raise SettingError(
                f"{self.name} has no {WEIGHTS}; pickled weights are not loaded",
                hint="Save it again with PEFT's save_pretrained, which writes safetensors",
            )

    def _check_base(self, base: str, model: str, family: Profile) -> None:
        wrong = _find_family(base) not in (None, family.name)
        own, wanted = _plain(model), _plain(base)
        sizes = [_SIZE.search(name) for name in (own, wanted)]
        wrong |= all(sizes) and len({size[1] for size in sizes if size}) > 1
        ids = all(HUB_ID.fullmatch(name) and not Path(name).is_dir() for name in (model, base))
        if wrong or (ids and own != wanted):
            raise SettingError(
                f"{self.name} was trained on {base}, and MODEL is {model}",
                hint=f"Set MODEL to {base}, or {SETTING} to an adapter of {model}",
            )

    def _check_keys(self, astray: list[str]) -> None:
        """Raise where weights lack a place in the model, or places lack weights."""
        if astray:
            raise self._misfit(f"{len(astray)} of its weights have no counterpart, {astray[0]}")

    def _misfit(self, why: str) -> SettingError:
        return SettingError(
            f"{self.name} does not fit the checkpoint: {why}",
            hint="Set MODEL to the checkpoint that it was trained on",
        )

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate what PEFT and torch raise while they read and merge an adapter."""
        try:
            yield
        except torch.OutOfMemoryError as exc:
            raise OutOfMemory(
                f"the device has no room to merge {self.name}",
                hint="Merge it elsewhere with PEFT's merge_and_unload, and set MODEL to the result",
            ) from exc
        except (OSError, SafetensorError) as exc:
            raise EngineError(
                f"{self.name} cannot be loaded: {type(exc).__name__}: {exc}",
                code="checkpoint_damaged",
                hint="Copy or download the adapter again",
            ) from exc
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as exc:
            raise self._misfit(_telling_line(exc)) from exc


@contextmanager
def without_adapter(folder: Path) -> Iterator[Path]:
    """Hold a folder with a checkpoint's files in which no adapter is found.

    Where PEFT is installed, the library puts an adapter that it finds beside weights on top of
    them; those were merged with it already.
    """
    if not (folder / ADAPTER).is_file():
        yield folder
        return
    with TemporaryDirectory() as name:
        for file in folder.iterdir():
            if file.name not in (ADAPTER, WEIGHTS):
                (Path(name) / file.name).symlink_to(file.resolve())
        yield Path(name)


def _find_family(base: str) -> str | None:
    try:
        return profile_for(base).name
    except SettingError:
        return None


def _plain(name: str) -> str:
    """Return the last part of a hub id or path, without what tells how its weights are packed."""
    return _PACKED.sub("", Path(name).name.lower())


def _telling_line(exc: Exception) -> str:
    """Return the first line that says more than that there are errors; torch lists them below."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Error(s)")]
    return next(iter(told or lines), type(exc).__name__)[:300]
