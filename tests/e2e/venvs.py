"""Programs of others, each installed once into a virtual environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[2] / ".e2e"


def installed(name: str, what: str, *requirements: str) -> Path:
    """Return the folder of programs of the environment `name`, made where it is missing.

    `what`, the main requirement with its version, marks that the installation is complete.
    """
    folder = HOME / name
    done = folder / f"{what}.installed"
    if not done.exists():
        print(f"installing {what} into {folder} (about two minutes)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq"]
        subprocess.run([*pip, *requirements], check=True)
        # Written last: an interrupted installation starts afresh.
        done.touch()
    return folder / "bin"
