"""Binds every image that is pulled to its digest: `make digests`, where a registry answers.

To raise an image, change its tag in docker-compose.yml or the Dockerfile and run this: it asks the
image's own registry what the tag is now, and writes `name:tag@sha256:…`. `MIRROR=host:port` asks a
mirror in place of all registries. Files change only if every image was found; exit status 1 if not.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
FILES = ("docker-compose.yml", "Dockerfile")
REFERENCE = re.compile(
    r"^(?P<before>\s*image: |FROM )(?P<tagged>[\w.:/-]+:[\w.-]+)(?:@sha256:[0-9a-f]{64})?(?=\s|$)",
    re.MULTILINE,
)
OURS = "qwen-grounding-"
"""Images with this name are built here, and nobody pulls them."""
DOCKER_HUB = "registry-1.docker.io"
PARAMETER = re.compile(r'(\w+)="([^"]*)"')
KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""What a tag may be, the list for every platform first: its digest serves them all."""


class RegistryError(Exception):
    """A registry does not answer, or does not know the image."""


@dataclass(frozen=True, slots=True)
class Image:
    """Where a tag of an image is asked for: the registry, its name there, and the tag."""

    registry: str
    name: str
    tag: str

    @classmethod
    def read(cls, tagged: str) -> Image:
        """Return the image that `docker pull` takes a reference for."""
        path, _, tag = tagged.rpartition(":")
        first, slash, rest = path.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            return cls(DOCKER_HUB if first == "docker.io" else first, rest, tag)
        return cls(DOCKER_HUB, path if slash else f"library/{path}", tag)


class Registries:
    """Asks registries for digests, without an account; `mirror` stands in for all of them."""

    def __init__(self, client: httpx.Client, mirror: str = "") -> None:
        self._client = client
        self._mirror = mirror

    def digest(self, image: Image) -> str:
        """Return the digest of what the tag is now; `RegistryError` if that cannot be found out."""
        host = self._mirror or image.registry
        url = f"{_scheme(host)}://{host}/v2/{image.name}/manifests/{image.tag}"
        try:
            answer = self._manifest(url)
        except httpx.HTTPError as exc:
            raise RegistryError(f"{host} does not answer: {type(exc).__name__}") from exc
        if answer.status_code != 200:
            raise RegistryError(f"{host} answered {answer.status_code}")
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        # What we compute is what a pull is checked against, whatever the header says.
        if answer.headers.get("Docker-Content-Digest", digest) != digest:
            raise RegistryError(f"{host} names another digest than that of what it sent")
        return digest

    def _manifest(self, url: str) -> httpx.Response:
        headers = {"Accept": ", ".join(KINDS)}
        answer = self._client.get(url, headers=headers)
        if answer.status_code == 401:
            headers["Authorization"] = f"Bearer {self._token(answer)}"
            answer = self._client.get(url, headers=headers)
        return answer

    def _token(self, refusal: httpx.Response) -> str:
        """Return the token that a registry gives to everyone for reading public images."""
        asked = dict(PARAMETER.findall(refusal.headers.get("WWW-Authenticate", "")))
        if not (realm := asked.pop("realm", "")):
            raise RegistryError(f"{refusal.url.host} wants an account")
        given = self._client.get(realm, params=asked)
        try:
            body = given.json()
            return str(body.get("token") or body["access_token"])
        except (ValueError, KeyError, AttributeError) as exc:
            raise RegistryError(f"{refusal.url.host} gives no token to everyone") from exc


def _scheme(host: str) -> str:
    """Return the scheme of a registry: plain HTTP on this machine alone, as Docker does it."""
    return "http" if host.partition(":")[0] in ("127.0.0.1", "localhost") else "https"


def pulled(text: str) -> set[str]:
    """Return the images, with their tags, that a Dockerfile or a compose file pulls."""
    found = {match["tagged"] for match in REFERENCE.finditer(text)}
    return {tagged for tagged in found if not tagged.startswith(OURS)}


def bind(text: str, digests: dict[str, str]) -> str:
    """Return `text` with the digest behind each of these images, in place of an older one."""

    def written(match: re.Match[str]) -> str:
        digest = digests.get(match["tagged"])
        return f"{match['before']}{match['tagged']}@{digest}" if digest else match[0]

    return REFERENCE.sub(written, text)


def raise_digests(folder: Path, registries: Registries) -> int:
    """Bind the images of the two files in `folder`; return the exit status."""
    texts = {name: (folder / name).read_text() for name in FILES}
    digests: dict[str, str] = {}
    for tagged in sorted({one for text in texts.values() for one in pulled(text)}):
        try:
            digests[tagged] = registries.digest(Image.read(tagged))
            print(f"{tagged}@{digests[tagged]}")
        except RegistryError as exc:
            print(f"NOT BOUND: {tagged}: {exc}", file=sys.stderr)
            digests[tagged] = ""
    if not all(digests.values()):
        print("NOTHING WAS WRITTEN: not every image was found", file=sys.stderr)
        return 1
    for name, text in texts.items():
        (folder / name).write_text(bind(text, digests))
    return 0


def main(mirror: str) -> int:
    """Bind the images of this repository."""
    with httpx.Client(timeout=20, follow_redirects=True) as client:
        return raise_digests(ROOT, Registries(client, mirror))


if __name__ == "__main__":
    sys.exit(main("".join(sys.argv[1:2])))
