"""A checkpoint's files, on the hub or in a folder: which there are, and whether we can run them.

What cannot run is refused by the names of its files and its config.json, before 16 GB are
downloaded and before a minute of loading.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
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

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def fetch(
    model: str,
    patterns: tuple[str, ...] = FILES,
    *,
    revision: str | None,
    report: OnProgress = lambda _: None,
    setting: str = "MODEL",
) -> Path:
    """Return a folder that holds the files of `model` that match `patterns`.

    An existing folder is returned as it is. Otherwise `model` is a hub id, at `revision` or its
    newest, and files that the hub's cache lacks are downloaded. Raises `SettingError` where there
    is no such checkpoint or it is not open to us, `EngineError` where the hub cannot be reached;
    they name `setting`.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(model):
        raise SettingError(
            f"there is no folder {model}",
            hint=f"Set {setting} to a folder or a hub id like Qwen/Qwen2.5-VL-7B-Instruct",
        )
    with _translate_hub_errors(model, revision, setting):
        copy = snapshot_download(
            model,
            revision=revision,
            allow_patterns=list(patterns),
            tqdm_class=_make_bar(model, report),
        )
    return Path(copy)


@contextmanager
def _translate_hub_errors(model: str, revision: str | None, setting: str) -> Iterator[None]:
    """Translate what the hub's client raises."""
    try:
        yield
    # The client's edge: its transport errors change class between releases.
    except Exception as exc:
        raise _explain(exc, model, revision, setting) from exc


def _explain(exc: Exception, model: str, revision: str | None, setting: str) -> GroundingError:
    if isinstance(exc, GatedRepoError):
        return SettingError(
            f"the hub wants a licence accepted for {model}",
            hint="Accept it on the model's page and set HF_TOKEN",
        )
    if isinstance(exc, RepositoryNotFoundError | HFValidationError):
        return SettingError(
            f"there is neither a folder nor a hub checkpoint {model}",
            hint=f"Check {setting}, and set HF_TOKEN if the checkpoint is private",
        )
    if isinstance(exc, RevisionNotFoundError):
        return SettingError(
            f"{model} has no revision {revision!r} on the hub", hint="Name one of its branches"
        )
    return EngineError(
        f"the hub cannot be reached for {model}: {type(exc).__name__}",
        code="hub_unreachable",
        hint=f"Check the network, or set {setting} to a folder with the checkpoint",
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


CONFIG, ADAPTER = "config.json", "adapter_config.json"

VOCABULARIES = ({"tokenizer.json"}, {"vocab.json", "merges.txt"})
"""The files of which a tokenizer needs one set."""

QUANTISED = ("quantization_config", "compression_config", "quantization")
"""Keys of config.json where AWQ, GPTQ, bitsandbytes and FP8 checkpoints, older ones of
compressed-tensors, and those of MLX say how their weights are packed."""

FORMER = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Files that older releases of AutoGPTQ and AutoAWQ wrote instead, with what they tell."""

ELSEWHERE = "set GROUNDING_ENGINE=openai, OPENAI_BASE_URL and GROUNDING_PROFILE"
PLAIN = "Use the checkpoint without quantisation"


def read_config(model: str, revision: str | None) -> dict[str, Any]:
    """Return the config.json of a hub id or folder that we can run by all that its files say.

    Downloads single small files. Raises `SettingError` for adapters, GGUF, quantised weights and
    what lacks a vocabulary, and as `fetch` does.
    """
    if Path(model).expanduser().is_file():
        raise _refuse_file(model)
    folder = fetch(model, (CONFIG, ADAPTER), revision=revision)
    names = list_names(model, folder, revision)
    adapter = folder / ADAPTER
    if adapter.is_file() and not _holds(names, "model*.safetensors"):
        raise _refuse_adapter(model, read_json(adapter))
    if _holds(names, "*.gguf") and not _holds(names, "*.safetensors"):
        raise _refuse_gguf(f"{model} holds GGUF files")
    config = read_json(folder / CONFIG)
    _refuse_quantised(model, config, names)
    if names and not any(files <= names for files in VOCABULARIES):
        raise SettingError(
            f"{model} has no vocabulary: neither tokenizer.json nor vocab.json with merges.txt",
            hint="Copy the tokenizer's files from the base model",
        )
    return config


def list_names(model: str, folder: Path, revision: str | None) -> set[str]:
    """Return the names of all files of the checkpoint; none where the hub does not tell them."""
    if folder == Path(model).expanduser():
        return {path.name for path in folder.iterdir()}
    try:
        return set(HfApi().list_repo_files(model, revision=revision))
    # The client's edge, as in `fetch`: without the hub, what is in its cache may be all we need.
    except Exception:
        return set()


def _holds(names: Collection[str], pattern: str) -> bool:
    return any(fnmatch(name, pattern) for name in names)


def _refuse_file(model: str) -> SettingError:
    if model.endswith(".gguf"):
        return _refuse_gguf(f"{model} is a GGUF file")
    return SettingError(
        f"{model} is a file", hint="Set MODEL to the checkpoint's folder, with config.json in it"
    )


def _refuse_gguf(cause: str) -> SettingError:
    return SettingError(
        f"{cause}, which are not run here",
        hint=f"Use the checkpoint in safetensors format, or start llama.cpp's server with it: "
        f"GROUNDING_SERVER=llamacpp, and {ELSEWHERE}",
    )


def _refuse_adapter(model: str, adapter: Mapping[str, Any]) -> SettingError:
    base = adapter.get("base_model_name_or_path") or "its base model"
    return SettingError(
        f"{model} is an adapter of {base} and no whole checkpoint",
        hint=f"Set MODEL to {base} and GROUNDING_ADAPTER to {model}, or serve both with vLLM's "
        f"--enable-lora and {ELSEWHERE}",
    )


def _refuse_quantised(model: str, config: Mapping[str, Any], names: Collection[str]) -> None:
    """Raise `SettingError` where the weights are packed in fewer bits."""
    parts = (config, config.get("text_config") or {})
    packed = next((part[key] for part in parts for key in QUANTISED if part.get(key)), None)
    if packed is None:
        packed = next(
            ({"quant_method": one} for name, one in FORMER.items() if name in names), None
        )
    if packed is not None:
        method = packed.get("quant_method") or packed.get("format") or "of some bits"
        raise SettingError(
            f"the weights of {model} are quantised ({method}), which is not run here",
            hint=f"{PLAIN}, or serve it with vLLM: GROUNDING_SERVER=vllm, and {ELSEWHERE}",
        )


def check_weights(folder: Path) -> None:
    """Raise `SettingError` unless all files of the weights are in `folder`."""
    index = folder / "model.safetensors.index.json"
    names = (
        set(read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    )
    if missing := sorted(name for name in names if not (folder / name).is_file()):
        raise SettingError(
            f"{folder} lacks {', '.join(missing)}",
            hint="Copy the whole checkpoint; weights must be in safetensors format",
        )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a checkpoint's file; raises `SettingError` where there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as exc:
        raise SettingError(
            f"{path.parent} is no checkpoint: it has no {path.name}",
            hint="Set MODEL to the folder that save_pretrained wrote",
        ) from exc
    except (OSError, ValueError) as exc:
        raise SettingError(f"{path} cannot be read as JSON", hint="Copy it again") from exc
    if not isinstance(content, dict):
        raise SettingError(f"{path} holds no JSON object", hint="Copy it again")
    return content
