"""The hub: downloads with progress from a small hub of our own, and what is said when it fails."""

from __future__ import annotations

import gc
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from grounding.engines.base import Progress
from grounding.engines.local.adapters import WEIGHTS, Adapter
from grounding.engines.local.checkpoint_files import fetch
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.errors import EngineError, GroundingError, SettingError
from grounding.settings import SHAPES
from tests.engines.local.test_adapters import train
from tests.engines.local.unfit import UNFIT, lay_out

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "someone/tiny-qwen2.5-vl"
CPU = LoadOptions(device="cpu")


class Hub(ThreadingHTTPServer):
    """Serves one folder as the checkpoint `MODEL`; notes what was asked of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.folder = folder
        self.asked: list[str] = []
        self.refusal: tuple[int, str] | None = None


class _Page(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.refusal:
            status, code = self.server.refusal
            self._reply(b"{}", status, {"X-Error-Code": code})
        elif self.path.startswith(f"/api/models/{MODEL}/tree/"):
            self._json([_entry(path) for path in sorted(self.server.folder.iterdir())])
        elif self.path.startswith(f"/api/models/{MODEL}"):
            self._json({"id": MODEL, "sha": COMMIT, "siblings": []})
        elif self.path.startswith(f"/{MODEL}/resolve/"):
            self._file(self.server.folder / self.path.rpartition("/")[2])
        else:
            self._reply(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _json(self, content: object) -> None:
        self._reply(json.dumps(content).encode())

    def _file(self, path: Path) -> None:
        body = path.read_bytes()
        self._reply(body, headers={"ETag": f'"{_oid(path)}"', "X-Repo-Commit": COMMIT})

    def _reply(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def _entry(path: Path) -> dict[str, object]:
    return {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _oid(path)}


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and a client with an empty cache that knows no other."""
    server = Hub(tiny)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    origin = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "ENDPOINT": origin,
        "HUGGINGFACE_CO_URL_TEMPLATE": origin + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_hub_id_is_downloaded_with_progress_then_loaded(hub: Hub) -> None:
    reports: list[Progress] = []
    LocalEngine.load(MODEL, CPU, reports.append).close()
    gc.collect()
    phases = [r.phase for r in reports]
    assert phases == sorted(phases, key=["downloading", "loading", "ready"].index)
    assert phases[-2:] == ["loading", "ready"]
    downloads = [r.done for r in reports if r.phase == "downloading"]
    assert downloads[-1] == 1.0
    assert all(done is not None and 0 <= done <= 1 for done in downloads)
    assert {r.detail for r in reports} == {MODEL}


def test_other_formats_of_the_weights_are_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    hub.folder = tmp_path / "repository"
    hub.folder.mkdir()
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "model.gguf", "a.py"):
        (hub.folder / name).write_text(name)
    folder = fetch(MODEL, revision=None)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("kind", "profile"),
    [
        ("llama", None),
        ("qwen3_next", None),
        ("qwen3_next", "qwen3.5"),
        ("qwen3_5_text", "qwen3.5"),
        ("qwen3_omni_moe", "qwen3-vl"),
        ("qwen2_5_omni", "qwen2.5-vl"),
    ],
)
def test_an_architecture_that_we_do_not_run_costs_no_download(
    hub: Hub, tmp_path: Path, kind: str, profile: str | None
) -> None:
    """No profile makes another architecture of Qwen's run, so its files are not to blame."""
    hub.folder = tmp_path / "repository"
    hub.folder.mkdir()
    (hub.folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (hub.folder / "model.safetensors").write_text("sixteen gigabytes")
    (hub.folder / "tokenizer.json").write_text("{}")
    with pytest.raises(SettingError, match=f"'{kind}'") as caught:
        LocalEngine.load(MODEL, replace(CPU, profile=profile))
    assert "GROUNDING_PROFILE" in caught.value.hint
    assert "qwen2_5_vl" in caught.value.hint
    assert not any("safetensors" in path for path in hub.asked)


@pytest.mark.parametrize("kind", UNFIT)
def test_a_checkpoint_that_cannot_run_is_refused_before_its_weights_are_downloaded(
    hub: Hub, tmp_path: Path, kind: str
) -> None:
    hub.folder = lay_out(tmp_path / "repository", kind)
    with pytest.raises(SettingError, match=UNFIT[kind].complaint) as caught:
        LocalEngine.load(MODEL, CPU)
    assert UNFIT[kind].cure in caught.value.hint
    resolved = [path for path in hub.asked if "/resolve/" in path]
    assert [path for path in resolved if not path.endswith("config.json")] == []


def test_an_adapter_is_taken_from_the_hub_at_its_revision_in_safetensors_only(
    hub: Hub, tmp_path: Path
) -> None:
    hub.folder = tmp_path / "repository"
    train(SHAPES, hub.folder)
    (hub.folder / "adapter_model.bin").write_text("pickled")
    options = replace(CPU, adapter=Adapter(MODEL, "v2"))
    LocalEngine.load(str(SHAPES), options).close()
    assert any("/v2/" in path or path.endswith("/v2") for path in hub.asked)
    assert not any("main" in path or path.endswith(".bin") for path in hub.asked)


def test_an_adapter_that_cannot_run_is_refused_before_the_checkpoint_is_downloaded(
    hub: Hub, tmp_path: Path
) -> None:
    lora = train(SHAPES, tmp_path / "adapter")
    (lora / WEIGHTS).rename(lora / "adapter_model.bin")
    with pytest.raises(SettingError, match="pickled weights are not loaded"):
        LocalEngine.load(MODEL, replace(CPU, adapter=Adapter(str(lora))))
    assert not any(path.endswith(".safetensors") for path in hub.asked)


def test_a_cached_checkpoint_needs_no_hub(hub: Hub) -> None:
    folder = fetch(MODEL, revision=None)
    hub.refusal = (503, "")
    assert fetch(MODEL, revision=None) == folder


@pytest.mark.parametrize(
    ("refusal", "kind", "complaint"),
    [
        ((404, "RepoNotFound"), SettingError, "neither a folder nor a hub checkpoint"),
        ((404, "RevisionNotFound"), SettingError, "has no revision 'v9'"),
        ((403, "GatedRepo"), SettingError, "Accept it on the model's page and set HF_TOKEN"),
        ((500, ""), EngineError, "the hub cannot be reached"),
    ],
)
def test_a_refusal_names_its_cure(
    hub: Hub, refusal: tuple[int, str], kind: type[GroundingError], complaint: str
) -> None:
    hub.refusal = refusal
    with pytest.raises(kind, match=complaint) as caught:
        fetch(MODEL, revision="v9")
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_an_id_that_no_hub_could_have_is_refused(hub: Hub) -> None:
    with pytest.raises(SettingError, match="neither a folder nor a hub checkpoint"):
        fetch("someone/not--allowed", revision=None)
    assert hub.asked == []


def test_a_hub_that_is_down_may_be_tried_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(EngineError, match="set MODEL to a folder") as caught:
        fetch(MODEL, revision=None)
    assert caught.value.retryable
    assert caught.value.code == "hub_unreachable"


def test_an_existing_folder_is_used_as_it_is(tiny: Path, hub: Hub) -> None:
    assert fetch(str(tiny), revision=None) == tiny
    assert hub.asked == []
