"""The real web server's entry, which may be told to die at a step, or the wrong time."""

from __future__ import annotations

import os
from pathlib import Path

from _wsgi import app
from tests.faults.clock import set_by
from tests.faults.crash import arm

__all__ = ["app"]

if point := os.environ.get("CRASH"):
    arm(point, Path(os.environ["CALLS"] + ".crashed"))
if clock := os.environ.get("CLOCK"):
    set_by(Path(clock))
