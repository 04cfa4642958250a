"""Writes the shapes checkpoint as GGUF files, with llama.cpp's own converter; run as a program.

    conversion.py LLAMA_CPP CHECKPOINT FOLDER

The converter reads configs as Qwen publishes them: the text model's values at the top. A vision
tower whose every layer sees the whole picture, as this one's, has the window pattern 0 there. It
knows tokenizers by a digest; this one splits texts as Qwen2's.
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any


def main(llama: Path, checkpoint: Path, folder: Path) -> None:
    """Write model.gguf and mmproj.gguf, the vision tower, into `folder`."""
    sys.path[:0] = [str(llama), str(llama / "gguf-py")]
    from conversion.base import TextModel  # type: ignore[import-not-found]

    TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
    TextModel._set_vocab_sentencepiece = TextModel._set_vocab_gpt2
    with tempfile.TemporaryDirectory() as made:
        source = shutil.copytree(checkpoint, Path(made) / "shapes")
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps(flatten(config)))
        for name, flags in (("model", ()), ("mmproj", ("--mmproj",))):
            written = ("--outtype", "f32", "--outfile", str(folder / f"{name}.gguf"))
            sys.argv = ["convert", str(source), *written, *flags]
            runpy.run_path(str(llama / "convert_hf_to_gguf.py"), run_name="__main__")


def flatten(config: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's config as the converter reads it."""
    text = config["text_config"]
    rope = text["rope_parameters"]
    vision = config["vision_config"] | {"fullatt_block_indexes": [-1]}
    return (
        text
        | config
        | {
            "vision_config": vision,
            "rope_theta": rope["rope_theta"],
            "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
        }
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
