"""Loading: what is wrong is said at once, in one line, with the cure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from grounding.engines.base import ModelRequest, Progress
from grounding.engines.local import loading
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import Checkpoint, LoadOptions, load_checkpoint
from grounding.engines.selftest import self_test
from grounding.errors import EngineError, GroundingError, OutOfMemory, SettingError
from grounding.settings import SHAPES
from grounding.testing import ask_one, make_view
from tests.engines.local.unfit import UNFIT, lay_out

CPU = LoadOptions(device="cpu")


def load(folder: Path, **options: Any) -> Checkpoint:
    return load_checkpoint(str(folder), replace(CPU, **options), lambda _: None)


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def test_a_folder_loads_in_float32_on_a_cpu_and_reports_its_phases(tiny: Path) -> None:
    reports: list[Progress] = []
    engine = LocalEngine.load(str(tiny), CPU, reports.append)
    engine.close()
    assert [(r.phase, r.done) for r in reports] == [("loading", None), ("ready", 1.0)]
    checkpoint = load(tiny)
    assert {w.dtype for w in checkpoint.model.parameters()} == {torch.float32}
    assert not checkpoint.model.training


def test_pixel_bounds_are_the_defaults_within_the_checkpoints(tiny: Path, copy: Path) -> None:
    profile = load(tiny).profile
    assert (profile.min_pixels, profile.max_pixels) == (256 * 784, 1280 * 784)
    small = {"shortest_edge": 16 * 784, "longest_edge": 25 * 784}
    edit(copy / "preprocessor_config.json", size=small)
    profile = load(copy).profile
    assert (profile.min_pixels, profile.max_pixels) == (16 * 784, 25 * 784)
    profile = load(copy, max_pixels=20 * 784).profile
    assert (profile.min_pixels, profile.max_pixels) == (16 * 784, 20 * 784)


def test_torch_threads_are_left_alone_unless_asked_for(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    LocalEngine.load(str(tiny), CPU).close()
    assert asked == []
    LocalEngine.load(str(tiny), replace(CPU, torch_threads=3)).close()
    assert asked == [3]


def test_a_template_in_the_older_file_is_used(copy: Path) -> None:
    template = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").unlink()
    assert not load(copy).tokenizer.chat_template
    (copy / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert load(copy).tokenizer.chat_template == template


def _drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _halve_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _index_a_lost_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _pickle_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("harm", "kind", "complaint"),
    [
        (lambda f: (f / "config.json").unlink(), SettingError, "is no checkpoint"),
        (lambda f: (f / "config.json").write_text("{"), SettingError, "cannot be read as JSON"),
        (
            lambda f: edit(f / "config.json", model_type="llama"),
            SettingError,
            "model_type 'llama' is no Qwen-VL family that we know",
        ),
        (
            _pickle_the_weights,
            SettingError,
            "lacks model.safetensors. Copy the whole checkpoint; weights must be in safetensors",
        ),
        (_index_a_lost_shard, SettingError, "lacks model-00002-of-00002.safetensors"),
        (
            lambda f: (f / "preprocessor_config.json").unlink(),
            SettingError,
            "no preprocessor_config.json",
        ),
        (
            lambda f: edit(f / "preprocessor_config.json", patch_size=16),
            SettingError,
            "image tokens cover 32 pixels, those of qwen2.5-vl 28",
        ),
        (_halve_the_weights, EngineError, "cannot be loaded: SafetensorError"),
        (_drop_a_weight, EngineError, "lacks 1 weights, lm_head.weight among them"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), EngineError, "cannot be loaded"),
    ],
)
def test_a_broken_checkpoint_says_what_is_wrong_in_one_line(
    copy: Path, harm: Callable[[Path], object], kind: type[GroundingError], complaint: str
) -> None:
    harm(copy)
    with pytest.raises(kind) as caught:
        load(copy)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_wrong_profile_is_blamed_for_what_does_not_load_and_not_the_files(copy: Path) -> None:
    edit(copy / "config.json", model_type="of_somebody")
    _drop_a_weight(copy)
    with pytest.raises(SettingError, match="Correct GROUNDING_PROFILE"):
        load(copy, profile="qwen2.5-vl")


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./shapes", "just-a-name", "a/b/c"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused_at_once(name: str) -> None:
    with pytest.raises(SettingError, match="there is no folder"):
        LocalEngine.load(name)


def test_a_running_model_does_not_depend_on_its_file(copy: Path) -> None:
    model = load(copy).model
    before = [weights.sum().item() for weights in model.parameters()]
    path = copy / "model.safetensors"
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert [weights.sum().item() for weights in model.parameters()] == before


def test_a_device_without_room_for_the_model_is_out_of_memory(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PreTrainedModel, "to", full)
    with pytest.raises(OutOfMemory, match="Use a smaller checkpoint or a larger GPU"):
        load(tiny)


@pytest.mark.parametrize("device", ["gpu0", "cuda:x"])
def test_a_device_that_torch_does_not_know_is_refused(tiny: Path, device: str) -> None:
    with pytest.raises(SettingError, match=f"no device '{device}'"):
        load(tiny, device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device")
def test_a_missing_cuda_device_is_refused(tiny: Path) -> None:
    with pytest.raises(SettingError, match="DEVICE=cpu"):
        load(tiny, device="cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a device")
@pytest.mark.parametrize("attention", ["sdpa", "flash_attention_2"])
def test_a_cuda_device_is_refused_where_there_is_none(tiny: Path, attention: Any) -> None:
    with pytest.raises(SettingError, match=r"no CUDA device.*Set GROUNDING_DEVICE=cpu") as caught:
        load(tiny, device="cuda:9", attention=attention)
    assert "\n" not in str(caught.value)


def test_a_cuda_device_beyond_those_that_are_there_is_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cure = "no device 'cuda:2'.*Set GROUNDING_DEVICE to cuda:0, cuda:1 or cpu"
    with pytest.raises(SettingError, match=cure) as caught:
        load(tiny, device="cuda:2", attention="flash_attention_2")
    assert "\n" not in str(caught.value)
    assert loading._choose_device("cuda:1").index == 1


def test_an_unknown_kind_runs_as_the_profile_that_is_named(copy: Path) -> None:
    edit(copy / "config.json", model_type="qwen2_5_vl_of_somebody")
    engine = LocalEngine.load(str(copy), LoadOptions(profile="qwen2.5-vl"))
    try:
        assert engine.profile.name == "qwen2.5-vl"
        view = make_view(Image.new("RGB", (112, 112)))
        assert ask_one(engine, ModelRequest((view, "a cat"), 3)).tokens
    finally:
        engine.close()


@pytest.mark.parametrize("kind", UNFIT)
def test_a_folder_that_cannot_run_is_refused_with_the_cure(tmp_path: Path, kind: str) -> None:
    folder = lay_out(tmp_path / "checkpoint", kind)
    with pytest.raises(SettingError, match=UNFIT[kind].complaint) as caught:
        load(folder)
    assert UNFIT[kind].cure in caught.value.hint
    assert "\n" not in str(caught.value)


def test_weights_merged_with_their_adapter_load_though_its_config_is_left(copy: Path) -> None:
    (copy / "adapter_config.json").write_text("{}")
    assert load(copy).model


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("m.gguf", "is a GGUF file.*llama.cpp"), ("model.safetensors", "is a file.*folder")],
)
def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path, name: str, complaint: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"GGUF")
    with pytest.raises(SettingError, match=complaint):
        load(file)


def test_a_package_that_is_missing_is_named_and_never_waited_for(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("\nLoading this needs `gptqmodel`\nRun pip install")

    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", fail)
    with pytest.raises(SettingError, match=r"needs a package.*`gptqmodel`"):
        load(tiny)


@pytest.mark.parametrize(
    ("wanted", "dtype"),
    [("auto", torch.float32), ("bfloat16", torch.bfloat16), ("float32", torch.float32)],
)
def test_the_weights_are_of_the_type_that_is_asked_for(
    tiny: Path, wanted: Any, dtype: torch.dtype
) -> None:
    assert {w.dtype for w in load(tiny, dtype=wanted).model.parameters()} == {dtype}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_model_attends_as_it_is_told(tiny: Path, attention: Any) -> None:
    model: Any = load(tiny, attention=attention).model
    assert model.config.get_text_config()._attn_implementation == attention
    assert model.config.vision_config._attn_implementation == attention


@pytest.mark.parametrize(
    ("device", "capability", "dtype", "cause"),
    [
        ("cpu", (9, 0), torch.bfloat16, "device is cpu.*Set GROUNDING_ATTENTION=sdpa"),
        ("cuda", (7, 5), torch.bfloat16, "older than Ampere.*Set GROUNDING_ATTENTION=sdpa"),
        ("cuda", (9, 0), torch.float32, "no float32.*Set GROUNDING_DTYPE=bfloat16"),
        ("cuda", (9, 0), torch.bfloat16, "flash-attn is not installed.*Install it"),
    ],
)
def test_flash_attention_is_refused_where_it_cannot_run(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    capability: tuple[int, int],
    dtype: torch.dtype,
    cause: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    with pytest.raises(SettingError, match=cause) as caught:
        loading._check_attention("flash_attention_2", torch.device(device), dtype)
    assert "\n" not in str(caught.value)


def test_flash_attention_is_refused_before_anything_is_downloaded() -> None:
    with pytest.raises(SettingError, match="device is cpu"):
        load_checkpoint("no/such", replace(CPU, attention="flash_attention_2"), lambda _: None)


def test_in_bfloat16_the_shapes_checkpoint_still_points_where_things_are() -> None:
    engine = LocalEngine.load(str(SHAPES), replace(CPU, dtype="bfloat16"))
    try:
        assert self_test(engine).fault == ""
    finally:
        engine.close()


def test_weights_that_were_converted_are_not_copied_once_more(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 they are the file's own and mapped; in bfloat16 they are new."""
    copied: list[torch.Tensor] = []
    clone = torch.Tensor.clone

    def note(weights: torch.Tensor) -> torch.Tensor:
        copied.append(weights)
        return clone(weights)

    model = load(tiny, dtype="bfloat16").model
    monkeypatch.setattr(torch.Tensor, "clone", note)
    loading._copy_mapped(model)
    assert copied == []


def test_where_the_system_tells_no_maps_all_weights_are_copied() -> None:
    everything = loading._list_mapped_files(Path("/nowhere"))
    assert torch.zeros(1).data_ptr() in everything[0]
