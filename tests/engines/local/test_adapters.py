"""LoRA adapters: merged, the model answers as if it had been trained whole; others are refused."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from grounding.engines.base import ModelRequest
from grounding.engines.local.adapters import WEIGHTS, Adapter
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions, load_checkpoint
from grounding.errors import EngineError, GroundingError, SettingError
from grounding.qwen.profiles import PROFILES
from grounding.settings import SHAPES
from grounding.testing import ask_one, make_view

CPU = LoadOptions(device="cpu")
LAYERS = ["q_proj", "v_proj", "down_proj", "qkv"]
"""Of the language model, and of the vision tower."""


def train(base: Path, folder: Path, **options: Any) -> Path:
    """Write an adapter for `base`, as PEFT does, whose weights are random and felt."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model = load_checkpoint(str(base), CPU, lambda _: None).model
    config = LoraConfig(**{"r": 4, "target_modules": LAYERS, "init_lora_weights": False} | options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layered = get_peft_model(model, config)
        layered.save_pretrained(folder)
        whole = layered.merge_and_unload()
        whole.save_pretrained(folder.parent / "whole")
    for file in base.iterdir():
        if not (folder.parent / "whole" / file.name).exists():
            shutil.copy(file, folder.parent / "whole")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the shapes checkpoint; beside it, in `whole`, both as one checkpoint."""
    return train(SHAPES, tmp_path_factory.mktemp("lora") / "adapter")


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "adapter"))


def load(base: Path, adapter: Path | None = None) -> LocalEngine:
    return LocalEngine.load(
        str(base), replace(CPU, adapter=Adapter(str(adapter)) if adapter else None)
    )


def answers(engine: LocalEngine) -> list[tuple[str, list[float]]]:
    """Return what an engine says about two pictures, and how sure it is."""
    pictures = [
        Image.new("RGB", size, colour)
        for size, colour in (((112, 112), "red"), ((140, 84), "blue"))
    ]
    asked = [ModelRequest((make_view(one), "Find the circle."), 24) for one in pictures]
    try:
        found = [ask_one(engine, request) for request in asked]
        return [(one.text, [token.logprob for token in one.tokens]) for one in found]
    finally:
        engine.close()


def edit(folder: Path, **values: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_with_an_adapter_answers_are_those_of_the_merged_checkpoint(trained: Path) -> None:
    live = answers(load(SHAPES, trained))
    whole = answers(load(trained.parent / "whole"))
    for (text, scores), (wanted, likely) in zip(live, whole, strict=True):
        assert text == wanted
        assert scores == pytest.approx(likely, abs=1e-4)
    assert live != answers(load(SHAPES)), "the adapter is felt"


def test_the_weights_with_an_adapter_are_the_merged_ones(trained: Path) -> None:
    options = replace(CPU, adapter=Adapter(str(trained)))
    model = load_checkpoint(str(SHAPES), options, lambda _: None).model
    wanted = load_checkpoint(str(trained.parent / "whole"), CPU, lambda _: None).model.state_dict()
    found = model.state_dict()
    assert found.keys() == wanted.keys()
    for name, weights in found.items():
        assert torch.allclose(weights, wanted[name], atol=1e-6), name
    assert not model.training


@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"use_rslora": True}, {"bias": "lora_only"}]
)
def test_the_variants_of_lora_are_merged_too(tmp_path: Path, options: dict[str, object]) -> None:
    folder = train(SHAPES, tmp_path / "adapter", **options)
    live, whole = answers(load(SHAPES, folder)), answers(load(tmp_path / "whole"))
    assert [text for text, _ in live] == [text for text, _ in whole]


def test_an_adapter_that_was_trained_with_an_older_library_is_merged_all_the_same(
    trained: Path, adapter: Path
) -> None:
    """Before 4.52 transformers called the parts of these models by other names."""
    names = {"model.model.language_model.": "model.model.", "model.model.visual.": "model.visual."}
    weights = load_file(adapter / WEIGHTS)
    for new, old in names.items():
        weights = {key.replace(new, old): value for key, value in weights.items()}
    assert weights.keys().isdisjoint(load_file(trained / WEIGHTS))
    save_file(weights, adapter / WEIGHTS)
    assert answers(load(SHAPES, adapter)) == answers(load(SHAPES, trained))


def test_an_adapter_that_was_left_beside_merged_weights_is_not_merged_again(
    trained: Path, tmp_path: Path
) -> None:
    both = Path(shutil.copytree(trained.parent / "whole", tmp_path / "both"))
    for file in trained.iterdir():
        shutil.copy(file, both)
    assert answers(load(both)) == answers(load(trained.parent / "whole"))


def _pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


def _rename(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({k.replace("layers", "blocks"): v for k, v in weights.items()}, folder / WEIGHTS)


def _lose_one(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights[next(iter(weights))]
    save_file(weights, folder / WEIGHTS)


def _halve(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("harm", "kind", "complaint"),
    [
        (_pickle, SettingError, "no adapter_model.safetensors; pickled weights are not loaded"),
        (lambda f: (f / "adapter_config.json").unlink(), SettingError, "is no adapter"),
        (lambda f: (f / "adapter_config.json").write_text("{"), SettingError, "cannot be read"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), SettingError, "no JSON object"),
        (lambda f: edit(f, peft_type="PROMPT_TUNING"), SettingError, "of the kind PROMPT_TUNING"),
        (
            lambda f: edit(f, base_model_name_or_path="Qwen/Qwen3-VL-8B-Instruct"),
            SettingError,
            "was trained on Qwen/Qwen3-VL-8B-Instruct, and MODEL is ",
        ),
        (lambda f: edit(f, r=8), SettingError, "does not fit the checkpoint: size mismatch"),
        (lambda f: edit(f, target_modules=["c_attn"]), SettingError, "does not fit the checkpoint"),
        (_rename, SettingError, "does not fit the checkpoint: .* no counterpart"),
        (_lose_one, SettingError, "does not fit the checkpoint: 1 of its weights"),
        (_halve, EngineError, "cannot be loaded: SafetensorError"),
    ],
)
def test_an_adapter_that_is_broken_or_of_another_checkpoint_is_refused_in_one_line(
    adapter: Path, harm: Callable[[Path], object], kind: type[GroundingError], complaint: str
) -> None:
    harm(adapter)
    with pytest.raises(kind, match=complaint) as caught:
        load(SHAPES, adapter)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_an_adapter_of_other_shapes_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = train(tiny, tmp_path / "adapter")
    edit(folder, base_model_name_or_path=None)
    with pytest.raises(SettingError, match="does not fit the checkpoint"):
        load(SHAPES, folder)


@pytest.mark.parametrize(
    ("base", "model", "fits"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("unsloth/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("unsloth/qwen2.5-vl-7b-instruct-unsloth-bnb-4bit", "Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", "Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("/data/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("/data/run-17", "Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("", "Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "/models/mine", True),
        ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", False),
        ("/data/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", False),
        ("Qwen/Qwen2-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", False),
        ("Qwen/Qwen2-VL-7B-Instruct", "/models/mine", False),
        ("somebody/olmocr", "Qwen/Qwen2.5-VL-7B-Instruct", False),
    ],
)
def test_the_base_that_an_adapter_names_is_compared_before_anything_is_downloaded(
    adapter: Path, base: str, model: str, fits: bool
) -> None:
    edit(adapter, base_model_name_or_path=base)
    if fits:
        Adapter(str(adapter)).check(model, PROFILES["qwen2.5-vl"])
    else:
        with pytest.raises(SettingError, match=f"trained on {base}, and MODEL is {model}"):
            Adapter(str(adapter)).check(model, PROFILES["qwen2.5-vl"])


def test_without_peft_an_adapter_is_refused_with_the_command_that_installs_it(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grounding.engines.local.adapters.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"pip install 'qwen-grounding\[adapter\]'"):
        load(SHAPES, adapter)


def test_a_name_that_is_neither_folder_nor_hub_id_names_the_adapters_setting() -> None:
    with pytest.raises(SettingError, match="Set GROUNDING_ADAPTER to a folder"):
        load(SHAPES, Path("/nowhere/adapter"))


def test_without_an_adapter_peft_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    load(SHAPES).close()
    assert "peft" not in sys.modules
