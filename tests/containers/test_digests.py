"""Images are bound to what a registry says of their tags; the registry is on loopback."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.containers.files import ROOT
from tests.loopback import serving
from tools.digests import DOCKER_HUB, FILES, KINDS, Image, Registries, bind, pulled, raise_digests

PULLED = {
    "heartexlabs/label-studio": "heartexlabs/label-studio:1.23.2",
    "library/python": "python:3.11.14-slim-bookworm",
    "valkey/valkey": "valkey/valkey:9.1.2",
    "vllm/vllm-openai": "vllm/vllm-openai:v0.33.0",
}
"""By the name in Docker's own registry: what our two files pull."""


@dataclass
class Registry:
    """What a registry has, and how it answers."""

    names: set[str] = field(default_factory=lambda: set(PULLED))
    wants_token: bool = True
    named: str = ""
    """The digest in its header; empty for the right one."""
    accepted: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def host(self) -> str:
        """Its host and port."""
        return urlsplit(self.url).netloc


def manifest(name: str) -> bytes:
    """Return the bytes of an image's manifest."""
    return f'{{"schemaVersion": 2, "of": "{name}"}}'.encode()


def digest_of(name: str) -> str:
    """Return the digest of an image's manifest."""
    return f"sha256:{hashlib.sha256(manifest(name)).hexdigest()}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry as the distribution specification describes it, with tokens for everyone."""
    it = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/token":
                scope = parse_qs(parts.query)["scope"][0]
                return self._send(200, f'{{"token": "for {scope}"}}'.encode())
            name = parts.path.removeprefix("/v2/").partition("/manifests/")[0]
            scope = f"repository:{name}:pull"
            if it.wants_token and self.headers["Authorization"] != f"Bearer for {scope}":
                where = f'realm="{it.url}/token",service="loopback",scope="{scope}"'
                return self._send(401, b"{}", ("WWW-Authenticate", f"Bearer {where}"))
            it.accepted.append(self.headers["Accept"])
            if name not in it.names:
                return self._send(404, b"{}")
            digest = it.named or digest_of(name)
            return self._send(200, manifest(name), ("Docker-Content-Digest", digest))

        def _send(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as it.url:
        yield it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The two files, free to be changed."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run(folder: Path, mirror: str) -> int:
    """Raise the digests in `folder`."""
    with httpx.Client(timeout=5, trust_env=False) as client:
        return raise_digests(folder, Registries(client, mirror))


def test_every_image_that_is_pulled_is_bound_and_nothing_else_changes(
    registry: Registry, folder: Path
) -> None:
    before = {name: (folder / name).read_text() for name in FILES}
    assert run(folder, registry.host) == 0
    after = {name: (folder / name).read_text() for name in FILES}
    for name in FILES:
        plain = bind(after[name], {})
        for repository, tagged in PULLED.items():
            plain = plain.replace(f"{tagged}@{digest_of(repository)}", tagged)
        unbound = before[name]
        for repository, tagged in PULLED.items():
            unbound = unbound.replace(f"{tagged}@{digest_of(repository)}", tagged)
        assert plain == unbound
    both = "".join(after.values())
    assert both.count("@sha256:") == len(PULLED)
    assert all(kind in registry.accepted[0] for kind in KINDS)


def test_an_older_digest_is_replaced(registry: Registry, folder: Path) -> None:
    file = folder / "Dockerfile"
    old = f"@sha256:{'0' * 64}"
    tagged = PULLED["library/python"]
    file.write_text(file.read_text().replace(f"{tagged} AS", f"{tagged}{old} AS"))
    assert run(folder, registry.host) == 0
    assert old not in file.read_text()
    assert f"FROM {tagged}@{digest_of('library/python')} AS base" in file.read_text()
    once = file.read_text()
    assert run(folder, registry.host) == 0
    assert file.read_text() == once, "a second run changes nothing"


def lacking(registry: Registry) -> None:
    registry.names.remove("valkey/valkey")


def lying(registry: Registry) -> None:
    registry.named = f"sha256:{'1' * 64}"


def closed(registry: Registry) -> None:
    registry.url = "http://127.0.0.1:1"


@pytest.mark.parametrize("fault", [lacking, lying, closed])
def test_nothing_is_written_unless_every_image_is_found(
    registry: Registry, folder: Path, capsys: pytest.CaptureFixture[str], fault: object
) -> None:
    before = [(folder / name).read_text() for name in FILES]
    fault(registry)  # type: ignore[operator]
    assert run(folder, registry.host) == 1
    assert [(folder / name).read_text() for name in FILES] == before
    assert "NOT BOUND" in capsys.readouterr().err


def test_a_registry_without_tokens_is_asked_too(registry: Registry, folder: Path) -> None:
    registry.wants_token = False
    assert run(folder, registry.host) == 0


REFERENCES = {
    "python:3.11": Image(DOCKER_HUB, "library/python", "3.11"),
    "valkey/valkey:9.1.2": Image(DOCKER_HUB, "valkey/valkey", "9.1.2"),
    "docker.io/library/redis:8": Image(DOCKER_HUB, "library/redis", "8"),
    "ghcr.io/a/b/c:v1": Image("ghcr.io", "a/b/c", "v1"),
    "localhost:5000/a:1": Image("localhost:5000", "a", "1"),
    "registry.example:5000/a/b:1": Image("registry.example:5000", "a/b", "1"),
}


@pytest.mark.parametrize(("tagged", "image"), REFERENCES.items(), ids=REFERENCES)
def test_a_reference_is_read_as_docker_reads_it(tagged: str, image: Image) -> None:
    assert Image.read(tagged) == image


def test_what_we_build_and_stages_are_not_pulled() -> None:
    text = "".join((ROOT / name).read_text() for name in FILES)
    assert pulled(text) == set(PULLED.values())
