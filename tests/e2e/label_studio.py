"""A real Label Studio of its own: installed once, started on loopback with throw-away data."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from grounding.demo.backend import free_port

from .client import Client
from .processes import Server, serving
from .venvs import installed

VERSION = "1.23.2"
START_S = 600
"""A first start migrates its database: 10 to 60 s on a free machine, minutes on a busy one."""

EMAIL = "annotator@example.com"
ALLOW_LOCAL_BACKENDS = {
    # By default Label Studio refuses every private address. ML_BLOCK_LOCAL_IP=false alone
    # half-adds a backend and answers 403; a list of our own keeps the protection on.
    "USE_DEFAULT_BANNED_SUBNETS": "false",
    "USER_ADDITIONAL_BANNED_SUBNETS": "169.254.0.0/16",
}


def install() -> Path:
    """Return Label Studio's program, installed into a virtual environment where it is missing."""
    folder = installed("venv", f"label-studio-{VERSION}", f"label-studio=={VERSION}")
    return folder / "label-studio"


@contextmanager
def label_studio(
    folder: Path, *, public: str = "", settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Server, Client]]:
    """Run a fresh Label Studio with its data in `folder`, and a client logged in to it.

    `public` is the address that its users, and the client, know it by where it is another than
    its own; `settings` are further variables of its environment.
    """
    program, port, token = install(), free_port(), secrets.token_hex(20)
    data = folder / "label-studio"
    data.mkdir()
    command: list[str | Path] = [program, "start", "--no-browser", "--internal-host", "127.0.0.1"]
    command += ["--port", str(port), "--data-dir", data]
    command += ["--username", EMAIL, "--password", token, "--user-token", token]
    url = f"http://127.0.0.1:{port}"
    log = folder / "label-studio.log"
    env = {**_environment(data), **({"LABEL_STUDIO_HOST": public} if public else {})}
    print(f"starting Label Studio {VERSION} at {url}, log {log}", flush=True)
    with serving("Label Studio", url, command, log=log, env={**env, **(settings or {})}) as server:
        server.wait_until_ok("/health", START_S)
        with Client(public or url, token) as client:
            yield server, client


def _environment(data: Path) -> dict[str, str]:
    return {
        "HOME": str(data),
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        **ALLOW_LOCAL_BACKENDS,
    }
