"""Where pictures lie outside Label Studio: a bucket on loopback, and a sub-path before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import httpx

from grounding.demo.backend import free_port

from .processes import Server, serving
from .venvs import installed

MOTO = "5.2.5"
# moto's own "server" extra installs what emulates all of AWS.
REQUIREMENTS = (f"moto[s3]=={MOTO}", "flask==3.1.3", "flask-cors==6.0.5")
START_S = 120
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}
# httpx has decoded the body by now.
HOP_BY_HOP |= {"keep-alive", "content-encoding"}


@dataclass(frozen=True)
class Bucket:
    """A bucket called `name` on an S3 server of its own; it checks no credentials."""

    server: Server
    name: str = "pictures"

    def put(self, prefix: str, files: Iterable[Path]) -> None:
        """Store the files under `prefix`."""
        for file in files:
            url = f"{self.server.url}/{self.name}/{quote(prefix)}/{file.name}"
            httpx.put(url, content=file.read_bytes()).raise_for_status()

    def settings(self, prefix: str, *, presign: bool) -> dict[str, object]:
        """Return what Label Studio is told to connect the bucket."""
        return {
            "bucket": self.name,
            "prefix": prefix,
            "s3_endpoint": self.server.url,
            "aws_access_key_id": "anybody",
            "aws_secret_access_key": "anything",
            "presign": presign,
        }

    @property
    def presigned_reads(self) -> int:
        """How many requests came by an address that Label Studio had signed."""
        return self.server.log.read_text().count("X-Amz-Signature=")


@contextmanager
def bucket(folder: Path) -> Iterator[Bucket]:
    """Run an S3 server with one bucket."""
    program, port = installed("moto", f"moto-{MOTO}", *REQUIREMENTS) / "moto_server", free_port()
    url, log = f"http://127.0.0.1:{port}", folder / "s3.log"
    command: list[str | Path] = [program, "-H", "127.0.0.1", "-p", str(port)]
    with serving("the S3 server", url, command, log=log, env={}) as server:
        server.wait_until_ok("/moto-api/", START_S)
        there = Bucket(server)
        httpx.put(f"{url}/{there.name}").raise_for_status()
        yield there


class _Forwarder(BaseHTTPRequestHandler):
    """Takes the prefix off each request's path and hands it on, as a reverse proxy does."""

    target = ""
    prefix = ""

    def _forward(self) -> None:
        if not self.path.startswith(f"{self.prefix}/"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = self.target + self.path.removeprefix(self.prefix)
        reply = httpx.request(
            self.command, url, content=body, headers=list(self.headers.items()), timeout=200
        )
        self.send_response(reply.status_code)
        for name, value in reply.headers.multi_items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _forward

    def log_message(self, *_: object) -> None:
        """Say nothing: the test report is what one wants to read."""


@contextmanager
def reverse_proxy(port: int, prefix: str, target: str) -> Iterator[None]:
    """Serve what is at `target` under `prefix` on a loopback port."""
    handler = type("Forwarder", (_Forwarder,), {"target": target, "prefix": prefix})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
