"""A real Label Studio of its own: installed once, started on loopback with throw-away data."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .client import Client
from .processes import Server, free_port, serving

VERSION = "1.23.2"
VENV = Path(__file__).parents[2] / ".e2e" / "venv"
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
    done = VENV / f"label-studio-{VERSION}.installed"
    if not done.exists():
        print(f"installing label-studio {VERSION} into {VENV} (about two minutes)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq"]
        subprocess.run([*pip, f"label-studio=={VERSION}"], check=True)
        # Written last: an interrupted installation starts afresh.
        done.touch()
    return VENV / "bin" / "label-studio"


@contextmanager
def label_studio(folder: Path) -> Iterator[tuple[Server, Client]]:
    """Run a fresh Label Studio with its data in `folder`, and a client logged in to it."""
    program, port, token = install(), free_port(), secrets.token_hex(20)
    data = folder / "label-studio"
    data.mkdir()
    command: list[str | Path] = [program, "start", "--no-browser", "--internal-host", "127.0.0.1"]
    command += ["--port", str(port), "--data-dir", data]
    command += ["--username", EMAIL, "--password", token, "--user-token", token]
    url = f"http://127.0.0.1:{port}"
    log = folder / "label-studio.log"
    print(f"starting Label Studio {VERSION} at {url}, log {log}", flush=True)
    with serving("Label Studio", url, command, log=log, env=_environment(data)) as server:
        server.wait_until_ok("/health", START_S)
        with Client(url, token) as client:
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
