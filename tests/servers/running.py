"""Real model servers with the shapes checkpoint, as processes that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from grounding.demo.backend import free_port
from grounding.settings import SHAPES
from tests.engines.remote.connecting import MAX_PIXELS, MIN_PIXELS
from tests.servers.installing import HOME, install_llama, install_transformers, install_vllm

START_SECONDS = 400
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
VLLM_FLAGS = (
    *("--served-model-name", "shapes", "--dtype", "float32", "--enforce-eager"),
    *("--generation-config", "vllm", "--max-model-len", "2048", "--max-num-seqs", "16"),
    *("--limit-mm-per-prompt", '{"image": 1, "video": 0}'),
    *("--mm-processor-kwargs", '{"min_pixels": 784, "max_pixels": 1003520}'),
    *("--scheduling-policy", "priority", "--mm-processor-cache-gb", "1"),
)
"""As docker-compose.yml has them, but for what a CPU and a small checkpoint change."""


@dataclass
class RealServer:
    """One server's process; `settings` are those of a worker that uses it."""

    name: str
    command: Callable[[int], list[str | Path]]
    server: str
    model: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What a worker needs to use it, with exact pictures and answers that fit."""
        return {
            "engine": "openai",
            "server": self.server,
            "openai_base_url": f"http://127.0.0.1:{self.port}/v1",
            "model": self.model,
            "profile": "qwen2.5-vl",
            "min_pixels": MIN_PIXELS,
            "max_pixels": MAX_PIXELS,
            "image_format": "png",
            # The checkpoint reads 2,048 tokens; a server refuses what asks for more.
            "max_new_tokens": 512,
        }

    def start(self) -> None:
        """Start it, and return when it answers; its output goes to a file in .servers."""
        with (HOME / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(self.port),
                env=os.environ | QUIET,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + START_SECONDS
        while not self._is_up():
            assert self.process.poll() is None, f"{self.name} ended; see {log.name}"
            assert time.monotonic() < end, f"{self.name} is not up; see {log.name}"
            time.sleep(0.5)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it and all processes that it started."""
        if self.process is not None:
            os.killpg(self.process.pid, number)
            self.process.wait()

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).is_success
        except httpx.TransportError:
            return False


def vllm(*flags: str) -> RealServer:
    """Return vLLM, not started."""
    entry = [install_vllm(), "-m", "vllm.entrypoints.openai.api_server", "--model", SHAPES]

    def command(port: int) -> list[str | Path]:
        return [*entry, "--host", "127.0.0.1", "--port", str(port), *VLLM_FLAGS, *flags]

    return RealServer("vllm", command, "vllm", "shapes")


def transformers() -> RealServer:
    """Return `transformers serve`, not started; it wants the very name it was started with."""
    python = install_transformers()
    # The script by its interpreter: its own first line names one that a move of the checkout lost.
    program = [python, python.parent / "transformers"]

    def command(port: int) -> list[str | Path]:
        address = ("--host", "127.0.0.1", "--port", str(port))
        return [*program, "serve", SHAPES, *address, "--device", "cpu", "--dtype", "float32"]

    return RealServer("transformers", command, "generic", str(SHAPES))


def llama() -> RealServer:
    """Return llama.cpp's server, not started; one slot of 2,048 tokens for each of 8 requests."""
    folder = install_llama()
    files = ("-m", folder / "model.gguf", "--mmproj", folder / "mmproj.gguf")

    def command(port: int) -> list[str | Path]:
        address = ("--host", "127.0.0.1", "--port", str(port))
        slots = ("--parallel", "8", "--ctx-size", str(8 * 2048), "--poll", "0")
        return [folder / "llama-server", *files, *address, *slots, "--jinja"]

    return RealServer("llama", command, "llamacpp", "shapes")
