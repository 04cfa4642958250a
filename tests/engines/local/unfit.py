"""Layouts of checkpoints that are not run here, as they are found on the hub."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

CONFIG = {"model_type": "qwen2_5_vl"}
WHOLE = ("model.safetensors", "tokenizer.json", "preprocessor_config.json")
ADAPTER = {"base_model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct", "peft_type": "LORA"}


@dataclass(frozen=True)
class Unfit:
    """A layout, and words of the complaint and of its cure; without `config` it has none."""

    complaint: str
    cure: str
    config: dict[str, object] | None
    files: tuple[str, ...] = WHOLE
    adapter: dict[str, object] | None = None


def _quantised(method: str, **config: object) -> Unfit:
    return Unfit(rf"quantised \({method}\)", "GROUNDING_SERVER=vllm", CONFIG | config)


UNFIT = {
    "awq": _quantised("awq", quantization_config={"quant_method": "awq", "bits": 4}),
    "gptq": _quantised("gptq", quantization_config={"quant_method": "gptq", "bits": 8}),
    "fp8": _quantised("fp8", quantization_config={"quant_method": "fp8"}),
    "bitsandbytes": _quantised(
        "bitsandbytes", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}
    ),
    "in the text part": _quantised(
        "awq", text_config={"quantization_config": {"quant_method": "awq"}}
    ),
    "older compressed-tensors": _quantised(
        "int-quantized", compression_config={"format": "int-quantized"}
    ),
    "older gptq": replace(
        _quantised("gptq"),
        files=(*WHOLE, "quantize_config.json", "gptq_model-4bit-128g.safetensors"),
    ),
    "older awq": replace(_quantised("awq"), files=(*WHOLE, "quant_config.json")),
    "mlx": _quantised("of some bits", quantization={"group_size": 64, "bits": 4}),
    "adapter": Unfit(
        "is an adapter of Qwen/Qwen2.5-VL-7B-Instruct",
        "GROUNDING_ADAPTER",
        None,
        ("adapter_model.safetensors", "tokenizer.json"),
        ADAPTER,
    ),
    "adapter with a config": Unfit(
        "is an adapter of Qwen/Qwen2.5-VL-7B-Instruct",
        "--enable-lora",
        CONFIG,
        ("adapter_model.safetensors", "tokenizer.json"),
        ADAPTER,
    ),
    "gguf": Unfit(
        "holds GGUF files", "GROUNDING_SERVER=llamacpp", None, ("model-Q4_K_M.gguf", "README.md")
    ),
    "gguf with a config": Unfit(
        "holds GGUF files", "llama.cpp", CONFIG, ("model-Q4_K_M.gguf", "tokenizer.json")
    ),
    "no vocabulary": Unfit(
        "has no vocabulary", "base model", CONFIG, ("model.safetensors", "tokenizer_config.json")
    ),
    "half a vocabulary": Unfit(
        "has no vocabulary", "base model", CONFIG, ("model.safetensors", "vocab.json")
    ),
}


def lay_out(folder: Path, kind: str) -> Path:
    """Return a new folder with this layout; its large files hold nothing."""
    layout = UNFIT[kind]
    folder.mkdir()
    for name in layout.files:
        (folder / name).write_text("{}")
    for name, content in (("config.json", layout.config), ("adapter_config.json", layout.adapter)):
        if content is not None:
            (folder / name).write_text(json.dumps(content))
    return folder
