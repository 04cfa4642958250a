"""What `make bench` measures, kept in bench-output/results.json by one program after the other."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OUTPUT = Path("bench-output")
FILE = OUTPUT / "results.json"


def begin(how: str) -> None:
    """Forget the results of another day; `how` says with how many threads, and by which clock."""
    OUTPUT.mkdir(exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {how}"
    _write({"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine})


def add(**found: Any) -> None:
    """Add results to those of the programs before."""
    OUTPUT.mkdir(exist_ok=True)
    _write(read() | found)


def read() -> dict[str, Any]:
    """Return what was measured."""
    return dict(json.loads(FILE.read_text())) if FILE.exists() else {}


def _write(found: dict[str, Any]) -> None:
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
